"""Answers in the form of EIDA's service: parameters, figures, and what nobody gets out of them."""

import csv
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from conftest import (
    ASN,
    CITY,
    DATA,
    SECRET,
    execute,
    make_postgresql,
    make_store,
    read_into,
    rest_in_soak,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model import START, block
from servers import Server
from test_eida import REGISTRY, RULES, _largest, _read_by_hand, _registers_of, _sketch_of

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.exports.eida.payload import figures
from ringserverstats.exports.eida.served import PROTOCOLS
from ringserverstats.exports.eida.statistics_service import COLUMNS, Reply, respond
from ringserverstats.statistics.publish import Policy
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

Log = Callable[..., Path]
TODAY = date(2026, 11, 26)
DAY = 86_400
MEASURES = ("bytes", "nb_reqs", "nb_successful_reqs", "clients")


@pytest.fixture(scope="module")
def stores(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """All logs that real servers wrote, with places and without rules, in both kinds of stores."""
    folder = tmp_path_factory.mktemp("eida_service")
    made = (
        make_store(folder / "store.duckdb"),
        make_postgresql(server.make("of_eida_service", "migrated"), folder),
    )
    for store in made:
        read_into(store, DATA, geoip=GeoIP(CITY, ASN, precision=5))
        store.set_registry(REGISTRY)
    return made


def asked(store: Store, query_string: str, *embargoed: str) -> Reply:
    return respond(store, query_string, node="EXAMPLE", policy=Policy(embargoed), today=TODAY)


def text(store: Store, query_string: str, *embargoed: str) -> str:
    return b"".join(asked(store, query_string, *embargoed).body).decode()


def results(store: Store, query_string: str, *embargoed: str) -> list[dict]:
    found = json.loads(text(store, f"{query_string}&format=json", *embargoed))
    assert "error" not in found, found
    return found["results"]


# The forms


def test_csv_is_as_described(stores: tuple[Store, Store]) -> None:
    for store in stores:
        found = asked(store, "start=2026-03&level=network&details=year&network=FR")
        assert (found.status, found.media_type) == (200, "text/csv")
        assert b"".join(found.body).decode() == (
            "# version: 1.0.0\n"
            "# request_parameters: start=2026-03&level=network&details=year&network=FR\n"
            "date,node,network,station,location,channel,country,"
            "bytes,nb_reqs,nb_successful_reqs,clients\n"
            "2026,EXAMPLE,FR,*,*,*,*,5316608,86,86,11\n"
        )


def _row(country: str | None, count: int, requests: int, clients: int) -> dict:
    """One row of a node's month, with a star for what is aggregated."""
    codes = dict.fromkeys(("network", "station", "location", "channel"), "*")
    figures_ = {"bytes": count, "nb_reqs": requests, "nb_successful_reqs": requests}
    node = {"date": "2026-11", "node": "EXAMPLE"}
    return {**node, **codes, "country": country, **figures_, "clients": clients}


def test_json_is_as_described(stores: tuple[Store, Store]) -> None:
    query_string = "start=2026-11&level=node&details=month,country&format=json"
    for store in stores:
        found = asked(store, query_string)
        assert (found.status, found.media_type) == (200, "application/json")
        made = json.loads(b"".join(found.body))
        assert list(made) == ["version", "request_parameters", "results"]
        assert (made["version"], made["request_parameters"]) == ("1.0.0", query_string)
        assert made["results"] == [
            _row(None, 5246464, 153, 8),
            _row("CN", 53248, 4, 1),
            _row("DE", 25600, 2, 1),
            _row("GB", 311808, 12, 2),
            _row("JP", 1411072, 40, 1),
            _row("US", 572416, 14, 1),
        ]


SPLITS = [
    f"level={level}&details={','.join(details)}"
    for level in ("", "node", "network")
    for details in ((), ("month",), ("year",), ("country",), ("country", "month"))
]


@pytest.mark.parametrize("split", SPLITS)
def test_both_forms_and_both_kinds_of_stores_tell_the_same(
    stores: tuple[Store, Store], split: str
) -> None:
    query_string = f"start=2026-01&{split}&hllvalues=true"
    one, other = (text(store, query_string) for store in stores)
    assert one == other
    lines = one.splitlines()
    assert lines[2] == ",".join([*COLUMNS, "hll_clients"])
    rows = list(csv.DictReader(lines[2:]))
    result = results(stores[0], query_string)
    assert [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in result
    ] == rows
    assert len(rows) > 0
    assert [row["date"] for row in rows] == sorted(row["date"] for row in rows)
    for row in result:
        assert (row["date"] == "*") == ("month" not in split and "year" not in split)
        assert row["node"] == ("*" if "level=&" in split else "EXAMPLE")
        assert (row["network"] == "*") == ("level=network" not in split)
        assert (row["country"] == "*") == ("country" not in split)
        assert {row[name] for name in ("station", "location", "channel")} == {"*"}


# Figures


def test_requests_are_those_that_are_counted_by_hand(stores: tuple[Store, Store]) -> None:
    by_network: dict[str, int] = defaultdict(int)
    extended = {"XP": "XP2026", "1T": "1T2024"}
    for codes, served in _read_by_hand().items():
        if codes[0] not in ("XX", "Z3"):
            by_network[extended.get(codes[0], codes[0])] += len(served)
    assert len(by_network) > 3
    for store in stores:
        rows = results(store, "start=2026-11&end=2026-11&level=network")
        assert {row["network"]: row["nb_reqs"] for row in rows} == by_network
        [total] = results(store, "start=2026-11&end=2026-11")
        assert total["nb_reqs"] == total["nb_successful_reqs"] == sum(by_network.values())


def test_bytes_and_clients_are_those_of_stats(stores: tuple[Store, Store]) -> None:
    own = {"direction": ("TX",), "protocol": PROTOCOLS, "network": ("FR", "G", "RA")}
    for store in stores:
        for by in (("month", "network"), ("network",), ("network", "country")):
            query = Query(dimensions=by, filters=own, measures=("bytes", "clients"))
            result = {
                tuple(row[name] for name in by): (row["bytes"], row["clients"])
                for row in run_query(store, query).to_pylist()
                if len(row.get("country", "FR")) == 2
            }
            details = ",".join(name for name in by if name != "network")
            found = {
                tuple(row["date" if name == "month" else name] for name in by): (
                    row["bytes"],
                    row["clients"],
                )
                for row in results(store, f"start=2018-01&level=network&details={details}")
                if row["network"] in own["network"] and row["country"] is not None
            }
            assert found == result
            assert len(found) > 2


def test_months_are_those_of_the_payload(stores: tuple[Store, Store]) -> None:
    store = stores[0]
    expected: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for month in (3, 6, 7, 11):
        for row in figures(store, date(2026, month, 1)).rows.to_pylist():
            key = (f"2026-{month:02}", row["network"], row["country"] or None)
            expected[key][0] += int(row["bytes"])
            expected[key][1] += row["requests"]
    found = {
        (row["date"], row["network"], row["country"]): [row["bytes"], row["nb_reqs"]]
        for row in results(store, "start=2026-01&level=network&details=month,country")
        if row["date"][-2:] in ("03", "06", "07", "11")
    }
    assert found == expected


def test_a_client_of_several_months_networks_and_streams_is_one(store: Store, log: Log) -> None:
    names = ("FR_CIEL_00_HHZ/MSEED", "G_SSB_00_HHZ/MSEED")
    transfers = tuple((name, 512, 1) for name in names)
    for days, name in ((150, "txlog-20260630T0000-20260701T0000"), (151, "txlog")):
        read_into(store, log(block(transfers=transfers, log_time=START + days * DAY), name))
    store.set_registry(REGISTRY)
    [total] = results(store, "start=2026-01")
    assert [total[name] for name in MEASURES] == [2048, 4, 4, 1]
    months = results(store, "start=2026-01&details=month&level=network")
    assert [(row["date"], row["network"], row["nb_reqs"], row["clients"]) for row in months] == [
        (month, network, 1, 1) for month in ("2026-06", "2026-07") for network in ("FR", "G")
    ]
    assert results(store, "start=2026-07&details=month") == [
        {**total, "date": "2026-07", "bytes": 1024, "nb_reqs": 2, "nb_successful_reqs": 2}
    ]


def test_only_external_readers_count(store: Store, log: Log) -> None:
    blocks = [
        block(),
        block(direction="RX"),
        block(protocol="Unknown"),
        block(host="a.example.edu", address="192.0.2.99"),
        block(transfers=(("Z3_A__EHZ/MSEED", 7, 1), ("RAW/X", 8, 1), ("z3_A__EHZ/MSEED", 9, 1))),
    ]
    read_into(store, log("".join(blocks)), rules=RULES)
    store.set_registry(REGISTRY)
    [row] = results(store, "start=2026-01")
    assert [row[name] for name in MEASURES] == [1536, 2, 2, 1]


def test_what_is_asked_for_is_chosen(stores: tuple[Store, Store]) -> None:
    for store in stores:
        rows = results(store, "start=2018-01&level=network&details=country,month")
        countries = sorted({row["country"] for row in rows if row["country"]})
        assert len({*countries, "GB"}) == len(countries) > 2
        for query_string, chosen in (
            ("network=FR", lambda row: row["network"] == "FR"),
            ("network=XP2026", lambda row: row["network"] == "XP2026"),
            ("country=GB", lambda row: row["country"] == "GB"),
            (f"country={','.join(countries)}", lambda row: row["country"] is not None),
            ("country=ZZ", lambda _: False),
            ("end=2026-06", lambda row: row["date"] <= "2026-06"),
            ("node=OTHER,EXAMPLE", lambda _: True),
            ("node=OTHER", lambda _: False),
            ("node=example", lambda _: False),
        ):
            found = results(
                store, f"start=2018-01&level=network&details=country,month&{query_string}"
            )
            assert found == [row for row in rows if chosen(row)], query_string
    lists = "start=2018-1&country=GB&country=JP,US&details=month&details=country"
    as_one = "start=2018-01&country=GB,JP,US&details=month,country"
    assert results(stores[0], lists) == results(stores[0], as_one) != []
    assert results(stores[0], "start=2027-01") == []
    assert text(stores[0], "start=2027-01").count("\n") == 3


# Sketches


def test_sketches_are_the_union_of_those_of_the_payload(stores: tuple[Store, Store]) -> None:
    for store in stores:
        rows = figures(store, date(2026, 11, 1)).rows.to_pylist()
        [result] = results(store, "start=2026-11&end=2026-11&hllvalues=true")
        own = {int(one) for row in rows for one in memoryview(row["registers"]).cast("H")}
        expected: dict[int, int] = {}
        for one in own:
            expected[one >> 5] = max(one & 31, expected.get(one >> 5, 0))
        assert _registers_of(_sketch_of(result["hll_clients"])) == expected
        parts = results(store, "start=2026-11&level=network&details=country&hllvalues=true")
        sketches = [_sketch_of(row["hll_clients"]) for row in parts]
        assert len(sketches) > 3
        assert _largest(sketches) == expected
    assert "hll_clients" not in results(stores[0], "start=2026-11&hllvalues=false")[0]


@pytest.mark.parametrize(
    ("split", "least"), [("details=month,country", 2), ("details=country", 2), ("level=network", 5)]
)
def test_few_clients_have_no_sketch(stores: tuple[Store, Store], split: str, least: int) -> None:
    """Nor has a row that reveals them: the sketch of all rows contains theirs."""
    query_string = f"start=2026-01&{split}&hllvalues=true&format=json"
    for store in stores:
        rows, limited = (
            json.loads(
                b"".join(
                    respond(store, query_string, node="EXAMPLE", policy=policy, today=TODAY).body
                )
            )["results"]
            for policy in (Policy((), least), Policy((), least, limits_all=True))
        )
        without = [row["clients"] for row in rows if not row["hll_clients"]]
        assert min(without) < least <= max(without)
        shown = [row for row in rows if row["hll_clients"]]
        assert min(row["clients"] for row in shown) >= least
        assert limited == shown


def test_without_the_library_sketches_are_not_implemented(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("python_hll2")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "python_hll2", None)
    found = asked(stores[0], "start=2026-11&hllvalues=true&format=json")
    assert found.status == 501
    assert "no sketches" in json.loads(b"".join(found.body))["error"]
    assert asked(stores[0], "start=2026-11").status == 200


# What is refused


@pytest.mark.parametrize(
    ("query_string", "problem"),
    [
        ("", "'start' is missing"),
        ("end=2026-11", "'start' is missing"),
        ("start=2026", "a month such as"),
        ("start=2026-13", "a month such as"),
        ("start=2026-11-01", "a month such as"),
        ("start=0000-01", "a month such as"),
        ("start=%D9%A2026-01", "a month such as"),
        ("start=2026-11&start=2026-11", "'start' is given twice"),
        ("start=2026-11&end=2026-10", "ends before it starts"),
        ("start=2026-11&end=", "'end' is empty"),
        ("start=2026-11&node=", "'node' is empty"),
        ("start=2026-11&station=CIEL", "there is no parameter 'station'"),
        ("start=2026-11&Level=node", "there is no parameter 'Level'"),
        ("start=2026-11&level=station", "'station' is not a value of 'level'"),
        ("start=2026-11&details=month,year", "both month and year"),
        ("start=2026-11&details=day", "'day' is not a value of 'details'"),
        ("start=2026-11&details=month,", "'' is not a value of 'details'"),
        ("start=2026-11&network=FR,G", "no list"),
        ("start=2026-11&network=F*", "is not a value of 'network'"),
        ("start=2026-11&network=QQ", "no entry for this network"),
        ("start=2026-11&network=XP", "no entry for this network"),
        ("start=2026-11&network=Z3", "no entry for this network"),
        ("start=2026-11&country=FRA", "is not a value of 'country'"),
        ("start=2026-11&country=fr", "is not a value of 'country'"),
        ("start=2026-11&hllvalues=yes", "is not a value of 'hllvalues'"),
    ],
)
def test_what_is_wrong_is_reported_in_the_form_that_was_asked_for(
    stores: tuple[Store, Store], query_string: str, problem: str
) -> None:
    found = asked(stores[0], query_string)
    assert (found.status, found.media_type) == (400, "text/csv")
    result = b"".join(found.body).decode()
    assert problem in result
    assert all(line.startswith("# ") for line in result.splitlines())
    found = asked(stores[0], f"format=json&{query_string}")
    assert (found.status, found.media_type) == (400, "application/json")
    assert problem in json.loads(b"".join(found.body))["error"]


@pytest.mark.parametrize("format_", ["format=xml", "format=", "format=json&format=json"])
def test_a_wrong_format_is_reported_as_csv(stores: tuple[Store, Store], format_: str) -> None:
    found = asked(stores[0], f"start=2026-11&{format_}")
    assert (found.status, found.media_type) == (400, "text/csv")


def test_a_query_of_strangers_is_safe_in_a_table(stores: tuple[Store, Store]) -> None:
    for query_string in (
        "start=2026-11&node=x\n=1+1",
        "start=2026-11&node=x\r\n=1+1,\x1b[31m\x00",
        "start=2026-11&node=,=1+1,@x,-2,+3",
        'start=2026-11&node=",=1+1"',
        "start=2026-11&=cmd|x!a;=b\t=c",
        "start=2026-11&node=\u2028\x85é\ud800",
    ):
        for result in (text(stores[0], query_string), text(stores[0], f"x=1&{query_string}")):
            head = result.encode("ascii").decode().split("\n", 2)[1]
            assert head.startswith("# request_parameters: ")
            assert head.isprintable()
            assert head.count(" ") == 2
            [cells] = csv.reader([head])
            assert all(cell[:1] not in "=+-@" for cell in cells if cell)
            assert not set(head) & set("\"';|\t")
            assert set(result.split("\n")) >= {head, "# version: 1.0.0"}
            assert all(line[:1] in ("#", "d", "*", "") for line in result.split("\n"))
    assert "country=DE,FR" in text(stores[0], "start=2026-11&country=DE,FR")


def test_texts_of_rows_are_no_formulas(store: Store, log: Log) -> None:
    read_into(store, log(block(transfers=(("-1_A__EHZ/MSEED", 7, 1),))))
    result = respond(store, "start=2026-01&level=network", node="=N", policy=Policy(), today=TODAY)
    assert b"*,'=N,'-1,*" in b"".join(result.body)
    assert results(store, "start=2026-01&level=network")[0]["network"] == "-1"


def test_months_whose_transfers_are_not_kept_are_refused(store: Store, log: Log) -> None:
    for days, name in ((150, "txlog-20260630T0000-20260701T0000"), (151, "txlog")):
        read_into(store, log(block(log_time=START + days * DAY), name))
    execute(store, "INSERT INTO pruned_month (month, has_late_logs) VALUES ('2026-06-01', false)")
    for query_string in ("start=2026-06", "start=2026-06&end=2026-06&network=FR", "start=2000-01"):
        found = asked(store, query_string)
        assert found.status == 400
        assert "request start=2026-07 or later" in b"".join(found.body).decode()
    assert [row["bytes"] for row in results(store, "start=2026-07")] == [1536]
    execute(store, "UPDATE store SET kept_since = '2026-07-02'")
    assert "start=2026-08 or later" in text(store, "start=2026-07")


# Embargo

OPEN = ("FR_CIEL_00_HHZ/MSEED", "G_SSB_00_HHZ/MSEED", "1T_A__EHZ/MSEED")
HIDDEN = (*OPEN, "XP_A__EHZ/MSEED", "XP2026_B__EHZ/MSEED", "xp2026_B__EHZ/MSEED", "9Q_C__EHZ/MSEED")
EMBARGOES = [("XP2026", "9Q"), ("XP", "9*"), ("XP*", "9Q2026"), ("?P2026", "9?")]


def _blocks(names: tuple[str, ...]) -> str:
    """Each client takes other streams, two of them nothing but those under embargo."""
    found = []
    for number in range(12):
        own = tuple((name, 100 * number + 1, 1) for n, name in enumerate(HIDDEN) if number != n)
        if number >= 10:
            own = tuple((name, 77, 1) for name in HIDDEN[len(OPEN) :])
        kept = tuple(one for one in own if one[0] in names)
        when = START + (number % 3) * 40 * DAY
        if kept:
            found.append(block(address=f"192.0.2.{number}", transfers=kept, log_time=when))
    return "".join(found)


QUERIES = [
    f"start=2026-0{1 + n % 3}&{split}{choice}&hllvalues=true"
    for n, (split, choice) in enumerate(
        zip(SPLITS, itertools.cycle(["", "&network=FR", "&network=9Q2026", "&network=1T2024"]))
    )
]


@pytest.mark.parametrize("number", rest_in_soak(range(len(EMBARGOES)), keep=2))
def test_no_answer_depends_on_networks_under_embargo(
    store: Store, tmp_path: Path, number: int
) -> None:
    """So that there is nothing to be had by taking one answer from another."""
    embargoed = (*EMBARGOES[number], "XP2025")
    without = make_store(tmp_path / "without.duckdb")
    path = tmp_path / "txlog"
    for one, names in ((store, HIDDEN), (without, OPEN)):
        path.write_text(_blocks(names))
        read_into(one, path)
        one.set_registry(REGISTRY)
    there = {row["network"] for row in results(store, "start=2026-01&level=network")}
    assert there == {"FR", "G", "1T2024", "XP2025", "XP2026", "xp2026"}
    for query_string in ("start=2026-01", *QUERIES[number :: len(EMBARGOES)]):
        result, expected = (asked(one, query_string, *embargoed) for one in (store, without))
        assert result.status == expected.status, query_string
        assert b"".join(result.body) == b"".join(expected.body), query_string
    assert text(store, "start=2026-01") != text(store, "start=2026-01", *embargoed)  # the control


@pytest.mark.parametrize("network", ["XP2026", "xp2026", "XP2025", "XP", "XP1999"])
def test_a_network_under_embargo_is_refused_whether_it_is_there_or_not(
    stores: tuple[Store, Store], network: str
) -> None:
    found = asked(stores[0], f"start=2026-01&network={network}&format=json", "XP")
    assert (found.status, found.media_type) == (401, "application/json")
    assert "restricted" in json.loads(b"".join(found.body))["error"]
    assert asked(stores[0], "start=2026-01&network=FR", "XP").status == 200


# Anything

_NAMES = st.sampled_from([
    "start", "end", "node", "network", "country", "level", "details", "format", "hllvalues", "x",
])  # fmt: skip
_VALUES = st.sampled_from([
    "2026-11", "2026-01", "2027-01", "9999-12", "0001-01", "EXAMPLE", "FR", "XP2026", "DE,FR", "",
    "network", "node", "month", "year,country", "json", "csv", "true", "%00", "%ff", "'--", "*",
]) | st.text(st.characters(codec=None), max_size=8)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.tuples(_NAMES, _VALUES), max_size=5),
    start=st.booleans(),
    junk=st.text(max_size=6),
)
def test_whatever_is_asked_is_answered(
    stores: tuple[Store, Store], parts: list[tuple[str, str]], start: bool, junk: str
) -> None:
    query_string = "&".join(
        ["start=2026-01"] * start + [f"{name}={value}" for name, value in parts]
    )
    for one in (query_string, query_string + junk):
        found = asked(stores[0], one, "XP*")
        result = b"".join(found.body).decode("ascii")
        assert found.status in (200, 400, 401)
        if found.media_type == "application/json":
            made = json.loads(result)
            assert ("error" in made) == (found.status != 200)
        else:
            assert result.startswith("# version: 1.0.0\n# request_parameters: ")
            assert ("\n# error: " in result) == (found.status != 200)


def test_the_key_of_sketches_is_needed_for_sketches_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb", secret=SECRET)
    read_into(store, DATA / "v4.5.3-text")
    other = make_store(tmp_path / "store.duckdb", secret=None)
    assert asked(other, "start=2026-11").status == 200
