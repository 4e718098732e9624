"""The dashboards: their panels, variables and links, for PostgreSQL and InfluxDB."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from grafana_foundation_sdk.builders import barchart, common, dashboard, geomap, stat, table
from grafana_foundation_sdk.builders import timeseries as series
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.geomap import TooltipMode

import influxql
import sql

POSTGRESQL, INFLUXDB = "grafana-postgresql-datasource", "influxdb"
TAGS = ["ringserverstats"]
_WIDTH = 24
_BYTES = "decbytes"
_MORE_THAN_A_DAY = 25 * 3_600_000  # milliseconds
#: Kinds of panels with rows other than a time and a number.
_TABLES = ("table", "latest", "map", "stat", "categories")


@dataclass
class Query(Dataquery):
    """The query of a panel, in the JSON of Grafana's data sources.

    ``series`` is the tag that names the series of InfluxDB; PostgreSQL's query names them itself.
    """

    source: str
    text: str
    is_table: bool
    series: str

    def to_json(self) -> dict[str, object]:
        """Return the JSON of the query."""
        source = {"type": self.source, "uid": "${source}"}
        common = {"refId": "A", "datasource": source, "rawQuery": True}
        kind = "table" if self.is_table else "time_series"
        if self.source == POSTGRESQL:
            return {**common, "rawSql": self.text.strip(), "editorMode": "code", "format": kind}
        alias = {"alias": f"$tag_{self.series}"} if self.series else {}
        return {**common, "query": self.text, "resultFormat": kind, **alias}


class _Target(Builder[Dataquery]):
    def __init__(self, query: Query) -> None:
        self._query = query

    def build(self) -> Dataquery:
        return self._query


@dataclass(frozen=True)
class Panel:
    """A panel.

    Args:
        title: its title.
        kind: a key of `_KINDS`.
        name: the name of its query in `sql` and `influxql`.
        width: columns of 24.
        height: grid rows.
        unit: Grafana's name of the unit.
        links: by column, the dashboard and variable that its values link to.
        in_influxdb: its title for InfluxDB, if it shows something else there.
        series: the tag that names the series of InfluxDB.
    """

    title: str
    kind: str
    name: str
    width: int
    height: int = 8
    unit: str = _BYTES
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    in_influxdb: str = ""
    series: str = ""


@dataclass(frozen=True)
class Board:
    """A dashboard. ``single`` is the variable with one value, such as the one network it shows."""

    uid: str
    title: str
    panels: Sequence[Panel]
    single: str = ""
    variables: tuple[str, ...] = tuple(sql.VARIABLES)


_TO_NETWORK = {"Network": ("network", "network"), "network": ("network", "network")}
_TO_CLIENT = {"Client": ("client", "client"), "hosthash": ("client", "client")}

_TOTALS = (
    Panel("Sent", "stat", "TOTAL", 6, 4),
    Panel("Clients", "stat", "CLIENTS", 6, 4, unit="short"),
    Panel("Countries", "stat", "COUNTRIES", 6, 4, unit="short"),
    Panel("Stations", "stat", "STATIONS", 6, 4, unit="short"),
)
_WHEN_AND_WHERE = (
    Panel("Clients by day", "bars", "BY_DAY", 12, unit="short"),
    Panel("By month", "categories", "BY_MONTH", 12, in_influxdb="By 30 days"),
    Panel("Where the clients are", "map", "MAP", 12, 12),
    Panel("Countries", "table", "TOP_COUNTRIES", 12, 12),
)
OVERVIEW = Board(
    "overview",
    "Real-time data: overview",
    [
        *_TOTALS,
        Panel("Activity by day and network", "bars", "ACTIVITY", 24, 9, series="network"),
        *_WHEN_AND_WHERE,
        Panel("Networks", "table", "NETWORKS", 12, 10, links=_TO_NETWORK),
        Panel("Stations", "table", "TOP_STATIONS", 12, 10, links=_TO_NETWORK),
        Panel("Institutions", "table", "INSTITUTIONS", 12, 10, in_influxdb="Cities"),
        Panel("Software", "table", "AGENTS", 12, 10),
        Panel("Clients, by pseudonym", "table", "TOP_CLIENTS", 24, 10, links=_TO_CLIENT),
    ],
)
NETWORK = Board(
    "network",
    "Real-time data: one network",
    [
        *_TOTALS,
        Panel("Activity by day and station", "bars", "STATIONS_BY_DAY", 24, 9, series="station"),
        *_WHEN_AND_WHERE,
        Panel("Stations", "table", "TOP_STATIONS", 12, 10),
        Panel("Clients, by pseudonym", "table", "TOP_CLIENTS", 12, 10, links=_TO_CLIENT),
    ],
    single="network",
)
CLIENT = Board(
    "client",
    "Real-time data: one client",
    [
        Panel("Sent", "stat", "CLIENT_TOTAL", 6, 4),
        Panel("Its software and class", "table", "CLIENT_AGENTS", 18, 8),
        Panel("Activity by day and network", "bars", "CLIENT_BY_DAY", 24, 9, series="network"),
        Panel("Connections by day", "bars", "CLIENT_CONNECTIONS", 24, 6, unit="short"),
        Panel("Stations", "table", "CLIENT_STATIONS", 24, 12, links=_TO_NETWORK),
    ],
    single="client",
    variables=("server",),
)
OPERATIONS = Board(
    "operations",
    "Real-time data: operations",
    [
        Panel("Last entry", "latest", "LAST_ENTRY", 12, unit="short"),
        Panel("Rejects: why", "table", "REASONS", 12, unit="short"),
        Panel("By server", "bars", "BY_SERVER", 24, 9, series="server"),
        Panel("Part of each day that logs cover", "lines", "COVERAGE", 12, unit="percent"),
        Panel("Rejects by day", "bars", "REJECTS", 12, unit="short"),
    ],
    variables=("server",),
)
BOARDS = (OVERVIEW, NETWORK, CLIENT, OPERATIONS)


def uid(board: str, source: str) -> str:
    """Return the name of a dashboard in URLs."""
    return f"ringserverstats-{'' if source == POSTGRESQL else 'influxdb-'}{board}"


def build(board: Board, source: str, *, alone: bool = False) -> models.Dashboard:
    """Return ``board`` for data sources of type ``source``; ``alone``: without links to others."""
    suffix = "" if source == POSTGRESQL else " (InfluxDB)"
    builder = (
        dashboard.Dashboard(board.title + suffix)
        .uid(uid(board.uid, source))
        .tags(TAGS)
        .timezone("utc")  # days are the servers' local dates
        .time("now-30d/d", "now/d")
        .refresh("")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    for variable in _variables(board, source):
        builder = builder.with_variable(variable)
    for link in [] if alone else _links(source):
        builder = builder.link(link)
    queries: ModuleType = sql if source == POSTGRESQL else influxql
    x = y = row = 0
    for panel in board.panels:
        text = getattr(queries, panel.name, None)
        if text is None:
            continue
        if x + panel.width > _WIDTH:
            x, y, row = 0, y + row, 0
        place = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
        query = Query(source, text, panel.kind in _TABLES, panel.series)
        builder = builder.with_panel(_panel(panel, query, source, alone=alone).grid_pos(place))
        x, row = x + panel.width, max(row, panel.height)
    return builder.build()


def _links(source: str) -> list[Builder[models.DashboardLink]]:
    return [
        dashboard.DashboardLink(board.title.rpartition(": ")[2])
        .type(models.DashboardLinkType.LINK)
        .url(f"/d/{uid(board.uid, source)}")
        .keep_time(True)
        for board in (OVERVIEW, OPERATIONS)
    ]


def _variables(board: Board, source: str) -> list[Builder[models.VariableModel]]:
    direction = models.VariableOption(text="TX", value="TX", selected=True)
    builders: list[Builder[models.VariableModel]] = [
        dashboard.DatasourceVariable("source").label("source").type(source),
        dashboard.CustomVariable("direction").values("TX,RX").current(direction),
    ]
    if board.single == "client":
        builders.append(dashboard.TextBoxVariable("client").label("client (pseudonym)"))
    return builders + [_choice(name, source, name == board.single) for name in board.variables]


def _choice(name: str, source: str, is_single: bool) -> Builder[models.VariableModel]:
    """Return a variable with values from the source: several, or one if ``is_single``."""
    query: str | dict[str, object] = sql.VARIABLES[name]
    all_value = "'*'"
    if source == INFLUXDB:
        query, all_value = influxql.variable(name), ".*"
    builder = (
        dashboard.QueryVariable(name)
        .datasource(models.DataSourceRef(source, "${source}"))
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if is_single:
        return builder.multi(False).include_all(False)
    everything = models.VariableOption(text="All", value="$__all", selected=True)
    return builder.multi(True).include_all(True).all_value(all_value).current(everything)


def _panel(panel: Panel, query: Query, source: str, *, alone: bool) -> Any:
    builder = _KINDS[panel.kind](replace(panel, links={}) if alone else panel, source)
    title = panel.in_influxdb if source == INFLUXDB and panel.in_influxdb else panel.title
    builder = builder.title(title).datasource(models.DataSourceRef(source, "${source}"))
    return builder.with_target(_Target(query))


def _stat(panel: Panel, _: str) -> Any:
    return (
        stat.Panel()
        .unit(panel.unit)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.NONE)
    )


def _lines(panel: Panel, _: str) -> Any:
    # A line has a gap where a day is missing.
    return series.Panel().unit(panel.unit).line_width(1).min(0).insert_nulls(_MORE_THAN_A_DAY)


def _bars(panel: Panel, source: str) -> Any:
    stacked = common.StackingConfig().mode(looks.StackingMode.NORMAL)
    return (
        _lines(panel, source)
        .draw_style(looks.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .bar_alignment(looks.BarAlignment.AFTER)  # a day's bar begins at its midnight
        .stacking(stacked)
    )


def _categories(panel: Panel, source: str) -> Any:
    if source == INFLUXDB:  # InfluxQL has no months, so its rows have times
        return _bars(panel, source)
    return barchart.Panel().unit(panel.unit).min(0)


def _table(panel: Panel, source: str) -> Any:
    if source == POSTGRESQL:
        return _latest(panel, source)
    # Totals of a period have its first day as their time.
    first = common.TableSortByFieldState().display_name("Sent").desc(True)
    hidden = [models.DynamicConfigValue("custom.hidden", True)]
    return _latest(panel, source).sort_by([first]).override_by_name("Time", hidden)


def _latest(panel: Panel, source: str) -> Any:
    builder = table.Panel().override_by_regexp(
        "^(Sent|Bytes.*)$", [models.DynamicConfigValue("unit", _BYTES)]
    )
    for column, (board, variable) in panel.links.items():
        # Grafana percent-encodes the value, which may come from a client.
        address = f"/d/{uid(board, source)}?var-{variable}=${{__value.text:percentencode}}"
        link = {"title": f"More of this {variable}", "url": f"{address}&${{__url_time_range}}"}
        builder = builder.override_by_name(column, [models.DynamicConfigValue("links", [link])])
    return builder


def _map(panel: Panel, _: str) -> Any:
    size = {"field": "Sent", "fixed": 5, "min": 3, "max": 20}
    colour = {"fixed": "blue"}
    where = common.FrameGeometrySource().mode(looks.FrameGeometrySourceMode.GEOHASH)
    layer = (
        common.MapLayerOptions()
        .type("markers")
        .name("clients")
        .config({"style": {"size": size, "color": colour, "opacity": 0.5}})
        .location(where.geohash("geohash"))
        .tooltip(True)
    )
    tooltip = geomap.TooltipOptions().mode(TooltipMode.DETAILS)
    return geomap.Panel().unit(panel.unit).layers([layer]).tooltip(tooltip)


_KINDS: dict[str, Callable[[Panel, str], Any]] = {
    "stat": _stat,
    "lines": _lines,
    "bars": _bars,
    "categories": _categories,
    "table": _table,
    "latest": _latest,
    "map": _map,
}
