"""Public results: no output reveals embargoed networks or few clients."""

import csv
import html
import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import (
    CITY,
    DATA,
    REGISTRY,
    SECRET,
    CommandLine,
    held_open,
    make_store,
    read_into,
    rest_in_soak,
    totals,
)
from model import block
from service import client_of, settings_of

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.networks import Network
from ringserverstats.errors import UsageError
from ringserverstats.exports.influxdb.points import PointOptions, points_of
from ringserverstats.opening import public_policy
from ringserverstats.settings import Settings
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS
from ringserverstats.statistics.publish import Policy, operator_result, public_result
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.store.base import Store

OF_STREAM = [name for name, group in DIMENSIONS.items() if group.of_stream]
FEW = [name for name, group in DIMENSIONS.items() if group.is_identifying]
TWO = Policy(embargoed=("XP", "1T20*"))
ONE = Policy(embargoed=("XP2025",))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = make_store(tmp_path_factory.mktemp("published") / "store.duckdb", memory="1GB")
    read_into(store, DATA, geoip=GeoIP(CITY, None, precision=5))
    store.set_registry([*REGISTRY, Network("XP", date(2025, 1, 1), None, "Now", None)])
    with held_open(store):
        yield store


def streams_of(store: Store, *codes: str) -> set[str]:
    """All words that identify streams of these networks."""
    rows = store.ask(
        "SELECT network, station, name FROM stream WHERE network = ANY($1::text[])", [list(codes)]
    ).to_pylist()
    words = {word for row in rows for word in row.values()}
    others = store.ask(
        "SELECT network, station, name FROM stream WHERE network <> ALL($1::text[])", [list(codes)]
    ).to_pylist()
    return words - {word for row in others for word in row.values()}


@pytest.mark.parametrize("group", rest_in_soak(OF_STREAM, keep=3))
def test_embargoed_networks_are_named_in_no_split(sample: Store, group: str) -> None:
    secret = streams_of(sample, "XP", "1T") | {"XP2025", "1T2024", "1T2026", "Now"}
    for by in ((group,), ("month", group), (group, "country"), ("network", group)):
        if len(set(by)) < len(by):
            continue
        query = Query(dimensions=by, measures=("bytes", "clients", "transfers"))
        everything = {
            word for row in operator_result(sample, query).rows.to_pylist() for word in row.values()
        }
        result = public_result(sample, query, TWO)
        words = {word for row in result.rows.to_pylist() for word in row.values()}
        if group in ("network", "station", "stream"):
            assert everything & secret  # else nothing could be found below
        assert not words & secret


def test_embargoed_networks_count_in_no_figure(sample: Store) -> None:
    """Nor do streams without a source identifier, as they may be embargoed."""
    measures = ("bytes", "packets", "clients")
    for policy in (ONE, TWO):
        whole = public_result(sample, Query(measures=measures), policy).rows.to_pylist()[0]
        counted = Query(filters={"network": ("*",)}, measures=("bytes",))
        networks = operator_result(sample, replace(counted, dimensions=("network",))).rows
        expected = sum(
            row["bytes"]
            for row in networks.to_pylist()
            if not row["network"].startswith(("XP", "1T20") if policy is TWO else "XP2025")
        )
        assert 0 < whole["bytes"] == expected < totals(sample, counted)["bytes"]
        for by in (("network",), ("month", "station"), ("stream",), ("server",), ("country",)):
            result = public_result(sample, Query(dimensions=by, measures=measures), policy)
            assert sum(row["bytes"] for row in result.rows.to_pylist()) == expected
            assert result.total["bytes"] == expected
            assert "figures exclude embargoed networks" in result.notes[0]
            assert "other" not in {row[by[-1]] for row in result.rows.to_pylist()}


@pytest.mark.parametrize("name", [name for name, filter_ in FILTERS.items() if filter_.of_stream])
def test_no_filter_chooses_an_embargoed_network(sample: Store, name: str) -> None:
    query = Query(filters={name: ("*",)}, measures=("bytes",))
    whole = Query(filters={**query.filters, "network": ("*",)}, measures=("bytes",))
    everything = totals(sample, whole)["bytes"]
    embargoed = totals(sample, Query(filters={"network": ("XP",)}, measures=("bytes",)))["bytes"]
    result = public_result(sample, query, ONE).rows.to_pylist()
    assert embargoed
    assert result == [{"bytes": everything - embargoed}]


def test_single_clients_are_for_the_operator(sample: Store) -> None:
    for query in (Query(dimensions=("client",)), Query(filters={"client": ("*",)})):
        with pytest.raises(UsageError, match="only the operator"):
            public_result(sample, query, Policy())


def test_groups_of_few_clients_are_not_shown(sample: Store) -> None:
    for by in [(name,) for name in FEW] + [("month", name) for name in FEW] + [("agent", "city")]:
        query = Query(dimensions=by, measures=("bytes", "clients"))
        everything = operator_result(sample, query)
        result = public_result(sample, query, Policy(min_clients=4))
        for row in result.rows.to_pylist():
            if row[by[-1]] == "<4":
                assert row["clients"] is None
            else:
                assert row["clients"] >= 4
                assert row in everything.rows.to_pylist()
        figures = [row["bytes"] for row in result.rows.to_pylist()]
        if None not in figures:  # else some rows are of few clients only
            assert sum(figures) == everything.total["bytes"]


def test_a_filter_tells_no_more_than_a_group(sample: Store) -> None:
    few = Query(dimensions=("city",), measures=("clients",), sort="clients")
    row = operator_result(sample, few).rows.to_pylist()[-1]
    assert row["clients"] < 4
    for by in ((), ("month",), ("network",), ("agent", "day"), ("city",)):
        query = Query(dimensions=by, filters={"city": (row["city"],)}, measures=("bytes",))
        assert len(operator_result(sample, query).rows)
        result = public_result(sample, query, Policy(min_clients=4))
        assert (len(result.rows), result.total) == (0, None)
        assert result.suppressed == ["the result is suppressed: it has fewer than 4 clients"]


def test_one_client_with_many_agents_is_one(store: Store, log: Callable[..., Path]) -> None:
    """Clients do not add up over groups."""
    others = [block(address=f"198.51.100.{n}", agent="slink/4") for n in range(1, 31)]
    single = [block(address="203.0.113.9", agent=f"odd{n}/1") for n in range(6)]
    read_into(store, log("".join(others + single)))
    policy = Policy(min_clients=5)
    for filters in ({}, {"agent": ("*",)}):
        query = Query(dimensions=("agent",), filters=filters, measures=("bytes", "clients"))
        [row] = public_result(store, query, policy).rows.to_pylist()
        assert row == {"agent": "<5", "bytes": 36 * 1536, "clients": None}
    odd = Query(dimensions=("agent",), filters={"agent": ("odd*",)}, measures=("bytes",))
    assert len(public_result(store, odd, policy).rows) == 0


def test_an_embargo_by_year_holds_where_the_year_is_not_known(
    store: Store, log: Callable[..., Path]
) -> None:
    names = ("XP_A__EHZ/MSEED", "XP_B_LOG/TEXT", "xp_C__EHZ/MSEED", "FR_D__EHZ/MSEED")
    read_into(store, log("".join(block(transfers=((name, 512, 1),)) for name in names)))
    far = Network("XP", date(2014, 1, 1), date(2016, 1, 1), "", None)
    for networks in ([], [far], [Network("XP", date(2025, 1, 1), None, "", None)]):
        store.set_registry(networks)
        with held_open(store):
            for embargo, by in itertools.product(
                ("XP2025", "XP", "X*", "XP20*", "*2025", "?P2025"), ("network", "station", "stream")
            ):
                query = Query(dimensions=(by,), measures=("bytes",))
                rows = public_result(store, query, Policy(embargoed=(embargo,))).rows.to_pylist()
                words = {row[by] for row in rows}
                assert not words & {"XP", "xp", "XP2025", "A", "C", *names[:3]}, (embargo, by)
                assert words & {"FR", "D", names[3]}
        query = Query(filters={"stream": ("*",)}, measures=("bytes",))
        result = public_result(store, query, Policy(embargoed=("XP",)))
        assert result.rows["bytes"].to_pylist() == [512]


def test_one_network_under_two_spellings_is_one(store: Store, log: Callable[..., Path]) -> None:
    names = ("XP_A__EHZ/MSEED", "XP2026_A__EHZ/MSEED", "FR_D__EHZ/MSEED")
    read_into(store, log("".join(block(transfers=((name, 512, 1),)) for name in names)))
    query = Query(dimensions=("network",), measures=("bytes",))
    result = public_result(store, query, Policy(embargoed=("XP",)))
    assert [row["network"] for row in result.rows.to_pylist()] == ["FR"]


def test_every_output(run: CommandLine) -> None:
    run(str(DATA / "v4.1.0-text"))
    run.environment |= {"RINGSERVERSTATS_EMBARGO": "xp, FR", "RINGSERVERSTATS_MIN_CLIENTS": "99"}
    ours = run("stats", "--by", "network,station").stdout
    assert "XP" in ours
    assert "CIEL" in ours
    options = ("stats", "--by", "network,station,agent", "--public")
    for format_ in ("table", "csv", "json"):
        process = run(*options, "--format", format_)
        assert process.returncode == 0
        for word in ("XP", "CIEL", "TZ01", "slink", "curl"):
            assert word not in process.stdout + process.stderr, format_
        assert "<99" in process.stdout
        assert "rows with fewer than 99 clients" in process.stdout + process.stderr
    file = run.folder / "public.parquet"
    run(*options, "-o", file)
    assert set(pq.read_table(file)["agent"].to_pylist()) == {"<99"}
    rows = json.loads(run("stats", "--by", "network", "--public", "--format", "json").stdout)
    networks = {row["network"] for row in rows}
    assert networks
    assert not {"other", "XP2025", "FR"} & networks
    refused = run("stats", "--by", "client", "--public")
    assert refused.returncode == 2
    assert "only the operator" in refused.stderr


def test_the_largest_by_time_add_up_rows_that_are_shown(sample: Store) -> None:
    for group, least in (("network", 0), ("agent-family", 2)):
        policy = Policy(min_clients=least)
        query = Query(dimensions=("year", group), measures=("bytes", "clients"))
        every = public_result(sample, query, policy).rows.to_pylist()
        ranking = replace(query, dimensions=(group,), sort="bytes")
        ranked = [row[group] for row in public_result(sample, ranking, policy).rows.to_pylist()]
        named = [label for label in ranked if not str(label).startswith("<")][:1]
        combined = [row for row in every if str(row[group]).startswith("<")]
        rows = public_result(sample, replace(query, top=1), policy).rows.to_pylist()
        other = [row for row in rows if row[group] == "other"]
        assert other
        assert bool(combined) is bool(least)
        assert {row["clients"] for row in other} == {None}
        assert [row for row in rows if row not in other] == [
            *sorted(
                (row for row in every if row[group] in named),
                key=lambda row: (row["year"], named.index(row[group])),
            ),
            *combined,
        ]
        for row in other:
            alike = [one for one in every if one["year"] == row["year"]]
            rest = [one for one in alike if one[group] not in named and one not in combined]
            assert row["bytes"] == sum(one["bytes"] for one in rest)


def test_no_note_names_an_embargoed_network(run: CommandLine) -> None:
    """Nor that its days count as the nearest network, which the operator sees."""
    run(str(DATA / "v4.1.0-text"))
    run("networks", "refresh", str(DATA / "networks" / "fdsn.json"))
    run.environment["RINGSERVERSTATS_EMBARGO"] = "1T2024"
    for format_ in ("table", "csv"):
        process = run("stats", "--by", "network", "--format", format_)
        assert "nearest network: 1T2024" in process.stdout + process.stderr
        public = run("stats", "--by", "network", "--public", "--format", format_)
        assert "FR" in public.stdout
        assert "1T" not in public.stdout + public.stderr


def test_an_embargo_by_year_holds_for_small_letters_alone(
    store: Store, log: Callable[..., Path]
) -> None:
    read_into(store, log(block(transfers=(("xp_C__EHZ/MSEED", 512, 1),))))
    query = Query(dimensions=("network",), measures=("bytes",))
    assert len(operator_result(store, query).rows) == 1
    assert len(public_result(store, query, Policy(embargoed=("XP2025",))).rows) == 0


def by_country(rows: Iterable[dict]) -> dict[str, int]:
    """Bytes by country, of the rows that name one."""
    named = (row for row in rows if row["country"] and not row["country"].startswith("<"))
    return {row["country"]: int(row["bytes"]) for row in named}


def csv_rows(text: str) -> list[dict]:
    return list(csv.DictReader(line for line in text.splitlines() if line[0] != "#"))


def on_all_channels(store: Store, run: CommandLine, settings: Settings) -> dict[str, dict]:
    """Bytes by country as each channel shows them to the public."""
    web, policy = client_of(settings), public_policy(settings)
    period = "from=2026-01&to=2026-01"
    page = web.get(f"/tables/countries?{period}", headers={"Accept": "text/html"}).text
    command = shlex.split(html.unescape(re.search("<code>(.*)</code>", page)[1]))[1:]
    api = f"/api/v1/stats?by=country&{period}"
    eida = "/eidaws/statistics/1/seedlink/public?start=2026-01&end=2026-01&details=country"
    lines = b"".join(points_of(store, date(2026, 1, 31), PointOptions(policy=policy)).lines)
    points = re.findall(r"country=([^, ]*).* bytes=(\d+)i", lines.decode())
    found = {
        "page's command": by_country(csv_rows(run(*command, "--format", "csv").stdout)),
        "stats": by_country(
            json.loads(run("stats", "--by", "country", "--public", "--format", "json").stdout)
        ),
        "API": by_country(web.get(api).json()),
        "CSV": by_country(csv_rows(web.get(f"{api}&format=csv").text)),
        "EIDA": by_country(web.get(f"{eida}&format=json").json()["results"]),
        "EIDA's CSV": by_country(csv_rows(web.get(eida).text)),
        "InfluxDB": by_country([{"country": name, "bytes": size} for name, size in points]),
    }
    for size in found["API"].values():
        assert human_bytes(size) in page
    return found


def test_all_channels_show_the_same(tmp_path: Path, log: Callable[..., Path]) -> None:
    """Of GB four clients, of CN three and of SE one: 512 bytes of each, and what is embargoed."""
    store = make_store(tmp_path / "store.duckdb")
    hosts = [*(f"81.2.69.{n}" for n in (144, 145, 146, 147)), "175.16.199.1", "175.16.199.2"]
    names = ("FR_CIEL_00_HHZ/MSEED", "G_SSB_00_HHZ/MSEED", "RAW/BINARY")
    transfers = tuple((name, 512 * 10**n, 1) for n, name in enumerate(names))
    blocks = [
        block(address=host, transfers=transfers)
        for host in (*hosts, "175.16.199.3", "89.160.20.112")
    ]
    read_into(
        store,
        log("".join(blocks), "txlog-20260131T0000-20260201T0000"),
        geoip=GeoIP(CITY, None, precision=5),
    )
    run = CommandLine(
        tmp_path, {"RINGSERVERSTATS_SECRET": SECRET.hex(), "RINGSERVERSTATS_EMBARGO": "G"}
    )
    everything = {"GB": 4 * 512, "CN": 3 * 512, "SE": 512}
    for everywhere, expected in ((False, everything), (True, {"GB": 4 * 512})):
        run.environment["RINGSERVERSTATS_MIN_CLIENTS"] = "3"
        run.environment["RINGSERVERSTATS_MIN_CLIENTS_EVERYWHERE"] = f"{everywhere}".lower()
        settings = settings_of(
            store, embargo=("G",), min_clients=3, min_clients_everywhere=everywhere
        )
        for channel, figures in on_all_channels(store, run, settings).items():
            assert figures == expected, channel
        web = client_of(settings)
        few = web.get("/api/v1/stats?from=2026-01&to=2026-01&country=SE").json()
        assert few == ([] if everywhere else [{**few[0], "bytes": 512, "clients": 1}])
        assert web.get("/metrics").status_code == 403


@pytest.mark.parametrize("everywhere", rest_in_soak([True, False]))
def test_pages_show_what_is_left_of_few_clients(sample: Store, everywhere: bool) -> None:
    """Of days, weekdays and countries, too, if a filter or a setting limits them."""
    web = client_of(settings_of(sample, min_clients=3, min_clients_everywhere=everywhere))
    period = "from=2026-06-25&to=2026-07-05" + ("" if everywhere else "&agent=*")
    page = web.get(f"/?{period}", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "few clients" in page.text
    rows = web.get(f"/api/v1/stats?by=day,network&measure=bytes,clients&{period}").json()
    assert rows[-1]["day"] == rows[-1]["network"] == "<3"
    assert all(row["clients"] >= 3 for row in rows[:-1])
    empty = web.get(f"/?{period}&city=Tokyo*", headers={"Accept": "text/html"}).text
    assert "it has fewer than 3 clients" in empty


def test_a_client_of_several_pruned_months_is_one(store: Store, log: Callable[..., Path]) -> None:
    """It counts once for each month there, but never as several clients."""
    for month in (1, 2, 3):
        begin = datetime(2025, month, 3, tzinfo=UTC)
        hosts = {"rare/1": 1, "slink/1": 3}
        blocks = [
            block(address=f"198.51.100.{n}", agent=agent, log_time=int(begin.timestamp()) + 60 + n)
            for agent, count in hosts.items()
            for n in range(count)
        ]
        read_into(store, log("".join(blocks), f"txlog-{begin:%Y%m%d}T0000-{begin:%Y%m}04T0000"))
    store.prune(date(2025, 4, 1), try_only=False)
    query = Query(dimensions=("agent-family",), measures=("bytes", "clients"))
    named = {row["agent-family"]: row["clients"] for row in run_query(store, query).to_pylist()}
    assert named == {"rare": 3, "slink": 9}
    result = public_result(store, query, Policy(min_clients=3))
    assert [row["agent-family"] for row in result.rows.to_pylist()] == ["<3"]
    rare = replace(query, filters={"agent-family": ("rare",)})
    assert len(public_result(store, rare, Policy(min_clients=3)).rows) == 0
