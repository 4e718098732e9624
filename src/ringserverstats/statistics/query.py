"""`Query`: which measures, by which dimensions, of which period and filters."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches

from ringserverstats.errors import UsageError
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES
from ringserverstats.statistics.wildcards import matches_any

# Larger filters take seconds to match, wherever they come from.
_MOST_VALUES, _LONGEST_VALUE, _MOST_STARS = 500, 200, 10
_DEFAULT_MEASURES = tuple(name for name, measure in MEASURES.items() if "means" not in measure.sql)
#: Measures of streams that rollups have.
_ROLLUP_MEASURES = ("bytes", "packets", "transfers", "clients")


@dataclass(frozen=True)
class Query:
    """What a user asks of a store.

    Args:
        dimensions: names of dimensions, in the order of the result's columns.
        first: first day, and ``last`` last day, both inclusive; None is no limit.
        filters: for each filter the values to keep, with the wildcards ``*`` and ``?``.
        measures: names of measures; empty: all that rollups have.
        sort: a dimension or measure; empty: times, weekday and hour, or else the first measure.
        top: with dimensions of time and others, the number of largest groups, see `Query.ranking`;
            else the maximum number of rows; None: all.
        limit: the maximum number of rows, whatever the dimensions; None: all.

    Raises:
        UsageError: a name is unknown, a filter is too large, or the parts contradict each other.
    """

    dimensions: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    measures: tuple[str, ...] = ()
    sort: str = ""
    top: int | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_names("dimension", self.dimensions, DIMENSIONS)
        _check_names("filter", tuple(self.filters), FILTERS)
        _check_names("measure", self.measures, MEASURES)
        for name, values in self.filters.items():
            _check_values(name, values)
        if self.first and self.last and self.last < self.first:
            raise UsageError(f"the period ends ({self.last}) before it starts ({self.first})")
        columns = (*self.dimensions, *self.shown)
        if self.sort and self.sort not in columns:
            raise UsageError(
                f"cannot sort by {self.sort!r}. Columns of the result: {', '.join(columns)}"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures of the result."""
        if self.measures:
            return self.measures
        return _ROLLUP_MEASURES if self.has_stream_columns or self.has_hours else _DEFAULT_MEASURES

    @property
    def stream_columns(self) -> frozenset[str]:
        """The dimensions and filters that belong to streams."""
        names = [name for name in self.dimensions if DIMENSIONS[name].of_stream]
        return frozenset([*names, *(name for name in self.filters if FILTERS[name].of_stream)])

    @property
    def has_stream_columns(self) -> bool:
        """Whether a dimension or filter belongs to streams."""
        return bool(self.stream_columns)

    @property
    def has_client_columns(self) -> bool:
        """Whether a dimension or filter belongs to clients."""
        return any("client_profile" in DIMENSIONS[name].joins for name in self.dimensions) or any(
            FILTERS[name].of_client for name in self.filters
        )

    @property
    def has_hours(self) -> bool:
        """Whether a dimension is the hour."""
        return any(DIMENSIONS[name].needs_hours for name in self.dimensions)

    @property
    def times(self) -> tuple[str, ...]:
        """The dimensions that are calendar times."""
        return tuple(name for name in self.dimensions if DIMENSIONS[name].is_time)

    @property
    def of_day(self) -> tuple[str, ...]:
        """The dimensions that depend on the day alone."""
        return tuple(name for name in self.dimensions if DIMENSIONS[name].of_day)

    @property
    def sort_column(self) -> str:
        """The column that rows are sorted by first; empty: the dimensions, in their order."""
        has_ordered = any(DIMENSIONS[name].is_ordered for name in self.dimensions)
        return self.sort or ("" if has_ordered else self.shown[0])

    def ungrouped(self) -> "Query":
        """Return the query of the total: the same measures without dimensions."""
        return replace(self, dimensions=(), measures=self.shown, sort="", top=None)

    @property
    def ranked(self) -> tuple[str, ...]:
        """The dimensions by which groups are ranked; empty if all groups are shown."""
        groups = tuple(name for name in self.dimensions if not DIMENSIONS[name].is_ordered)
        has_both = 0 < len(groups) < len(self.dimensions)
        return groups if has_both and self.top is not None else ()

    @property
    def rank_measure(self) -> str:
        """The measure by which groups are ranked: that of ``sort``, or the first one."""
        return self.sort if self.sort in self.shown else self.shown[0]

    def ranking(self) -> "Query":
        """Return the query of the largest groups over the whole period, the largest first."""
        measure = self.rank_measure
        return replace(self, dimensions=self.ranked, measures=(measure,), sort=measure)

    def of_entries(self) -> "Query":
        """Return the query of the same period with only the filters of entries, not of streams."""
        return self.only(*(name for name in self.filters if not FILTERS[name].of_stream))

    def only(self, *filters: str) -> "Query":
        """Return the query of the same period with only these of its ``filters``."""
        values = {name: self.filters[name] for name in filters if name in self.filters}
        return Query(first=self.first, last=self.last, filters=values)


def _check_names(kind: str, names: tuple[str, ...], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(known)}")
    if len(set(names)) < len(names):
        raise UsageError(f"a {kind} is named twice. Name it once")


def _check_values(name: str, values: tuple[str, ...]) -> None:
    if len(values) > _MOST_VALUES or any(
        len(value) > _LONGEST_VALUE or value.count("*") > _MOST_STARS for value in values
    ):
        raise UsageError(
            f"filter {name} is too large. The limits are {_MOST_VALUES} values of "
            f"{_LONGEST_VALUE} characters and {_MOST_STARS} wildcards * each"
        )
    known = FILTERS[name].values
    for value in values if known else ():
        if not any(matches_any(word, (value,)) for word in known):
            raise UsageError(f"unknown {name} {value!r}. Known: {', '.join(known)}")
