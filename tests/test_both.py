"""Both kinds of stores give the same answers to all questions, and tell the same of a store."""

import itertools
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from conftest import (
    ASN,
    CITY,
    DATA,
    REGISTRY,
    assert_whole,
    dump,
    held_open,
    make_postgresql,
    make_store,
    of_turn,
    read_into,
    rest_in_soak,
    sample_logs,
    turns,
)
from servers import Server

from ringserverstats.copy import copy
from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.logs.source import find
from ringserverstats.statistics.coverage import PERIODS, coverage
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES
from ringserverstats.statistics.gaps import gaps
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.summary import summary
from ringserverstats.store.base import Store
from ringserverstats.verify import verify

ALL = tuple(MEASURES)
SUMMED = tuple(name for name in ALL if not name.endswith("-per-day"))
CHEAP = ("bytes", "packets", "transfers", "clients")
NAMES = {"network-name", "network-doi"}
PAIRS = [
    (),
    *((one,) for one in DIMENSIONS),
    *(pair for pair in itertools.combinations(DIMENSIONS, 2) if not NAMES & set(pair)),
    *((one, name) for one in ("network", "month", "stream") for name in NAMES),
]
SPANS = (
    (None, None),
    (date(2026, 3, 15), date(2026, 9, 2)),
    (date(2026, 6, 30), date(2026, 11, 24)),
    (date(2026, 9, 1), date(2026, 9, 30)),
    (date(2026, 9, 2), None),
    (None, date(2026, 9, 2)),
)
FILTERED = [
    {"network": ("FR", "R?")},
    {"network": ("*",), "station": ("F0*",)},
    {"station": ("F0_A", "F%"), "direction": ("TX", "RX")},
    {"channel": ("HH?",), "direction": ("TX",)},
    {"location": ("--",)},
    {"location": ("00",), "type": ("MSEED",)},
    {"protocol": ("SeedLink", "HTTP")},
    {"agent": ("slarchive*", "unspecified")},
    {"agent-family": ("Mozilla",)},
    {"stream": ("FR_*",)},
    {"client": ("0*", "a*")},
    {"server": ("node-?",), "network": ("1T",)},
    {"network": ("nothing",)},
    {"network": ("1T2024", "XP*")},
    {"network": ("?T202*",), "channel": ("HH?",)},
    {"class": ("feeder", "m*")},
    {"class": ("external",), "country": ("GB", "private*")},
    {"country-name": ("United*",), "network": ("FR",)},
    {"city": ("Lond*", "unknown")},
    {"geohash": ("g*",)},
    {"asn": ("AS209*",)},
    {"institution": ("Example*", "*operator)")},
    {"user": ("*",)},
    {"city": ("LOND*",), "network": ("fr",), "agent": ("SLARCHIVE*",)},
]
RULES = Rules(
    (
        Rule(name="feed", class_="feeder", direction="RX"),
        Rule(name="edu", class_="mirror", institution="Example", domains=("example.edu",)),
    )
)


@pytest.fixture(scope="module")
def stores(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Store]]:
    """The same sample in both, with logs that real servers wrote and some that are damaged."""
    folder = tmp_path_factory.mktemp("both")
    logs = sample_logs(folder / "logs", days=3)
    duck = make_store(folder / "store.duckdb", memory="1GB")
    geoip = GeoIP(CITY, ASN, precision=5)
    read_into(duck, logs, DATA, geoip=geoip, rules=RULES)
    postgresql = make_postgresql(server.make("of_both", "migrated"), folder)
    server.make_unusual("of_both")
    read_into(postgresql, logs, DATA, geoip=geoip, rules=RULES)
    for store in (duck, postgresql):
        store.set_registry(REGISTRY)
    with held_open(duck):
        yield duck, postgresql


def alike(stores: tuple[Store, Store], query: Query) -> None:
    duck, postgresql = (run_query(store, query) for store in stores)
    assert duck.column_names == postgresql.column_names
    assert duck.to_pylist() == postgresql.to_pylist(), query


def test_the_same_tables(stores: tuple[Store, Store]) -> None:
    duck, postgresql = stores
    assert dump(duck) == dump(postgresql)
    assert_whole(postgresql)


@pytest.mark.parametrize("turn", turns(len(SPANS), keep=2))
def test_every_pair_of_groups(stores: tuple[Store, Store], turn: int) -> None:
    """Every group in all spans, each pair in one of them."""
    span = SPANS[turn % len(SPANS)]
    for by in of_turn(PAIRS, turn, len(SPANS)):
        of_stream = any(DIMENSIONS[name].of_stream for name in by)
        measures = CHEAP if of_stream and span[0] is None else SUMMED
        alike(stores, Query(dimensions=by, first=span[0], last=span[1], measures=measures))


@pytest.mark.parametrize("filters", rest_in_soak(FILTERED, keep=8))
def test_every_filter(stores: tuple[Store, Store], filters: dict[str, tuple[str, ...]]) -> None:
    for by in ((), ("day",), ("month", "network"), ("client",), ("agent-family", "station")):
        alike(stores, Query(dimensions=by, filters=filters, measures=SUMMED))


@pytest.mark.parametrize(
    "by",
    [(), ("server",), ("month",), ("month", "server"), ("network",), ("class", "network")],
)
def test_means(stores: tuple[Store, Store], by: tuple[str, ...]) -> None:
    names = tuple(name for name in ALL if name.endswith("-per-day"))
    for span in SPANS:
        alike(stores, Query(dimensions=by, first=span[0], last=span[1], measures=("bytes", *names)))


def test_sort_and_top(stores: tuple[Store, Store]) -> None:
    for by, sort in itertools.product(
        (("station",), ("client",), ("agent", "month")), ("", "bytes")
    ):
        alike(stores, Query(dimensions=by, sort=sort or by[0], top=7))


def test_coverage_rejects_and_summary(stores: tuple[Store, Store]) -> None:
    for span, by in itertools.product(SPANS, PERIODS):
        asked = Query(first=span[0], last=span[1])
        duck, postgresql = (coverage(store, asked, by=by).to_pylist() for store in stores)
        assert duck == postgresql
        assert gaps(stores[0], asked) == gaps(stores[1], asked)
    one, other = (rejects(store, Query()).to_pylist() for store in stores)
    assert one == other
    one, other = (summary(store) for store in stores)
    assert one.servers == other.servers
    assert (one.entries, one.transfers, one.clients, one.streams) == (
        *(other.entries, other.transfers, other.clients, other.streams),
    )


def test_all_that_can_be_asked_is_asked() -> None:
    asked = {name for filters in FILTERED for name in filters}
    assert asked == set(FILTERS)


def test_verify(stores: tuple[Store, Store]) -> None:
    sources = find([str(DATA)]).sources
    one, other = (verify(sources, store, ipv6_prefix=64) for store in stores)
    assert one.counts == other.counts
    assert one.days == other.days


@pytest.mark.soak
def test_a_copy_of_the_sample(stores: tuple[Store, Store], tmp_path: Path) -> None:
    back = make_store(tmp_path / "back.duckdb")
    copy(stores[1], back)
    assert dump(back) == dump(stores[0])
