"""The version of each day, which every change of the day increments.

Caches and exporters compare versions to find the days that changed. All functions run in the
transaction of the caller.
"""

from collections.abc import Iterable, Sequence
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask
from ringserverstats.store.session import Session

#: Stands for all days.
ALL = date(1970, 1, 1)
# In the order of days, so that two writers cannot deadlock.
_RAISE = """
INSERT INTO day_version (day, version, corrected) SELECT day, 1, {corrects} FROM given ORDER BY day
ON CONFLICT (day) DO UPDATE SET version = day_version.version + 1,
    corrected = CASE WHEN excluded.corrected = 1 THEN day_version.version + 1
                     ELSE day_version.corrected END
"""
_DAYS = """
SELECT DISTINCT f.day
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
 WHERE {where}
"""
_VERSION = f"""
SELECT (SELECT generation FROM store) || ' ' || coalesce(sum(version), 0)::text AS version
  FROM day_version
 WHERE day = '{ALL}' OR (day >= coalesce($1::date, '1970-01-01')
                         AND day <= coalesce($2::date, '9999-12-31'))
"""


def raise_versions(
    session: Session, days: Iterable[date | None] = (None,), *, corrects: bool = False
) -> None:
    """Increment the versions of days.

    Call it last in a transaction: other writers of the same days wait for its end.

    Args:
        days: the days that changed; None stands for all days.
        corrects: rows of the days were removed or renamed, so exporters have to clear them. Such
            days have to be listed one by one.
    """
    given = pa.table({"day": pa.array(sorted({day or ALL for day in days}), pa.date32())})
    if len(given):
        session.register("given", given)
        session.execute(_RAISE.format(corrects=int(corrects)))


def days_of(session: Session, where: str = "true", parameters: Sequence[object] = ()) -> set[date]:
    """Return the days of all connections ``f`` with profile ``o`` for which ``where`` is true."""
    return {day for (day,) in session.rows(_DAYS.format(where=where), parameters)}


def version(ask: Ask, first: date | None, last: date | None) -> str:
    """Return a text that changes whenever any day of a period changes."""
    period = [day and day.isoformat() for day in (first, last)]
    text: str = ask(_VERSION, period)["version"][0].as_py()
    return text
