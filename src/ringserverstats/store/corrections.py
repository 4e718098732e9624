"""Corrections of a store: days are forgotten, two servers become one.

All of it runs within the transaction of the caller. Sums are made anew from the transfers of the
months that are touched, by the declarations that ingest adds to them by.
"""

from datetime import date

import pyarrow as pa

from ringserverstats.enrich.rows import moved_connections
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.store.base import Removed, Server
from ringserverstats.store.rollups import ROLLUPS, month_of
from ringserverstats.store.session import Session

_DAYS = "server = $1 AND day BETWEEN $2 AND $3"
_AMOUNTS = (
    "SELECT count(DISTINCT day), count(*), coalesce(sum(transfers), 0),"
    " coalesce(sum(bytes), 0), coalesce(sum(packets), 0)"
)
_NO_ID = "'00000000-0000-0000-0000-000000000000'::uuid"
_COVER = "direction, day, first_minute, last_minute, first_day, last_day"


def delete(session: Session, server: Server, first: date, last: date) -> Removed:
    """Forget the entries, coverage and rejects of ``server`` from ``first`` to ``last``."""
    span = [server.number, first, last]
    _check(session, server, first, last)
    amounts = session.rows(f"{_AMOUNTS} FROM entry_ledger WHERE {_DAYS}", span)[0]
    for table in ("entry_ledger", *session.facts, "log_interval", "imported_day"):
        session.execute(f"DELETE FROM {table} WHERE {_DAYS}", span)
    # A log of several days counts entries on another day than those that it also covers.
    session.execute(
        "UPDATE log_interval SET complete = false WHERE server = $1 AND first_day <= $3 AND last_day >= $2",
        span,
    )
    rejects = session.execute(
        f"DELETE FROM reject WHERE ({_DAYS})"
        " OR (server = $1 AND server NOT IN (SELECT DISTINCT server FROM entry_ledger))",
        span,
    )
    _sum_again(session, server.number, first, last)
    forget_unused(session)
    return Removed(*map(int, (*amounts, rejects)))


def merge(session: Session, source: Server, target: Server, *, once: bool) -> Removed:
    """Make all of ``source`` belong to ``target``, its names and paths too.

    Raises:
        UsageError: both have some entries, and ``once`` does not allow to count them once.
    """
    both = [source.number, target.number]
    first, last = session.rows(
        "SELECT min(day), max(day) FROM entry_ledger WHERE server = $1", both[:1]
    )[0]
    if first is not None:
        for server in (source, target):
            _check(session, server, first, last)
    one, other = map(int, both)
    session.create_temp_table_as(
        "twice",
        f"SELECT * FROM entry_ledger WHERE server = {one}"
        f" AND (log_day, entry) IN (SELECT log_day, entry FROM entry_ledger WHERE server = {other})",
    )
    amounts = session.rows(f"{_AMOUNTS} FROM twice")[0]
    if amounts[1] and not once:
        raise UsageError(
            f"{amounts[1]} entries ({amounts[3]} bytes) are in the store for both servers; to "
            "count them once from now on, add --once"
        )
    for table in session.facts:
        session.execute(
            f"DELETE FROM {table} USING twice WHERE {table}.server = twice.server"
            f" AND {table}.entry = entry_number(twice.server, twice.entry)"
        )
    session.execute(
        "DELETE FROM entry_ledger USING twice WHERE entry_ledger.server = twice.server"
        " AND entry_ledger.log_day = twice.log_day AND entry_ledger.entry = twice.entry"
    )
    _move_transfers(session, source.number, target.number)
    session.execute("UPDATE entry_ledger SET server = $2 WHERE server = $1", both)
    rejects = _move_notes(session, both)
    session.execute(
        "DELETE FROM imported_day WHERE server = $1"
        " AND day IN (SELECT day FROM imported_day WHERE server = $2)",
        both,
    )
    session.execute("UPDATE imported_day SET server = $2 WHERE server = $1", both)
    if first is not None:
        for number in both:
            _sum_again(session, number, first, last)
    session.execute("DELETE FROM server WHERE server = $1", both[:1])
    session.execute(
        "UPDATE server SET former_names = $2, paths = $3, timezone = $4, first_day = $5, last_day = $6"
        " WHERE server = $1",
        [
            target.number,
            [*target.former_names, source.name, *source.former_names],
            list(dict.fromkeys([*target.paths, *source.paths])),
            target.timezone or source.timezone,
            *_service(source, target),
        ],
    )
    return Removed(*map(int, (*amounts, rejects)))


def forget_unused(session: Session) -> None:
    """Take streams, client_profiles, clients and agents out of which nothing tells any more."""
    for table, user in (
        ("stream", "by_month"),
        ("client_profile", "by_month"),
        ("client", "client_profile"),
        ("agent", "client_profile"),
    ):
        session.execute(
            f"DELETE FROM {table} WHERE {table} NOT IN (SELECT DISTINCT {table} FROM {user})"
        )


def _service(one: Server, other: Server) -> tuple[date | None, date | None]:
    """The days in which one of the two was in service, as far as both are told."""
    firsts = [server.first_day for server in (one, other) if server.first_day]
    lasts = [server.last_day for server in (one, other) if server.last_day]
    return min(firsts) if len(firsts) == 2 else None, max(lasts) if len(lasts) == 2 else None


def _check(session: Session, server: Server, first: date, last: date) -> None:
    """Make sure that sums can be made anew: the transfers are those that the ledger knows."""
    span = [server.number, *_months(first, last)]
    ledger = session.rows(
        f"SELECT sum(transfers), sum(bytes) FROM entry_ledger WHERE {_DAYS}", span
    )
    facts = session.rows(
        f"SELECT nullif(count(*), 0), sum(bytes) FROM transfer WHERE {_DAYS}", span
    )
    pruned = session.rows(_PRUNED, [server.number, span[2]])[0][0]
    if pruned and ledger != facts:
        raise StoreError(
            f"server {server.name!r} has data of pruned months (before {span[2]}), of which single "
            "transfers are not kept, so that sums could not be made anew; nothing was corrected"
        )
    if ledger != facts:
        raise StoreError(
            f"the transfers of server {server.name!r} from {span[1]} to {span[2]} are not those "
            "that its ledger tells (some may not be kept any more), so nothing was corrected; see: "
            "ringserverstats audit"
        )


_PRUNED = """
SELECT count(*) FROM pruned_month p WHERE p.month <= $2::date AND EXISTS
    (SELECT 1 FROM entry_ledger s WHERE s.server = $1 AND date_trunc('month', s.day)::date = p.month)
"""


def _months(first: date, last: date) -> tuple[date, date]:
    """The first and last day of the months that ``first`` and ``last`` lie in."""
    return month_of(first)[0], month_of(last)[1]


def _sum_again(session: Session, server: int, first: date, last: date) -> None:
    """Make the sums of the months from ``first`` to ``last`` anew."""
    span = [server, *_months(first, last)]
    for one in ROLLUPS:
        session.rebuild_rollup(one, "server = $1 AND {time} BETWEEN $2 AND $3", span)


def _move_transfers(session: Session, source: int, target: int) -> None:
    """Entries and connections have numbers that depend on their server."""
    found = session.table(
        "SELECT DISTINCT o.client, f.connection FROM connection_by_day f JOIN client_profile o"
        " USING (client_profile) WHERE f.server = $1",
        [source],
    )
    client, connection = (found[name].to_numpy() for name in ("client", "connection"))
    moved = moved_connections(connection, (source, client), (target, client))
    session.register("moved", pa.table({"connection": connection, "becomes": moved}))
    for table in session.facts:
        session.execute(
            f"UPDATE {table} SET server = $2, connection = moved.becomes,"
            f" entry = xor({table}.entry,"
            f" xor(entry_number($1, {_NO_ID}), entry_number($2, {_NO_ID})))"
            f" FROM moved WHERE moved.connection = {table}.connection AND {table}.server = $1",
            [source, target],
        )


def _move_notes(session: Session, both: list[int]) -> int:
    """Coverage and rejects: a day is whole only where both say so, a reject is kept once.

    Returns:
        How many rejects were of both, or are entries that were counted.
    """
    one, other = map(int, both)
    session.create_temp_table_as(
        "cover",
        f"SELECT {_COVER}, bool_and(complete) AS complete FROM log_interval"
        f" WHERE server IN ({one}, {other}) GROUP BY {_COVER}",
    )
    session.execute("DELETE FROM log_interval WHERE server IN ($1, $2)", both)
    session.execute(
        f"INSERT INTO log_interval (server, {_COVER}, complete) SELECT $1, {_COVER}, complete FROM cover",
        both[1:],
    )
    gone = session.execute(
        "DELETE FROM reject WHERE (server = $1"
        " AND digest IN (SELECT digest FROM reject WHERE server = $2))"
        " OR (server IN ($1, $2) AND digest IN (SELECT entry FROM entry_ledger WHERE server = $2))",
        both,
    )
    session.execute("UPDATE reject SET server = $2 WHERE server = $1", both)
    return gone
