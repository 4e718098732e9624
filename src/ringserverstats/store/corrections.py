"""Corrections: delete days of a server, merge two servers.

They run within the transaction of the caller. The affected days of a merge are stale afterwards.
"""

from datetime import date

import pyarrow as pa

from ringserverstats.enrich.rows import moved_connections
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.store.base import Removed, Server
from ringserverstats.store.refresh import recount
from ringserverstats.store.rejects import delete_rejects
from ringserverstats.store.session import Session

_DAYS = "server = $1 AND day BETWEEN $2 AND $3"
_SERVER_DAYS = "SELECT day FROM server_day WHERE server = $1"
_AMOUNTS = (
    "SELECT count(DISTINCT day), count(*), coalesce(sum(transfers), 0),"
    " coalesce(sum(bytes), 0), coalesce(sum(packets), 0)"
)
_NO_ID = "'00000000-0000-0000-0000-000000000000'::uuid"
_INTERVAL = "direction, day, first_minute, last_minute, first_day, last_day"


def delete(session: Session, server: Server, first: date, last: date) -> Removed:
    """Delete the entries, log intervals and rejects of ``server`` from ``first`` to ``last``."""
    span = [server.number, first, last]
    amounts = session.rows(f"{_AMOUNTS} FROM entry_ledger WHERE {_DAYS}", span)[0]
    days = session.rows(f"SELECT server, day FROM server_day WHERE {_DAYS}", span)
    for table in ("entry_ledger", *session.facts, "log_interval", "imported_day"):
        session.execute(f"DELETE FROM {table} WHERE {_DAYS}", span)
    # A log of several days may have entries of a deleted day on another day that it covers.
    session.execute(
        "UPDATE log_interval SET complete = false"
        " WHERE server = $1 AND first_day <= $3 AND last_day >= $2",
        span,
    )
    rejects = delete_rejects(
        session,
        f"({_DAYS}) OR (server = $1 AND server NOT IN (SELECT DISTINCT server FROM entry_ledger))",
        span,
    )
    recount(session, days)
    delete_unused(session)
    return Removed(*map(int, (*amounts, rejects)))


def merge(session: Session, source: Server, target: Server, *, once: bool) -> Removed:
    """Move the entries, names and paths of ``source`` to ``target`` and delete ``source``.

    Args:
        once: count entries that both servers have once. Otherwise they are an error.

    Returns:
        The entries that both servers had.

    Raises:
        UsageError: both servers have some entries, and ``once`` is False.
    """
    both = [source.number, target.number]
    days = [day for (day,) in session.rows(_SERVER_DAYS, both[:1])]
    if days:
        for server in (source, target):
            _check_transfers(session, server, min(days), max(days))
    amounts = _delete_shared(session, source, target, once=once)
    _move_transfers(session, source.number, target.number)
    session.execute("UPDATE entry_ledger SET server = $2 WHERE server = $1", both)
    rejects = _move_log_status(session, both)
    recount(session, [(number, day) for number in both for day in days])
    _merge_properties(session, source, target)
    return Removed(*map(int, (*amounts, rejects)))


def _delete_shared(
    session: Session, source: Server, target: Server, *, once: bool
) -> tuple[int, ...]:
    """Delete the entries of ``source`` that ``target`` has too, and return their amounts."""
    session.create_temp_table_as(
        "shared",
        f"SELECT * FROM entry_ledger WHERE server = {source.number} AND (log_day, entry) IN"
        f" (SELECT log_day, entry FROM entry_ledger WHERE server = {target.number})",
    )
    amounts = session.rows(f"{_AMOUNTS} FROM shared")[0]
    if amounts[1] and not once:
        raise UsageError(
            f"{amounts[1]} entries ({amounts[3]} bytes) are in the store for both servers; to "
            "count them once from now on, add --once"
        )
    for table in session.facts:
        session.execute(
            f"DELETE FROM {table} USING shared WHERE {table}.server = shared.server"
            f" AND {table}.entry = entry_number(shared.server, shared.entry)"
        )
    session.execute(
        "DELETE FROM entry_ledger USING shared WHERE entry_ledger.server = shared.server"
        " AND entry_ledger.log_day = shared.log_day AND entry_ledger.entry = shared.entry"
    )
    return amounts


def _merge_properties(session: Session, source: Server, target: Server) -> None:
    """Delete ``source`` and give ``target`` its names, paths and, if it has none, time zone."""
    session.execute("DELETE FROM server WHERE server = $1", [source.number])
    session.execute(
        "UPDATE server SET former_names = $2, paths = $3, timezone = $4, first_day = $5,"
        " last_day = $6 WHERE server = $1",
        [
            target.number,
            [*target.former_names, source.name, *source.former_names],
            list(dict.fromkeys([*target.paths, *source.paths])),
            target.timezone or source.timezone,
            *_service(source, target),
        ],
    )


def delete_unused(session: Session) -> None:
    """Delete streams, client profiles, clients and agents without transfers."""
    for table, user in (
        ("stream", "by_month"),
        ("client_profile", "by_month"),
        ("client", "client_profile"),
        ("agent", "client_profile"),
    ):
        session.execute(
            f"DELETE FROM {table} WHERE {table} NOT IN (SELECT DISTINCT {table} FROM {user})"
        )


def _service(*servers: Server) -> tuple[date | None, date | None]:
    """Return the days in which one of the servers was in service, as far as all are configured."""
    firsts = [server.first_day for server in servers if server.first_day]
    lasts = [server.last_day for server in servers if server.last_day]
    return (
        min(firsts) if len(firsts) == len(servers) else None,
        max(lasts) if len(lasts) == len(servers) else None,
    )


def _check_transfers(session: Session, server: Server, first: date, last: date) -> None:
    """Check that rollups can be rebuilt: the transfers are those of the ledger.

    Raises:
        StoreError: some transfers are pruned or missing.
    """
    span = [server.number, first, last]
    ledger = session.rows(
        f"SELECT sum(transfers), sum(bytes) FROM entry_ledger WHERE {_DAYS}", span
    )
    transfers = session.rows(
        f"SELECT nullif(count(*), 0), sum(bytes) FROM transfer WHERE {_DAYS}", span
    )
    if ledger == transfers:
        return
    kept_since = session.rows("SELECT kept_since FROM store")[0][0]
    if kept_since and first < kept_since:
        raise StoreError(
            f"server {server.name!r} has data of days before {kept_since}. Their transfers are "
            "deleted, so that rollups cannot be rebuilt. Nothing was corrected."
        )
    raise StoreError(
        f"the transfers of server {server.name!r} from {span[1]} to {span[2]} are not those of its "
        "ledger. Some may have been dropped. Nothing was corrected. See: ringserverstats audit"
    )


def _move_transfers(session: Session, source: int, target: int) -> None:
    """Move transfers, whose entry and connection ids depend on their server."""
    rows = session.table(
        "SELECT DISTINCT o.client, f.connection FROM connection_by_day f JOIN client_profile o"
        " USING (client_profile) WHERE f.server = $1",
        [source],
    )
    client, connection = (rows[name].to_numpy() for name in ("client", "connection"))
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


def _move_log_status(session: Session, both: list[int]) -> int:
    """Move log intervals, imported days and rejects from the first server to the second.

    An interval is complete if it is complete for each server that has it.

    Returns:
        The number of rejected entries that were deleted: the second server has them, or counted
        them.
    """
    source, target = both
    session.create_temp_table_as(
        "merged_interval",
        f"SELECT {_INTERVAL}, bool_and(complete) AS complete FROM log_interval"
        f" WHERE server IN ({source}, {target}) GROUP BY {_INTERVAL}",
    )
    session.execute("DELETE FROM log_interval WHERE server IN ($1, $2)", both)
    session.execute(
        f"INSERT INTO log_interval (server, {_INTERVAL}, complete)"
        f" SELECT $1, {_INTERVAL}, complete FROM merged_interval",
        [target],
    )
    session.execute(
        "DELETE FROM imported_day WHERE server = $1"
        " AND day IN (SELECT day FROM imported_day WHERE server = $2)",
        both,
    )
    session.execute("UPDATE imported_day SET server = $2 WHERE server = $1", both)
    deleted = delete_rejects(
        session,
        "(server = $1 AND digest IN (SELECT digest FROM reject WHERE server = $2))"
        " OR (server IN ($1, $2) AND digest IN (SELECT entry FROM entry_ledger WHERE server = $2))",
        both,
    )
    session.execute("UPDATE reject SET server = $2 WHERE server = $1", both)
    return deleted
