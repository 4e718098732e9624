"""The dashboards: which panel stands where, and what it asks of either kind of source."""

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

import influxql
import sql

POSTGRESQL, INFLUXDB = "grafana-postgresql-datasource", "influxdb"
TAGS = ["ringserverstats"]
_WIDTH = 24
_BYTES = "decbytes"
#: Kinds of panels whose rows have no time, or more than a time and a number.
_TABLES = ("table", "latest", "map", "stat", "categories")


@dataclass
class Query(Dataquery):
    """A question of a panel, as Grafana's own data sources have it in their JSON.

    ``series`` is the tag by which InfluxDB's series are called; PostgreSQL names them itself.
    """

    source: str
    text: str
    is_table: bool
    series: str

    def to_json(self) -> dict[str, object]:
        """What Grafana keeps of it."""
        source = {"type": self.source, "uid": "${source}"}
        own = {"refId": "A", "datasource": source, "rawQuery": True}
        kind = "table" if self.is_table else "time_series"
        if self.source == POSTGRESQL:
            return {**own, "rawSql": self.text.strip(), "editorMode": "code", "format": kind}
        alias = {"alias": f"$tag_{self.series}"} if self.series else {}
        return {**own, "query": self.text, "resultFormat": kind, **alias}


class _Target(Builder[Dataquery]):
    def __init__(self, query: Query) -> None:
        self._query = query

    def build(self) -> Dataquery:
        return self._query


@dataclass(frozen=True)
class Panel:
    """A panel: ``name`` is that of its question in `sql` and `influxql`.

    ``in_influxdb`` is its title where InfluxDB has something else to tell, ``series`` the tag by
    which its series are called there. ``links`` are columns whose values lead to another dashboard,
    and to which variable of it.
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
    """A dashboard of panels, with variables; ``single`` is the one that it is about."""

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
    """The name of a dashboard in addresses."""
    return f"ringserverstats-{'' if source == POSTGRESQL else 'influxdb-'}{board}"


def build(board: Board, source: str, *, alone: bool = False) -> models.Dashboard:
    """``board`` for data sources of the kind ``source``; ``alone``: the others are not there."""
    where = "" if source == POSTGRESQL else " (InfluxDB)"
    made = (
        dashboard.Dashboard(board.title + where)
        .uid(uid(board.uid, source))
        .tags(TAGS)
        .timezone("utc")  # days are the servers' local dates
        .time("now-30d/d", "now/d")
        .refresh("")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    for variable in _variables(board, source):
        made = made.with_variable(variable)
    for link in [] if alone else _links(source):
        made = made.link(link)
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
        made = made.with_panel(_panel(panel, query, source, alone=alone).grid_pos(place))
        x, row = x + panel.width, max(row, panel.height)
    return made.build()


def _links(source: str) -> list[Builder[models.DashboardLink]]:
    return [
        dashboard.DashboardLink(one.title.rpartition(": ")[2])
        .type(models.DashboardLinkType.LINK)
        .url(f"/d/{uid(one.uid, source)}")
        .keep_time(True)
        for one in (OVERVIEW, OPERATIONS)
    ]


def _variables(board: Board, source: str) -> list[Builder[models.VariableModel]]:
    direction = models.VariableOption(text="TX", value="TX", selected=True)
    found: list[Builder[models.VariableModel]] = [
        dashboard.DatasourceVariable("source").label("source").type(source),
        dashboard.CustomVariable("direction").values("TX,RX").current(direction),
    ]
    if board.single == "client":
        found.append(dashboard.TextBoxVariable("client").label("client (pseudonym)"))
    return found + [_choice(name, source, name == board.single) for name in board.variables]


def _choice(name: str, source: str, is_single: bool) -> Builder[models.VariableModel]:
    """A variable whose values the source tells; all of them, unless the board is about one."""
    query: str | dict[str, object] = sql.VARIABLES[name]
    every = "'*'"
    if source == INFLUXDB:
        query, every = influxql.variable(name), ".*"
    made = (
        dashboard.QueryVariable(name)
        .datasource(models.DataSourceRef(source, "${source}"))
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if is_single:
        return made.multi(False).include_all(False)
    chosen = models.VariableOption(text="All", value="$__all", selected=True)
    return made.multi(True).include_all(True).all_value(every).current(chosen)


def _panel(panel: Panel, query: Query, source: str, *, alone: bool) -> Any:
    made = _KINDS[panel.kind](replace(panel, links={}) if alone else panel, source)
    title = panel.in_influxdb if source == INFLUXDB and panel.in_influxdb else panel.title
    made = made.title(title).datasource(models.DataSourceRef(source, "${source}"))
    return made.with_target(_Target(query))


def _stat(panel: Panel, _: str) -> Any:
    return (
        stat.Panel()
        .unit(panel.unit)
        .graph_mode(looks.BigValueGraphMode.NONE)
        .color_mode(looks.BigValueColorMode.NONE)
    )


def _lines(panel: Panel, _: str) -> Any:
    return series.Panel().unit(panel.unit).line_width(1).min(0)


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
    if source == INFLUXDB:  # which knows no months: its spans have times
        return _bars(panel, source)
    return barchart.Panel().unit(panel.unit).min(0)


def _table(panel: Panel, source: str) -> Any:
    if source == POSTGRESQL:
        return _latest(panel, source)
    # Sums over a whole period have its begin as their time.
    first = common.TableSortByFieldState().display_name("Sent").desc(True)
    hidden = [models.DynamicConfigValue("custom.hidden", True)]
    return _latest(panel, source).sort_by([first]).override_by_name("Time", hidden)


def _latest(panel: Panel, source: str) -> Any:
    made = table.Panel().override_by_regexp(
        "^(Sent|Bytes.*)$", [models.DynamicConfigValue("unit", _BYTES)]
    )
    for column, (board, variable) in panel.links.items():
        # What leads on is percent-encoded by Grafana, as it may be a stranger's text.
        address = f"/d/{uid(board, source)}?var-{variable}=${{__value.text:percentencode}}"
        to = {"title": f"More of this {variable}", "url": f"{address}&${{__url_time_range}}"}
        made = made.override_by_name(column, [models.DynamicConfigValue("links", [to])])
    return made


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
    return geomap.Panel().unit(panel.unit).layers([layer])


_KINDS: dict[str, Callable[[Panel, str], Any]] = {
    "stat": _stat,
    "lines": _lines,
    "bars": _bars,
    "categories": _categories,
    "table": _table,
    "latest": _latest,
    "map": _map,
}
