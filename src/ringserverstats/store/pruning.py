"""Anonymise old months: delete their transfers and replace their clients. Totals stay exact.

It runs within the transaction of the caller. docs/privacy.md says what is left.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.enrich.anonymise import AnonymousMonth, anonymise_rows, random_ids
from ringserverstats.enrich.rows import Rows
from ringserverstats.keys import Keys
from ringserverstats.store.base import Pruned
from ringserverstats.store.corrections import delete_unused
from ringserverstats.store.refresh import (
    build_days,
    delete_months,
    replace_rollup,
    unlike_ledger,
)
from ringserverstats.store.rollups import DAILY, Rollup, month_of
from ringserverstats.store.session import Session

_ONE_DAY = timedelta(days=1)
_PROFILES = """
SELECT o.*, a.family FROM client_profile o JOIN agent a ON a.agent = o.agent
 WHERE o.month IS NULL AND o.client_profile IN (
    SELECT client_profile FROM connection_by_day WHERE day BETWEEN $1::date AND $2::date
 ) ORDER BY o.client_profile
"""
_CONNECTIONS = """
SELECT DISTINCT f.server, f.connection
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
 WHERE o.month IS NULL AND f.day BETWEEN $1::date AND $2::date
"""
_TRANSFERS = "SELECT count(*) FROM transfer WHERE day BETWEEN $1::date AND $2::date"
_UNPRUNED = """
SELECT DISTINCT date_trunc('month', f.day)::date AS month
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
 WHERE o.month IS NULL AND f.day < $1::date
"""
_WITH_TRANSFERS = " UNION SELECT date_trunc('month', day)::date FROM {table} WHERE day < $1::date"
_MARK_STORE = """
UPDATE store SET vacuum_pending = true,
       kept_since = greatest(coalesce(kept_since, $1::date), $1::date)
"""
_SERVER_DAYS = "SELECT server, day FROM server_day WHERE day BETWEEN $1::date AND $2::date"
_UNSEALED = """
SELECT server, day FROM server_day
 WHERE day < $1::date AND (changed <> built OR NOT has_streams) ORDER BY day, server
"""


def months_to_prune(session: Session, before: date) -> list[date]:
    """Return the months before the day ``before`` that have clients or transfers, in order."""
    with_transfers = "".join(_WITH_TRANSFERS.format(table=table) for table in session.facts)
    return sorted(month for (month,) in session.rows(_UNPRUNED + with_transfers, [before]))


def end(session: Session, before: date) -> None:
    """Record that later entries of months before the day ``before`` are anonymised too."""
    seal(session, before)
    _mark(session, (before - _ONE_DAY).replace(day=1), late=False)


def prune(session: Session, month: date, keys: Keys) -> Pruned:
    """Delete the transfers of a month and replace its clients by random ones."""
    span = list(month_of(month))
    anonymous = AnonymousMonth(keys, month)
    for row in session.table(_PROFILES, span).to_pylist():
        anonymous.add(row, row["family"])
    transfers = session.rows(_TRANSFERS, span)[0][0]
    seal(session, span[1] + _ONE_DAY)
    delete_months(session, session.rows(_SERVER_DAYS, span))
    if anonymous.replacements:
        for name, rows in anonymous.tables.items():
            session.add_names(name, rows)
        _register_moves(session, anonymous, span)
        for rollup in DAILY:
            if rollup.has_client_profile:
                where = f"f.day BETWEEN '{span[0]}' AND '{span[1]}'"
                replace_rollup(session, rollup, where, _moved_select(rollup, where))
        delete_unused(session)
    _mark(session, month, late=False)
    return Pruned(months=1, clients=len(anonymous.clients), transfers=int(transfers))


def days_to_seal(session: Session, before: date) -> list[date]:
    """Return the first day after each month with transfers of days before ``before``, in order.

    The last one is ``before``.
    """
    kept_since = session.rows("SELECT kept_since FROM store")[0][0] or date.min
    rows = session.rows(
        "SELECT DISTINCT date_trunc('month', day)::date FROM server_day"
        " WHERE day >= $1::date AND day < $2::date ORDER BY 1",
        [kept_since, before],
    )
    return [*(month_of(month)[1] + _ONE_DAY for (month,) in rows[:-1]), *([before] if rows else [])]


def seal(session: Session, before: date) -> int:
    """Delete the transfers of all days before ``before``. Their rollups are built first.

    Returns:
        The number of transfers.

    Raises:
        StoreError: the transfers of a day are not those of its ledger.
    """
    # All of them: a log of an earlier day may have come since the caller listed the days.
    bad = build_days(session, session.rows(_UNSEALED, [before]), with_streams=True)
    if bad:
        raise unlike_ledger(session, bad)
    transfers = session.rows("SELECT count(*) FROM transfer WHERE day < $1::date", [before])[0][0]
    session.delete_transfers(before)
    session.execute(_MARK_STORE, [before])
    return int(transfers)


def coarse_rows(
    session: Session, rows: Rows, new: npt.NDArray[np.bool_], keys: Callable[[], Keys]
) -> Rows:
    """Return ``rows`` with random clients for the ``new`` entries of pruned months.

    Args:
        keys: returns the store's keys. Called only if a month is pruned.
    """
    last = session.rows("SELECT max(month) FROM pruned_month")[0][0]
    if last is None:
        return rows
    anonymous, months = anonymise_rows(rows, new, month_of(last)[1] + _ONE_DAY, keys())
    for month in sorted(months):
        _mark(session, month, late=True)
    return anonymous


def _mark(session: Session, month: date, *, late: bool) -> None:
    """Record that a month is pruned, and if ``late``, that it has logs that were read later."""
    if late:
        session.execute(
            "UPDATE pruned_month SET has_late_logs = true WHERE month = $1::date", [month]
        )
    session.execute(
        f"INSERT INTO pruned_month (month, has_late_logs) SELECT $1::date, {late}"
        " WHERE NOT EXISTS (SELECT 1 FROM pruned_month WHERE month = $1::date)",
        [month],
    )


def _register_moves(session: Session, anonymous: AnonymousMonth, span: list[date]) -> None:
    """Register the new ids of the client profiles and connections of a month."""
    before, after = (
        pa.array(ids, pa.int64()) for ids in zip(*anonymous.replacements.items(), strict=True)
    )
    session.register("moved", pa.table({"client_profile": before, "becomes": after}))
    connections = session.table(_CONNECTIONS, span)
    becomes = random_ids(connections["connection"].to_numpy())
    session.register("moved_connection", connections.append_column("becomes", pa.array(becomes)))


def _moved_select(rollup: Rollup, where: str) -> str:
    """Return the SELECT of the rows of ``rollup`` with new client profiles and connections."""
    columns = {name: f"f.{name}" for name in rollup.keys}
    columns["client_profile"] = "coalesce(m.becomes, f.client_profile)"
    joins = "LEFT JOIN moved m ON m.client_profile = f.client_profile"
    if "connection" in columns:
        columns["connection"] = "coalesce(c.becomes, f.connection)"
        joins += (
            " LEFT JOIN moved_connection c ON c.server = f.server"
            " AND c.connection = f.connection AND m.becomes IS NOT NULL"
        )
    keys = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    values = ", ".join(f"sum(f.{name}) AS {name}" for name in rollup.values)
    group = ", ".join(str(number + 1) for number in range(len(columns)))
    return f"SELECT {keys}, {values} FROM {rollup.built} f {joins} WHERE {where} GROUP BY {group}"
