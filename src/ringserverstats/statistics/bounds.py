"""Upper bounds: pruned months do not record which clients were in several of them."""

from collections.abc import Callable
from datetime import date
from functools import cache

import pyarrow as pa

from ringserverstats.statistics.periods import days_of
from ringserverstats.store.base import Ask
from ringserverstats.store.rollups import month_of

#: The column that marks rows with upper bounds.
AT_MOST = "at-most"
#: The first and last day of a period; None is no limit.
Period = tuple[date | None, date | None]
DataDays = Callable[[date, date], Period]
#: Measures that do not add up over months.
DISTINCT = frozenset({"clients", "connections"})
_MONTHS = "SELECT month, has_late_logs FROM pruned_month ORDER BY month"


def pruned_months(ask: Ask, first: date | None, last: date | None) -> dict[date, bool]:
    """Return the pruned months of a period.

    Returns:
        By the first day of each month, whether logs of it were imported after it was pruned.
    """
    months = {row["month"]: row["has_late_logs"] for row in ask(_MONTHS).to_pylist()}
    return _within(months, first or date.min, last or date.max)


def _within(months: dict[date, bool], first: date, last: date) -> dict[date, bool]:
    return {
        month: has_late_logs
        for month, has_late_logs in months.items()
        if first <= month_of(month)[1] and month <= last
    }


def with_bounds(
    ask: Ask, result: pa.Table, times: tuple[str, ...], period: Period, data_days: DataDays
) -> pa.Table:
    """Return ``result`` with the column `AT_MOST` if its period has pruned months.

    Args:
        ask: reads the store.
        result: the result of a query.
        times: its columns that are times.
        period: the first and last day of the query.
        data_days: returns the first and last day with data that match the filters of the query.
    """
    pruned = pruned_months(ask, *period)
    if not pruned:
        return result

    def has_several_months(begin: date, end: date) -> bool:
        """Return True if there are data of several months."""
        if month_of(begin) == month_of(end):
            return False
        first, last = data_days(begin, end)
        return bool(first and last and month_of(first) != month_of(last))

    @cache
    def is_bound(labels: tuple[str, ...]) -> bool:
        """Return True if a count is over several months, or over one with late logs."""
        limits = (period[0] or date.min, period[1] or date.max)
        begins, ends = zip(limits, *map(days_of, labels), strict=True)
        begin, end = max(begins), min(ends)
        months = _within(pruned, begin, end).values()
        return any(months) or (bool(months) and has_several_months(begin, end))

    if times:
        columns = [result[name].to_pylist() for name in times]
        bounds = list(map(is_bound, zip(*columns, strict=True)))
    else:
        bounds = [is_bound(())] * len(result)
    return result.append_column(AT_MOST, pa.array(bounds, pa.bool_()))
