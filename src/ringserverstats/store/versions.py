"""Which answers still hold: each day has a number that every change of it raises.

All of it runs within the transaction of the caller.
"""

from collections.abc import Iterable
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask
from ringserverstats.store.session import Session

#: Stands for all days.
ALL = date(1970, 1, 1)
# In the order of days, so that two writers never wait for each other.
_RAISE = """
INSERT INTO day_version (day, number) SELECT day, 1 FROM given ORDER BY day
ON CONFLICT (day) DO UPDATE SET number = day_version.number + 1
"""
_VERSION = f"""
SELECT (SELECT generation FROM store) || ' ' || coalesce(sum(number), 0)::text AS version
  FROM day_version
 WHERE day = '{ALL}' OR (day >= coalesce($1::date, '1970-01-01')
                         AND day <= coalesce($2::date, '9999-12-31'))
"""


def raise_versions(session: Session, days: Iterable[date | None] = (None,)) -> None:
    """Say that answers about ``days`` may be others from now on; None stands for all days.

    To be called last in a transaction, as others who write of the same days wait for its end.
    """
    given = pa.table({"day": pa.array(sorted({day or ALL for day in days}), pa.date32())})
    if len(given):
        session.give("given", given)
        session.change(_RAISE)


def version(ask: Ask, first: date | None, last: date | None) -> str:
    """What is another text whenever an answer about a period may be another."""
    span = [day and day.isoformat() for day in (first, last)]
    told: str = ask(_VERSION, span)["version"][0].as_py()
    return told
