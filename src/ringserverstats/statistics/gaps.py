"""Gaps: which rows of a result lack logs, have rejected entries, or are not over.

A row has the gaps of its own servers, directions and days.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any

import pyarrow as pa

from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.coverage import REJECTS, select_days
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS, DIMENSIONS
from ringserverstats.statistics.largest import sort_key, stands_for_several
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.publish import Result
from ringserverstats.statistics.query import Query
from ringserverstats.store.base import Readable

_TIMES = ("day", "week", "month", "quarter", "year")  # the finest first
_LABELS = {"server": "v.name", "direction": "d.direction::text"}
_GAPS = f"""
SELECT {{labels}} count(*) FILTER (WHERE d.state = 'incomplete') AS incomplete,
       count(*) FILTER (WHERE d.state = 'missing') AS missing, count(*) AS days,
       coalesce(sum({REJECTS}), 0)::bigint AS rejects
  FROM dated d JOIN server v ON v.server = d.server {{group_by}}
"""


@dataclass(frozen=True)
class Gaps:
    """How many of ``days`` (of all servers and directions) are incomplete or missing.

    ``rejects`` is the number of rejected entries of these days.
    """

    incomplete: int = 0
    missing: int = 0
    days: int = 0
    rejects: int = 0

    def __bool__(self) -> bool:
        return self.incomplete + self.missing > 0

    def __add__(self, other: "Gaps") -> "Gaps":
        return Gaps(
            self.incomplete + other.incomplete,
            self.missing + other.missing,
            self.days + other.days,
            self.rejects + other.rejects,
        )

    @property
    def has_logs(self) -> bool:
        """Whether there are logs of one of the days."""
        return self.days > self.missing

    @property
    def has_complete_days(self) -> bool:
        return self.days > self.missing + self.incomplete


#: Gaps by the labels of `gap_dimensions`.
GroupGaps = Mapping[tuple[str, ...], Gaps]


def gap_dimensions(query: Query) -> tuple[str, ...]:
    """Return the dimensions of ``query`` that the gaps of a row depend on."""
    return tuple(name for name in query.dimensions if name in (*COVERAGE_FILTERS, *query.of_day))


def marked_dimension(query: Query) -> str:
    """Return the dimension of the marks on missing logs; empty without one."""
    names = gap_dimensions(query)
    return next((name for name in (*_TIMES, "weekday", *COVERAGE_FILTERS) if name in names), "")


def gaps(store: Readable, query: Query) -> dict[tuple[str, ...], Gaps]:
    """Return the gaps in the period, servers and directions of ``query``, see `GroupGaps`.

    Without such dimensions, the one key is empty.
    """
    names = gap_dimensions(query)
    labels = "".join(f'{_label_sql(name)} AS "{name}", ' for name in names)
    positions = ", ".join(str(number + 1) for number in range(len(names)))
    group_by = f"GROUP BY {positions}" if names else ""
    rows = select_days(store, query, _GAPS.format(labels=labels, group_by=group_by)).to_pylist()
    return {tuple(row.pop(name) for name in names): Gaps(**row) for row in rows}


def _label_sql(name: str) -> str:
    dimension = DIMENSIONS[name]
    return _LABELS.get(name) or dimension.label.format(key=f"({dimension.key_sql(day='d.day')})")


def total_gaps(groups: GroupGaps) -> Gaps:
    """Return the gaps of all groups."""
    return sum(groups.values(), Gaps())


def gaps_of_rows(query: Query, groups: GroupGaps, rows: Sequence[Mapping[str, Any]]) -> list[Gaps]:
    """Return the gaps of each of ``rows``, the rows of a result of ``query``.

    A row that stands for several groups has the gaps of those that have no row.
    """
    names = gap_dimensions(query)

    def label(row: Mapping[str, Any], name: str) -> str | None:
        """Return the label of ``row``, None if it stands for several."""
        return None if stands_for_several(query, name, row[name]) else row[name]

    keys = [tuple(label(row, name) for name in names) for row in rows]
    named = set(keys) if len(names) == len(query.dimensions) else set()

    @cache
    def sums(places: tuple[int, ...]) -> Mapping[tuple[str, ...], Gaps]:
        """Return the gaps of groups without a row, by their labels at ``places``."""
        result: dict[tuple[str, ...], Gaps] = defaultdict(Gaps)
        for labels, gap in groups.items():
            if labels not in named:
                result[tuple(labels[place] for place in places)] += gap
        return result

    def gap_of(labels: tuple[str | None, ...]) -> Gaps:
        exact = {place: label for place, label in enumerate(labels) if label is not None}
        known, groups_of = tuple(exact.values()), groups
        if len(exact) < len(labels):
            groups_of = sums(tuple(exact))
        return groups_of.get(known, Gaps())

    return list(map(gap_of, keys))


def running_time(query: Query, rows: pa.Table, today: date) -> str:
    """Return the label of the day, month, ... of ``rows`` that is not over; empty without one."""
    time = next((name for name in _TIMES if name in query.dimensions), "")
    label = label_of(today, time) if time else ""
    return label if time and label in rows[time].to_pylist() else ""


def with_all_groups(query: Query, result: Result, groups: GroupGaps) -> Result:
    """Return ``result`` with the times, servers and directions without entries.

    If ``query`` has no other dimensions, groups with logs are zero and groups without logs are
    None. Without dimensions, the figures are None if there are no logs.

    Args:
        query: the query of the result.
        result: a result; rows that are suppressed stay out.
        groups: the gaps of its groups, by `gaps`.
    """
    names = query.dimensions
    if result.suppressed or names != gap_dimensions(query):
        return result
    rows = result.rows.to_pylist()
    if not names:
        is_empty = not any(rows[0][name] for name in query.shown) if rows else False
        rows = [_row(query, groups[()])] if is_empty else rows
    elif rows and query.top is None:
        known = {tuple(row[name] for name in names) for row in rows}
        rows += [
            dict(zip(names, labels, strict=True)) | _row(query, gap)
            for labels, gap in groups.items()
            if labels not in known
        ]
        rows.sort(key=lambda row: sort_key(query, row))
    bounds = {AT_MOST: False} if AT_MOST in result.rows.column_names else {}
    table = pa.Table.from_pylist([{**bounds, **row} for row in rows], result.rows.schema)
    return replace(result, rows=table)


def _row(query: Query, gap: Gaps) -> dict[str, Any]:
    """Return the figures of a group without entries; means need a complete day."""
    return {
        name: 0 if (gap.has_complete_days if name.endswith("-per-day") else gap.has_logs) else None
        for name in query.shown
    }
