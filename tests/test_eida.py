"""Months as payloads of EIDA's statistics: what counts, sketches of clients, and sending."""

import gzip
import json
import os
import pty
import random
import re
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    ASN,
    CITY,
    DATA,
    SECRET,
    CommandLine,
    Filled,
    execute,
    held_open,
    make_postgresql,
    make_store,
    read_into,
    totals,
)
from eida_statistics_aggregator.eida_statistic import EidaStatistic
from hypothesis import given
from hypothesis import strategies as st
from model import START, block
from python_hll2.hll import HLL
from python_hll2.hlltype import HLLType
from python_hll2.util import NumberUtil
from servers import MUST, Server
from test_privacy import _logs, _needles

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.networks import Network
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.errors import UsageError
from ringserverstats.exports.eida import payload as eida
from ringserverstats.exports.eida.payload import Figures, figures, payload
from ringserverstats.exports.eida.served import EMBARGOED, NO_CODES, PROTOCOLS, UNRESOLVED
from ringserverstats.exports.eida.sketches import load_encoder, merge_registers, registers
from ringserverstats.keys import derive
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

Log = Callable[..., Path]
CODES = ("network", "station", "location", "channel", "country")
MARCH, JUNE, JULY, NOVEMBER = (date(2026, month, 1) for month in (3, 6, 7, 11))
NOW = datetime(2026, 12, 1, 0, 10, tzinfo=UTC)
TEXT = DATA / "v4.5.3-text"
RULES = Rules((Rule(name="edu", class_="mirror", domains=("example.edu",)),))
#: One temporary code changes hands in the middle of a month, one has had its last network for
#: long, one is not there.
REGISTRY = (
    Network("FR", date(1962, 1, 1), None, "RESIF", None),
    Network("XP", date(2025, 1, 1), date(2026, 3, 14), "first", None),
    Network("XP", date(2026, 3, 15), None, "second", None),
    Network("Z3", date(2015, 1, 1), date(2022, 12, 31), "long ago", None),
    Network("1T", date(2024, 1, 1), None, "still there", None),
)
TOKEN = "t0p-s3cret.token/of=node"  # noqa: S105 - of a service that lives for a test
HLL_EXTENSION = Path("/usr/share/postgresql/15/extension/hll.control")
needs_hll = pytest.mark.skipif(
    not HLL_EXTENSION.exists() and not MUST,
    reason="needs the extension hll of PostgreSQL 15 (Debian: apt-get install postgresql-15-hll)",
)


@pytest.fixture(scope="module")
def stores(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Store]]:
    """All logs that real servers wrote, with places, in both kinds of stores."""
    folder = tmp_path_factory.mktemp("eida")
    made = (
        make_store(folder / "store.duckdb"),
        make_postgresql(server.make("of_eida", "migrated"), folder),
    )
    for store in made:
        read_into(store, DATA, geoip=GeoIP(CITY, ASN, precision=5), rules=RULES)
        store.set_registry(REGISTRY)
    with held_open(made[0]):
        yield made


def stats_of(found: Figures) -> list[dict]:
    return made_of(found)["stats"]


def made_of(found: Figures) -> dict:
    return json.loads(b"".join(payload(found, load_encoder(), NOW)))


def external(*, month: date, last: date, by: tuple[str, ...] = (), **filters: str) -> Query:
    """What `stats` is asked for the same figures."""
    own = {"direction": ("TX",), "protocol": PROTOCOLS, "class": ("external",)}
    own |= {name: (value,) for name, value in filters.items()}
    return Query(dimensions=by, first=month, last=last, filters=own, measures=("bytes", "clients"))


# Figures


@pytest.mark.parametrize("classes", [("external",), ("*",), ("mirror", "none")])
@pytest.mark.parametrize("month", [MARCH, JUNE, JULY, NOVEMBER])
def test_both_kinds_of_stores_make_the_same_payload(
    stores: tuple[Store, Store], month: date, classes: tuple[str, ...]
) -> None:
    one, other = (figures(store, month, classes=classes) for store in stores)
    assert b"".join(payload(one, load_encoder(), NOW)) == b"".join(
        payload(other, load_encoder(), NOW)
    )
    assert one.left_out == other.left_out
    assert len(one.rows) > 0 or (classes[0] == "mirror" and month == JULY)


def test_totals_are_those_of_stats(stores: tuple[Store, Store]) -> None:
    """By stream and country where codes stay as they are, else with what is left out."""
    for store in stores:
        found = figures(store, NOVEMBER)
        asked = external(month=NOVEMBER, last=date(2026, 11, 30))
        out = sum(one.bytes for one in found.left_out)
        assert found.bytes + out == totals(store, asked)["bytes"] > 10**6
        for network in ("FR", "G", "RA"):
            by = external(month=NOVEMBER, last=date(2026, 11, 30), by=CODES, network=network)
            said = {
                tuple(row[name] for name in CODES): row for row in run_query(store, by).to_pylist()
            }
            own = [row for row in stats_of(found) if row["network"] == network]
            assert len(own) > 0
            by_key: Counter[tuple] = Counter()
            for key, row in said.items():  # two words for no country, one empty text
                country = key[4] if len(key[4]) == 2 else ""
                by_key[(*key[:4], country)] += row["bytes"]
            assert {tuple(row[name] for name in CODES): row["bytes"] for row in own} == by_key


def _read_by_hand() -> dict[tuple[str, ...], set[tuple]]:
    """For each stream's codes what is served: (server, address, connect time, stream)."""
    found = defaultdict(set)

    def add(server: str, address: str, connected: str, stream: str) -> None:
        codes = re.fullmatch(r"(?:FDSN:)?([^_]+)_([^_]+)_([^_]*)_(\w+)/(\w+)", stream)
        if codes:
            *of_station, channel, kind = codes.groups()
            channel = channel.replace("_", "") if len(channel) == 5 else channel
            moment = connected.replace("T", " ").removesuffix("Z")
            key = (*of_station, channel)
            found[key].add((server, address, moment, channel, kind))

    for path in sorted(DATA.glob("*/*txlog-20261124*")):
        server = "node-a" if path.name.startswith("node-a") else "default"
        who: tuple[str, str] = ("", "")
        for line in path.read_text("utf-8", "replace").splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                for one in entry["streams"]:
                    who = entry["client"]["ip"], entry["connect_time"]
                    add(server, *who, one["stream_id"])
            elif line.startswith("START CLIENT"):
                address = re.match(r"START CLIENT \S+ \[([^]]+)\]", line)[1]
                who = address, re.search(r"\(connected ([^)]*)\) TX$", line)[1]
            elif not line.startswith("END CLIENT"):
                add(server, *who, line.split()[0])
    return found


def test_requests_are_streams_of_connections(stores: tuple[Store, Store]) -> None:
    """Counted from the logs, without the program."""
    by_hand = {codes: len(served) for codes, served in _read_by_hand().items()}
    extended = {"XP": "XP2026", "1T": "1T2024"}
    kept = {
        (extended.get(codes[0], codes[0]), *codes[1:]): count
        for codes, count in by_hand.items()
        if codes[0] not in ("XX", "Z3")
    }
    assert len(kept) > 8
    for store in stores:
        found: Counter[tuple] = Counter()
        for row in stats_of(figures(store, NOVEMBER, classes=("*",))):
            found[tuple(row[name] for name in CODES[:4])] += row["nb_requests"]
            assert row["nb_successful_requests"] == row["nb_requests"]
            assert row["nb_unsuccessful_requests"] == 0
        assert found == kept


def test_a_connection_counts_once_a_month_and_packet_types_apart(store: Store, log: Log) -> None:
    two = (("FR_CIEL_00_HHZ/MSEED", 512, 1), ("FR_CIEL_00_HHZ/MSEED3", 256, 1))
    blocks = [
        block(transfers=two),
        block(transfers=two, log_time=START + 3600),  # of the same connection
        block(transfers=two[:1], connect_time=START + 30),
        block(transfers=two[:1], protocol="Unknown"),
        block(transfers=two[:1], direction="RX"),
    ]
    read_into(store, log("".join(blocks)))
    [row] = stats_of(figures(store, JUNE))
    assert (row["nb_requests"], row["bytes"]) == (3, 512 * 3 + 256 * 2)
    assert row["country"] == ""


@pytest.mark.of_both
def test_rows_that_the_service_cannot_store_are_left_out(store: Store, log: Log) -> None:
    """Its columns have 6, 5, 2 and 3 letters and 63 bits. With another row the month fails."""
    taken = ("FR_CIEL_00_HHZ/MSEED", 2**63 - 1, 1), ("FDSN:FR2024_ABCDE_00_H_H_Z/MSEED3", 1, 1)
    refused = (
        ("FDSN:FR_ABCDEF_00_H_H_Z/MSEED3", 7, 1),
        ("FDSN:FR_ABCDEF_00_H_H_N/MSEED3", 5, 1),
        ("FDSN:FR_ABC_001_H_H_Z/MSEED3", 3, 1),
        ("FDSN:LONGNET_ABC_00_H_H_Z/MSEED3", 2, 1),
        ("FDSN:G_ABC_00_HI_H_Z/MSEED3", 1, 1),
    )
    over = (("FR_OVER_00_HHZ/MSEED", 2**63 - 1, 1),)
    blocks = (
        block(transfers=(taken[0],)),
        block(transfers=(taken[1], *refused), log_time=START + 60),
        block(transfers=over, log_time=START + 120),
        block(transfers=over, log_time=START + 180),
    )
    read_into(store, log("".join(blocks)))
    found = figures(store, JUNE)
    sent = [(row["network"], row["bytes"]) for row in stats_of(found)]
    assert sent == [("FR", 2**63 - 1), ("FR2024", 1)]
    assert [(one.code, one.streams, one.bytes) for one in found.left_out] == [
        ("FR", 4, 2 * (2**63 - 1) + 15),
        ("G", 1, 1),
        ("LONGNET", 1, 2),
    ]


@pytest.mark.of_both
def test_the_score_is_of_entries_that_became_rows(store: Store, log: Log) -> None:
    streams = ("FR_CIEL_00_HHZ/MSEED", "XX_TEST_00_HHZ/MSEED", "XX_TEST_00_HHZ/MSEED")
    blocks = (
        block(transfers=((stream, 512, 1),), log_time=START + n) for n, stream in enumerate(streams)
    )
    read_into(store, log("".join(blocks)))
    assert figures(store, JUNE).score == 1


def test_a_code_is_what_it_stood_for_on_its_day(stores: tuple[Store, Store]) -> None:
    for store in stores:
        rows = stats_of(figures(store, MARCH, classes=("*",)))
        found: Counter[str] = Counter()
        for row in rows:
            found[row["network"]] += row["bytes"]
        by = Query(
            dimensions=("day",),
            first=MARCH,
            last=date(2026, 3, 31),
            filters={"direction": ("TX",), "network": ("XP",)},
            measures=("bytes",),
        )
        days = {row["day"]: row["bytes"] for row in run_query(store, by).to_pylist()}
        assert found["XP2025"] == days.pop("2026-03-14") > 0
        assert found["XP2026"] == sum(days.values()) > 0
        assert "XP" not in found


def test_what_is_not_resolved_is_reported(stores: tuple[Store, Store]) -> None:
    for store in stores:
        found = figures(store, NOVEMBER, classes=("*",))
        result = {(one.code, one.reason): one for one in found.left_out}
        assert set(result) == {("XX", UNRESOLVED), ("Z3", UNRESOLVED), (None, NO_CODES)}
        by = Query(
            first=NOVEMBER,
            last=date(2026, 11, 30),
            filters={"direction": ("TX",), "network": ("Z3",)},
            measures=("bytes",),
        )
        assert result["Z3", UNRESOLVED].bytes == totals(store, by)["bytes"] > 0
        assert result["Z3", UNRESOLVED].streams == 1
        assert {row["network"] for row in stats_of(found)}.isdisjoint({"XX", "Z3", "XP", "1T"})


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("FR", {"FR"}),
        ("XP", {"XP2025", "XP2026"}),
        ("XP2025", {"XP2025"}),
        ("XP*", {"XP2025", "XP2026"}),
        ("?P2026", {"XP2026"}),
        ("*", {"FR", "G", "XP2025", "XP2026"}),
        ("P", set()),
    ],
)
def test_networks_are_left_out_by_either_code(
    stores: tuple[Store, Store], pattern: str, gone: set[str]
) -> None:
    for store in stores:
        whole = figures(store, MARCH)
        found = figures(store, MARCH, leave_out=(pattern, "nothing"))
        before, after = (set(one.rows["network"].to_pylist()) for one in (whole, found))
        assert before == {"FR", "G", "XP2025", "XP2026"}
        assert before - after == gone
        out = [one for one in found.left_out if one.reason == EMBARGOED]
        assert sum(one.bytes for one in out) == whole.bytes - found.bytes
        assert bool(out) == bool(gone)


def test_codes_with_and_without_their_year_are_one_network(store: Store, log: Log) -> None:
    names = ("XP_A__EHZ/MSEED", "XP2026_A__EHZ/MSEED")
    read_into(store, log("".join(block(transfers=((name, 512, 1),)) for name in names)))
    store.set_registry(REGISTRY)
    [row] = stats_of(figures(store, JUNE))
    assert (row["network"], row["bytes"], row["nb_requests"]) == ("XP2026", 1024, 2)
    assert len(figures(store, JUNE, leave_out=("XP",)).rows) == 0


def test_pieces_change_nothing(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    for store in stores:
        whole = figures(store, NOVEMBER)
        with monkeypatch.context() as changed:
            changed.setattr(eida, "_MAX_DAILY_ROWS", 1)
            assert len(list(eida._batches({"FR": 2, "G": 2}))) == 2
            pieces = figures(store, NOVEMBER)
        assert pieces.rows.to_pylist() == whole.rows.to_pylist()


def test_only_external_clients_count_by_default(stores: tuple[Store, Store]) -> None:
    for store in stores:
        default, every, mirrors = (
            figures(store, JUNE, **given)
            for given in ({}, {"classes": ("*",)}, {"classes": ("mirror",)})
        )
        assert default.bytes + mirrors.bytes == every.bytes
        assert default.bytes > 0 < mirrors.bytes


# The head


def test_a_day_is_covered_where_all_servers_in_service_are(store: Store, log: Log) -> None:
    june, july = "txlog-20260630T0000-20260701T0000", "txlog-20260701T0000-20260702T0000"
    read_into(store, log(block(log_time=START + 150 * 86_400), june), server="a")
    read_into(store, log(block(log_time=START + 151 * 86_400), july), server="a")
    assert figures(store, JUNE).days == ["2026-06-30"]
    read_into(
        store, log(block(address="192.0.2.9", log_time=START + 151 * 86_400), july), server="b"
    )
    assert figures(store, JUNE).days == []
    assert figures(store, JULY).days == ["2026-07-01"]
    store.change_server("b", service=(date(2026, 7, 1), None))
    assert figures(store, JUNE).days == ["2026-06-30"]


def test_head_and_score(stores: tuple[Store, Store]) -> None:
    """The score of the aggregator: lines of its logs by rows of what they become."""
    for store in stores:
        found = figures(store, NOVEMBER)
        made = made_of(found)
        assert list(made) == [
            "generated_at", "version", "days_coverage", "aggregation_score", "stats",
        ]  # fmt: skip
        assert made["generated_at"] == "2026-12-01 00:10:00"
        assert made["days_coverage"] == ["2026-11-24"]
        by = external(month=NOVEMBER, last=date(2026, 11, 30))
        entries = run_query(store, Query(**{**vars(by), "measures": ("entries",)}))["entries"][0]
        assert 0 < made["aggregation_score"] <= round(entries.as_py() / len(made["stats"]))


def _collection() -> Any:
    """What the aggregator writes, empty; it needs a library of the system that pip has not."""
    try:
        from eida_statistics_aggregator.stat_collection import StatCollection
    except ImportError:
        if MUST:
            raise
        pytest.skip("needs libmagic (Debian: apt-get install libmagic1)")
    return StatCollection()


def test_the_aggregators_own_classes_write_the_same(stores: tuple[Store, Store]) -> None:
    made = made_of(figures(stores[0], NOVEMBER))
    collection = _collection()
    for row in made["stats"]:
        one = EidaStatistic(date.fromisoformat(row["month"]), *(row[name] for name in CODES))
        one.size, one.nb_requests = row["bytes"], row["nb_requests"]
        one.nb_successful_requests = row["nb_successful_requests"]
        one.unique_clients = _sketch_of(row["clients"])
        collection.append(one)
    assert collection.nbaggs() == len(made["stats"])
    again = json.loads(collection.to_json())
    assert again["stats"] == made["stats"]
    assert set(again) == set(made)


def test_the_aggregator_adds_months_of_ours_up(stores: tuple[Store, Store]) -> None:
    """Its own union of sketches: a client that is in both counts once."""
    by_key: dict[str, list[EidaStatistic]] = defaultdict(list)
    for month in (JUNE, JULY):
        for row in stats_of(figures(stores[0], month, classes=("*",))):
            one = EidaStatistic(NOVEMBER, *(row[name] for name in CODES))
            one.unique_clients = _sketch_of(row["clients"])
            by_key[one.key()].append(one)
    both = [found for found in by_key.values() if len(found) == 2]
    assert both
    for one, other in both:
        expected = _largest([one.unique_clients, other.unique_clients])
        one.aggregate(other)
        assert _registers_of(one.unique_clients) == expected


# Refused months


def test_months_of_which_nothing_is_known_are_refused(stores: tuple[Store, Store]) -> None:
    for store in stores:
        with pytest.raises(UsageError, match=r"there are no logs of 2026-10.*2026-03-14"):
            figures(store, date(2026, 10, 1))


def test_a_month_whose_transfers_are_pruned_is_refused(store: Store) -> None:
    read_into(store, TEXT)
    assert len(figures(store, NOVEMBER).rows) > 0
    execute(store, "INSERT INTO pruned_month (month, has_late_logs) VALUES ('2026-11-01', false)")
    with pytest.raises(UsageError, match="2026-11 are not kept"):
        figures(store, NOVEMBER)


@pytest.mark.parametrize(("since", "is_kept"), [("2026-11-01", True), ("2026-11-02", False)])
def test_a_month_that_is_kept_in_part_is_refused(
    database: str, tmp_path: Path, since: str, is_kept: bool
) -> None:
    store = make_postgresql(database, tmp_path)
    read_into(store, TEXT)
    execute(store, f"UPDATE store SET kept_since = '{since}'")
    if is_kept:
        assert len(figures(store, NOVEMBER).rows) > 0
    else:
        with pytest.raises(UsageError, match=f"kept since {since}"):
            figures(store, NOVEMBER)


# Sketches


def _sketch_of(text: str) -> HLL:
    """What the library reads back."""
    assert text.startswith("\\x")
    with np.errstate(over="ignore"):
        return HLL.from_bytes(NumberUtil.from_hex(text[2:], 0, len(text) - 2))


def _registers_of(sketch: HLL) -> dict[int, int]:
    if sketch.get_type() == HLLType.SPARSE:
        return dict(sketch._sparse_probabilistic_storage)
    if sketch.get_type() == HLLType.FULL:
        found = enumerate(sketch._probabilistic_storage.register_iterator())
        return {index: int(rank) for index, rank in found if rank}
    assert sketch.get_type() == HLLType.EMPTY
    return {}


def _largest(sketches: Iterable[HLL]) -> dict[int, int]:
    """The registers of all of them together."""
    found: dict[int, int] = {}
    for sketch in sketches:
        for index, rank in _registers_of(sketch).items():
            found[index] = max(rank, found.get(index, 0))
    return found


def _by_the_library(hashed: list[int], **given: object) -> HLL:
    made = HLL(11, 5, **given)
    with np.errstate(over="ignore"):
        for one in hashed:
            made.add_raw(one)
    return made


def _text(sketch: HLL) -> str:
    raw = sketch.to_bytes()
    return "\\x" + NumberUtil.to_hex(raw, 0, len(raw))


def _ours(hashed: list[int]) -> str:
    own = registers(np.array(hashed, np.int32))
    [row] = merge_registers(np.zeros(len(own), np.int64), own, 1).to_pylist()
    return load_encoder()(row)


def _hashes(count: int) -> list[int]:
    chosen = random.Random(count)
    return [chosen.getrandbits(32) - 2**31 for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 50, 159, 160, 161, 512, 600, 700, 5_000, 20_000])
def test_registers_are_those_that_the_library_sets_by_itself(count: int) -> None:
    hashed = _hashes(count)
    ours = _sketch_of(_ours(hashed))
    sparse = _by_the_library(hashed, type=HLLType.SPARSE)
    assert _registers_of(ours) == _registers_of(sparse)
    assert len(_registers_of(ours)) > 0
    assert _ours(hashed) == _text(sparse)
    assert abs(ours.cardinality() - count) <= 1 + 0.07 * count  # three times 1.04 / sqrt(2048)
    usual = _by_the_library(hashed)  # which starts EXPLICIT
    if usual.get_type() != HLLType.EXPLICIT:
        assert _registers_of(usual) == _registers_of(ours)


def test_the_sizes_are_of_all_forms_of_the_library_and_ours_is_never_explicit() -> None:
    forms = {count: _by_the_library(_hashes(count)).get_type() for count in (50, 600, 20_000)}
    assert forms[50] == HLLType.EXPLICIT
    assert forms[20_000] == HLLType.FULL
    nibbles = {count: _ours(_hashes(count))[2:4] for count in (1, 50, 159, 160, 600, 20_000)}
    assert set(nibbles.values()) == {"13", "14"}
    assert nibbles[1] == "13"
    assert nibbles[20_000] == "14"


_HASHES = st.integers(-(2**31), 2**31 - 1) | st.builds(
    lambda index, high: ((high << 11 | index) + 2**31) % 2**32 - 2**31,
    st.integers(0, 2047),
    st.sampled_from([0, 1, 2, 3, 2**19, 2**20, 2**20 - 1, 2**21 - 1, 0b1000]),
)


@given(st.lists(st.lists(_HASHES, max_size=30), min_size=1, max_size=5))
def test_rows_have_the_registers_of_their_own_clients(rows: list[list[int]]) -> None:
    hashed = np.array([one for row in rows for one in row], np.int32)
    of_row = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    sketch = load_encoder()
    for row, own in zip(
        rows, merge_registers(of_row, registers(hashed), len(rows)).to_pylist(), strict=True
    ):
        expected = _registers_of(_by_the_library(row, type=HLLType.SPARSE))
        assert _registers_of(_sketch_of(sketch(own))) == expected
        assert len(own) == 2 * len(expected)  # each once, with its largest rank


def test_sketches_of_rows_are_of_their_clients(stores: tuple[Store, Store]) -> None:
    """Of each row: its clients as `stats` tells them, hashed here, one by one."""
    key = derive(SECRET).sketches
    store = stores[0]
    clients = defaultdict(set)
    by = external(month=NOVEMBER, last=date(2026, 11, 30), by=(*CODES, "client"), network="FR")
    for row in run_query(store, by).to_pylist():
        country = row["country"] if len(row["country"]) == 2 else ""
        clients[(*(row[name] for name in CODES[:4]), country)].add(row["client"])
    rows = [row for row in stats_of(figures(store, NOVEMBER)) if row["network"] == "FR"]
    assert len(rows) == len(clients) > 3
    assert max(map(len, clients.values())) > 3
    for row in rows:
        hashed = [
            int.from_bytes(
                blake2b(bytes.fromhex(one), key=key, digest_size=4).digest(), "big", signed=True
            )
            for one in clients[tuple(row[name] for name in CODES)]
        ]
        assert row["clients"] == _text(_by_the_library(hashed, type=HLLType.SPARSE))


def test_another_secret_makes_other_sketches(tmp_path: Path) -> None:
    keys = derive(SECRET)
    assert keys.sketches not in (keys.entries, keys.names, keys.clients, keys.users)
    made = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        store = make_store(tmp_path / str(number) / "store.duckdb", secret=bytes([number] * 32))
        read_into(store, TEXT)
        made.append([row["clients"] for row in stats_of(figures(store, NOVEMBER))])
    assert len(made[0]) == len(made[1])
    assert not set(made[0]) & set(made[1])


@needs_hll
def test_postgresql_takes_and_unites_them(server: Server, database: str) -> None:
    name = database.rpartition("/")[2]
    sizes = (1, 5, 50, 600, 5_000)
    hashed = {count: _hashes(count) for count in sizes}
    server.execute("CREATE EXTENSION hll", "CREATE TABLE s (n int, clients hll)", database=name)
    for count in sizes:
        server.execute(f"INSERT INTO s VALUES ({count}, '{_ours(hashed[count])}')", database=name)
    for count, result in server.execute("SELECT n, # clients FROM s", database=name):
        assert abs(result - count) <= 0.05 + 0.07 * count
    for one, other in ((1, 5), (50, 600), (600, 5_000), (5, 5_000)):
        [(united_, result)] = server.execute(
            f"SELECT (a.clients || b.clients)::text, # (a.clients || b.clients)"
            f" FROM s a, s b WHERE a.n = {one} AND b.n = {other}",
            database=name,
        )
        expected = _by_the_library(hashed[one] + hashed[other], type=HLLType.SPARSE)
        assert _registers_of(_sketch_of(united_)) == _registers_of(expected)
        assert abs(result - one - other) <= 0.07 * (one + other)
    [(all_, twice)] = server.execute(
        "SELECT # hll_union_agg(clients), (SELECT # hll_union_agg(clients) FROM"
        " (SELECT clients FROM s UNION ALL SELECT clients FROM s) d) FROM s",
        database=name,
    )
    assert all_ == twice
    assert abs(all_ - sum(sizes)) <= 0.07 * sum(sizes)


@needs_hll
def test_postgresql_takes_a_whole_payload(
    server: Server, database: str, stores: tuple[Store, Store]
) -> None:
    name = database.rpartition("/")[2]
    server.execute("CREATE EXTENSION hll", database=name)
    rows = stats_of(figures(stores[1], NOVEMBER))
    values = ", ".join(f"('{row['clients']}'::hll)" for row in rows)
    [(result,)] = server.execute(
        f"SELECT hll_union_agg(c)::text FROM (VALUES {values}) v(c)", database=name
    )
    expected = _largest(_sketch_of(row["clients"]) for row in rows)
    assert len(expected) > 8
    assert _registers_of(_sketch_of(result)) == expected


@needs_hll
def test_a_sketch_of_nobody_is_taken(server: Server, database: str) -> None:
    """A hash whose high bits are all 0 sets no register: one client in two million."""
    name = database.rpartition("/")[2]
    server.execute("CREATE EXTENSION hll", database=name)
    assert server.execute(f"SELECT # '{_ours([5])}'::hll", database=name) == [(0.0,)]


# Privacy


def test_payload_holds_no_address_name_or_pseudonym(run: CommandLine) -> None:
    logs = [*_logs(run.folder / "logs"), TEXT]
    assert run("ingest", *logs).returncode == 0
    made = [
        run("export", "eida", "--month", month, "--node", "N", "--class", "*")
        for month in ("2026-01", "2026-11")
    ]
    assert [one.returncode for one in made] == [0, 0], made[0].stderr
    said = "\n".join(one.stdout + one.stderr for one in made)
    assert len(json.loads(made[0].stdout)["stats"]) > 0
    in_logs = "\n".join(path.read_text("utf-8", "replace") for path in logs[:2])
    in_logs += (TEXT / "txlog-20261124T0000-20261125T0000").read_text("utf-8", "replace")
    hosts = set(re.findall(r"START CLIENT (\S+) \[", in_logs))
    addresses = set(re.findall(r"\[([0-9a-f.:]+)\]", in_logs))
    needles = _needles() | hosts | addresses
    assert {needle for needle in needles if needle in in_logs} >= hosts | addresses  # the control
    assert len(hosts | addresses) > 8
    assert {needle for needle in needles if needle in said} == set()
    result = run("stats", "--by", "client", "--direction", "TX,RX", "--format", "json").stdout
    pseudonyms = {row["client"] for row in json.loads(result)}
    assert len(pseudonyms) > 8
    in_all_forms = {
        form
        for one in pseudonyms
        for form in (one, str(int(one, 16)), bytes.fromhex(one)[::-1].hex())
    }
    assert pseudonyms <= {form for form in in_all_forms if form in result}  # the control
    assert {form for form in in_all_forms if form.lower() in said.lower()} == set()


# The command


def test_command_writes_the_same_to_a_file_a_packed_file_and_standard_output(
    run: CommandLine,
) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    assert run("ingest", TEXT).returncode == 0
    arguments = ("export", "eida", "--month", "2026-11", "--node", "EXAMPLE")
    plain, packed = run.folder / "a.json", run.folder / "a.json.gz"
    for path in (plain, packed):
        assert run(*arguments, "-o", path).stdout == ""
    printed = run(*arguments)
    texts = [plain.read_text(), gzip.decompress(packed.read_bytes()).decode(), printed.stdout]
    stats = [json.loads(text)["stats"] for text in texts]
    assert stats[0] == stats[1] == stats[2] == stats_of(figures(run.store, NOVEMBER)) != []
    assert "EXAMPLE 2026-11" in printed.stderr
    assert "clients of class: external" in printed.stderr
    assert "left out: temporary networks that are not in the registry: 1T, XP, XX, Z3" in (
        printed.stderr
    )
    assert "cover 1 of 30 days" in printed.stderr


@pytest.mark.of_duckdb
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--month", "2026-13", "--node", "N"), "2026-11"),
        (("--month", "2026", "--node", "N"), "2026-11"),
        (("--month", "", "--node", "N"), "2026-11"),
        (("--month", "2026-10", "--node", "N"), "there are no logs of 2026-10"),
        (("--month", "2026-11", "--node", " "), "--node"),
        (("--month", "2026-11", "--node", "a\nb"), "--node"),
        (("--month", "2026-11", "--node", "N", "--url", "ftp://example.org/"), "--url"),
        (("--month", "2026-11", "--node", "N", "--url", "https://[1/"), "--url"),
        (("--month", "2026-11", "--node", "N", "--url", "https://u:hunter2@h/"), "--url"),
        (("--month", "2026-11", "--node", "N", "--url", "https://h/"), "EIDA_TOKEN"),
    ],
)
def test_what_is_wrong_is_reported(
    reader: CommandLine, arguments: tuple[str, ...], problem: str
) -> None:
    result = reader("export", "eida", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert problem in result.stderr
    assert "hunter2" not in result.stderr


@pytest.mark.of_duckdb
def test_without_the_library_it_says_what_to_install(run: CommandLine) -> None:
    code = (
        "import sys; sys.modules['python_hll2'] = None;"
        " from ringserverstats.cli import main; main()"
    )
    arguments = ("export", "eida", "--month", "2026-11", "--node", "N")
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=run.environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "pip install 'ringserverstats[eida]'" in result.stderr


@pytest.mark.of_duckdb
def test_a_month_that_goes_on_is_reported(run: CommandLine, log: Log) -> None:
    now = int(datetime.now(UTC).timestamp())
    assert run("ingest", log(block(log_time=now, connect_time=now - 1), "txlog")).returncode == 0
    month = f"{datetime.fromtimestamp(now, UTC):%Y-%m}"
    result = run("export", "eida", "--month", month, "--node", "N")
    assert result.returncode == 0
    assert f"{month} is not over" in result.stderr
    assert len(json.loads(result.stdout)["stats"]) == 2


# Sending


class Service(HTTPServer):
    """A statistics service that keeps what it is sent and answers as configured."""

    def __init__(self, status: int, text: bytes, location: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = (status, text, location)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/eidaws/statistics/1/submit"


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def _take(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        status, text, location = self.server.answer
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _take  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(status: int, text: bytes = b"", location: str | None = None) -> Iterator[Service]:
    service = Service(status, text, location)
    thread = threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        service.server_close()
        thread.join()


@pytest.fixture
def reader(run: CommandLine, filled: Filled) -> CommandLine:
    """Who has read a log."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    filled(run.store, "of a text", lambda store: read_into(store, TEXT))
    return run


@pytest.fixture
def export_worker(reader: CommandLine) -> CommandLine:
    reader.environment["RINGSERVERSTATS_EIDA_TOKEN"] = TOKEN
    return reader


def sending(url: str, *more: object) -> tuple[object, ...]:
    return ("export", "eida", "--month", "2026-11", "--node", "EXAMPLE", "--url", url, *more)


def test_it_is_put_as_plain_json_with_both_headers(export_worker: CommandLine) -> None:
    path = export_worker.folder / "sent.json"
    with serving(200, b"Statistic \x1b[31mtaken") as service:
        result = export_worker(*sending(service.url, "--yes", "-o", path))
    assert result.returncode == 0, result.stderr
    [(method, place, headers, body)] = service.requests
    assert (method, place) == ("PUT", "/eidaws/statistics/1/submit")
    assert headers["authentication"] == headers["authorization"] == f"Bearer {TOKEN}"
    assert "content-encoding" not in headers
    assert headers["content-type"] == "application/json"
    assert body == path.read_bytes()
    assert len(json.loads(path.read_text())["stats"]) > 0
    assert "200 OK" in result.stderr
    assert "\x1b" not in result.stderr
    assert TOKEN not in result.stdout + result.stderr
    assert result.stdout == ""
    assert "Warning: http shows the token" in result.stderr


@pytest.mark.of_duckdb
def test_without_a_terminal_and_yes_nothing_is_sent(export_worker: CommandLine) -> None:
    with serving(200) as service:
        result = export_worker.process(*sending(service.url), stdin=subprocess.DEVNULL)
    assert result.returncode == 2
    assert service.requests == []
    for word in (service.url, "EXAMPLE", "2026-11", "rows", "dataselect", "replace", "--yes"):
        assert word in result.stderr


@pytest.mark.of_duckdb
@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 1), ("n\n", 1, 0), ("\n", 1, 0)])
def test_on_a_terminal_it_asks(
    export_worker: CommandLine, answer: str, code: int, sent: int
) -> None:
    mine, its = pty.openpty()
    try:
        os.write(mine, answer.encode())
        with serving(200) as service:
            result = export_worker.process(*sending(service.url), stdin=its)
    finally:
        os.close(mine)
        os.close(its)
    assert (result.returncode, len(service.requests)) == (code, sent), result.stderr
    for word in (service.url, "EXAMPLE", "2026-11", "rows", "dataselect", "replace"):
        assert word in result.stderr


@pytest.mark.of_duckdb
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(export_worker: CommandLine, status: int) -> None:
    with serving(200) as other, serving(status, location=other.url) as service:
        result = export_worker(*sending(service.url, "--yes"))
        direct = export_worker(*sending(other.url, "--yes"))  # the control: it would take it
    assert result.returncode == 3
    assert f"{status} " in result.stderr
    assert len(service.requests) == 1
    assert direct.returncode == 0
    assert len(other.requests) == 1
    assert TOKEN not in result.stderr


@pytest.mark.of_duckdb
@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "401 Unauthorized"), (403, "403 Forbidden"), (400, "400 Bad Request"), (500, "500 I")],
)
def test_errors_of_the_service_are_reported(
    export_worker: CommandLine, status: int, said: str
) -> None:
    with serving(status, f"no \x07 {TOKEN} {'long ' * 1000}".encode()) as service:
        result = export_worker(*sending(service.url, "--yes"))
    assert result.returncode == 3
    assert said in result.stderr
    assert "***" in result.stderr
    assert TOKEN not in result.stderr
    assert "\x07" not in result.stderr
    assert len(result.stderr) < 2000


@pytest.mark.of_duckdb
def test_a_service_that_is_not_there_is_reported(export_worker: CommandLine) -> None:
    with serving(200) as service:
        url = service.url
    result = export_worker(*sending(url, "--yes"))
    assert result.returncode == 3
    assert "cannot be reached" in result.stderr
    assert TOKEN not in result.stderr


@pytest.mark.of_duckdb
@pytest.mark.parametrize("token", ["two\nlines-s3cret", "a blank-s3cret", "é-s3cret"])
def test_a_token_that_is_none_is_not_shown(export_worker: CommandLine, token: str) -> None:
    export_worker.environment["RINGSERVERSTATS_EIDA_TOKEN"] = token
    with serving(200) as service:
        result = export_worker(*sending(service.url, "--yes"))
    assert (result.returncode, service.requests) == (2, [])
    assert "eida_token" in result.stderr
    assert "s3cret" not in result.stderr


@pytest.mark.of_duckdb
def test_nothing_is_not_sent(export_worker: CommandLine) -> None:
    with serving(200) as service:
        result = export_worker(*sending(service.url, "--yes", "--class", "nobody"))
    assert (result.returncode, service.requests) == (2, [])
    assert "no rows" in result.stderr


def test_a_query_of_the_address_is_sent_and_not_shown(export_worker: CommandLine) -> None:
    with serving(200) as service:
        result = export_worker(*sending(f"{service.url}?key=hidden", "--yes"))
    assert service.requests[0][1].endswith("?key=hidden")
    assert service.url in result.stderr
    assert "hidden" not in result.stderr
