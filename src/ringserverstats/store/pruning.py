"""Months that are long ago lose their transfers, and whose they were; their sums stay exact.

All of it runs within the transaction of the caller. docs/privacy.md says what is left.
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
from ringserverstats.store.corrections import forget_unused
from ringserverstats.store.rollups import ROLLUPS, Rollup, month_of
from ringserverstats.store.session import Session

_ONE_DAY = timedelta(days=1)
_SPAN = "{time} BETWEEN '{first}' AND '{last}'"
_ORIGINS = """
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
_KEEP = """
UPDATE store SET vacuum_pending = true,
       kept_since = greatest(coalesce(kept_since, $1::date), $1::date)
"""


def months_to_prune(session: Session, before: date) -> list[date]:
    """The months before the day ``before`` of which clients or transfers are still kept."""
    kept = "".join(_WITH_TRANSFERS.format(table=table) for table in session.facts)
    return sorted(month for (month,) in session.rows(_UNPRUNED + kept, [before]))


def begin(session: Session, before: date) -> list[date]:
    """Say what holds while and after the months before the day ``before`` are pruned.

    Returns:
        These months; where there are none, nothing is said.
    """
    months = months_to_prune(session, before)
    if months:
        session.execute(_KEEP, [before])
    return months


def end(session: Session, before: date) -> None:
    """Let entries that come of any month before the day ``before`` be as those of pruned ones."""
    _mark(session, (before - _ONE_DAY).replace(day=1), late=False)


def prune(session: Session, month: date, keys: Keys) -> Pruned:
    """Take the transfers of a month out, and make its clients ones that nobody can follow."""
    span = list(month_of(month))
    anonymous = AnonymousMonth(keys, month)
    for row in session.table(_ORIGINS, span).to_pylist():
        anonymous.add(row, row["family"])
    transfers = session.rows(_TRANSFERS, span)[0][0]
    for table in session.facts:
        session.execute(f"DELETE FROM {table} WHERE day BETWEEN $1 AND $2", span)
    if anonymous.replacements:
        for name, rows in anonymous.tables.items():
            session.add_names(name, rows)
        _give_moves(session, anonymous, span)
        for one in ROLLUPS:
            if not one.has_client_profile:
                continue
            where = _SPAN.format(time=one.time, first=span[0], last=span[1])
            session.replace_rollup(one, where, _moved(one, where))
        forget_unused(session)
    _mark(session, month, late=False)
    return Pruned(months=1, clients=len(anonymous.clients), transfers=int(transfers))


def coarse_rows(
    session: Session, rows: Rows, new: npt.NDArray[np.bool_], keys: Callable[[], Keys]
) -> Rows:
    """``rows`` as the ``new`` ones may be written: in pruned months with clients of these alone."""
    last = session.rows("SELECT max(month) FROM pruned_month")[0][0]
    if last is None:
        return rows
    made, months = anonymise_rows(rows, new, month_of(last)[1] + _ONE_DAY, keys())
    for month in sorted(months):
        _mark(session, month, late=True)
    return made


def _mark(session: Session, month: date, *, late: bool) -> None:
    """Say that a month is pruned, and if it is so, that logs of it came later."""
    if late:
        session.execute(
            "UPDATE pruned_month SET has_late_logs = true WHERE month = $1::date", [month]
        )
    session.execute(
        f"INSERT INTO pruned_month (month, has_late_logs) SELECT $1::date, {late}"
        " WHERE NOT EXISTS (SELECT 1 FROM pruned_month WHERE month = $1::date)",
        [month],
    )


def _give_moves(session: Session, anonymous: AnonymousMonth, span: list[date]) -> None:
    """Let SQL see what client_profiles and connections of the month become."""
    before, after = zip(*anonymous.replacements.items(), strict=True)
    kinds = {"client_profile": before, "becomes": after}
    session.register("moved", pa.table({n: pa.array(v, pa.int64()) for n, v in kinds.items()}))
    found = session.table(_CONNECTIONS, span)
    becomes = random_ids(found["connection"].to_numpy())
    session.register("moved_connection", found.append_column("becomes", pa.array(becomes)))


def _moved(one: Rollup, where: str) -> str:
    """SQL of the rows of the sums ``one`` with what their client_profiles and connections become."""
    columns = {name: f"f.{name}" for name in one.keys}
    columns["client_profile"] = "coalesce(m.becomes, f.client_profile)"
    joins = "LEFT JOIN moved m ON m.client_profile = f.client_profile"
    if "connection" in columns:
        columns["connection"] = "coalesce(c.becomes, f.connection)"
        joins += (
            " LEFT JOIN moved_connection c ON c.server = f.server"
            " AND c.connection = f.connection AND m.becomes IS NOT NULL"
        )
    keys = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
    values = ", ".join(f"sum(f.{name}) AS {name}" for name in one.values)
    group = ", ".join(str(place + 1) for place in range(len(columns)))
    return f"SELECT {keys}, {values} FROM {one.table} f {joins} WHERE f.{where} GROUP BY {group}"
