"""How a query is answered: which tables are read, for which days, and what is aggregated first."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ringserverstats.statistics.built import BuiltRollups
from ringserverstats.statistics.dimensions import DIMENSIONS, JOINS, MEASURES, NETWORK_DIMENSIONS
from ringserverstats.statistics.network_names import NetworkNames
from ringserverstats.statistics.query import Query
from ringserverstats.store.rollups import BY_NAME, month_of

#: Columns of a log entry that every table has; a table of totals lacks the last one.
ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
#: Columns that rollups add up.
SUMMED = ("bytes", "packets", "transfers")
_STATION_COLUMNS = NETWORK_DIMENSIONS | {"station"}
_ONE_DAY = timedelta(days=1)
_LATEST = date(9998, 12, 31)  # no later month has a next one


@dataclass(frozen=True)
class Source:
    """A rollup or function that rows are read from.

    Args:
        daily: the table by day.
        monthly: the table by month, with the same columns, if any.
        columns: columns that it can be grouped by, besides the day and those of entries.
        values: columns that are added up or counted.
        has_profiles: it has the column client_profile.
        is_function: it takes the first and last day of a period, and has no column day.
    """

    daily: str
    monthly: str | None = None
    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = SUMMED
    has_profiles: bool = True
    is_function: bool = False

    @property
    def has_codes(self) -> bool:
        """Whether it has the codes of streams itself."""
        return "network" in self.columns


#: Rollups by the finest of what a query needs.
SOURCES = {
    "entry": Source("connection_by_day"),
    "network": Source("network_by_day", "station_by_month", ("network",)),
    "station": Source("station_by_day", "station_by_month", ("network", "station")),
    "stream": Source("by_day", "by_month", ("stream",)),
    "hour": Source("hour_by_day", None, ("hour",)),
    "stream and hour": Source(
        "(SELECT *, 1 AS transfers FROM transfer) t", None, ("hour", "stream")
    ),
}
#: The rollup over all clients.
TOTALS = Source("station_total_by_day", None, ("network", "station"), has_profiles=False)
#: Which client profiles received a station or stream in a period.
_PROFILES = {
    "station": Source(
        "station_profiles_by_day",
        "station_profiles_by_month",
        ("network", "station"),
        values=(),
        is_function=True,
    ),
    "stream": Source(
        "stream_profiles_by_day",
        "stream_profiles_by_month",
        ("stream",),
        values=(),
        is_function=True,
    ),
}
#: Tables that count entries and connections.
_CONNECTIONS = Source("connection_by_day", values=("connection", "entries"))
_TRANSFERS = Source("transfer", None, ("hour", "stream"), values=("entry", "connection"))


@dataclass(frozen=True)
class Piece:
    """A range of days that is read from one table; None is no limit.

    ``resolve_day`` is one of them, by which network codes are resolved.
    """

    table: str
    is_monthly: bool
    first: date | None
    last: date | None
    resolve_day: date


@dataclass(frozen=True)
class PreAggregation:
    """What rows are aggregated by before names are joined, so that fewer rows are joined.

    Args:
        time: the dimension by which days are grouped; ``day``: by day; empty: they are not kept.
        columns: columns of the source that are kept.
    """

    time: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A subquery with one row for each group.

    Args:
        kind: which SQL of `Measure.sql` it takes: ``amounts`` (rollups), ``profiles`` (who received
            something, but not how much), ``connections`` or ``transfers`` (entries and connections;
            by stream from single transfers only), ``means`` (amounts of covered days).
        measures: names of measures.
        source: the tables that are read.
        pieces: the days of the period, each from one table.
        joins: names of `JOINS` that keys and measures need.
        amounts: columns of the source that measures add up.
        pre_aggregation: the first step, if there are two.
    """

    kind: str
    measures: tuple[str, ...]
    source: Source
    pieces: tuple[Piece, ...]
    joins: tuple[str, ...]
    amounts: tuple[str, ...]
    pre_aggregation: PreAggregation | None


@dataclass(frozen=True)
class Plan:
    """How ``query`` is answered.

    Args:
        query: the query.
        network_names: what codes resolve to.
        resolves_networks: keys depend on what codes resolve to.
        parts: the subqueries; their rows are joined by the keys.
        ranking: the plan of `Query.ranking`, if groups are ranked.
    """

    query: Query
    network_names: NetworkNames
    resolves_networks: bool
    parts: tuple[Part, ...]
    ranking: "Plan | None" = None


def plan_query(
    query: Query,
    network_names: NetworkNames | None = None,
    built: BuiltRollups | None = None,
) -> Plan:
    """Return the plan of ``query``.

    Args:
        query: the query.
        network_names: what codes resolve to; None: to themselves.
        built: which rollups are built; None: unknown, so that views of all days are read.
    """
    names = network_names or NetworkNames()
    resolves = _resolves_networks(query, names)
    parts = tuple(
        _part(query, names, built, kind, measures)
        for kind, measures in measures_by_kind(query).items()
    )
    ranking = plan_query(query.ranking(), names, built) if query.ranked else None
    return Plan(query, names, resolves, parts, ranking)


def measures_by_kind(query: Query) -> dict[str, tuple[str, ...]]:
    """Return the measures of ``query`` by the kind of part that has them."""
    entry_kind = "connections" if _detail(query) == "entry" else "transfers"
    counts_apart = _counts_clients_apart(query)
    kinds = {
        kind: tuple(
            name
            for name in query.shown
            if kind in MEASURES[name].sql and not (name == "clients" and counts_apart)
        )
        for kind in ("amounts", entry_kind, "means")
    }
    if counts_apart:
        kinds["profiles"] = ("clients",)
    return {kind: names for kind, names in kinds.items() if names}


def needs_transfers(query: Query) -> bool:
    """Return True if single transfers are read, which may be deleted after a while."""
    return _detail(query) == "stream and hour" or "transfers" in measures_by_kind(query)


def _part(
    query: Query,
    names: NetworkNames,
    built: BuiltRollups | None,
    kind: str,
    measures: tuple[str, ...],
) -> Part:
    source = _source(query, kind)
    joins = _joins(query, names, source, measures)
    # Rows of streams are many, and clients are counted faster when there are fewer of them.
    is_large = kind == "amounts" and source == SOURCES["stream"]
    is_counted = "clients" in measures and source != SOURCES["entry"]
    first_step = None
    if is_large or is_counted:
        resolves, needs_profiles = _resolves_networks(query, names), "client_profile" in joins
        first_step = _pre_aggregation(query, source, resolves, needs_profiles)
    amounts = {MEASURES[name].amount for name in measures}
    return Part(
        kind,
        measures,
        source,
        tuple(_pieces(query, names, built, source)),
        tuple(name for name in JOINS if name in joins),
        tuple(name for name in SUMMED if name in amounts),
        first_step,
    )


def _joins(
    query: Query, names: NetworkNames, source: Source, measures: tuple[str, ...]
) -> set[str]:
    joins = {join for name in query.dimensions for join in DIMENSIONS[name].joins}
    joins |= {"client_profile"} if "clients" in measures else set()
    joins |= {"stream"} if _resolves_networks(query, names) else set()
    joins -= {"stream"} if source.has_codes else set()
    if names.spans and NETWORK_DIMENSIONS & set(query.dimensions):
        joins.add("network_period")
    return joins


def _detail(query: Query) -> str:
    """Return the finest of what ``query`` needs: a key of `SOURCES`."""
    columns = query.stream_columns
    if not columns:
        return "hour" if query.has_hours else "entry"
    if query.has_hours:
        return "stream and hour"
    if columns <= NETWORK_DIMENSIONS:
        return "network"
    return "station" if columns <= _STATION_COLUMNS else "stream"


def _counts_clients_apart(query: Query) -> bool:
    """Return True if clients are counted in a part of their own, over the whole period."""
    uses_day = any(DIMENSIONS[name].uses_day for name in query.dimensions)
    is_possible = _detail(query) in _PROFILES and not query.has_client_columns
    return "clients" in query.shown and is_possible and not uses_day


def _source(query: Query, kind: str) -> Source:
    detail = _detail(query)
    if kind == "profiles":
        return _PROFILES[detail]
    if kind == "connections":
        return _CONNECTIONS
    if kind == "transfers":
        return _TRANSFERS
    counts_here = "clients" in query.shown and not _counts_clients_apart(query)
    is_total = detail in ("network", "station") and not query.has_client_columns
    rollup = TOTALS if is_total and not counts_here else SOURCES[detail]
    return replace(rollup, monthly=None) if kind == "means" else rollup


def _resolves_networks(query: Query, names: NetworkNames) -> bool:
    """Return True if keys depend on what codes resolve to."""
    return bool(NETWORK_DIMENSIONS & set(query.dimensions)) and bool(names.spans)


def _pre_aggregation(
    query: Query, source: Source, resolves: bool, needs_profiles: bool
) -> PreAggregation | None:
    """Return the first step; None if it would not reduce the number of rows."""
    time = _time_of_first_step(query)
    has_streams = any(DIMENSIONS[name].of_stream for name in query.dimensions)
    needed = set(query.dimensions)
    needed |= {"client_profile"} if needs_profiles else set()
    needed |= {"network"} if resolves else set()
    needed |= {"stream"} if has_streams else set()
    columns = tuple(name for name in source.columns if name in needed)
    if time == "day" and columns == source.columns:
        return None
    return PreAggregation(time, (*(name for name in ENTRY_COLUMNS if name in needed), *columns))


def _time_of_first_step(query: Query) -> str:
    uses_day = [name for name in query.dimensions if DIMENSIONS[name].uses_day]
    if len(uses_day) == 1 and DIMENSIONS[uses_day[0]].is_time:
        return uses_day[0]
    return "day" if uses_day else ""


def _pieces(
    query: Query, names: NetworkNames, built: BuiltRollups | None, source: Source
) -> Iterator[Piece]:
    """Yield the pieces of the period: by month for whole months, if that is fine enough."""
    monthly = source.monthly
    if any(DIMENSIONS[name].needs_days for name in query.dimensions):
        monthly = None
    for segment in names.segments(query.first, query.last):
        for months, first, last in _split(monthly, segment.first, segment.last, built):
            tables = [(months or source.daily, first, last)]
            if not months and built and source.daily in BY_NAME:
                tables = built.tables(source.daily, first, last)
            for table, start, end in tables:
                yield Piece(table, months is not None, start, end, segment.day)


def _split(
    monthly: str | None, first: date | None, last: date | None, built: BuiltRollups | None
) -> Iterator[tuple[str | None, date | None, date | None]]:
    """Yield whole months with their table, and the days before and after them with None."""
    months = _whole_months(first, last) if monthly else None
    if months is None or monthly is None:
        yield None, first, last
        return
    start, end = months
    if start and start != first:
        yield None, first, start - _ONE_DAY
    if built:
        yield from built.months(monthly, start, end)
    else:
        yield monthly, start, end
    if end and end != last:
        yield None, end + _ONE_DAY, last


def _whole_months(first: date | None, last: date | None) -> tuple[date | None, date | None] | None:
    """Return the first and last day of the whole months in a period; None if it has none."""
    if max(first or _LATEST, last or _LATEST) > _LATEST:
        return None
    start, end = first and _month_from(first), last and _month_until(last)
    return None if start and end and start > end else (start, end)


def _month_from(day: date) -> date:
    """Return the first day of the first whole month from ``day`` on."""
    return day if day.day == 1 else month_of(day)[1] + _ONE_DAY


def _month_until(day: date) -> date:
    """Return the last day of the last whole month up to ``day``."""
    first, last = month_of(day)
    return day if day == last else first - _ONE_DAY
