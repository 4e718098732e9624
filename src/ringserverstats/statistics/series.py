"""The times of a result: which one is running, and which have no logs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pyarrow as pa

from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.coverage import Gaps, finest_time
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.publish import Result
from ringserverstats.statistics.query import Query


def running_time(query: Query, rows: pa.Table, today: date) -> str:
    """Return the label of the day, month, ... of ``rows`` that is not over; empty without one."""
    time = finest_time(query)
    label = label_of(today, time) if time else ""
    return label if time and label in rows[time].to_pylist() else ""


def with_all_times(query: Query, result: Result, gaps: Mapping[str | None, Gaps]) -> Result:
    """Return ``result`` with the times without entries.

    By a time alone, other times with logs are zero and times without logs are None. Without
    dimensions, the figures are None if there are no logs.

    Args:
        query: the query of the result.
        result: a result; rows that are suppressed stay out.
        gaps: the gaps of its times, or of the whole period, by `coverage.gaps`.
    """
    names = query.dimensions
    if result.suppressed or len(names) > 1 or (names and names[0] != finest_time(query)):
        return result
    rows = result.rows.to_pylist()
    if not names:
        is_empty = not any(rows[0][name] for name in query.shown) if rows else False
        rows = [_row(query, gaps.get(None, Gaps()))] if is_empty else rows
    elif rows and query.top is None:
        times = {row[names[0]] for row in rows}
        rows += [{names[0]: t, **_row(query, gap)} for t, gap in gaps.items() if t not in times]
        if query.sort in ("", *names):
            rows.sort(key=lambda row: row[names[0]])
    bounds = {AT_MOST: False} if AT_MOST in result.rows.column_names else {}
    table = pa.Table.from_pylist([{**bounds, **row} for row in rows], result.rows.schema)
    return replace(result, rows=table)


def _row(query: Query, gap: Gaps) -> dict[str, Any]:
    """Return the figures of a time without entries; means need a complete day."""
    has_logs, is_covered = gap.days > gap.missing, gap.days > gap.missing + gap.incomplete
    return {
        name: 0 if (is_covered if name.endswith("-per-day") else has_logs) else None
        for name in query.shown
    }
