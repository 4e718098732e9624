"""Where a count of clients is an upper bound, as pruned months do not tell who was in several."""

from datetime import date
from functools import cache

import pyarrow as pa

from ringserverstats.statistics.periods import days_of
from ringserverstats.store.base import Ask
from ringserverstats.store.rollups import month_of

#: The column that says so, of each row.
AT_MOST = "at-most"
#: Measures that do not add up over months.
DISTINCT = frozenset({"clients", "connections"})
_MONTHS = "SELECT month, has_late_logs FROM pruned_month ORDER BY month"


def pruned_months(ask: Ask, first: date | None, last: date | None) -> dict[date, bool]:
    """The pruned months of a period by their first days, and whether logs of them came later."""
    begin, end = first or date.min, last or date.max
    return _within(
        {row["month"]: row["has_late_logs"] for row in ask(_MONTHS).to_pylist()}, begin, end
    )


def _within(months: dict[date, bool], begin: date, end: date) -> dict[date, bool]:
    return {
        month: late
        for month, late in months.items()
        if begin <= month_of(month)[1] and month <= end
    }


def with_bounds(
    ask: Ask, answer: pa.Table, times: list[str], first: date | None, last: date | None
) -> pa.Table:
    """``answer`` with the column `AT_MOST`, where any pruned month is in its period.

    Args:
        times: those of its columns that are times.
        first: first day of the period, ``last`` its last one; None is no limit.
    """
    pruned = pruned_months(ask, first, last)
    if not pruned:
        return answer

    @cache
    def is_bound(labels: tuple[str, ...]) -> bool:
        """Whether a count is only a bound: over several months, or one with late logs."""
        whole = (first or date.min, last or date.max)
        lows, highs = zip(whole, *map(days_of, labels), strict=True)
        begin, end = max(lows), min(highs)
        touched = _within(pruned, begin, end).values()
        return any(touched) or (bool(touched) and month_of(begin) != month_of(end))

    columns = [answer[name].to_pylist() for name in times]
    told = (
        list(map(is_bound, zip(*columns, strict=True))) if times else [is_bound(())] * len(answer)
    )
    return answer.append_column(AT_MOST, pa.array(told, pa.bool_()))
