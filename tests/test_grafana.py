"""The query of each panel of Grafana with real databases: its columns and totals."""

import itertools
import json
import re
from collections.abc import Iterator
from copy import copy
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from conftest import CITY, DATA, REGISTRY, make_postgresql, read_into, rest_in_soak, sample_logs
from grafana_foundation_sdk.models.dashboard import Dashboard
from influx import Influxd
from servers import TIMESCALEDB, WITHOUT_TIMESCALEDB, Server

import alerts
import boards
import expand
import influxql
import make
import sql
from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.rules import load
from ringserverstats.exports.influxdb.client import open_influxdb
from ringserverstats.exports.influxdb.exporter import InfluxExporter
from ringserverstats.exports.influxdb.points import PointOptions
from ringserverstats.statistics.periods import month_after
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

ROOT = Path(__file__).parents[1]

RULES = '[[rule]]\nname = "m"\nclass = "mirror"\nagents = ["slarchive*"]\n'
CHOICES: dict[str, dict[str, list[str]]] = {
    "all": {},
    "networks": {"network": ["FR", "G"]},
    "a temporary network": {"network": ["1T2024"]},
    "a station": {"station": ["F00A", "F05B"]},
    "a country": {"country": ["France", "FR", "private network", "unknown"]},
    "a class": {"class": ["mirror"]},
    "an agent": {"agent": ["slarchive"]},
    "a server": {"server": ["node-b"]},
    "much": {"network": ["FR"], "class": ["external"], "country": ["unknown"]},
    "a station of a class": {"station": ["F00A", "F05B"], "class": ["external"]},
    "a stranger's": {"network": ["'; DROP TABLE seen; --"], "agent": ["a'b\\"]},
}
PANELS = {
    panel.name: panel
    for board in boards.BOARDS
    for panel in board.panels
    if hasattr(sql, panel.name)
}
FLOAT, NUMERIC, BIGINT, TEXT, STAMP = 701, 1700, 20, 25, 1114


class Filled:
    """A database of PostgreSQL in which the sample is, and its days."""

    def __init__(self, uri: str, folder: Path, *, timescaledb: bool) -> None:
        self.uri, self.timescaledb = uri, timescaledb
        self.store: Store = make_postgresql(uri, folder)
        self.store.migrate()
        logs = sample_logs(folder / "logs", days=20)
        rules = folder / "clients.toml"
        rules.write_text(RULES)
        for name in ("node-a", "node-b", "node-c"):
            self.store.open(create=True)
            self.store.add_server(name, "Europe/Paris")
        places = GeoIP(CITY, None, precision=5)
        for path in (logs, DATA):  # of the sample no client's place is in the test database
            read_into(self.store, path, geoip=places, rules=load(rules))
        self.store.set_registry(REGISTRY)
        days = [
            date.fromisoformat(row["day"]) for row in run_query(self.store, _by("day")).to_pylist()
        ]
        self.first, self.last = min(days) + timedelta(days=3), max(days)
        self.client = self.wanted("client")[0]["client"]

    def rows(self, name: str, user: str = "", **chosen: list[str]) -> tuple[list[Any], list[tuple]]:
        """The columns, each with its type, and the rows of a panel."""
        given = {"direction": ["TX"], "client": [self.client], **chosen}
        text = expand.postgresql(
            getattr(sql, name), self.first, self.last, given, timescaledb=self.timescaledb
        )
        with psycopg.connect(self.uri) as connection:
            if user:
                connection.execute(f"SET ROLE {user}")
            cursor = connection.execute(text.encode())
            columns = [(column.name, column.type_code) for column in cursor.description or ()]
            return columns, cursor.fetchall()

    def wanted(self, *by: str, measure: str = "bytes", **chosen: list[str]) -> list[dict[str, Any]]:
        """What `stats` says of the same."""
        names = {"agent": "agent-family"}
        filters = {names.get(name, name): tuple(values) for name, values in chosen.items()}
        query = Query(
            dimensions=by,
            first=self.first,
            last=self.last,
            filters={"direction": ("TX",), **filters},
            measures=(measure,),
        )
        return run_query(self.store, query).to_pylist()


def _by(*by: str) -> Query:
    return Query(dimensions=by, measures=("bytes",))


@pytest.fixture(scope="module")
def timescale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    if not TIMESCALEDB.exists():
        pytest.skip(WITHOUT_TIMESCALEDB)
    server = Server(shared_preload_libraries="timescaledb")
    folder = tmp_path_factory.mktemp("timescale")
    try:
        yield Filled(server.make("filled"), folder, timescaledb=True)
    finally:
        server.remove()


@pytest.fixture(scope="module")
def plain(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return Filled(server.make("filled"), tmp_path_factory.mktemp("plain"), timescaledb=False)


@pytest.fixture(params=rest_in_soak(["plain", "timescale"]))
def filled(request: pytest.FixtureRequest) -> Filled:
    return request.getfixturevalue(request.param)


def test_files_are_as_the_code_makes_them() -> None:
    for path, text in make.files().items():
        assert path.read_text() == text, f"{path.name}: run make dashboards"


def test_dashboards_are_what_the_library_reads() -> None:
    paths = [path for path in make.files() if "alerting" not in str(path)]
    assert len(paths) == 9
    for path in paths:
        data = json.loads(path.read_text())
        read = Dashboard.from_json(data)
        assert read.title == data["title"]
        assert len(data["panels"]) >= 2
        assert all(panel["targets"] for panel in data["panels"])
        assert {panel["datasource"]["uid"] for panel in data["panels"]} == {"${source}"}
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in data["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(set(cells)) == len(cells)  # no two lie over each other
        assert max(x for x, _ in cells) < 24


def test_series_of_influxdb_are_called_by_a_tag_that_they_have() -> None:
    named = 0
    for board in boards.BOARDS:
        for panel in json.loads(make._json(boards.build(board, boards.INFLUXDB)))["panels"]:
            for target in panel["targets"]:
                tag = target.get("alias", "").removeprefix("$tag_")
                tags = re.findall(r'"(\w+)"', target["query"].rpartition("GROUP BY")[2])
                is_split = target["resultFormat"] == "time_series" and bool(tags)
                assert tag == (tags[0] if is_split else "")
                named += bool(tag)
    assert named == 4


def test_the_time_of_the_last_entry_is_shown() -> None:
    """Of sums over a period it is hidden, as all of them have the same."""
    for board, title, hides in (
        (boards.OPERATIONS, "Last entry", False),
        (boards.OVERVIEW, "Networks", True),
    ):
        dashboard = json.loads(make._json(boards.build(board, boards.INFLUXDB)))
        (panel,) = [panel for panel in dashboard["panels"] if panel["title"] == title]
        overrides = panel["fieldConfig"]["overrides"]
        assert any(override["matcher"].get("options") == "Time" for override in overrides) is hides


def test_links_lead_to_dashboards_and_variables_that_are_there() -> None:
    files = make.files()
    dashboards = [json.loads(text) for path, text in files.items() if "alerting" not in str(path)]
    by_uid = {dashboard["uid"]: dashboard for dashboard in dashboards if dashboard.get("uid")}
    links = [
        link["url"]
        for dashboard in dashboards
        for panel in dashboard["panels"]
        for override in panel.get("fieldConfig", {}).get("overrides", [])
        for part in override["properties"]
        if part["id"] == "links"
        for link in part["value"]
    ]
    assert len(links) > 8
    for url in links:
        board, _, rest = url.removeprefix("/d/").partition("?var-")
        variables = {variable["name"] for variable in by_uid[board]["templating"]["list"]}
        assert rest.partition("=")[0] in variables


def test_provisioning_names_folders_that_compose_has() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    places = [volume.split(":") for volume in compose["services"]["grafana"]["volumes"]]
    there = {target: source for source, target, *_ in places}
    provider = yaml.safe_load(
        (ROOT / "grafana/provisioning/dashboards/ringserverstats.yaml").read_text()
    )["providers"][0]
    path = Path(provider["options"]["path"])
    source = ROOT / there[str(path.parent)] / path.name
    assert {path.name for path in source.iterdir()} == {
        f"{board.uid}.json" for board in boards.BOARDS
    }
    assert there["/etc/grafana/provisioning"] == "./grafana/provisioning"


@pytest.mark.parametrize("name", PANELS)
def test_columns_are_what_the_panel_needs(filled: Filled, name: str) -> None:
    columns, rows = filled.rows(name)
    kind = PANELS[name].kind
    types = dict(columns)
    assert rows or name in ("REJECTS", "REASONS")
    if kind in ("bars", "lines"):
        assert columns[0][0] == "time"
        assert columns[0][1] in ((STAMP,) if filled.timescaledb else (NUMERIC,))
        values = [oid for column, oid in columns if column not in ("time", "metric")]
        assert values
        assert set(values) <= {FLOAT, BIGINT}
        assert types.get("metric", TEXT) == TEXT
    if kind == "stat":
        assert [oid for _, oid in columns] in ([FLOAT], [BIGINT])
        assert len(rows) == 1
    if kind == "map":
        assert columns[0] == ("geohash", TEXT)
    if kind == "categories":
        assert [oid for _, oid in columns] == [TEXT, FLOAT]
    for column in PANELS[name].links:
        if column[0].isupper():
            assert types[column] == TEXT


@pytest.mark.parametrize("choice", CHOICES)
def test_totals_are_those_of_stats(plain: Filled, choice: str) -> None:
    _same_totals(plain, choice)


@pytest.mark.soak
@pytest.mark.parametrize("choice", ["all", "much"])
def test_totals_with_timescaledb(timescale: Filled, choice: str) -> None:
    _same_totals(timescale, choice)


def test_without_logs_a_total_is_empty_and_without_entries_zero(plain: Filled) -> None:
    future = copy(plain)
    future.first, future.last = date(2030, 1, 1), date(2030, 1, 31)
    for name in ("TOTAL", "CLIENTS", "COUNTRIES", "STATIONS"):
        assert future.rows(name)[1] == [(None,)]
        assert plain.rows(name, network=["none"])[1] == [(0,)]


def _same_totals(filled: Filled, choice: str) -> None:
    chosen = CHOICES[choice]
    whole = filled.wanted(**chosen)[0]["bytes"]
    assert filled.rows("TOTAL", **chosen)[1] == [(whole,)]
    for name in ("ACTIVITY", "BY_MONTH", "STATIONS_BY_DAY"):
        _, rows = filled.rows(name, **chosen)
        assert sum(row[-1] or 0 for row in rows) == whole, name
    months = [
        date.fromisoformat(f"{month}-01") for month, _ in filled.rows("BY_MONTH", **chosen)[1]
    ]
    assert all(after == month_after(before, 1) for before, after in itertools.pairwise(months))
    clients = filled.wanted(measure="clients", **chosen)[0]["clients"]
    assert filled.rows("CLIENTS", **chosen)[1] == [(clients,)]
    by_day = filled.wanted("day", measure="clients", **chosen)
    assert [row[1] for row in filled.rows("BY_DAY", **chosen)[1]] == [
        row["clients"] for row in by_day
    ]
    stations = filled.wanted("network", "station", **chosen)
    codes = {(row["network"], row["station"]) for row in stations}
    assert filled.rows("STATIONS", **chosen)[1] == [(len(codes),)]
    _same_top(filled.rows("TOP_STATIONS", **chosen)[1], stations, ("network", "station"), 2)
    for name, group in (
        ("NETWORKS", "network"),
        ("AGENTS", "agent-family"),
        ("TOP_COUNTRIES", "country-name"),
    ):
        _same_top(filled.rows(name, **chosen)[1], filled.wanted(group, **chosen), (group,), 1)
    assert (whole > 0) is (choice != "a stranger's")


def _same_top(
    rows: list[tuple], wanted: list[dict[str, Any]], keys: tuple[str, ...], place: int
) -> None:
    """The first rows are those of most bytes, whatever the order of equal ones."""
    top = [(*row[: len(keys)], row[place]) for row in rows]
    all_of = {(*(row[key] or "unknown" for key in keys), row["bytes"]) for row in wanted}
    assert set(top) <= all_of
    assert [row[-1] for row in top] == sorted((row[-1] for row in all_of), reverse=True)[:20]


def test_rx_is_reported_too(plain: Filled) -> None:
    assert plain.rows("TOTAL", direction=["RX"])[1][0][0] != plain.rows("TOTAL")[1][0][0]


def test_one_client_has_what_stats_says(plain: Filled) -> None:
    whole = plain.wanted(client=[plain.client])[0]["bytes"]
    assert whole > 0
    assert plain.rows("CLIENT_TOTAL")[1] == [(whole,)]
    for name, place in (("CLIENT_BY_DAY", 2), ("CLIENT_STATIONS", 2), ("CLIENT_AGENTS", 3)):
        assert sum(row[place] for row in plain.rows(name)[1]) == whole, name
    days = plain.wanted("day", measure="connections", client=[plain.client])
    assert [row[1] for row in plain.rows("CLIENT_CONNECTIONS")[1]] == [
        row["connections"] for row in days
    ]


def test_places_on_the_map_are_those_of_stats(plain: Filled) -> None:
    wanted = {
        row["geohash"]: row["bytes"]
        for row in plain.wanted("geohash")
        if row["geohash"] not in ("unknown", "private network")
    }
    assert {row[0]: row[2] for row in plain.rows("MAP")[1]} == wanted


def test_operations_tell_each_server(plain: Filled) -> None:
    servers = {row["server"]: row["bytes"] for row in plain.wanted("server")}
    rows = plain.rows("BY_SERVER")[1]
    assert {name: sum(row[2] for row in rows if row[1] == name) for name in servers} == servers
    last = {row[0]: row[2] for row in plain.rows("LAST_ENTRY")[1] if row[1] == "TX"}
    for name in servers:
        query = Query(dimensions=("day",), filters={"server": (name,), "direction": ("TX",)})
        days = run_query(plain.store, query).to_pylist()
        assert last[name] == days[-1]["day"]
    covered = plain.rows("COVERAGE")[1]
    assert covered
    assert all(0 <= row[2] <= 100 for row in covered)


def test_what_is_unknown_can_be_selected(database: str, tmp_path: Path) -> None:
    """The row `unknown` of a table links to a dashboard of that value."""
    store = make_postgresql(database, tmp_path)
    read_into(store, DATA, server="a")
    chosen = {"direction": ["TX"], "network": ["unknown"], "station": ["unknown"]}
    query = Query(dimensions=("network",), measures=("bytes",), filters={"direction": ("TX",)})
    [whole] = [row for row in run_query(store, query).to_pylist() if row["network"] is None]
    with psycopg.connect(database) as connection:
        for name in ("TOTAL", "STATIONS_BY_DAY", "NETWORKS"):
            text = expand.postgresql(
                getattr(sql, name), date(2000, 1, 1), date(2100, 1, 1), chosen, timescaledb=False
            )
            rows = connection.execute(text.encode()).fetchall()
            place = 1 if name == "NETWORKS" else -1
            assert sum(row[place] for row in rows) == whole["bytes"] > 0, name
        for name in ("network", "station"):
            values = connection.execute(sql.VARIABLES[name].encode()).fetchall()
            assert ("unknown",) in values


def test_the_map_shows_its_values_where_the_mouse_is() -> None:
    [board] = [board for board in boards.BOARDS if board.uid.endswith("overview")]
    text = make.files()[next(path for path in make.files() if path.name == f"{board.uid}.json")]
    [geomap] = [panel for panel in json.loads(text)["panels"] if panel["type"] == "geomap"]
    assert geomap["options"]["tooltip"] == {"mode": "details"}


def test_rejects_without_a_day_are_shown_as_the_alert_counts_them(
    database: str, tmp_path: Path
) -> None:
    store = make_postgresql(database, tmp_path)
    log = tmp_path / "broken"
    log.write_text("no log\n\nneither\n")
    assert read_into(store, log, server="a").rejected > 0
    today = datetime.now(UTC).date()
    with psycopg.connect(database) as connection:
        counts = []
        for name in ("REJECTS", "REASONS", "REJECTED"):
            text = expand.postgresql(
                getattr(sql, name), today - timedelta(days=2), today, {}, timescaledb=False
            )
            rows = connection.execute(text.encode()).fetchall()
            counts.append(sum(row[2 if name != "REJECTED" else 1] for row in rows))
    assert counts[0] == counts[1] == counts[2] > 0


def test_values_of_variables_are_there(plain: Filled) -> None:
    with psycopg.connect(plain.uri) as connection:
        values = {
            name: {row[0] for row in connection.execute(text.encode()).fetchall()}
            for name, text in sql.VARIABLES.items()
        }
    assert {"node-a", "node-b", "node-c"} <= values["server"]
    assert {"FR", "G", "1T2024"} <= values["network"]
    assert "mirror" in values["class"]
    assert all(values.values())


def test_the_reader_may_ask_all_of_it(plain: Filled, server: Server) -> None:
    server.execute("CREATE ROLE ringserverstats_reader")
    try:
        plain.store.migrate()
        for name in PANELS:
            plain.rows(name, user="ringserverstats_reader")
        with psycopg.connect(plain.uri) as connection:
            connection.execute("SET ROLE ringserverstats_reader")
            for text in (*sql.VARIABLES.values(), sql.SILENT, sql.UNUSUAL, sql.REJECTED):
                connection.execute(text.encode())
    finally:
        server.execute("DROP OWNED BY ringserverstats_reader", database="filled")
        server.execute("DROP ROLE ringserverstats_reader")


def _alarms(store: Store, name: str) -> dict[str, float | None]:
    with psycopg.connect(store._info) as connection:
        return dict(connection.execute(getattr(sql, name).encode()).fetchall())


@pytest.mark.soak
def test_alarms_tell_what_is_wrong(database: str, tmp_path: Path) -> None:
    store = make_postgresql(database, tmp_path)
    today = date.today()
    for name in ("steady", "loud", "silent", "quiet", "gone"):
        store.open(create=True)
        store.add_server(name, "UTC")
        for ago in range(12, 0, -1):
            if name in ("silent", "gone") and ago < 5:
                continue
            day = today - timedelta(days=ago)
            times = 40 if (name, ago) == ("loud", 1) else 1
            log = tmp_path / f"txlog-{day:%Y%m%d}T0000-{day + timedelta(days=1):%Y%m%d}T0000"
            times = 0 if (name, ago) == ("quiet", 1) else times
            log.write_text("".join(_block(day, number) for number in range(times)))
            read_into(store, log, server=name)
    store.change_server("gone", service=(None, today - timedelta(days=5)))
    bad = tmp_path / f"txlog-{today:%Y%m%d}T0000-{today + timedelta(days=1):%Y%m%d}T0000"
    bad.write_text(_block(today, 0).replace("bytes: ", "bytes: 9"))
    read_into(store, bad, server="steady")
    silent, unusual, rejected = (_alarms(store, name) for name in ("SILENT", "UNUSUAL", "REJECTED"))
    rules = {rule["uid"]: rule for rule in alerts.rules()["groups"][0]["rules"]}
    assert {name for name, days in silent.items() if days > 2} == {"silent"}
    assert {name for name, ratio in unusual.items() if ratio > 5} == {"loud"}
    assert {name for name, ratio in unusual.items() if ratio < 0.2} == {"quiet"}
    assert set(unusual) == {"steady", "loud", "quiet"}
    assert {name for name, count in rejected.items() if count} == {"steady"}
    for uid, query in (
        ("ringserverstats-server-silent", sql.SILENT),
        ("ringserverstats-bytes-unusual", sql.UNUSUAL),
        ("ringserverstats-rejects", sql.REJECTED),
    ):
        assert rules[uid]["data"][0]["model"]["rawSql"] == query.strip()


def _block(day: date, number: int) -> str:
    from model import block

    noon = int((day - date(1970, 1, 1)).total_seconds()) + 43_200 + number
    return block(log_time=noon, connect_time=noon - 100)


@pytest.fixture(scope="module")
def influxd(plain: Filled) -> Iterator[Influxd]:
    server = Influxd()
    try:
        server.ask("", "CREATE DATABASE g")
        exporter = InfluxExporter(open_influxdb(f"{server.url}?db=g", None), PointOptions())
        exporter.register(plain.store, is_new=True)
        assert exporter.export_pending(plain.store).problems == []
        yield server
    finally:
        server.remove()


INFLUX_PANELS = sorted(name for name in PANELS if hasattr(influxql, name))


@pytest.mark.soak
@pytest.mark.parametrize("name", INFLUX_PANELS)
def test_influxdb_answers_each_panel(plain: Filled, influxd: Influxd, name: str) -> None:
    chosen = {"direction": ["TX"], "client": [plain.client]}
    text = expand.influxql(getattr(influxql, name), plain.first, plain.last, chosen)
    rows = influxd.ask("g", text)
    assert rows
    assert all("time" in row for row in rows)
    if PANELS[name].kind == "map":
        assert all(row["geohash"] for row in rows)
    numbers = [value for row in rows for value in row.values() if isinstance(value, int | float)]
    assert numbers


@pytest.mark.soak
@pytest.mark.parametrize("choice", CHOICES)
def test_influxdb_has_the_totals_of_stats(plain: Filled, influxd: Influxd, choice: str) -> None:
    chosen = {"direction": ["TX"], **CHOICES[choice]}
    whole = plain.wanted(**CHOICES[choice])[0]["bytes"]
    clients = plain.wanted(measure="clients", **CHOICES[choice])[0]["clients"]

    def ask_of(name: str) -> list[dict[str, Any]]:
        text = expand.influxql(getattr(influxql, name), plain.first, plain.last, chosen)
        return influxd.ask("g", text)

    assert sum(row["Sent"] for row in ask_of("TOTAL")) == whole
    for name in ("NETWORKS", "TOP_STATIONS", "TOP_COUNTRIES", "AGENTS", "TOP_CLIENTS", "MAP"):
        assert sum(row["Sent"] for row in ask_of(name)) == whole, name
    for name in ("ACTIVITY", "STATIONS_BY_DAY"):
        assert sum(row["sum"] for row in ask_of(name)) == whole, name
    assert sum(row["Clients"] for row in ask_of("CLIENTS")) == clients


def test_influxdb_knows_the_values_of_variables(influxd: Influxd) -> None:
    for name in sql.VARIABLES:
        assert influxd.ask("g", influxql.variable(name)), name


def test_real_logs_without_codes_are_shown(database: str, tmp_path: Path) -> None:
    """Streams that are no identifiers have no network; they count in every total."""
    store = make_postgresql(database, tmp_path)
    read_into(store, DATA, server="a")
    whole = run_query(store, Query(measures=("bytes",), filters={"direction": ("TX",)}))
    text = expand.postgresql(
        sql.ACTIVITY, date(2000, 1, 1), date(2100, 1, 1), {"direction": ["TX"]}, timescaledb=False
    )
    with psycopg.connect(database) as connection:
        rows = connection.execute(text.encode()).fetchall()
    assert sum(row[2] for row in rows) == whole.to_pylist()[0]["bytes"]
