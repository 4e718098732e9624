"""Corrections of a DuckDB store: days are forgotten, two servers become one.

All of it runs within the transaction of the caller. Sums are made anew from the transfers of the
months that are touched, by the declarations that ingest adds to them by.
"""

from calendar import monthrange
from datetime import date

import duckdb
import pyarrow as pa

from ringserverstats.enrich.rows import moved_connections
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.store.base import Removed, Server
from ringserverstats.store.sums import SUMS, counted

_DAYS = "server = $1 AND day BETWEEN $2 AND $3"
_AMOUNTS = (
    "SELECT count(DISTINCT day), count(*), coalesce(sum(transfers), 0),"
    " coalesce(sum(bytes), 0), coalesce(sum(packets), 0)"
)
_NO_ID = "'00000000-0000-0000-0000-000000000000'::uuid"
_COVER = "direction, day, first_minute, last_minute, first_day, last_day"


def delete(
    connection: duckdb.DuckDBPyConnection, server: Server, first: date, last: date
) -> Removed:
    """Forget the entries, coverage and rejects of ``server`` from ``first`` to ``last``."""
    span = [server.number, first, last]
    _check(connection, server, first, last)
    amounts = connection.execute(f"{_AMOUNTS} FROM seen WHERE {_DAYS}", span).fetchall()[0]
    for table in ("seen", "transfer", "covered"):
        connection.execute(f"DELETE FROM {table} WHERE {_DAYS}", span)
    # A log of several days counts entries on another day than those that it also covers.
    connection.execute(
        "UPDATE covered SET whole = false WHERE server = $1 AND first_day <= $3 AND last_day >= $2",
        span,
    )
    rejects = connection.execute(
        f"DELETE FROM reject WHERE ({_DAYS})"
        " OR (server = $1 AND server NOT IN (SELECT DISTINCT server FROM seen))",
        span,
    ).fetchall()[0][0]
    _sum_again(connection, server.number, first, last)
    for table, user in (
        ("stream", "by_month"),
        ("origin", "by_month"),
        ("client", "origin"),
        ("agent", "origin"),
    ):
        connection.execute(
            f"DELETE FROM {table} WHERE {table} NOT IN (SELECT DISTINCT {table} FROM {user})"
        )
    return Removed(*map(int, (*amounts, rejects)))


def merge(
    connection: duckdb.DuckDBPyConnection, source: Server, target: Server, *, once: bool
) -> Removed:
    """Make all of ``source`` belong to ``target``, its names and paths too.

    Raises:
        UsageError: both have some entries, and ``once`` does not allow to count them once.
    """
    both = [source.number, target.number]
    span = connection.execute("SELECT min(day), max(day) FROM seen WHERE server = $1", both[:1])
    first, last = span.fetchall()[0]
    if first is not None:
        for server in (source, target):
            _check(connection, server, first, last)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE twice AS SELECT * FROM seen WHERE server = $1"
        " AND (log_day, entry) IN (SELECT (log_day, entry) FROM seen WHERE server = $2)",
        both,
    )
    amounts = connection.execute(f"{_AMOUNTS} FROM twice").fetchall()[0]
    if amounts[1] and not once:
        raise UsageError(
            f"{amounts[1]} entries ({amounts[3]} bytes) are in the store for both servers; to "
            "count them once from now on, add --once"
        )
    connection.execute(
        "DELETE FROM transfer USING twice WHERE transfer.server = twice.server"
        " AND transfer.entry = entry_number(twice.server, twice.entry)"
    )
    connection.execute(
        "DELETE FROM seen USING twice WHERE seen.server = twice.server"
        " AND seen.log_day = twice.log_day AND seen.entry = twice.entry"
    )
    _move_transfers(connection, source.number, target.number)
    connection.execute("UPDATE seen SET server = $2 WHERE server = $1", both)
    rejects = _move_notes(connection, both)
    if first is not None:
        for number in both:
            _sum_again(connection, number, first, last)
    connection.execute("DELETE FROM server WHERE server = $1", both[:1])
    connection.execute(
        "UPDATE server SET former = $2, paths = $3, timezone = $4, first_day = $5, last_day = $6"
        " WHERE server = $1",
        [
            target.number,
            [*target.former, source.name, *source.former],
            list(dict.fromkeys([*target.paths, *source.paths])),
            target.timezone or source.timezone,
            *_service(source, target),
        ],
    )
    return Removed(*map(int, (*amounts, rejects)))


def _service(one: Server, other: Server) -> tuple[date | None, date | None]:
    """The days in which one of the two was in service, as far as both are told."""
    firsts = [server.first_day for server in (one, other) if server.first_day]
    lasts = [server.last_day for server in (one, other) if server.last_day]
    return min(firsts) if len(firsts) == 2 else None, max(lasts) if len(lasts) == 2 else None


def _check(connection: duckdb.DuckDBPyConnection, server: Server, first: date, last: date) -> None:
    """Make sure that sums can be made anew: the transfers are those that the ledger knows."""
    span = [server.number, *_months(first, last)]
    ledger = connection.execute(
        f"SELECT sum(transfers)::hugeint, sum(bytes)::hugeint FROM seen WHERE {_DAYS}", span
    ).fetchall()
    facts = connection.execute(
        f"SELECT nullif(count(*), 0), sum(bytes)::hugeint FROM transfer WHERE {_DAYS}", span
    ).fetchall()
    if ledger != facts:
        raise StoreError(
            f"the transfers of server {server.name!r} from {span[1]} to {span[2]} are not those "
            "that its ledger tells, so nothing was corrected; see: ringserverstats audit"
        )


def _months(first: date, last: date) -> tuple[date, date]:
    """The first and last day of the months that ``first`` and ``last`` lie in."""
    return first.replace(day=1), last.replace(day=monthrange(last.year, last.month)[1])


def _sum_again(connection: duckdb.DuckDBPyConnection, server: int, first: date, last: date) -> None:
    """Make the sums of the months from ``first`` to ``last`` anew."""
    span = [server, *_months(first, last)]
    for one in SUMS:
        connection.execute(
            f"DELETE FROM {one.table} WHERE server = $1 AND {one.time} BETWEEN $2 AND $3", span
        )
        connection.execute(
            f"INSERT INTO {one.table} ({', '.join([*one.keys, *one.values])})"
            f" {counted(one, 'f.server = $1 AND f.day BETWEEN $2 AND $3')}",
            span,
        )


def _move_transfers(connection: duckdb.DuckDBPyConnection, source: int, target: int) -> None:
    """Entries and connections have numbers that depend on their server."""
    found = connection.execute(
        "SELECT DISTINCT o.client, f.connection FROM transfer f JOIN origin o USING (origin)"
        " WHERE f.server = $1",
        [source],
    ).fetchnumpy()
    moved = moved_connections(found["client"], found["connection"], source, target)
    connection.register("moved", pa.table({"connection": found["connection"], "to": moved}))
    connection.execute(
        "INSERT INTO transfer SELECT $2, f.day, f.hour, f.direction, f.protocol, f.origin,"
        f" f.stream, xor(f.entry, xor(entry_number($1, {_NO_ID}), entry_number($2, {_NO_ID}))),"
        " m.to, f.bytes, f.packets"
        " FROM transfer f LEFT JOIN moved m USING (connection) WHERE f.server = $1",
        [source, target],
    )
    connection.unregister("moved")
    connection.execute("DELETE FROM transfer WHERE server = $1", [source])


def _move_notes(connection: duckdb.DuckDBPyConnection, both: list[int]) -> int:
    """Coverage and rejects: a day is whole only where both say so, a reject is kept once.

    Returns:
        How many rejects were of both, or are entries that were counted.
    """
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE cover AS SELECT $2::INTEGER AS server, {_COVER},"
        f" bool_and(whole) AS whole FROM covered WHERE server IN ($1, $2) GROUP BY {_COVER}",
        both,
    )
    connection.execute("DELETE FROM covered WHERE server IN ($1, $2)", both)
    connection.execute(f"INSERT INTO covered SELECT server, {_COVER}, whole FROM cover")
    gone = connection.execute(
        "DELETE FROM reject WHERE (server = $1"
        " AND digest IN (SELECT digest FROM reject WHERE server = $2))"
        " OR (server IN ($1, $2) AND digest IN (SELECT entry FROM seen WHERE server = $2))",
        both,
    ).fetchall()[0][0]
    connection.execute("UPDATE reject SET server = $2 WHERE server = $1", both)
    return int(gone)
