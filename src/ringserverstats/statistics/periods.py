"""Dates as people write them: ``2026``, ``2026-11``, ``2026-11-24``; both ends inclusive.

And lists, as these are written beside them.
"""

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import date, timedelta

from ringserverstats.errors import UsageError

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_LAST = re.compile(r"(\d{1,5})(d|w|mo?|y)", re.ASCII)
_DAYS = {"d": 1, "w": 7}
#: Lengths of time until today that people like to look at.
PRESETS = {"7d": "7 days", "30d": "30 days", "90d": "90 days", "12m": "12 months"}


def listed(texts: Iterable[str]) -> tuple[str, ...]:
    """The values of a list with commas, which may be given in several parts."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return tuple(part for part in parts if part)


def first_day(text: str) -> date:
    """The first day that ``text`` means.

    Raises:
        UsageError: it is no date.
    """
    return _days(text)[0]


def last_day(text: str) -> date:
    """The last day that ``text`` means."""
    return _days(text)[1]


def days_of(label: str) -> tuple[date, date]:
    """First and last day of a year, month, ISO week (``2026-W48``) or day, as answers tell them."""
    year, is_week, week = label.partition("-W")
    if not is_week:
        return _days(label)
    monday = date.fromisocalendar(int(year), int(week), 1)
    return monday, monday + timedelta(days=6)


def label_of(day: date, time: str) -> str:
    """The ``day``, or its ``week`` or ``month``, as answers tell it."""
    if time == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return day.isoformat() if time == "day" else f"{day:%Y-%m}"


def month_after(day: date, months: int) -> date:
    """The first day of the month that is ``months`` behind that of ``day``.

    Raises:
        ValueError: it is in no year from 1 to 9999.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def months_before(text: str, today: date) -> date:
    """The first day of the months that ``13mo`` or ``2y`` keep, beside the one of ``today``."""
    match = re.fullmatch(r"(\d{1,4})(mo?|y)", text, re.ASCII)
    count = int(match[1]) * (12 if match[2] == "y" else 1) if match else 0
    try:
        if count < 1:
            raise ValueError
        return month_after(today, -count)
    except ValueError:
        raise UsageError(f"{text!r} is no number of months to keep; write 13mo or 2y") from None


def last(text: str, today: date) -> tuple[date, date]:
    """The days of ``30d``, ``4w``, ``6m``, ``1y``, of which the last is ``today``."""
    match = _LAST.fullmatch(text)
    if not match or int(match[1]) < 1:
        raise UsageError(f"{text!r} is no length of time; write 30d, 4w, 6m or 1y")
    count, unit = int(match[1]), match[2]
    try:
        if unit in _DAYS:
            return today - timedelta(days=count * _DAYS[unit] - 1), today
        month = month_after(today, -count * (12 if unit == "y" else 1))
        day = min(today.day, monthrange(month.year, month.month)[1])
        return month.replace(day=day) + timedelta(days=1), today
    except (OverflowError, ValueError):
        raise UsageError(f"{text!r} is too long a time; write 30d, 4w, 6m or 1y") from None


def _days(text: str) -> tuple[date, date]:
    match = _DATE.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        year, month, day = match.groups()
        if month is None:
            return date(int(year), 1, 1), date(int(year), 12, 31)
        if day is None:
            length = monthrange(int(year), int(month))[1]
            return date(int(year), int(month), 1), date(int(year), int(month), length)
        return (date(int(year), int(month), int(day)),) * 2
    except ValueError:  # calendar's own error is one too
        raise UsageError(f"{text!r} is no date; write 2026, 2026-11 or 2026-11-24") from None
