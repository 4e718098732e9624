"""Which rollups are built, so that a query reads their rows alone where nothing else is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from ringserverstats.store.base import Ask
from ringserverstats.store.rollups import BY_NAME, BY_STREAM, MONTH, month_of

_ONE_DAY = timedelta(days=1)
_MOST_RUNS = 8  # of days that are read from different tables
# Days of which not all servers have rows in a rollup, and whether one of them has.
_OPEN_DAYS = """
SELECT day, bool_or({has_rows}) AS is_partly FROM server_day
 GROUP BY day HAVING NOT bool_and({has_rows}) ORDER BY day
"""
_HAS_ROWS, _HAS_STREAMS = "changed = built", "changed = built AND has_streams"
_OPEN_MONTHS = f"SELECT DISTINCT {MONTH} AS month FROM open_day ORDER BY month"


@dataclass(frozen=True)
class BuiltRollups:
    """The state of the rollups of a store.

    Args:
        open_months: months that are not built for all servers, in order.
        stale: days without rollups for some servers, and whether others have them, by day.
        unlisted: the same of `BY_STREAM`.
    """

    open_months: tuple[date, ...]
    stale: dict[date, bool]
    unlisted: dict[date, bool]

    def tables(
        self, table: str, first: date | None, last: date | None
    ) -> list[tuple[str, date | None, date | None]]:
        """Return the tables that have the rows of a period, each with its first and last day.

        Args:
            table: the view of a rollup by day.
            first: the first day; None is no limit.
            last: the last day; None is no limit.
        """
        rollup = BY_NAME[table]
        days = self.unlisted if rollup is BY_STREAM else self.stale
        runs = list(_runs(days, first or date.min, last or date.max))
        if len(runs) > _MOST_RUNS:
            runs = [(runs[0][0], runs[-1][1], True)]
        tables: list[tuple[str, date | None, date | None]] = []
        begin = first
        for run_first, run_last, is_partly in runs:
            if run_first != begin:
                tables.append((rollup.built, begin, run_first - _ONE_DAY))
            tables.append((table if is_partly else rollup.source, run_first, run_last))
            begin = run_last + _ONE_DAY
        if not runs or last is None or runs[-1][1] < last:
            tables.append((rollup.built, begin, last))
        return tables

    def months(
        self, table: str, first: date | None, last: date | None
    ) -> Iterator[tuple[str | None, date | None, date | None]]:
        """Yield the table of built months, or None for others, each with first and last day.

        Args:
            table: the view of a rollup by month, or the function of its client profiles.
            first: the first day of a month; None is no limit.
            last: the last day of a month; None is no limit.
        """
        built = f"{table}_built"
        begin = first
        for month, end in map(month_of, self.open_months):
            if (first and end < first) or (last and month > last):
                continue
            if month != begin:
                yield built, begin, month - _ONE_DAY
            yield None, month, end
            begin = end + _ONE_DAY
        if last is None or begin is None or begin <= last:
            yield built, begin, last


def _runs(days: dict[date, bool], first: date, last: date) -> Iterator[tuple[date, date, bool]]:
    """Yield the first and last day of each run of ``days`` of one kind, and the kind."""
    run: tuple[date, date, bool] | None = None
    for day, kind in days.items():
        if not first <= day <= last:
            continue
        if run and run[2] == kind and day - run[1] == _ONE_DAY:
            run = run[0], day, kind
            continue
        if run:
            yield run
        run = day, day, kind
    if run:
        yield run


def load_built(ask: Ask) -> BuiltRollups:
    """Return the state of the rollups of a store."""
    stale, unlisted = (
        {row["day"]: row["is_partly"] for row in ask(_OPEN_DAYS.format(has_rows=test)).to_pylist()}
        for test in (_HAS_ROWS, _HAS_STREAMS)
    )
    return BuiltRollups(tuple(ask(_OPEN_MONTHS)["month"].to_pylist()), stale, unlisted)
