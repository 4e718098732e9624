"""Which answers still hold: each day has a number that every change of it raises.

All of it runs within the transaction of the caller.
"""

from collections.abc import Iterable, Sequence
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask
from ringserverstats.store.session import Session

#: Stands for all days.
ALL = date(1970, 1, 1)
# In the order of days, so that two writers never wait for each other.
_RAISE = """
INSERT INTO day_version (day, version, corrected) SELECT day, 1, {corrects} FROM given ORDER BY day
ON CONFLICT (day) DO UPDATE SET version = day_version.version + 1,
    corrected = CASE WHEN excluded.corrected = 1 THEN day_version.version + 1
                     ELSE day_version.corrected END
"""
_DAYS = """
SELECT DISTINCT f.day FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile WHERE {where}
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
    """Say that answers about ``days`` may be others from now on; None stands for all days.

    Days that ``corrects`` takes something away from, or gives another name to what is in them, have
    to be told one by one: an exporter is given them again.

    To be called last in a transaction, as others who write of the same days wait for its end.
    """
    given = pa.table({"day": pa.array(sorted({day or ALL for day in days}), pa.date32())})
    if len(given):
        session.register("given", given)
        session.execute(_RAISE.format(corrects=int(corrects)))


def days_of(session: Session, where: str = "true", parameters: Sequence[object] = ()) -> set[date]:
    """The days of which there is anything, of those connections ``f`` that ``where`` lets in."""
    return {day for (day,) in session.rows(_DAYS.format(where=where), parameters)}


def version(ask: Ask, first: date | None, last: date | None) -> str:
    """What is another text whenever an answer about a period may be another."""
    span = [day and day.isoformat() for day in (first, last)]
    told: str = ask(_VERSION, span)["version"][0].as_py()
    return told
