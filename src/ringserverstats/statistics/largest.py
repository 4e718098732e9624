"""The largest groups of a public result by time, and all other groups together."""

from collections.abc import Mapping, Sequence
from typing import Any

from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.dimensions import ADDITIVE, OTHER, WEEKDAYS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.suppression import is_combined

Row = dict[str, Any]


def with_largest(query: Query, rows: Sequence[Row], ranking: Sequence[Row]) -> list[Row]:
    """Return ``rows``, in each time one row for all but the largest groups.

    Only rows that are shown are added up, so the sums reveal nothing. Counts of distinct clients do
    not add up, and become None. Combined rows of few clients stay.

    Args:
        query: a query with `Query.ranked` dimensions.
        rows: its public result.
        ranking: the public result of `Query.ranking`.
    """
    groups = [_group(query, row) for row in ranking]
    named = [group for group in groups if not _is_combined(group) and set(group) != {OTHER}]
    ranks = {group: rank for rank, group in enumerate(named[: query.top])}
    result: dict[tuple[str | None, ...], Row] = {}
    distinct = [name for name in query.shown if name not in ADDITIVE]
    other = dict.fromkeys(query.ranked, OTHER) | dict.fromkeys(distinct)
    for row in rows:
        group = _group(query, row)
        shown = row if group in ranks or _is_combined(group) else row | other
        key = tuple(shown[name] for name in query.dimensions)
        result[key] = _added(query, result[key], shown) if key in result else shown
    return sorted(result.values(), key=lambda row: sort_key(query, row, ranks))


def _group(query: Query, row: Row) -> tuple[str | None, ...]:
    return tuple(row[name] for name in query.ranked)


def _is_combined(group: Sequence[str | None]) -> bool:
    return any(map(is_combined, group))


def _added(query: Query, row: Row, other: Row) -> Row:
    sums = {name: _sum(row[name], other[name]) for name in query.shown}
    bound = {AT_MOST: row[AT_MOST] or other[AT_MOST]} if AT_MOST in row else {}
    return {**row, **sums, **bound}


def _sum(count: int | None, other: int | None) -> int | None:
    return None if count is None or other is None else count + other


def stands_for_several(query: Query, dimension: str, label: str | None) -> bool:
    """Return True if ``label`` of a result of ``query`` stands for several values."""
    return is_combined(label) or (dimension in query.ranked and label == OTHER)


def sort_key(
    query: Query, row: Row, ranks: Mapping[tuple[str | None, ...], int] | None = None
) -> tuple[Any, ...]:
    """Return the sort key of ``row``, in the order of `sql.select_sql`; combined rows are last.

    Args:
        query: the query of the result.
        row: a row of it.
        ranks: the rank of each of the largest groups, if they are ranked.
    """
    ranks = ranks or {}
    group, first = _group(query, row), query.sort_column
    size = row[first] if first in query.shown else 0
    rank = ranks.get(group, len(ranks))
    labels = {
        name: (rank,) if name in query.ranked else _of_time(row[name]) for name in query.dimensions
    }
    by_label = [_of_time(row[first])] if first in labels else []
    return _is_combined(group), size is None, -(size or 0), *by_label, *labels.values()


def _of_time(label: str | None) -> tuple[bool, int, str]:
    return label is None, WEEKDAYS.index(label) if label in WEEKDAYS else 0, label or ""
