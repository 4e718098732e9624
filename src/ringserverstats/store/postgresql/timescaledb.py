"""TimescaleDB, for a store in a PostgreSQL database that has the extension.

Packed transfers are in a hypertable, which is compressed. Two continuous aggregates over it serve
queries in SQL. TimescaleDB's own jobs refresh them, and nothing of this program reads them. They do
not change for days whose transfers are deleted.
"""

from datetime import date, timedelta
from typing import Any, TypeAlias

import psycopg

from ringserverstats.errors import StoreError
from ringserverstats.store.postgresql.schema import ALL_SERVERS, LOCKS, MIGRATION, first_line, grant
from ringserverstats.store.rollups import month_of
from ringserverstats.store.tables import LOGGED_TRANSFER, TABLES

Connection: TypeAlias = psycopg.Connection[Any]

YES, NO = "yes", "no"
_ONE_DAY = timedelta(days=1)
_BEFORE_ALL = date(1999, 12, 1)  # in any time zone
_CHUNK = "7 days"
_COMPRESS_AFTER = "14 days"  # by then, late logs have come
_CATCH_UP = "1 hour"  # how often aggregates are refreshed that no ingest has refreshed
_LATER = "initial_start => now() + INTERVAL '1 hour'"  # not while old logs are being read
_TRANSFER = TABLES["transfer"]
_COLUMNS = ", ".join((*_TRANSFER.packed_names, *_TRANSFER.arrays))
_TABLE = "CREATE TABLE transfer_hypertable (LIKE transfer_packed INCLUDING ALL)"
# Of both tables, as a query may see the state before transfers moved from one to the other.
_BOTH = ("transfer_hypertable", _TRANSFER.stored)
_VIEW = f"CREATE OR REPLACE VIEW {_TRANSFER.packed_view} AS {_TRANSFER.packed_rows(*_BOTH)}"
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
#: The continuous aggregates and their SQL, in the order of creation.
_AGGREGATES = {"transfers_by_day": _BY_DAY, "transfers_by_month": _BY_MONTH}
_MONTHLY = "transfers_by_month"


def version(connection: Connection) -> str | None:
    """Return the version of the extension; None if TimescaleDB is not used."""
    if _value(connection, "SELECT to_regclass('transfer_hypertable')::text") is None:
        return None
    return str(
        _value(connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    )


def set_up(connection: Connection, mode: str, today: date) -> str:
    """Configure TimescaleDB; may be repeated.

    Args:
        connection: of the owner of the tables; each step is committed.
        mode: "auto" (if available), "yes" or "no".
        today: the date in UTC.

    Returns:
        The configuration, as a message.

    Raises:
        StoreError: the extension is not available, but ``mode`` is "yes".
    """
    is_used = version(connection) is not None
    reason = "setting timescaledb = no" if mode == NO and not is_used else _missing(connection)
    if reason and mode == YES:
        raise StoreError(
            f"TimescaleDB cannot be used ({reason}). Install it under its own licence "
            "(timescale) and let a superuser run CREATE EXTENSION timescaledb in this database, "
            "or set timescaledb = auto."
        )
    if reason:
        state = "its configuration is unchanged" if is_used else "not used"
        return f"TimescaleDB: {state} ({reason})"
    _require_session(connection)
    connection.execute(f"SELECT pg_advisory_lock({LOCKS}, {MIGRATION})")
    connection.commit()
    if not is_used:
        _make_hypertable(connection)
    _move(connection)
    for name, sql in _AGGREGATES.items():
        if _value(connection, f"SELECT to_regclass('{name}')::text") is None:
            _make_aggregate(connection, sql)
    set_policies(connection, _value(connection, "SELECT max(kept_since) FROM store"), today)
    return f"TimescaleDB {version(connection)}"


def refresh(connection: Connection, before: date) -> None:
    """Refresh the aggregates of days before ``before``, except those without transfers.

    Args:
        connection: of the owner of the aggregates.
    """
    _require_session(connection)
    since = _value(connection, "SELECT max(kept_since) FROM store") or _BEFORE_ALL
    connection.commit()
    connection.autocommit = True
    for name in _AGGREGATES:
        begin, end = since, before
        if name == _MONTHLY:
            begin = _first_month(since)
            end = month_of(before - _ONE_DAY)[1] + _ONE_DAY
        if begin < end:
            connection.execute(
                f"CALL refresh_continuous_aggregate('{name}', '{begin}'::date, '{end}'::date)"
            )
    connection.autocommit = False


def _first_month(since: date) -> date:
    """Return the first day of the first month with all its transfers, which are kept ``since``."""
    return since if since.day == 1 else month_of(since)[1] + _ONE_DAY


def is_pooled(connection: Connection) -> bool:
    """Return whether a pooler (PgBouncer), which may change sessions, is in between.

    A pooler names a process of its own to its clients.
    """
    pid: int = _value(connection, "SELECT pg_backend_pid()")
    return pid != connection.info.backend_pid


def _require_session(connection: Connection) -> None:
    if is_pooled(connection):
        raise StoreError(
            "TimescaleDB needs a direct connection, not one through a pooler such as PgBouncer. "
            "Name the server itself in DATABASE_URI or --database."
        )


def _missing(connection: Connection) -> str:
    """Create the extension if necessary; return why it cannot be used, or an empty text."""
    reason = _create_extension(connection)
    if reason:
        return reason
    licence = _value(connection, "SELECT current_setting('timescaledb.license', true)")
    # This one lacks compression, retention and continuous aggregates.
    return "timescaledb.license is apache" if licence == "apache" else ""


def _create_extension(connection: Connection) -> str:
    """Create the extension if necessary; return why that failed, or an empty text."""
    if _value(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"):
        return ""
    if not _value(
        connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
    ):
        return "the server does not have it"
    # Without the preload, CREATE EXTENSION ends the connection. Only few roles may read the setting
    # shared_preload_libraries, but all can see the settings of a preloaded library.
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
    """Create the hypertable, into which transfers go from now on."""
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
    """Move earlier transfers into the hypertable."""
    connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
    # Deleted, not truncated, so that a query that began before still sees them.
    connection.execute(
        f"WITH moved AS (DELETE FROM transfer_packed RETURNING *)"
        f" INSERT INTO transfer_hypertable ({_COLUMNS}) SELECT {_COLUMNS} FROM moved"
    )
    connection.commit()


def _make_aggregate(connection: Connection, sql: str) -> None:
    connection.commit()
    connection.autocommit = True
    connection.execute(sql)
    connection.autocommit = False


def set_policies(connection: Connection, since: date | None, today: date) -> None:
    """Set the jobs that compress transfers and refresh the aggregates.

    Args:
        since: aggregates of earlier days, whose transfers are deleted, stay as they are.
        today: the date in UTC.
    """
    connection.execute(
        "SELECT add_compression_policy('transfer_hypertable', compress_after => INTERVAL"
        f" '{_COMPRESS_AFTER}', if_not_exists => true, {_LATER})"
    )
    for name in _AGGREGATES:
        # A job refreshes whole buckets, so it begins with the day or month after this day.
        first = since and (_first_month(since) if name == _MONTHLY else since)
        begin = f"INTERVAL '{max((today - first).days + 1, 1)} days'" if first else "NULL"
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
