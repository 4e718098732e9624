"""Dates and periods from text: ``2026``, ``2026-Q4``, ``2026-11-24``, ``30d``; and lists."""

import re
from calendar import monthrange
from collections.abc import Collection, Iterable
from datetime import date, timedelta

from ringserverstats.errors import UsageError

_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
_QUARTER = re.compile(r"(\d{4})-Q([1-4])", re.ASCII)
_LAST = re.compile(r"(\d{1,5})(d|w|mo?|q|y)", re.ASCII)
_LENGTHS = "Write 30d (days), 4w (weeks), 6m (months), 4q (quarters) or 1y (years)"
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"m": 1, "q": 3, "y": 12}
#: Periods until today that the pages offer.
PRESETS = {"7d": "7 days", "30d": "30 days", "90d": "90 days", "12m": "12 months"}


def listed(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the values of ``texts``, each a list with commas."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return tuple(part for part in parts if part)


def first_day(text: str) -> date:
    """Return the first day of the year, quarter, month or day ``text``.

    Raises:
        UsageError: it is not a date.
    """
    return _days(text)[0]


def last_day(text: str) -> date:
    """Return the last day of the year, quarter, month or day ``text``; raises as `first_day`."""
    return _days(text)[1]


def days_of(label: str) -> tuple[date, date]:
    """Return the first and last day of a label: a date or an ISO week (``2026-W48``)."""
    year, is_week, week = label.partition("-W")
    if not is_week:
        return _days(label)
    monday = date.fromisocalendar(int(year), int(week), 1)
    return monday, monday + timedelta(days=6)


def label_of(day: date, time: str) -> str:
    """Return the label of ``day``, or of its ``week``, ``month``, ..., as results show it."""
    if time == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02}"
    if time == "quarter":
        return f"{day.year}-Q{(day.month + 2) // 3}"
    return day.isoformat()[: {"year": 4, "month": 7}.get(time)]


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


def last(text: str, today: date, times: Collection[str] = ()) -> tuple[date, date]:
    """Return the first and last day of ``30d``, ``4w``, ``6m``, ``4q`` or ``1y`` up to ``today``.

    Months and quarters are those of the calendar, the running one and those before it. A year is
    twelve months. Weeks and years are those of the calendar if results are grouped by them.

    Args:
        text: the length.
        today: the last day.
        times: the dimensions that results are grouped by.

    Raises:
        UsageError: ``text`` is not a length of time, or too long.
    """
    match = _LAST.fullmatch(text)
    if not match or int(match[1]) < 1:
        raise UsageError(f"{text!r} is not a length of time. {_LENGTHS}")
    count, unit = int(match[1]), match[2][0]
    end = _end_of_unit(today, unit, times)
    try:
        if unit in _DAYS:
            return end - timedelta(days=count * _DAYS[unit] - 1), today
        return month_after(end, 1 - count * _MONTHS[unit]), today
    except (OverflowError, ValueError):
        raise UsageError(f"{text!r} is too long. {_LENGTHS}") from None


def _end_of_unit(day: date, unit: str, times: Collection[str]) -> date:
    """Return a day in the last month, or the last day, of the calendar's week, quarter or year."""
    if unit == "w" and "week" in times:
        return day + timedelta(days=7 - day.isoweekday())
    if unit == "y" and "year" in times:
        return day.replace(month=12)
    return last_day(label_of(day, "quarter")) if unit == "q" else day


def _days(text: str) -> tuple[date, date]:
    quarter = _QUARTER.fullmatch(text)
    if quarter and int(quarter[1]):
        end = 3 * int(quarter[2])
        return first_day(f"{quarter[1]}-{end - 2:02}"), last_day(f"{quarter[1]}-{end:02}")
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
        forms = "2026, 2026-Q4, 2026-11 or 2026-11-24"
        raise UsageError(f"{text!r} is not a date. Write {forms}") from None
