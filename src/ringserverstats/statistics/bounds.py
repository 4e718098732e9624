"""Where a count of clients is an upper bound, as pruned months do not tell who was in several."""

from dataclasses import dataclass
from datetime import date
from functools import cache

import pyarrow as pa

from ringserverstats.statistics.periods import days_of
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.sums import month_of

#: The column that says so, of each row.
AT_MOST = "at-most"
#: Measures that do not add up over months.
DISTINCT = frozenset({"clients", "connections"})
_MONTHS = "SELECT month, late FROM pruned ORDER BY month"


@dataclass(frozen=True)
class _Pruned:
    months: dict[date, bool]

    def bounds(self, first: date, last: date) -> bool:
        """Whether a count over these days is only a bound: several months, or late logs."""
        touched = [
            late
            for month, late in self.months.items()
            if first <= month_of(month)[1] and month <= last
        ]
        return any(touched) or (bool(touched) and month_of(first) != month_of(last))


def pruned_months(store: Store, first: date | None, last: date | None) -> list[date]:
    """The first days of the pruned months of a period; None is no limit."""
    return sorted(_pruned(store.ask, first or date.min, last or date.max).months)


def _pruned(ask: Ask, begin: date, end: date) -> _Pruned:
    rows = ask(_MONTHS).to_pylist()
    return _Pruned(
        {
            row["month"]: row["late"]
            for row in rows
            if begin <= month_of(row["month"])[1] and row["month"] <= end
        }
    )


def with_bounds(
    ask: Ask, answer: pa.Table, times: list[str], first: date | None, last: date | None
) -> pa.Table:
    """``answer`` with the column `AT_MOST`, where any pruned month is in its period.

    Args:
        times: those of its columns that are times.
        first: first day of the period, ``last`` its last one; None is no limit.
    """
    begin, end = first or date.min, last or date.max
    pruned = _pruned(ask, begin, end)
    if not pruned.months:
        return answer

    @cache
    def bounds(labels: tuple[str, ...]) -> bool:
        lows, highs = zip((begin, end), *map(days_of, labels), strict=True)
        return pruned.bounds(max(lows), min(highs))

    columns = [answer[name].to_pylist() for name in times]
    told = list(map(bounds, zip(*columns, strict=True))) if times else [bounds(())] * len(answer)
    return answer.append_column(AT_MOST, pa.array(told, pa.bool_()))
