"""The right to erasure: a client gets a pseudonym that is made of nothing; totals stay."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from conftest import ASN, CITY, DATA, SECRET, CommandLine, another, assert_whole, dump, read_into
from model import ENTRY, block

from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.pseudonyms import number, pseudonym
from ringserverstats.errors import StoreError
from ringserverstats.keys import derive
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

Log = Callable[..., Path]
ADDRESS = "216.160.83.56"
ALIAS = pseudonym(derive(SECRET).clients, ADDRESS)
QUESTIONS = [
    Query(dimensions=by, measures=("bytes", "packets", "transfers", "clients", "connections"))
    for by in ((), ("network", "station"), ("month", "stream"), ("country", "agent"), ("class",))
]


def answers(store: Store) -> list[list[dict]]:
    return [run_query(store, query).to_pylist() for query in QUESTIONS]


def test_totals_stay_and_the_client_is_another(store: Store) -> None:
    read_into(store, DATA, geoip=GeoIP(CITY, ASN, precision=5))
    read_into(store, DATA / "v4.5.3-text", server="other")
    before, held = answers(store), dump(store)
    assert any(ALIAS in row for row in held["client"])
    tried = store.forget(ALIAS, try_only=True)
    assert dump(store) == held
    assert store.forget(ALIAS, try_only=False) == tried
    assert tried.entries > 1
    assert answers(store) == before
    after = dump(store)
    assert len(after["client"]) == len(held["client"])
    assert len(after["client_profile"]) == len(held["client_profile"])
    assert after["entry_ledger"] == held["entry_ledger"]
    text = "\n".join(map(str, after.values()))
    client_profiles = {row[0] for row in held["client_profile"] if row[1] == str(number(ALIAS))}
    connections = {row for row in held["connection_by_day"] if row[4] in client_profiles}
    for gone in (ALIAS, str(number(ALIAS)), *client_profiles, *(row[5] for row in connections)):
        assert gone not in text
    assert_whole(store)
    assert store.forget(ALIAS, try_only=False).entries == 0


def test_the_ledger_still_knows_its_entries(store: Store) -> None:
    read_into(store, DATA)
    before = answers(store)
    store.forget(ALIAS, try_only=False)
    report = read_into(store, DATA)
    assert (report.entries, report.transfers) == (0, 0)
    assert answers(store) == before
    assert_whole(store)


def test_users_get_new_pseudonyms_too(store: Store, log: Log) -> None:
    lines = [
        json.dumps(json.loads(ENTRY.json()) | {"auth": {"method": "jwt", "username": user}})
        for user in ("jdoe", "observer")
    ]
    read_into(store, log("\n".join(lines) + "\n"))
    users = "SELECT auth_user FROM client_profile WHERE auth_user IS NOT NULL ORDER BY 1"
    before = set(store.ask(users, [])["auth_user"].to_pylist())
    for alias in store.ask("SELECT pseudonym FROM client", [])["pseudonym"].to_pylist():
        store.forget(alias, try_only=False)
    assert len(before) == 2
    assert not before & set(store.ask(users, [])["auth_user"].to_pylist())
    assert_whole(store)


def test_an_ingest_that_began_before_is_run_again(store: Store) -> None:
    """It has looked up ids that hold no longer."""
    read_into(store, DATA / "v4.5.3-text")
    store.open(create=False)
    another(store).forget(ALIAS, try_only=False)
    with pytest.raises(StoreError, match="run the same again"):
        store.mark_incomplete({(1, date(2026, 1, 1))})


def test_command(run: CommandLine, log: Log) -> None:
    assert run("ingest", log(block(address="198.51.100.7"))).returncode == 0
    assert run("forget", "198.51.100.7").returncode == 2
    tried = run("forget", "--dry-run", "-", input="198.51.100.7\n")
    assert tried.stdout.startswith("would erase the pseudonym of a client with 1 entries")
    done = run("forget", "-", input="198.51.100.7\n\n")
    assert done.stdout.startswith("erased the pseudonym of a client with 1 entries")
    again = run("forget", "-", input="::ffff:198.51.100.7\n")
    assert again.returncode == 1
    assert "198.51.100.7" not in tried.stdout + done.stdout + again.stdout + again.stderr
    assert run("forget", "-", input="").returncode == 2
    assert run("audit").returncode == 0
