"""Which days have to go on to an outlet: those that changed since it was given them.

Each change of a day raises its number (`versions`), in the same transaction; an outlet is given a
day with the number that it had then. So nothing is forgotten, whenever a process is killed.
"""

from ringserverstats.store.base import Ask, Due
from ringserverstats.store.session import Session
from ringserverstats.store.versions import ALL

_KNOWN = f"SELECT count(*) AS known FROM sent WHERE outlet = $1 AND day = '{ALL}'"
_BEGIN = f"""
INSERT INTO sent (outlet, day, number)
SELECT $1, day, number FROM day_version WHERE day <> '{ALL}' AND NOT $2::boolean
 UNION ALL SELECT $1, '{ALL}'::date, 0
ON CONFLICT DO NOTHING
"""
_DUE = f"""
SELECT v.day, v.number, coalesce(v.corrected, 0) > coalesce(s.number, 0) AS corrected
  FROM day_version v LEFT JOIN sent s ON s.outlet = $1 AND s.day = v.day
 WHERE v.day <> '{ALL}' AND v.number > coalesce(s.number, 0)
 ORDER BY v.day
"""
_SENT = """
INSERT INTO sent (outlet, day, number) VALUES ($1, $2::date, $3)
ON CONFLICT (outlet, day) DO UPDATE SET number = greatest(sent.number, excluded.number)
"""


def begin_outlet(session: Session, outlet: str, *, all_due: bool) -> bool:
    """Let days that change from now on be due, or all; returns whether it is a new outlet."""
    if session.rows(_KNOWN, [outlet])[0][0]:
        return False
    session.change(_BEGIN, [outlet, all_due])
    return True


def due(ask: Ask, outlet: str) -> list[Due]:
    """The days that ``outlet`` has to be given, oldest first."""
    return [Due(**row) for row in ask(_DUE, [outlet]).to_pylist()]


def note_sent(session: Session, outlet: str, one: Due) -> None:
    """Say that ``outlet`` was given a day."""
    session.change(_SENT, [outlet, one.day, one.number])
