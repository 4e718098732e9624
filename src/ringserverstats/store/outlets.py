"""Which days have to go on to an outlet: those that changed since it was given them.

Each change of a day raises its number (`versions`), in the same transaction; an outlet is given a
day with the number that it had then. So nothing is forgotten, whenever a process is killed.
"""

from datetime import date, timedelta

import pyarrow as pa

from ringserverstats.store.base import Ask, Due
from ringserverstats.store.session import Session
from ringserverstats.store.sums import month_of
from ringserverstats.store.versions import ALL

_ONE_DAY = timedelta(days=1)
_SHAPE = "SELECT shape FROM outlet WHERE outlet = $1"
_NEW = "INSERT INTO outlet (outlet, shape, clears) VALUES ($1, $2, false)"
_AS_IT_IS = f"""
INSERT INTO sent (outlet, day, number) SELECT $1, day, number FROM day_version WHERE day <> '{ALL}'
"""
_OTHERWISE = "UPDATE outlet SET shape = $2, clears = true WHERE outlet = $1"
_DUE = f"""
SELECT v.day,
       coalesce(v.corrected > coalesce(s.number, 0), false) OR s.number IS NULL AND o.clears
           AS corrected
  FROM day_version v JOIN outlet o ON o.outlet = $1
  LEFT JOIN sent s ON s.outlet = $1 AND s.day = v.day
 WHERE v.day <> '{ALL}' AND v.number > coalesce(s.number, 0)
 ORDER BY v.day
"""
_SENT = """
INSERT INTO sent (outlet, day, number) VALUES ($1, $2::date, $3)
ON CONFLICT (outlet, day) DO UPDATE SET number = greatest(sent.number, excluded.number)
"""
_UNSENT = "DELETE FROM sent WHERE outlet = $1 AND day BETWEEN $2::date AND $3::date"
_TO_SUM_UP = """
INSERT INTO to_sum_up (outlet, month) SELECT $1, month FROM given ON CONFLICT DO NOTHING
"""
_MONTHS = "SELECT month FROM to_sum_up WHERE outlet = $1 ORDER BY month"
_SUMMED_UP = "DELETE FROM to_sum_up WHERE outlet = $1 AND month = $2::date"


def begin_outlet(session: Session, outlet: str, shape: str, *, all_due: bool) -> bool:
    """Let days that change from now on be due, or all.

    All are due too where the outlet was told another ``shape`` of them before.

    Returns:
        Whether it is new.
    """
    known = session.rows(_SHAPE, [outlet])
    if not known:
        session.change(_NEW, [outlet, shape])
        if not all_due:
            session.change(_AS_IT_IS, [outlet])
    elif known[0][0] != shape:
        session.change(_OTHERWISE, [outlet, shape])
        session.change("DELETE FROM sent WHERE outlet = $1", [outlet])
    return not known


def due(ask: Ask, outlet: str) -> list[Due]:
    """The days that ``outlet`` has to be given, oldest first."""
    return [Due(**row) for row in ask(_DUE, [outlet]).to_pylist()]


def note_sent(session: Session, outlet: str, day: date, number: int) -> None:
    """Say that ``outlet`` was given a day, and that its month has to be summed up there."""
    session.change(_SENT, [outlet, day, number])
    _note_to_sum_up(session, outlet, day, day)


def note_unsent(session: Session, outlet: str, first: date, last: date) -> None:
    """Say that ``outlet`` may have nothing, or a part, of days, and old sums of their months."""
    session.change(_UNSENT, [outlet, first, last])
    _note_to_sum_up(session, outlet, first, last)


def _note_to_sum_up(session: Session, outlet: str, first: date, last: date) -> None:
    months = [first.replace(day=1)]
    while month_of(months[-1])[1] < last:
        months.append(month_of(months[-1])[1] + _ONE_DAY)
    session.give("given", pa.table({"month": pa.array(months, pa.date32())}))
    session.change(_TO_SUM_UP, [outlet])


def to_sum_up(ask: Ask, outlet: str) -> list[date]:
    """The months that have to be summed up there."""
    months: list[date] = ask(_MONTHS, [outlet])["month"].to_pylist()
    return months


def note_summed_up(session: Session, outlet: str, month: date) -> None:
    """Say that this was done."""
    session.change(_SUMMED_UP, [outlet, month])
