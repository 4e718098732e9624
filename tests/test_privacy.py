"""No address, host name or user name leaves a store, unless the operator keeps them."""

import csv
import json
from dataclasses import replace
from hashlib import blake2b, blake2s, md5, sha1, sha256
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from conftest import ASN, CITY, DATA, SECRET, CommandLine, make_store, read_into
from model import ENTRY

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.ingest import IngestOptions, ingest
from ringserverstats.logs.source import find
from ringserverstats.store.base import Store
from ringserverstats.store.duckdb.store import DuckDBStore

ADDRESSES = ("198.51.100.77", "::ffff:203.0.113.9", "2001:db8:aa:bb:1:2:3:4")
HOSTS = ("maria.lab.example.org", "p5.pool.example.net", "v6.example.com")
USERS = ("jdoe", "observer")
AGENTS = ("dlreader:jdoe:4242:Linux", "Client", "slarchive/4.1")


def _needles() -> set[str]:
    """What must not be found: as text, as integers, as hexadecimal."""
    found = {*HOSTS, *USERS, "4242"}
    for text in ADDRESSES:
        address = ip_address(text)
        for one in {address, getattr(address, "ipv4_mapped", None) or address}:
            number = int(one)
            signed = number - (1 << 32) if one.version == 4 else number - (1 << 128)
            found |= {str(one), one.exploded, str(number), str(signed), one.packed.hex()}
            found |= {f"{number:x}", one.packed[::-1].hex(), one.reverse_pointer}
    for host in HOSTS:
        found.add(host.encode().hex())
    return found


def _logs(folder: Path) -> list[Path]:
    folder.mkdir()
    entries = [
        replace(ENTRY, address=address, host=host, agent=agent)
        for address, host, agent in zip(ADDRESSES, HOSTS, AGENTS, strict=True)
    ]
    lines = []
    for number, entry in enumerate(entries):
        one = json.loads(entry.json()) | {"auth": {"method": "jwt", "username": USERS[number % 2]}}
        lines.append(json.dumps(one))
    broken = entries[0].text().replace("bytes: 1536", "bytes: 1")
    (folder / "txlog").write_text("".join(entry.text() for entry in entries) + broken)
    (folder / "json").write_text("\n".join(lines) + "\n{broken maria.lab.example.org\n")
    return [folder / "txlog", folder / "json"]


def _export(store: DuckDBStore, folder: Path) -> str:
    """Every table and column as CSV; blobs and ids in all their spellings."""
    tables = store.ask(
        "SELECT table_name AS t FROM information_schema.tables WHERE table_schema = 'main'", []
    )["t"].to_pylist()
    assert {"entry_ledger", "transfer", "client", "client_profile", "store"} <= set(tables)
    text = []
    for table in tables:
        rows = store.ask(f"SELECT COLUMNS(*)::text FROM {table}", []).to_pylist()
        with (folder / f"{table}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([list(row.values()) for row in rows])
        text.append((folder / f"{table}.csv").read_text())
    return "\n".join(text)


@pytest.mark.parametrize("keep_hosts", [False, True])
def test_tables_hold_no_address_unless_they_are_kept(tmp_path: Path, keep_hosts: bool) -> None:
    store = make_store(tmp_path / "store.duckdb")
    sources = find([str(path) for path in _logs(tmp_path / "logs")]).sources
    report = ingest(
        sources,
        store,
        IngestOptions(
            ipv6_prefix=64,
            keep_hosts=keep_hosts,
            geoip=GeoIP(CITY, ASN, precision=5),
            rules=Rules((Rule(name="lab", class_="mirror", domains=(HOSTS[0],)),)),
        ),
    )
    assert report.entries == 6
    exported = _export(store, tmp_path)
    found = {needle for needle in _needles() if needle in exported}
    if keep_hosts:  # the control: the search does find what is there
        assert {"198.51.100.77", *HOSTS} <= found
        assert not {*USERS, "4242"} & found
    else:
        assert found == set()


def test_output_and_errors_hold_no_address(run: CommandLine) -> None:
    logs = _logs(run.folder / "logs")
    said = [
        run("ingest", *logs),
        run("ingest", "--json", *logs),
        run("ingest", "--dry-run", *logs),
        run("info"),
        run("stats", "--by", "client,agent"),
        run("stats", "--by", "client", "--format", "csv"),
        run("stats", "--by", "class,country,city,geohash,asn,institution"),
        run("clients", "check-rules", *logs),
        run("clients", "check-rules", *logs, "--format", "json"),
        run("clients", "reclassify"),
        run("rejects", "--format", "json"),
        run("coverage", "--direction", "TX,RX"),
        run("server", "list", "--json"),
        run("networks", "refresh", str(DATA / "networks" / "fdsn.json")),
        run("networks", "unknown"),
        run("stats", "--by", "city,agent", "--public"),
        run("audit"),
        run("verify", *logs),
        run("backup", run.folder / "backup.duckdb"),
        run("prune", "--keep", "1mo", "--dry-run"),
        run("forget", "-", input="\n".join((*ADDRESSES, *HOSTS))),
        run("delete", "--server", "default", "--from", "2026-01-01", "--to", "2026-12-31"),
    ]
    text = "\n".join(one.stdout + one.stderr for one in said)
    assert "Rejected" in text
    assert "would delete 6 entries" in text
    assert {needle for needle in _needles() if needle in text} == set()


def test_secret_is_its_owners_alone_and_never_shown(run: CommandLine) -> None:
    made = run("ingest", *_logs(run.folder / "logs"))
    path = next((run.folder / "config").glob("*.secret"))
    assert path.stat().st_mode & 0o777 == 0o600
    secret = path.read_text().strip()
    info = run("info")
    assert str(path) in made.stderr
    assert str(path) in info.stdout
    assert secret not in made.stdout + made.stderr + info.stdout + info.stderr
    path.write_text("wrong " + secret)
    failed = run("stats", "--format", "json"), run("ingest", run.folder / "logs" / "txlog")
    assert [one.returncode for one in failed] == [0, 2]
    assert secret not in "".join(one.stdout + one.stderr for one in failed)


def test_clients_are_distinguished_by_their_normal_address(tmp_path: Path) -> None:
    """IPv4-mapped IPv6 is IPv4; the rest of an IPv6 address changes daily."""
    store = make_store(tmp_path / "store.duckdb")
    same = ("203.0.113.9", "::ffff:203.0.113.9", "::ffff:cb00:7109")
    network = ("2001:db8:1:2::3", "2001:db8:1:2:ffff::1")
    log = tmp_path / "txlog"
    log.write_text("".join(replace(ENTRY, address=one).text() for one in (*same, *network)))
    ingest(find([str(log)]).sources, store, IngestOptions(ipv6_prefix=64))
    assert store.ask("SELECT count(*) AS n FROM client", []).to_pylist() == [{"n": 2}]


def _ids(store: Store) -> set[object]:
    """All that is made of what a log tells: ids of 64 and 128 bits, and pseudonyms."""
    asked = (
        "SELECT entry FROM entry_ledger",
        "SELECT digest FROM reject",
        "SELECT entry FROM transfer",
        "SELECT connection FROM connection_by_day",
        "SELECT client_profile FROM client_profile",
        "SELECT client FROM client",
        "SELECT pseudonym FROM client",
        "SELECT auth_user FROM client_profile",
    )
    rows = [store.ask(sql).column(0).to_pylist() for sql in asked]
    return {value for column in rows for value in column if value is not None}


def _all_of(network: str, folder: Path) -> Path:
    """What an attacker who knows all of a log but the address would try, whole and broken."""
    path = folder / "guesses"
    guesses = [replace(ENTRY, address=str(one), host=str(one)) for one in ip_network(network)]
    texts = [guess.text() for guess in guesses]
    broken = [text.replace("bytes: 1536", "bytes: 1") for text in texts]
    users = [
        json.dumps(json.loads(guess.json()) | {"auth": {"method": "jwt", "username": "jdoe"}})
        for guess in guesses
    ]
    path.write_text("".join(texts) + "".join(broken) + "\n".join(users) + "\n")
    return path


def test_addresses_cannot_be_had_back_without_the_secret(tmp_path: Path) -> None:
    """By trying all of a network, with all else right, and every key that a reader may see."""
    address = "198.51.100.77"
    log = tmp_path / "log"
    known = replace(ENTRY, address=address, host=address)
    user = json.loads(known.json()) | {"auth": {"method": "jwt", "username": "jdoe"}}
    log.write_text(
        known.text() + known.text().replace("bytes: 1536", "bytes: 1") + json.dumps(user) + "\n"
    )
    store = make_store(tmp_path / "store.duckdb")
    read_into(store, log)
    identity, _ = store.identity_and_servers()
    seen = [identity.id, identity.key_check, identity.generation, "", "ringserverstats"]
    wrong = [text.encode().ljust(32, b"\0")[:32] for text in seen[::2]]
    wrong += [sha256(text.encode()).digest() for text in seen[1::2]]
    guesses = _all_of("198.51.100.64/27", tmp_path)
    ids = _ids(store)
    assert len(ids) > 8
    for number, secret in enumerate([*wrong, SECRET]):
        tried = make_store(tmp_path / f"tried-{number}.duckdb", secret=secret)
        read_into(tried, guesses)
        found = ids & _ids(tried)
        assert found == (ids if secret == SECRET else set())  # with it, all is found: the control
    for text in ids - {None}:
        for hashed in _unkeyed(address, known.text(), "jdoe"):
            assert str(text).replace("-", "") not in hashed


def _unkeyed(*texts: str) -> set[str]:
    """Digests without a key, in the forms that ids may have."""
    found = set()
    for text in texts:
        for made in (md5, sha1, sha256, blake2b, blake2s):
            raw = made(text.encode()).digest()
            for size in (8, 16):
                part = raw[:size]
                found |= {part.hex(), part[::-1].hex()}
                for order in ("big", "little"):
                    number = int.from_bytes(part, order, signed=True)
                    found.add(str(number))
    return found
