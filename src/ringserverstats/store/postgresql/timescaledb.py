"""What TimescaleDB adds to a store in PostgreSQL, where it is there.

Packed transfers lie in a hypertable, which it compresses, and drops when they are older than the
operator wants; and two continuous aggregates over them, for Grafana and for those who ask with SQL
of their own. Our sums stay the truth: these know nothing of transfers that were dropped.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

import psycopg

from ringserverstats.errors import StoreError
from ringserverstats.store.postgresql.schema import ALL_SERVERS, LOCKS, first_line, grant
from ringserverstats.store.rollups import month_of
from ringserverstats.store.tables import LOGGED_TRANSFER, TABLES

Connection: TypeAlias = psycopg.Connection[Any]

YES, NO = "yes", "no"
_MONTH = 31
_ONE_DAY = timedelta(days=1)
_LEAST_DAYS = 63
_REFRESH_MEMORY = "256MB"  # with less of it, it sorts where it could hash
_CHUNK = "7 days"
_COMPRESS_AFTER = "14 days"  # late logs come in the first of them
_CATCH_UP = "1 hour"  # how often the aggregates take up what no ingest has refreshed
_LATER = "initial_start => now() + INTERVAL '1 hour'"  # not while old logs are being read
_TRANSFER = TABLES["transfer"]
_COLUMNS = ", ".join((*_TRANSFER.packed_names, *_TRANSFER.arrays))
_TABLE = "CREATE TABLE transfer_hypertable (LIKE transfer_packed INCLUDING ALL)"
# Of both tables, as a query may see the state before transfers moved from one to the other.
_BOTH = ("transfer_hypertable", _TRANSFER.stored)
_VIEW = f"CREATE OR REPLACE VIEW transfer AS {_TRANSFER.unpacked(*_BOTH)}"
_LOGGED = (
    f"CREATE OR REPLACE VIEW logged_transfer AS {_TRANSFER.unpacked(*_BOTH, names=LOGGED_TRANSFER)}"
)
_COMPRESSION = """
ALTER TABLE transfer_hypertable SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'server',
    timescaledb.compress_orderby = 'day, client_profile'
)
"""
_BY_DAY = """
CREATE MATERIALIZED VIEW transfers_by_day
WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
SELECT time_bucket('1 day', f.day) AS day, f.server, f.direction, f.protocol, s.network, s.station,
       sum(t.bytes) AS bytes, sum(t.packets) AS packets, count(*) AS transfers
  FROM transfer_hypertable f
  JOIN LATERAL unnest(f.stream, f.bytes, f.packets) AS t(stream, bytes, packets) ON true
  JOIN stream s ON s.stream = t.stream
 GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA
"""
_BY_MONTH = """
CREATE MATERIALIZED VIEW transfers_by_month
WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
SELECT time_bucket('1 month', day) AS month, server, direction, protocol, network, station,
       sum(bytes) AS bytes, sum(packets) AS packets, sum(transfers) AS transfers
  FROM transfers_by_day
 GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA
"""
#: The aggregates with the SQL that makes them, in this order.
_AGGREGATES = {"transfers_by_day": _BY_DAY, "transfers_by_month": _BY_MONTH}
_MONTHLY = "transfers_by_month"


@dataclass(frozen=True)
class TimescaleDB:
    """What is on: the version of the extension, and the days that transfers are kept, if told."""

    version: str
    transfer_retention_days: int | None


def state(connection: Connection) -> TimescaleDB | None:
    """What is on now; None: transfers are kept as in any PostgreSQL database."""
    if _value(connection, "SELECT to_regclass('transfer_hypertable')::text") is None:
        return None
    version = _value(
        connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    after = _value(
        connection,
        "SELECT (config->>'drop_after')::interval FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_retention' AND hypertable_name = 'transfer_hypertable'"
        " AND hypertable_schema = current_schema()",
    )
    return TimescaleDB(str(version), after.days if after else None)


def kept_since(connection: Connection, today: date) -> date | None:
    """The first day whose transfers are kept for sure; None: all are."""
    found = state(connection)
    told = _value(connection, "SELECT kept_since FROM store")
    days = [told] if told else []
    if found and found.transfer_retention_days:
        days.append(today - timedelta(days=found.transfer_retention_days))
    return max(days, default=None)


def set_up(
    connection: Connection, mode: str, transfer_retention_days: int | None, today: date
) -> str:
    """Use the extension as ``mode`` says; may be repeated.

    Args:
        connection: of the tables' owner; each step is committed.
        transfer_retention_days: drop transfers that are older; None: keep them.

    Returns:
        What is on now, in words.

    Raises:
        StoreError: it is not there, but ``mode`` says that it must be.
    """
    if mode == NO and state(connection) is None:
        return "TimescaleDB: not used (setting timescaledb = no)"
    reason = _missing(connection)
    if reason and mode == YES:
        raise StoreError(
            f"TimescaleDB cannot be used ({reason}); install it and let a superuser run "
            "CREATE EXTENSION timescaledb in this database, or set timescaledb = auto"
        )
    if reason:
        return f"TimescaleDB: not used ({reason})"
    if transfer_retention_days and transfer_retention_days < _LEAST_DAYS:
        raise StoreError(
            f"the setting transfer_retention_days is {transfer_retention_days}; it must be 0 or at least {_LEAST_DAYS}, so "
            "that the aggregate by month is made of whole months"
        )
    if _value(connection, "SELECT to_regclass('transfer_hypertable')::text") is None:
        _make_hypertable(connection)
    _move(connection)
    for name, sql in _AGGREGATES.items():
        if _value(connection, f"SELECT to_regclass('{name}')::text") is None:
            _make_aggregate(connection, name, sql)
    _set_policies(connection, transfer_retention_days, today)
    found = state(connection)
    kept = f"{transfer_retention_days} days" if transfer_retention_days else "for ever"
    return f"TimescaleDB {found.version if found else ''}: transfers are kept {kept}"


def refresh(connection: Connection, spans: Iterable[tuple[date, date]], today: date) -> None:
    """Bring the aggregates up to date from day to day, as far as their transfers are all kept.

    Buckets that have lost transfers stay as they are: they are what is left of these.
    """
    if state(connection) is None:
        return
    since = kept_since(connection, today) or date(1999, 12, 1)
    connection.commit()
    connection.autocommit = True
    connection.execute("SET jit = off")
    connection.execute(f"SET work_mem = '{_REFRESH_MEMORY}'")
    for name in _AGGREGATES:
        for first, last in spans:
            begin, end = max(first, since), last + _ONE_DAY
            if name == _MONTHLY:
                begin, end = month_of(first)[0], month_of(last)[1] + _ONE_DAY
                if begin < since:  # the first month whose transfers are all kept
                    begin = month_of(since - _ONE_DAY)[1] + _ONE_DAY
            if begin < end:
                connection.execute(
                    f"CALL refresh_continuous_aggregate('{name}', '{begin}'::date, '{end}'::date)"
                )


def keep_aggregates(connection: Connection, since: date, today: date) -> None:
    """Let the aggregates keep what they have of days before ``since``, whose transfers will go."""
    found = state(connection)
    if found is None:
        return
    connection.execute(
        f"UPDATE store SET kept_since = greatest(coalesce(kept_since, '{since}'), '{since}')"
    )
    _set_policies(connection, found.transfer_retention_days, today)


def spans_of(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    """First and last of those that lie within a month of each other."""
    held: list[date] = []
    for day in sorted(days):
        if held and (day - held[-1]).days > _MONTH:
            yield held[0], held[-1]
            held = []
        held.append(day)
    if held:
        yield held[0], held[-1]


def _missing(connection: Connection) -> str:
    """Why the extension cannot be used; an empty text where it is there, or was made now."""
    there = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
    if _value(connection, there):
        return ""
    if not _value(
        connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
    ):
        return "the server does not have it"
    # To try without would end the connection. What is preloaded only few roles may see, but its
    # settings everybody.
    if not _value(connection, "SELECT count(*) FROM pg_settings WHERE name LIKE 'timescaledb.%'"):
        return "it is not in shared_preload_libraries"
    try:
        connection.execute("CREATE EXTENSION timescaledb")
        connection.commit()
    except psycopg.Error as error:
        connection.rollback()
        return first_line(error)
    return ""


def _make_hypertable(connection: Connection) -> None:
    """Let transfers go into it from now on."""
    connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
    connection.execute(_TABLE)
    connection.execute(
        "SELECT create_hypertable('transfer_hypertable', by_range('day', INTERVAL"
        f" '{_CHUNK}'), create_default_indexes => false)"
    )
    connection.execute(_COMPRESSION)
    connection.execute(_VIEW)
    connection.execute(_LOGGED)
    grant(connection)
    connection.commit()


def _move(connection: Connection) -> None:
    """Move transfers that came before it into the hypertable."""
    connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
    # Deleted, not truncated: a question that began before still sees them there.
    connection.execute(
        f"WITH moved AS (DELETE FROM transfer_packed RETURNING *)"
        f" INSERT INTO transfer_hypertable ({_COLUMNS}) SELECT {_COLUMNS} FROM moved"
    )
    connection.commit()


def _make_aggregate(connection: Connection, name: str, sql: str) -> None:
    connection.commit()
    connection.autocommit = True
    connection.execute(sql)
    connection.execute(f"CALL refresh_continuous_aggregate('{name}', NULL, NULL)")
    connection.autocommit = False


def _set_policies(connection: Connection, transfer_retention_days: int | None, today: date) -> None:
    since = kept_since(connection, today)
    if since:  # what was dropped does not come back when more is kept from now on
        connection.execute(f"UPDATE store SET kept_since = '{since}'")
    connection.execute(
        "SELECT add_compression_policy('transfer_hypertable', compress_after => INTERVAL"
        f" '{_COMPRESS_AFTER}', if_not_exists => true, {_LATER})"
    )
    connection.execute("SELECT remove_retention_policy('transfer_hypertable', if_exists => true)")
    if transfer_retention_days:
        connection.execute(
            f"SELECT add_retention_policy('transfer_hypertable', INTERVAL '{int(transfer_retention_days)} days',"
            f" {_LATER})"
        )
    kept = kept_since(connection, today)
    for name in _AGGREGATES:
        # A bucket that has lost transfers must not be made anew.
        lost = _MONTH if name == _MONTHLY else 0
        begin = f"INTERVAL '{max((today - kept).days - 1 - lost, 1)} days'" if kept else "NULL"
        connection.execute(
            f"SELECT remove_continuous_aggregate_policy('{name}', if_exists => true)"
        )
        connection.execute(
            f"SELECT add_continuous_aggregate_policy('{name}', start_offset => {begin},"
            f" end_offset => NULL, schedule_interval => INTERVAL '{_CATCH_UP}', {_LATER})"
        )
    connection.commit()


def _value(connection: Connection, sql: str) -> Any:
    rows = connection.execute(sql).fetchall()
    return rows[0][0] if rows else None
