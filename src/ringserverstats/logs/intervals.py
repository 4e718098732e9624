"""The minutes of local days that a log covers, by the interval in its name.

Days are those of the entries (see ``days``): an interval of about a day covers the day of its
middle, whatever hours a change of clocks put into its name.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from ringserverstats.logs.names import FileName

_DAY = 1440
_ABOUT_A_DAY = timedelta(hours=23)
_LONGEST = timedelta(days=366)
_WRITE_TIME = timedelta(minutes=1)  # in which the server may still write its last blocks


@dataclass(frozen=True)
class Piece:
    """Minutes of one local day, from ``first_minute`` to before ``last_minute``."""

    day: date
    first_minute: int
    last_minute: int


def pieces(name: FileName, zone: tzinfo) -> list[Piece]:
    """Return the days of a log with ``name``; none without an interval of at most 366 days.

    Minutes that clocks in ``zone`` skip right before the interval count as covered.
    """
    if name.start is None or name.end is None or name.end - name.start > _LONGEST:
        return []
    if name.day is None:
        count = (name.end.date() - name.start.date()).days + 1
        days = [name.start.date() + timedelta(days=number) for number in range(count)]
    elif name.end - name.start >= _ABOUT_A_DAY:
        return [Piece(name.day, 0, _DAY)]
    else:
        days = [name.day]
    begin = _before_gap(name.start, zone)
    covered = [Piece(day, _minute(begin, day), _minute(name.end, day)) for day in days]
    return [piece for piece in covered if piece.first_minute < piece.last_minute]


def is_over(name: FileName, zone: tzinfo, now: datetime) -> bool:
    """Return True if the interval of ``name``, in the time zone ``zone``, had ended by ``now``."""
    if name.end is None:
        return False
    return now >= name.end.replace(tzinfo=zone).astimezone(UTC) + _WRITE_TIME


def _before_gap(moment: datetime, zone: tzinfo) -> datetime:
    """Return the first of the local times that do not exist right before ``moment``, or that."""
    before = (moment - timedelta(minutes=1)).replace(tzinfo=zone)
    real = before.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    return moment - (real - before.replace(tzinfo=None))


def _minute(moment: datetime, day: date) -> int:
    """Return the minute of ``day`` at ``moment``: 0 before that day, 1440 after it."""
    minutes = (moment - datetime.combine(day, time())) // timedelta(minutes=1)
    return min(max(minutes, 0), _DAY)
