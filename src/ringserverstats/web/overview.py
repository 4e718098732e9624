"""The data of a page: totals, series, tables, map and coverage of one view."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from markupsafe import Markup

from ringserverstats.enrich.geoip import centre_of
from ringserverstats.enrich.labels import UNKNOWN
from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.charts import MapPoint, Series, world
from ringserverstats.statistics.client_list import profile_values
from ringserverstats.statistics.coverage import coverage, gap_ranges
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS, OTHER, WEEKDAYS
from ringserverstats.statistics.footnotes import (
    class_footnotes,
    location_footnotes,
    network_footnotes,
    packet_footnotes,
    pruned_footnotes,
    range_text,
    rejected_text,
)
from ringserverstats.statistics.packets import packetless_days
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.plan import needs_transfers
from ringserverstats.statistics.publish import QueryContext, Result
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.sizes import human_bytes, human_count
from ringserverstats.statistics.suppression import is_combined
from ringserverstats.web.page_tables import (
    PAGE_ROWS,
    TABLES,
    TableData,
    page_tables_for,
    table_data,
)
from ringserverstats.web.view import View, today

_MAX_SERIES = 7
_MAX_MAP_POINTS = 300
_MAX_RANGES = 10
_FEW_PACKETS = "packets are a lower bound"
_MAX_STRIP_DAYS = 92  # days of a coverage strip
_MAX_UNCOVERED = 0.05  # share of days without logs up to which periods are compared
_NO_VALUE = "–"
_UNCOVERED = {"incomplete", "missing"}
_FEW_CLIENTS = "few clients"
_NO_LOG = "no log"
_INCOMPLETE = "incomplete logs"
_RUNNING = "not over"
_MEANS = ("bytes-per-day", "packets-per-day")
_NO_HOURS = (
    "Hours are known only for servers with hourly logs (TransferLogInterval 1), and no data of this"
    " period are of such logs"
)
_NO_COMPLETE_DAYS = "Means by hour need complete days with hourly logs. This period has none"
_FILTERS_OF_FEEDS = ("server", "network", "station")  # that do not choose among clients


@dataclass(frozen=True)
class Kpi:
    """A total; its change since the previous period, and its sparkline, are empty if unknown."""

    name: str
    text: str
    change: str = ""
    sparkline: str = ""


@dataclass(frozen=True)
class Overview:
    """The data of a page; attributes are empty if unknown, or hidden from the role.

    Args:
        unlocated_bytes: bytes of clients at unknown locations.
        hours: mean bytes by weekday (1 is Monday) and hour.
        no_hours: why there are none.
        coverage: by server and direction: number of days by state, and the state of each day.
        gaps: texts on ranges of incomplete and missing days.
        unused_stations: network and station of those that are received but not sent.
        client_changes: number of new and lost clients.
        rejected: the numbers of rejected entries, as text, for the operator.
        is_empty: the period has no data.
    """

    kpis: Sequence[Kpi] = ()
    series: Series | None = None
    tables: Mapping[str, TableData] = field(default_factory=dict)
    map_points: Sequence[MapPoint] = ()
    unlocated_bytes: int = 0
    hours: Mapping[tuple[int, int], int] = field(default_factory=dict)
    no_hours: str = ""
    coverage: Sequence[Mapping[str, Any]] = ()
    unused_stations: Sequence[tuple[str, str]] = ()
    client_changes: str = ""
    notes: Sequence[str] = ()
    gaps: Sequence[str] = ()
    rejected: str = ""
    is_empty: bool = False


@dataclass(frozen=True)
class Content:
    """The data of a page with its charts as SVG, for wide and narrow windows."""

    overview: Overview
    charts: Mapping[str, tuple[Markup, Markup]]
    colours: Mapping[str, str]


@dataclass(frozen=True)
class _Days:
    """Coverage rows of the period of a view, and of the previous period (empty: not compared)."""

    current: Sequence[Mapping[str, Any]]
    previous: Sequence[Mapping[str, Any]]

    @property
    def servers(self) -> int:
        return len({row["server"] for row in (*self.current, *self.previous)})

    @property
    def are_comparable(self) -> bool:
        """Whether means of a covered day can be compared."""
        shares = (_uncovered_share(self.current), _uncovered_share(self.previous))
        return max(shares) <= _MAX_UNCOVERED

    def are_covered(self, view: View) -> bool:
        """Return whether logs cover all days, so that distinct clients can be compared."""
        pairs = ((self.current, view), (self.previous, view.previous()))
        return all(
            _uncovered_share(rows) == 0 and len({row["day"] for row in rows}) == period.days
            for rows, period in pairs
        )


def read_overview(context: QueryContext, view: View) -> Overview:
    """Return the data of a page."""
    result = _totals(context, view)
    totals = result.rows.to_pylist()[0] if len(result.rows) else {"bytes": 0, "clients": 0}
    days = _read_days(context, view)
    by_server = _coverage(view, days.current, is_operator=context.role.is_operator)
    gaps = _gap_texts(context, view)
    if not (totals["bytes"] or totals["clients"]):
        notes = [*result.suppressed, *(result.notes if context.role.networks else ())]
        return Overview(coverage=by_server, gaps=gaps, notes=notes, is_empty=True)
    tables = page_tables_for(context.role, len(profile_values(context.store).classes), days.servers)
    results = {name: context.result(table.query(view)) for name, table in tables.items()}
    previous = _totals(context, view.previous()).rows.to_pylist() if days.are_comparable else []
    series = _series(context, view, days)
    map_points, unlocated_bytes = _map_points(context, view, results["countries"])
    hours, no_hours = _hours(context, view)
    packets = view.query(measures=("packets",))
    bounds = packet_footnotes(packetless_days(context, packets))
    return Overview(
        kpis=_kpis(
            view,
            totals | {_FEW_PACKETS: bool(bounds)},
            _comparable(previous[0] if previous else {}, are_covered=days.are_covered(view)),
            results,
            series,
        ),
        series=series,
        tables={
            name: table_data(tables[name], view, result, PAGE_ROWS, context.role)
            for name, result in results.items()
        },
        map_points=map_points,
        unlocated_bytes=unlocated_bytes,
        hours=hours,
        no_hours=no_hours,
        coverage=by_server,
        gaps=gaps,
        unused_stations=_unused_stations(context, view, results["stations"]),
        client_changes=_client_changes(context, view) if days.are_covered(view) else "",
        notes=[*(note.text for note in bounds), *_notes(context, view, results)],
        rejected=_rejected(context, view),
    )


def _read_days(context: QueryContext, view: View) -> _Days:
    filters = {
        name: view.all_filters[name] for name in COVERAGE_FILTERS if name in view.all_filters
    }
    first = view.previous().first if view.is_compared else view.first
    query = Query(first=first, last=view.last, filters=filters)
    rows = sorted(coverage(context.store, query).to_pylist(), key=lambda row: str(row["day"]))
    start = view.first.isoformat()
    return _Days(
        [row for row in rows if row["day"] >= start], [row for row in rows if row["day"] < start]
    )


def _uncovered_share(days: Sequence[Mapping[str, Any]]) -> float:
    """Return the share of ``days`` that logs do not cover; 1 without days."""
    return sum(row["state"] in _UNCOVERED for row in days) / len(days) if days else 1.0


def _gaps(days: Sequence[Mapping[str, Any]], step: str) -> dict[str, str]:
    """Return a text for each time that logs do not cover."""
    states: dict[str, set[str]] = {}
    for row in days:
        states.setdefault(label_of(date.fromisoformat(row["day"]), step), set()).add(row["state"])
    return {
        time: _NO_LOG if time_states == {"missing"} else _INCOMPLETE
        for time, time_states in states.items()
        if _UNCOVERED & time_states
    }


def networks_by_size(context: QueryContext) -> list[str]:
    """Return the networks with the most bytes of all times, as many as there are colours."""
    rows = context.rows(Query(dimensions=("network",), measures=("bytes",), top=_MAX_SERIES))
    return [row["network"] for row in rows if row["network"] and row["network"] != OTHER]


def _totals(context: QueryContext, view: View) -> Result:
    measures = ["bytes", "packets", "clients", *_MEANS]
    query = view.query(measures=tuple(measures))
    # Connections of single streams would need all transfers.
    if context.sees_all_networks and not query.has_stream_columns:
        query = view.query(measures=(*measures, "connections"))
    return context.result(query)


def _comparable(previous: Mapping[str, Any], *, are_covered: bool) -> Mapping[str, Any]:
    """Return the totals of the previous period that can be compared: means, or all."""
    names = previous if are_covered else {*_MEANS, AT_MOST} & previous.keys()
    return {name: previous[name] for name in names}


def _kpis(
    view: View,
    totals: Mapping[str, Any],
    previous: Mapping[str, Any],
    results: Mapping[str, Result],
    series: Series,
) -> list[Kpi]:
    def count(name: str) -> Kpi:
        bound = "≤ " if totals.get(AT_MOST) else ""
        return Kpi(name, f"{bound}{totals[name] or 0:,}", _change(totals, previous, name))

    sparkline = _sparkline(_bytes_by_time(series))
    sent = human_bytes(totals["bytes"] or 0)
    countries = results["countries"].rows["country"].to_pylist()
    return [
        Kpi(_direction_label(view), sent, _change(totals, previous, "bytes-per-day"), sparkline),
        count("clients"),
        Kpi("countries", f"{sum(len(code or '') == 2 for code in countries) or _NO_VALUE}"),
        Kpi("networks", f"{_count_groups(results['networks'], 'network'):,}"),
        Kpi("stations", f"{_count_groups(results['stations'], 'network', 'station'):,}"),
        count("connections") if "connections" in totals else _packets(totals, previous),
    ]


def _packets(totals: Mapping[str, Any], previous: Mapping[str, Any]) -> Kpi:
    text = human_count(totals["packets"] or 0)
    if totals[_FEW_PACKETS]:
        return Kpi("packets", f"≥ {text}", "")
    return Kpi("packets", text, _change(totals, previous, "packets-per-day"))


def _direction_label(view: View) -> str:
    if len(view.all_filters["direction"]) > 1:
        return "sent and received"
    return "received" if view.is_received_only else "sent"


def _count_groups(result: Result, *dimensions: str) -> int:
    """Return the number of groups; a network with two names in the registry is one."""
    groups = {tuple(row[name] for name in dimensions) for row in result.rows.to_pylist()}
    return sum(group[-1] is not None and not any(map(is_combined, group)) for group in groups)


def _change(totals: Mapping[str, Any], previous: Mapping[str, Any], name: str) -> str:
    """Return the change of a total in percent; empty if it is unknown."""
    old, new = previous.get(name), totals.get(name)
    if not old or new is None or totals.get(AT_MOST) or previous.get(AT_MOST):
        return ""
    percent = 100 * (new - old) / old
    if abs(percent) < 0.5:
        return "unchanged"
    text = f"{percent:+.0f} %" if abs(percent) < 1000 else f"{new / old:,.0f} times"
    return text.replace("-", "\N{MINUS SIGN}")


def _bytes_by_time(series: Series) -> list[int | None]:
    """Return bytes by time, None where they are unknown: without logs, and in the future."""
    totals: dict[str, int | None] = {
        time: 0 if time in series.known else None for time in series.times
    }
    for (time, _), amount in series.amounts.items():
        totals[time] = (totals[time] or 0) + amount
    return list(totals.values())


def _sparkline(amounts: Sequence[int | None]) -> str:
    """Return an SVG path with a gap at each None, 100 wide and 24 high."""
    largest = max((amount or 0 for amount in amounts), default=0)
    if len(amounts) < 2 or not largest:
        return ""
    step = 100 / (len(amounts) - 1)
    parts = []
    for number, (before, amount) in enumerate(zip([None, *amounts], amounts, strict=False)):
        if amount is not None:
            # A point without neighbours is a line of no length, with round ends.
            point = f"{number * step:.1f},{22 - 20 * amount / largest:.1f}"
            parts.append(f"M{point}L{point}" if before is None else f"L{point}")
    return "".join(parts)


def _series(context: QueryContext, view: View, days: _Days) -> Series:
    """Return bytes by time and by the split of ``view``: the largest values, and all others."""
    result = context.rows(view.query(view.step, view.split, measures=("bytes",)))
    rows = [
        (row[view.step], row[view.split] or UNKNOWN, row["bytes"] or 0)
        for row in result
        if not is_combined(row[view.step])
    ]
    totals: Counter[str] = Counter()
    for _, name, size in rows:
        totals[name] += size
    by_size = sorted(totals.keys() - {OTHER}, key=lambda name: (-totals[name], name))
    names = by_size[:_MAX_SERIES]
    amounts: Counter[tuple[str, str]] = Counter()
    for time, name, size in rows:
        amounts[time, name if name in names else OTHER] += size
    if len(names) < len(totals):
        names.append(OTHER)
    times = list(dict.fromkeys(label_of(day, view.step) for day in _dates(view)))
    gaps = _gaps(days.current, view.step)
    running = label_of(today(), view.step)
    if running in times:
        gaps[running] = _RUNNING
    if len(rows) < len(result):
        suppressed = set(times) - {time for time, _, _ in rows}
        gaps = dict.fromkeys(suppressed, _FEW_CLIENTS) | gaps
    known = {
        label_of(date.fromisoformat(row["day"]), view.step)
        for row in days.current
        if row["state"] != "missing"
    } - {time for time, text in gaps.items() if text == _FEW_CLIENTS}
    return Series(times, names, amounts, gaps, _previous_bytes(context, view, days), known)


def _dates(view: View) -> list[date]:
    return [view.first + timedelta(days=number) for number in range(view.days)]


def _previous_bytes(context: QueryContext, view: View, days: _Days) -> list[int | None]:
    """Return bytes by day of the previous period, None for uncovered days; empty: not compared."""
    previous = view.previous()
    if not view.is_compared or view.step != "day" or previous.days != view.days:
        return []
    rows = context.rows(previous.query("day", measures=("bytes",)))
    by_day = {row["day"]: row["bytes"] or 0 for row in rows}
    gaps = _gaps(days.previous, "day")
    if any(map(is_combined, by_day)):
        gaps |= {f"{day}": _FEW_CLIENTS for day in _dates(previous) if f"{day}" not in by_day}
    dates = (day.isoformat() for day in _dates(previous))
    covered = {row["day"] for row in days.previous} - gaps.keys()
    amounts = [by_day.get(day, 0) if day in covered else None for day in dates]
    return amounts if any(amounts) else []


def _map_points(context: QueryContext, view: View, countries: Result) -> tuple[list[MapPoint], int]:
    """Return the locations of clients, and the bytes of clients at unknown locations.

    The operator sees cells of a geohash. Others see countries, as a cell has few clients.
    """
    points: list[MapPoint] = []
    unlocated_bytes = 0
    for location, name, row in _located_rows(context, view, countries):
        if location is None:
            unlocated_bytes += row["bytes"] or 0
        else:
            clients = f"{row['clients']:,} client{'s' if row['clients'] != 1 else ''}"
            text = f"{name}: {human_bytes(row['bytes'])}, {clients}"
            points.append(MapPoint(location[0], location[1], row["bytes"], text))
    points.sort(key=lambda point: -point.bytes)
    return points[:_MAX_MAP_POINTS], unlocated_bytes


def _located_rows(
    context: QueryContext, view: View, countries: Result
) -> list[tuple[Sequence[float] | None, str, dict[str, Any]]]:
    """Return longitude and latitude (None: unknown), name, and row of each location."""
    if context.role.is_operator:
        rows = context.rows(view.query("geohash", "city", measures=("bytes", "clients")))
        return [
            (None if row["geohash"] == UNKNOWN else centre_of(row["geohash"]), row["city"], row)
            for row in rows
        ]
    centres = world()["countries"]
    return [
        (centres.get(row["country"]), row["country-name"], row)
        for row in countries.rows.to_pylist()
        if not is_combined(row["country"])
    ]


def _hours(context: QueryContext, view: View) -> tuple[dict[tuple[int, int], int], str]:
    """Return mean bytes by weekday and hour, or why there are none."""
    query = view.query("weekday", "hour", measures=("bytes-per-day",))
    kept_since = context.store.kept_since
    if needs_transfers(query) and kept_since is not None and kept_since > view.first:
        return {}, f"Hours of these filters are kept since {kept_since}"
    result = context.result(query)
    rows = result.rows.to_pylist()
    means = {
        (WEEKDAYS.index(row["weekday"]) + 1, int(row["hour"])): row["bytes-per-day"]
        for row in rows
        # Else the hour is unknown, the count small, or no such day is complete.
        if row["hour"] is not None and row["hour"].isdigit() and row["bytes-per-day"] is not None
        if row["weekday"] in WEEKDAYS
    }
    if means:
        return means, ""
    if result.suppressed:
        return means, "; ".join(result.suppressed)
    has_hours = any(row["hour"] is not None for row in rows)
    return means, _NO_COMPLETE_DAYS if has_hours else _NO_HOURS


def _gap_texts(context: QueryContext, view: View) -> list[str]:
    """Return texts on the first ranges of incomplete and missing days of ``view``."""
    ranges = gap_ranges(context.store, view.query().only(*COVERAGE_FILTERS))
    texts = [range_text(row) for row in ranges.slice(0, _MAX_RANGES).to_pylist()]
    more = len(ranges) - len(texts)
    return [*texts, f"and {more:,} more"] if more else texts


def _state_text(row: Mapping[str, Any], *, is_operator: bool) -> str:
    """Return the state of a day with its reason, and for the operator its rejected entries."""
    parts = [row["state"], row["reason"]]
    if is_operator and row["rejects"]:
        parts.append(f"{row['rejects']:,} rejected")
    return ", ".join(filter(None, parts))


def _coverage(
    view: View, days: Sequence[Mapping[str, Any]], *, is_operator: bool
) -> list[dict[str, Any]]:
    """Return by server and direction: number of days by state, each day of a short period."""
    by_server: dict[tuple[str, str], dict[str, Any]] = {}
    for row in days:
        server, direction, state = row["server"], row["direction"], row["state"]
        entry = by_server.setdefault(
            (server, direction),
            {"server": server, "direction": direction, "days": [], "counts": Counter()},
        )
        entry["counts"][state] += 1
        if view.days <= _MAX_STRIP_DAYS:
            entry["days"].append((row["day"], state, _state_text(row, is_operator=is_operator)))
    return [by_server[key] for key in sorted(by_server)]


def _unused_stations(
    context: QueryContext, view: View, sent_stations: Result
) -> list[tuple[str, str]]:
    """Return network and station of those that were received but not sent to any client.

    ``sent_stations`` are those that were sent, if no filter of ``view`` chooses among clients.
    """
    filters = view.all_filters
    if filters["direction"] != ("TX",) or {"client", "class"} & set(view.filters):
        return []
    if not context.role.is_operator and context.policy.is_limited(("station",)):
        return []  # a suppressed station may have been sent to a few
    common = {name: filters[name] for name in _FILTERS_OF_FEEDS if name in filters}

    def stations(direction: str) -> set[tuple[str, str]]:
        query = view.query(
            "network",
            "station",
            measures=("transfers",),
            filters={**common, "direction": (direction,)},
        )
        return _stations(context.result(query))

    received = stations("RX")
    if not received:
        return []
    is_unfiltered = filters.keys() == {*common, "direction"}
    sent = _stations(sent_stations) if is_unfiltered else stations("TX")
    return sorted(pair for pair in received - sent if all(pair) and OTHER not in pair)


def _stations(result: Result) -> set[tuple[str, str]]:
    rows = result.rows.to_pylist()
    return {(row["network"], row["station"]) for row in rows if row["station"]}


def _client_changes(context: QueryContext, view: View) -> str:
    """Return the number of new and lost clients since the previous period, for the operator."""
    if not (context.role.is_operator and view.is_compared):
        return ""
    current, previous = (
        {row["client"] for row in context.rows(one.query("client", measures=("bytes",)))}
        for one in (view, view.previous())
    )
    new, lost = len(current - previous), len(previous - current)
    return f"{new:,} new, {lost:,} lost since the previous period" if previous else ""


def _rejected(context: QueryContext, view: View) -> str:
    """Return the numbers of rejected entries as text, for the operator."""
    if not context.role.is_operator:
        return ""
    return rejected_text(rejects(context.store, view.query()))


def _notes(context: QueryContext, view: View, results: Mapping[str, Result]) -> list[str]:
    dimensions = sorted({name for table in results for name in TABLES[table].by})
    suppressed = sorted({note for result in results.values() for note in result.suppressed})
    excluded = sorted({note for result in results.values() for note in result.notes})
    countries = view.query(*TABLES["countries"].by)
    classes = results["classes"].rows["class"].to_pylist() if "classes" in results else []
    notes = [
        *pruned_footnotes(context, view.query(*dimensions)),
        *class_footnotes(view.query(), classes),
        *location_footnotes(context.store, countries, results["countries"].rows),
        *network_footnotes(context, view.query("network")),
    ]
    return [*(note.text for note in notes), *excluded, *suppressed]
