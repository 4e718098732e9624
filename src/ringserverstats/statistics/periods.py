"""Dates and periods from text: ``2026``, ``2026-11``, ``2026-11-24``, ``30d``; and lists."""

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import date, timedelta

from ringserverstats.errors import UsageError

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_LAST = re.compile(r"(\d{1,5})(d|w|mo?|y)", re.ASCII)
_DAYS = {"d": 1, "w": 7}
#: Periods until today that the pages offer.
PRESETS = {"7d": "7 days", "30d": "30 days", "90d": "90 days", "12m": "12 months"}


def listed(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the values of ``texts``, each a list with commas."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return tuple(part for part in parts if part)


def first_day(text: str) -> date:
    """Return the first day of the year, month or day ``text``.

    Raises:
        UsageError: it is not a date.
    """
    return _days(text)[0]


def last_day(text: str) -> date:
    """Return the last day of the year, month or day ``text``; raises as `first_day`."""
    return _days(text)[1]


def days_of(label: str) -> tuple[date, date]:
    """Return the first and last day of a label: a year, month, ISO week (``2026-W48``) or day."""
    year, is_week, week = label.partition("-W")
    if not is_week:
        return _days(label)
    monday = date.fromisocalendar(int(year), int(week), 1)
    return monday, monday + timedelta(days=6)


def label_of(day: date, time: str) -> str:
    """Return the label of ``day``, or of its ``week`` or ``month``, as results show it."""
    if time == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    return day.isoformat() if time == "day" else f"{day:%Y-%m}"


def month_after(day: date, months: int) -> date:
    """Return the first day of the month that is ``months`` after that of ``day``.

    Raises:
        ValueError: it is not in a year from 1 to 9999.
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def months_before(text: str, today: date) -> date:
    """Return the first day of the ``13mo`` or ``2y`` before the month of ``today``.

    Raises:
        UsageError: ``text`` is not a number of months or years.
    """
    match = re.fullmatch(r"(\d{1,4})(mo?|y)", text, re.ASCII)
    count = int(match[1]) * (12 if match[2] == "y" else 1) if match else 0
    try:
        if count < 1:
            raise ValueError
        return month_after(today, -count)
    except ValueError:
        raise UsageError(f"{text!r} is not a number of months to keep. Write 13mo or 2y") from None


def last(text: str, today: date) -> tuple[date, date]:
    """Return the first and last day of ``30d``, ``4w``, ``6m`` or ``1y`` up to ``today``.

    Raises:
        UsageError: ``text`` is not a length of time, or too long.
    """
    match = _LAST.fullmatch(text)
    if not match or int(match[1]) < 1:
        raise UsageError(f"{text!r} is not a length of time. Write 30d, 4w, 6m or 1y")
    count, unit = int(match[1]), match[2]
    try:
        if unit in _DAYS:
            return today - timedelta(days=count * _DAYS[unit] - 1), today
        month = month_after(today, -count * (12 if unit == "y" else 1))
        day = min(today.day, monthrange(month.year, month.month)[1])
        return month.replace(day=day) + timedelta(days=1), today
    except (OverflowError, ValueError):
        raise UsageError(f"{text!r} is too long. Write 30d, 4w, 6m or 1y") from None


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
    except ValueError:  # also raised by calendar
        raise UsageError(f"{text!r} is not a date. Write 2026, 2026-11 or 2026-11-24") from None
