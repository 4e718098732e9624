"""Build the rollups of days and months from the transfers, within the transaction of the caller.

A day of a server is *fresh* if its rollups are built from its transfers; *stale* if they are not,
so that its transfers are read instead; or *sealed* if it lies before ``store.kept_since``: its
transfers are deleted, and its rollups are the truth. Table ``server_day`` has these states.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from ringserverstats.errors import StoreError
from ringserverstats.store.rollups import (
    AMOUNTS,
    BY_STREAM,
    DAILY,
    MONTH,
    MONTHLY,
    Rollup,
    month_of,
)
from ringserverstats.store.session import Session

#: A server's number and a day, or the first day of a month.
ServerDay = tuple[int, date]

_PART = 1_000_000  # transfers of the days that one transaction builds
_DECIMAL = pa.decimal128(38, 0)
_TOTALS = ("entries", "transfers", "bytes", "packets")
_MARK_CHANGED = f"""
INSERT INTO server_day (server, day, changed, built, has_streams, {", ".join(_TOTALS)}, changed_at)
SELECT server, day, 1, 0, false, {", ".join(_TOTALS)}, $1::timestamp FROM given ORDER BY server, day
ON CONFLICT (server, day) DO UPDATE SET changed = server_day.changed + 1,
       {", ".join(f"{name} = server_day.{name} + excluded.{name}" for name in _TOTALS)},
       changed_at = excluded.changed_at
"""
_BUILT_DAYS = """
SELECT d.server, d.day FROM server_day d JOIN given g ON g.server = d.server AND g.day = d.day
 WHERE d.built = d.changed
"""
_BUILT_MONTHS = f"""
SELECT server, month FROM built_month
 WHERE (server, month) IN (SELECT server, {MONTH} FROM given)
"""
_STALE_TRANSFERS = "SELECT coalesce(sum(transfers), 0) FROM server_day WHERE changed <> built"
_STALE = """
SELECT server, day, transfers FROM server_day WHERE changed <> built AND changed_at <= $1::timestamp
 ORDER BY day, server
"""
_OPEN_MONTHS = f"""
SELECT d.server, {MONTH} AS month, sum(transfers)::bigint AS transfers FROM server_day d
 WHERE NOT EXISTS (SELECT 1 FROM built_month m WHERE m.server = d.server AND m.month = {MONTH})
 GROUP BY d.server, {MONTH}
HAVING {MONTH} < date_trunc('month', $1::date)::date
   AND bool_and(changed = built)
 ORDER BY {MONTH}, d.server
"""
# The totals of built days, and how many groups of rows `BY_STREAM` would have.
_COUNTED = f"""
SELECT server, day, {", ".join(f"sum({name}) AS {name}" for name in _TOTALS)}, count(*) AS groups
  FROM (SELECT server, day, {", ".join(f"sum({name}) AS {name}" for name in _TOTALS)}
          FROM connection_by_day_built f WHERE {{where}}
         GROUP BY server, day, direction, protocol, client_profile) g
 GROUP BY server, day
"""
_EXPECTED = f"SELECT server, day, {', '.join(_TOTALS)} FROM server_day f WHERE {{where}}"
_RECOUNT = """
INSERT INTO server_day (server, day, changed, built, has_streams, entries, transfers, bytes,
                        packets, changed_at)
SELECT server, day, 1, 0, false, count(*), sum(transfers), sum(bytes), sum(packets), $1::timestamp
  FROM entry_ledger f WHERE {where} GROUP BY server, day
"""
# Late transfers with the columns of `SOURCES`.
_LATE_TRANSFER = """(
    SELECT server, day, coalesce(hour, -1)::smallint AS hour, direction::direction AS direction,
           protocol::protocol AS protocol, client_profile, connection, entry, stream, bytes,
           packets, 1::bigint AS transfers
      FROM late_transfer
)"""
_LATE_ENTRY = f"""(
    SELECT day, hour, server, direction, protocol, client_profile, connection, sum(bytes) AS bytes,
           sum(packets) AS packets, count(*) AS transfers, 1::bigint AS entries
      FROM {_LATE_TRANSFER} t
     GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry
)"""
_LATE = {
    "stream_transfer": _LATE_TRANSFER,
    "station_transfer": f"(SELECT t.*, s.network, s.station FROM {_LATE_TRANSFER} t"
    " LEFT JOIN stream s ON s.stream = t.stream)",
    "entry_total": _LATE_ENTRY,
}


def where_days(days: Iterable[ServerDay], time: str = "day") -> str:
    """Return the SQL condition of some days of servers; ``time``: the column of the date."""
    by_server: dict[int, list[date]] = {}
    for server, day in sorted(days):
        by_server.setdefault(int(server), []).append(day)
    if not by_server:
        return "false"
    first = min(of_server[0] for of_server in by_server.values())
    last = max(of_server[-1] for of_server in by_server.values())
    listed = {
        server: ", ".join(f"'{day}'" for day in of_server)
        for server, of_server in by_server.items()
    }
    tests = " OR ".join(
        f"f.server = {server} AND f.{time} IN ({texts})" for server, texts in listed.items()
    )
    return f"f.{time} BETWEEN '{first}' AND '{last}' AND ({tests})"


def stale_transfers(session: Session) -> int:
    """Return the number of transfers of stale days."""
    return int(session.rows(_STALE_TRANSFERS)[0][0])


def stale_days(session: Session, before: datetime) -> list[list[ServerDay]]:
    """Return the stale days that were last changed until ``before``, in parts to build at once."""
    return list(_parts(session.rows(_STALE, [before.replace(tzinfo=None)])))


def months_to_build(session: Session, today: date) -> list[list[ServerDay]]:
    """Return the months before that of ``today`` with built days only, in such parts."""
    return list(_parts(session.rows(_OPEN_MONTHS, [today])))


def _parts(rows: Iterable[Sequence[Any]]) -> Iterator[list[ServerDay]]:
    days: list[ServerDay] = []
    total = 0
    for server, day, transfers in rows:
        if days and total + transfers > _PART:
            yield days
            days, total = [], 0
        days.append((server, day))
        total += transfers
    if days:
        yield days


def mark_changed(session: Session, entries: pa.Table) -> None:
    """Record that days have new ``entries``, which are in the ledger and the transfers.

    Rollup rows of these days and their months are deleted.
    """
    given = _totals(entries)
    session.register("given", given)
    delete_rollups(session)
    session.execute(_MARK_CHANGED, [_now()])


def delete_rollups(session: Session) -> None:
    """Delete the rollup rows of the days in ``given`` (columns server, day) and of their months."""
    built = session.rows(_BUILT_DAYS)
    if built:
        _delete(session, DAILY, where_days(built))
    _delete_months(session)


def build_days(
    session: Session, days: Sequence[ServerDay], *, with_streams: bool = False
) -> list[ServerDay]:
    """Build the rollups of those ``days`` that are stale.

    Args:
        with_streams: also by stream. By default only where that has under half as many rows as
            there are transfers, as estimated by the entries per client profile.

    Returns:
        The days that were not built, as their transfers are not those of the ledger.
    """
    chosen = where_days(days)
    stale = session.rows(
        f"SELECT server, day FROM server_day f WHERE {chosen} AND changed <> built"
    )
    where = where_days(stale)
    if stale:
        session.build_rollups([rollup for rollup in DAILY if rollup is not BY_STREAM], where)
    counted = {row[:2]: row[2:] for row in session.rows(_COUNTED.format(where=where))}
    bad = [
        (server, day)
        for server, day, *totals in session.rows(_EXPECTED.format(where=where))
        if counted.get((server, day), ())[:-1] != tuple(totals)
    ]
    if bad:
        _delete(session, DAILY, where_days(bad))
        where = where_days(set(stale).difference(bad))
    session.execute(
        f"UPDATE server_day AS f SET built = changed, has_streams = false WHERE {where}"
    )
    unlisted: list[ServerDay] = session.rows(
        f"SELECT server, day FROM server_day f WHERE {chosen} AND changed = built"
        " AND NOT has_streams"
    )
    if not with_streams:
        unlisted = [day for day in unlisted if day in counted and _repeats_streams(*counted[day])]
    if unlisted:
        where = where_days(unlisted)
        session.build_rollups([BY_STREAM], where)
        session.execute(f"UPDATE server_day AS f SET has_streams = true WHERE {where}")
    return bad


def build_months(session: Session, months: Sequence[ServerDay]) -> None:
    """Build the rollups of those ``months`` that are not built and have built days only."""
    ready = {row[:2] for row in session.rows(_OPEN_MONTHS, [date.max])}
    months = [month for month in months if month in ready]
    if not months:
        return
    session.build_rollups(MONTHLY, _in_months(months))
    session.register("given", _table(months, "month"))
    session.execute("INSERT INTO built_month (server, month) SELECT server, month FROM given")


def add_to_sealed_days(session: Session, entries: pa.Table, transfers: pa.Table) -> None:
    """Add late entries, which are in the ledger, to the rollups of sealed days.

    Args:
        entries: rows of schema `ENTRIES`.
        transfers: their transfers, rows with the columns of table ``transfer``.

    Raises:
        StoreError: a day was sealed without rollups.
    """
    totals = _totals(entries)
    days = [(row["server"], row["day"]) for row in totals.select(["server", "day"]).to_pylist()]
    where = where_days(days)
    bad = session.rows(
        f"SELECT server, day FROM server_day f WHERE {where}"
        " AND (changed <> built OR NOT has_streams)"
    )
    if bad:  # the sums would be those of the late entries alone
        raise unlike_ledger(session, bad)
    session.register("late_transfer", transfers)
    for rollup in DAILY:
        stored = f"SELECT {', '.join(rollup.columns)} FROM {rollup.built} f WHERE {where}"
        added = rollup.select(_LATE[rollup.source])
        select = rollup.select(f"({stored} UNION ALL {added})")
        replace_rollup(session, rollup, where, select)
    session.register("given", totals)
    _delete_months(session)
    session.execute(_MARK_CHANGED, [_now()])
    session.execute(f"UPDATE server_day AS f SET built = changed, has_streams = true WHERE {where}")


def replace_rollup(session: Session, rollup: Rollup, where: str, select: str) -> None:
    """Replace the stored rows for which ``where`` holds by the result of ``select``.

    Args:
        select: SQL of the columns of ``rollup``. It may read the same rows.
    """
    session.create_temp_table_as("replacement", select)
    _delete(session, [rollup], where)
    session.insert_rollup(rollup, f"SELECT {', '.join(rollup.columns)} FROM replacement")
    session.execute("DROP TABLE replacement")


def recount(session: Session, days: Sequence[ServerDay]) -> None:
    """Make the totals of ``days`` those of the ledger, after a correction. The days are then stale.

    Days without entries are removed.
    """
    session.register("given", _table(days, "day"))
    delete_rollups(session)
    where = where_days(days)
    session.execute(f"DELETE FROM server_day AS f WHERE {where}")
    session.execute(_RECOUNT.format(where=where), [_now()])


def delete_months(session: Session, months: Sequence[ServerDay]) -> None:
    """Delete the rollup rows of ``months``, so that they are built again."""
    session.register("given", _table(months, "day"))
    _delete_months(session)


def _delete_months(session: Session) -> None:
    """Delete the rollup rows of the months of the days in ``given``."""
    months = session.rows(_BUILT_MONTHS)
    if months:
        where = where_days(months, "month")
        _delete(session, MONTHLY, where)
        session.execute(f"DELETE FROM built_month AS f WHERE {where}")


def _delete(session: Session, rollups: Iterable[Rollup], where: str) -> None:
    for rollup in rollups:
        session.execute(f"DELETE FROM {session.stored(rollup)} AS f WHERE {where}")


def _repeats_streams(entries: int, *others: int) -> bool:
    """Return True if rows by day and stream are probably under half as many as transfers.

    Args:
        entries: the number of entries of the day.
        others: other columns of `_COUNTED`, of which the number of groups is the last one.
    """
    return 2 * others[-1] < entries


def _in_months(months: Sequence[ServerDay]) -> str:
    """Return the SQL condition of the days of ``months``."""
    spans = [(server, *month_of(month)) for server, month in months]
    tests = " OR ".join(
        f"f.server = {server} AND f.day BETWEEN '{first}' AND '{last}'"
        for server, first, last in spans
    )
    first, last = min(span[1] for span in spans), max(span[2] for span in spans)
    return f"f.day BETWEEN '{first}' AND '{last}' AND ({tests})"


def _totals(entries: pa.Table) -> pa.Table:
    """Return the totals of ``entries`` by server and day."""
    for name in AMOUNTS:  # sums may exceed 64 bits
        number = entries.schema.get_field_index(name)
        entries = entries.set_column(number, name, entries[name].cast(_DECIMAL))
    sums = entries.group_by(["server", "day"]).aggregate(
        [
            ("entry", "count"),
            ("transfers", "sum"),
            *((name, "sum") for name in AMOUNTS),
        ]
    )
    return sums.rename_columns(["server", "day", *_TOTALS])


def _table(days: Sequence[ServerDay], time: str) -> pa.Table:
    servers, times = ([pair[number] for pair in days] for number in (0, 1))
    return pa.table({"server": pa.array(servers, pa.int32()), time: pa.array(times, pa.date32())})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def unlike_ledger(session: Session, days: Sequence[ServerDay]) -> StoreError:
    """Return the error that the transfers of ``days`` are not those of their ledger."""
    (server, day), others = days[0], len(days) - 1
    name = session.rows("SELECT name FROM server WHERE server = $1", [server])[0][0]
    more = f" (and {others} more days)" if others else ""
    return StoreError(
        f"the transfers of server {name!r} of {day}{more} are not those of its ledger, so its "
        "rollups were not built. See: ringserverstats audit"
    )
