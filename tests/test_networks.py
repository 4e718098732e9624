"""What a code stands for: the registry, as it is read, kept and used."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import DATA, REGISTRY, CommandLine, network_period, read_into, totals
from hypothesis import given
from hypothesis import strategies as st

from ringserverstats.enrich.networks import Network, read_registry, spans
from ringserverstats.errors import SourceError
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query, select_for
from ringserverstats.store.base import Store

FDSN = DATA / "networks" / "fdsn.json"
STATION = DATA / "networks" / "station.txt"
ONE_DAY = timedelta(days=1)


def by_definition(networks: list[Network], day: date) -> tuple[str, bool] | None:
    """Extended code and whether it is near, looked for day by day."""
    running = [
        network
        for network in networks
        if network.first_day <= day <= (network.last_day or date.max)
    ]
    if running:
        return max(running, key=lambda network: network.first_day).extended, False
    for step in range(1, 731):
        after = [network for network in networks if network.last_day == day - step * ONE_DAY]
        before = [network for network in networks if network.first_day == day + step * ONE_DAY]
        if after or before:
            return min((*after, *before), key=lambda network: network.first_day).extended, True
    return None


LIVES = st.tuples(
    st.dates(date(2010, 1, 1), date(2020, 1, 1)), st.none() | st.integers(0, 1500)
).map(
    lambda life: Network(
        "XP", life[0], None if life[1] is None else life[0] + life[1] * ONE_DAY, "", None
    )
)


@given(st.lists(LIVES, min_size=1, max_size=5), st.dates(date(2005, 1, 1), date(2027, 1, 1)))
def test_a_code_stands_for_what_the_definition_says(networks: list[Network], day: date) -> None:
    periods = [span for span in spans(networks) if span.code == "XP"]
    current = [span for span in periods if span.first_day <= day <= span.last_day]
    assert len(current) <= 1
    assert [(span.network, span.is_nearest) for span in current] == [
        answer for answer in (by_definition(networks, day),) if answer
    ]
    for span, after in pairwise(periods):
        assert span.first_day <= span.last_day < after.first_day


def test_what_is_reused_within_a_year_goes_by_date() -> None:
    def named(day: date) -> str | None:
        periods = (span for span in spans(REGISTRY) if span.code == "1T")
        return next((span.name for span in periods if span.first_day <= day <= span.last_day), None)

    assert named(date(2026, 9, 30)) == "Second"
    assert named(date(2026, 10, 1)) == "Third"
    assert {span.network for span in spans(REGISTRY) if span.name in ("Second", "Third")} == {
        "1T2026"
    }


def test_codes_with_their_year_and_permanent_ones_stay() -> None:
    pairs = {(span.code, span.network) for span in spans(REGISTRY)}
    assert ("FR", "FR") in pairs
    assert ("XP2014", "XP2014") in pairs
    assert ("XP", "XP2014") in pairs


def test_the_registry_of_fdsn() -> None:
    registry = read_registry(str(FDSN))
    networks = registry.networks
    assert registry.left_out == 3
    assert [(span.extended, str(span.first_day), str(span.last_day)) for span in networks] == [
        ("1T2024", "2024-03-01", "2026-09-14"),
        ("FR", "1962-01-01", "None"),
        ("XP2014", "2014-05-01", "2016-01-01"),
        ("XP2019", "2019-01-01", "2023-12-31"),
    ]
    assert networks[1].doi == "10.15778/RESIF.FR"
    assert networks[2].name == r"Tiny \x1b[31m network; <script>"


def test_the_text_of_a_station_service() -> None:
    networks = read_registry(str(STATION)).networks
    assert [(span.extended, str(span.last_day)) for span in networks] == [
        ("FR", "None"),
        ("XP2014", "2016-01-01"),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "no", "[]", "{}", '{"networks": 3}', '{"networks": [{}]}', "[" * 100_000, "a|b|c|d"],
)
def test_what_is_no_registry(tmp_path: Path, text: str) -> None:
    file = tmp_path / "registry"
    file.write_text(text)
    with pytest.raises(SourceError, match="contains no networks"):
        read_registry(str(file))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_registry_or_an_error(raw: bytes) -> None:
    file = Path("registry.any")
    try:
        file.write_bytes(raw)
        assert read_registry(str(file)).networks
    except SourceError:
        pass
    finally:
        file.unlink()


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(500)
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(FDSN.read_bytes())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.of_both
def test_history_follows_a_refresh(store: Store) -> None:
    """Without reading a log again, or a change of any sum."""
    read_into(store, DATA)
    query = Query(dimensions=("network",), measures=("bytes", "clients"))
    before = {row["network"]: row["bytes"] for row in run_query(store, query).to_pylist()}
    assert "XP" in before
    sums = store.ask(_SUMS).to_pylist()
    store.set_registry([*REGISTRY, Network("XP", date(2025, 1, 1), None, "Now", None)])
    after = {row["network"]: row["bytes"] for row in run_query(store, query).to_pylist()}
    assert after["XP2025"] == before["XP"]
    assert "XP" not in after
    assert store.ask(_SUMS).to_pylist() == sums
    for name in ("XP", "XP2025", "XP*"):
        chosen = Query(filters={"network": (name,)}, measures=("bytes",))
        assert totals(store, chosen)["bytes"] == before["XP"]
    assert totals(store, Query(filters={"network": ("XP2014",)}))["bytes"] == 0
    store.set_registry(REGISTRY)  # that of 2014 is too long ago
    again = {row["network"]: row["bytes"] for row in run_query(store, query).to_pylist()}
    before["1T2026"] = before.pop("1T")
    assert again == before


_SUMS = "SELECT day, network, sum(bytes) AS bytes FROM network_by_day GROUP BY 1, 2 ORDER BY 1, 2"


def test_the_commands(run: CommandLine, service: str) -> None:
    run(str(DATA / "v4.1.0-text"))
    unknown = json.loads(run("networks", "unknown", "--format", "json").stdout)
    assert "XP" in {row["code"] for row in unknown if row["network"] is None}
    none = run("networks", "list")
    assert none.returncode == 3
    assert "there is no registry" in none.stderr
    process = run("networks", "refresh", f"{service}/ws")
    assert "4 networks, 3 of them temporary; 0 before" in process.stdout
    assert "3 rows without a valid code or dates were left out" in process.stderr
    failed = run("networks", "refresh", f"{service}/moved?key=secret")
    assert failed.returncode == 3
    assert "stay as they are" in failed.stderr
    assert "secret" not in failed.stderr
    listed = json.loads(run("networks", "list", "--format", "json").stdout)
    assert {row["network"] for row in listed} == {"1T2024", "FR", "XP2014", "XP2019"}
    shown = run("networks", "list", "--all").stdout
    assert "\x1b" not in shown
    assert "10.15778/RESIF.FR" in shown
    unknown = json.loads(run("networks", "unknown", "--format", "json").stdout)
    near = [row for row in unknown if row["code"] == "XP"]
    assert [row["network"] for row in near] == [None]
    table = run("stats", "--by", "network,network-name,network-doi", "--format", "csv").stdout
    assert table.splitlines()[0].startswith('"network","network-name","network-doi",')


def test_offline(run: CommandLine) -> None:
    """Nothing but a refresh asks the network, and that says what to do without."""
    run(str(DATA / "v4.1.0-text"))
    run("networks", "refresh", str(FDSN))
    failed = run("networks", "refresh", "http://127.0.0.1:9/none")
    assert failed.returncode == 3
    assert "You can also read a file" in failed.stderr
    listed = json.loads(run("networks", "list", "--all", "--format", "json").stdout)
    assert len(listed) == 4


@given(
    code=st.sampled_from(["1T", "FR", "G", "XP", None]),
    day=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
)
def test_the_samples_registry_is_as_the_tests_take_it(code: str | None, day: date) -> None:
    periods = [span for span in spans(REGISTRY) if span.code == code]
    names = [span.name for span in periods if span.first_day <= day <= span.last_day]
    meant = network_period(code, day)
    assert names == ([meant.name] if meant else [])


@pytest.mark.of_duckdb
@pytest.mark.parametrize(
    "url",
    ["http://localhost:abc/x", "http://[::1/x", "http://user:pa/ss@localhost/", "http://", "{}"],
)
def test_a_wrong_url_is_reported_without_its_secret(run: CommandLine, url: str) -> None:
    run(str(DATA / "v4.1.0-text"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def respond() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"SSH-2.0 hello\r\n")

        if url == "{}":
            threading.Thread(target=respond, daemon=True).start()
        failed = run("networks", "refresh", url.format(f"http://127.0.0.1:{port}/"))
    assert failed.returncode in (2, 3)
    assert failed.stderr.startswith("Error: ")
    assert "Traceback" not in failed.stderr
    assert "pa" not in failed.stderr.split()


def test_a_code_with_its_year_means_its_network_on_all_days() -> None:
    for span in spans(REGISTRY):
        if span.code == "XP2014":
            assert (span.first_day.year, span.last_day.year, span.is_nearest) == (1800, 2200, False)


def test_days_that_count_as_the_nearest_are_reported(run: CommandLine) -> None:
    run(str(DATA / "v4.1.0-text"))
    run("networks", "refresh", str(FDSN))
    process = run("stats", "--by", "network")
    assert "\n1T2024 " in process.stdout
    assert "\n1T " not in process.stdout
    assert "count as the nearest network: 1T2024" in process.stdout
    assert "nearest" not in run("stats", "--by", "station").stdout


def test_a_period_is_split_only_at_days_of_the_store(store: Store) -> None:
    read_into(store, DATA / "v4.1.0-text")
    many = [
        Network(code, date(year, 3, 15), date(year, 9, 15), f"{code} of {year}", None)
        for code in ("XP", "1T")
        for year in range(1990, 2026)
    ]
    store.set_registry(many)
    sql, parameters = select_for(store.ask, Query(dimensions=("network",)))
    assert len(parameters) < 5
    assert sql.count("UNION ALL") <= 2  # days of a month that is not over, and months around it
    assert "station_by_month" in sql


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (None, None),
        (date(2010, 1, 1), None),
        (None, date(2030, 1, 1)),
        (date(2010, 1, 1), date(2030, 1, 1)),
        (date(2026, 11, 24), date(2026, 11, 24)),
    ],
)
def test_a_network_is_the_same_whatever_the_period(
    store: Store, first: date | None, last: date | None
) -> None:
    read_into(store, DATA / "v4.1.0-text")
    store.set_registry([Network("XP", date(2025, 1, 1), date(2026, 12, 31), "Now", None)])
    query = Query(dimensions=("network",), first=first, last=last, measures=("bytes", "clients"))
    networks = {row["network"] for row in run_query(store, query).to_pylist()}
    assert "XP2025" in networks
    assert "XP" not in networks
