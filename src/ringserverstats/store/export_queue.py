"""The days that an exporter has to export: those whose version is newer than the exported one.

A change of a day increments its version in the same transaction (`versions`), and an exporter
records the version that it exported. So no change is lost when a process is killed.
"""

from datetime import date, timedelta

import pyarrow as pa

from ringserverstats.store.base import Ask, PendingDay
from ringserverstats.store.rollups import month_of
from ringserverstats.store.session import Session
from ringserverstats.store.tables import TABLES
from ringserverstats.store.versions import ALL

_ONE_DAY = timedelta(days=1)
_DEFINITION = "SELECT definition FROM exporter WHERE exporter = $1"
_SKIP_ALL = f"""
INSERT INTO exported_day (exporter, day, version)
SELECT $1, day, version FROM day_version WHERE day <> '{ALL}'
"""
_REDEFINE = "UPDATE exporter SET definition = $2, clear_first = true WHERE exporter = $1"
_PENDING_DAYS = f"""
SELECT v.day,
       coalesce(v.corrected > coalesce(s.version, 0), false) OR s.version IS NULL AND o.clear_first
           AS corrected
  FROM day_version v JOIN exporter o ON o.exporter = $1
  LEFT JOIN exported_day s ON s.exporter = $1 AND s.day = v.day
 WHERE v.day <> '{ALL}' AND v.version > coalesce(s.version, 0)
 ORDER BY v.day
"""
_EXPORTED = """
INSERT INTO exported_day (exporter, day, version) VALUES ($1, $2::date, $3)
ON CONFLICT (exporter, day) DO UPDATE SET version = greatest(exported_day.version, excluded.version)
"""
_UNEXPORTED = "DELETE FROM exported_day WHERE exporter = $1 AND day BETWEEN $2::date AND $3::date"
_ADD_MONTHS = """
INSERT INTO pending_export (exporter, month) SELECT $1, month FROM given ON CONFLICT DO NOTHING
"""
_MONTHS = "SELECT month FROM pending_export WHERE exporter = $1 ORDER BY month"
_MONTH_COMPLETE = "DELETE FROM pending_export WHERE exporter = $1 AND month = $2::date"


def register_exporter(session: Session, exporter: str, definition: str, *, all_due: bool) -> bool:
    """Make days that change from now on due, or all days.

    All days are also due if the exporter had another ``definition`` before.

    Returns:
        Whether the exporter is new.
    """
    known = session.rows(_DEFINITION, [exporter])
    if not known:
        session.execute(TABLES["exporter"].insert, [exporter, definition, False])
        if not all_due:
            session.execute(_SKIP_ALL, [exporter])
    elif known[0][0] != definition:
        session.execute(_REDEFINE, [exporter, definition])
        session.execute("DELETE FROM exported_day WHERE exporter = $1", [exporter])
    return not known


def due(ask: Ask, exporter: str) -> list[PendingDay]:
    """Return the days that ``exporter`` has to export, oldest first."""
    return [PendingDay(**row) for row in ask(_PENDING_DAYS, [exporter]).to_pylist()]


def mark_exported(session: Session, exporter: str, day: date, version: int) -> None:
    """Record that a day was exported, and that its month has to be aggregated again there."""
    session.execute(_EXPORTED, [exporter, day, version])
    _mark_pending(session, exporter, day, day)


def mark_unexported(session: Session, exporter: str, first: date, last: date) -> None:
    """Make days due that may be missing or incomplete at the destination, and their months."""
    session.execute(_UNEXPORTED, [exporter, first, last])
    _mark_pending(session, exporter, first, last)


def _mark_pending(session: Session, exporter: str, first: date, last: date) -> None:
    months = [first.replace(day=1)]
    while month_of(months[-1])[1] < last:
        months.append(month_of(months[-1])[1] + _ONE_DAY)
    session.register("given", pa.table({"month": pa.array(months, pa.date32())}))
    session.execute(_ADD_MONTHS, [exporter])


def pending_export(ask: Ask, exporter: str) -> list[date]:
    """Return the months that have to be aggregated again at the destination."""
    months: list[date] = ask(_MONTHS, [exporter])["month"].to_pylist()
    return months


def mark_months_complete(session: Session, exporter: str, month: date) -> None:
    """Record that a month was aggregated at the destination."""
    session.execute(_MONTH_COMPLETE, [exporter, month])
