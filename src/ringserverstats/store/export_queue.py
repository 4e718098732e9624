"""The days that an exporter has to export: those whose version is newer than the exported one.

A change of a day increments its version in the same transaction (`versions`), and an exporter
records the version that it exported. So no change is lost when a process is killed. No transaction
is open while days are sent: a day that changed, or that another process sent, meanwhile stays due.
"""

from datetime import date, timedelta

import pyarrow as pa

from ringserverstats.store.base import Ask, DayState, PendingDay
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
_EXPORTED_VERSION = """
SELECT coalesce(max(version), 0) AS version FROM exported_day WHERE exporter = $1 AND day = $2::date
"""
_DAY_VERSION = "SELECT coalesce(max(version), 0) AS version FROM day_version WHERE day = $1::date"
# Only if neither version has changed.
_EXPORTED = """
INSERT INTO exported_day (exporter, day, version) SELECT $1, $2::date, $3
 WHERE $3 = coalesce((SELECT version FROM day_version WHERE day = $2::date), 0)
   AND $4 = coalesce((SELECT version FROM exported_day WHERE exporter = $1 AND day = $2::date), 0)
ON CONFLICT (exporter, day) DO UPDATE SET version = excluded.version
 WHERE exported_day.version = $4
"""
_SENT_BY_ANOTHER = """
DELETE FROM exported_day WHERE exporter = $1 AND day = $2::date AND version <> $3
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


def day_state(ask: Ask, exporter: str, day: date) -> DayState:
    """Return the version of a day, and the one that ``exporter`` exported."""
    version, exported = (
        ask(sql, parameters)["version"][0].as_py()
        for sql, parameters in ((_DAY_VERSION, [day]), (_EXPORTED_VERSION, [exporter, day]))
    )
    return DayState(day, int(version), int(exported))


def mark_exported(session: Session, exporter: str, state: DayState) -> bool:
    """Record that a day was exported, and that its month has to be aggregated again there.

    If another process exported it meanwhile, the day is due again, as the older one of their
    versions may be at the destination.

    Args:
        session: the transaction.
        exporter: the name of the exporter.
        state: `day_state` from before the day was sent.

    Returns:
        Whether the state is the same. If not, the day stays due.
    """
    day = state.day
    is_same = session.execute(_EXPORTED, [exporter, day, state.version, state.exported]) == 1
    if not is_same:
        session.execute(_SENT_BY_ANOTHER, [exporter, day, state.exported])
    _mark_pending(session, exporter, day, day)
    return is_same


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
