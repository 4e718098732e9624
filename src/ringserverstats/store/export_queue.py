"""Which days have to go on to an exporter: those that changed since it was given them.

Each change of a day raises its number (`versions`), in the same transaction; an exporter is given a
day with the number that it had then. So nothing is forgotten, whenever a process is killed.
"""

from datetime import date, timedelta

import pyarrow as pa

from ringserverstats.store.base import Ask, PendingDay
from ringserverstats.store.rollups import month_of
from ringserverstats.store.session import Session
from ringserverstats.store.versions import ALL

_ONE_DAY = timedelta(days=1)
_SHAPE = "SELECT definition FROM exporter WHERE exporter = $1"
_NEW = "INSERT INTO exporter (exporter, definition, clear_first) VALUES ($1, $2, false)"
_AS_IT_IS = f"""
INSERT INTO exported_day (exporter, day, version) SELECT $1, day, version FROM day_version WHERE day <> '{ALL}'
"""
_OTHERWISE = "UPDATE exporter SET definition = $2, clear_first = true WHERE exporter = $1"
_DUE = f"""
SELECT v.day,
       coalesce(v.corrected > coalesce(s.version, 0), false) OR s.version IS NULL AND o.clear_first
           AS corrected
  FROM day_version v JOIN exporter o ON o.exporter = $1
  LEFT JOIN exported_day s ON s.exporter = $1 AND s.day = v.day
 WHERE v.day <> '{ALL}' AND v.version > coalesce(s.version, 0)
 ORDER BY v.day
"""
_SENT = """
INSERT INTO exported_day (exporter, day, version) VALUES ($1, $2::date, $3)
ON CONFLICT (exporter, day) DO UPDATE SET version = greatest(exported_day.version, excluded.version)
"""
_UNSENT = "DELETE FROM exported_day WHERE exporter = $1 AND day BETWEEN $2::date AND $3::date"
_TO_SUM_UP = """
INSERT INTO pending_export (exporter, month) SELECT $1, month FROM given ON CONFLICT DO NOTHING
"""
_MONTHS = "SELECT month FROM pending_export WHERE exporter = $1 ORDER BY month"
_SUMMED_UP = "DELETE FROM pending_export WHERE exporter = $1 AND month = $2::date"


def register_exporter(session: Session, exporter: str, definition: str, *, all_due: bool) -> bool:
    """Let days that change from now on be due, or all.

    All are due too where the exporter was told another ``definition`` of them before.

    Returns:
        Whether it is new.
    """
    known = session.rows(_SHAPE, [exporter])
    if not known:
        session.execute(_NEW, [exporter, definition])
        if not all_due:
            session.execute(_AS_IT_IS, [exporter])
    elif known[0][0] != definition:
        session.execute(_OTHERWISE, [exporter, definition])
        session.execute("DELETE FROM exported_day WHERE exporter = $1", [exporter])
    return not known


def due(ask: Ask, exporter: str) -> list[PendingDay]:
    """The days that ``exporter`` has to be given, oldest first."""
    return [PendingDay(**row) for row in ask(_DUE, [exporter]).to_pylist()]


def mark_exported(session: Session, exporter: str, day: date, version: int) -> None:
    """Say that ``exporter`` was given a day, and that its month has to be summed up there."""
    session.execute(_SENT, [exporter, day, version])
    _mark_pending(session, exporter, day, day)


def mark_unexported(session: Session, exporter: str, first: date, last: date) -> None:
    """Say that ``exporter`` may have nothing, or a part, of days, and old sums of their months."""
    session.execute(_UNSENT, [exporter, first, last])
    _mark_pending(session, exporter, first, last)


def _mark_pending(session: Session, exporter: str, first: date, last: date) -> None:
    months = [first.replace(day=1)]
    while month_of(months[-1])[1] < last:
        months.append(month_of(months[-1])[1] + _ONE_DAY)
    session.register("given", pa.table({"month": pa.array(months, pa.date32())}))
    session.execute(_TO_SUM_UP, [exporter])


def pending_export(ask: Ask, exporter: str) -> list[date]:
    """The months that have to be summed up there."""
    months: list[date] = ask(_MONTHS, [exporter])["month"].to_pylist()
    return months


def mark_months_complete(session: Session, exporter: str, month: date) -> None:
    """Say that this was done."""
    session.execute(_SUMMED_UP, [exporter, month])
