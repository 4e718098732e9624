"""Months that are long ago: their sums stay exact, and nobody can be followed through them."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from conftest import (
    ASN,
    CITY,
    DATA,
    SECRET,
    CommandLine,
    Filled,
    another,
    assert_whole,
    dump,
    execute,
    held_by_another,
    make_postgresql,
    make_store,
    read_into,
    sample_logs,
)
from hypothesis import given
from hypothesis import strategies as st
from model import block

from ringserverstats.enrich.agents import parse_agent
from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.statistics.periods import months_before
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.audit import audit
from ringserverstats.store.base import Store

Log = Callable[..., Path]
BEFORE = date(2026, 9, 1)  # the logs are of March, June, July and November
MEASURES = ("bytes", "packets", "transfers", "clients", "entries", "connections")
CHEAP = ("bytes", "packets", "transfers", "clients")
OF_WHO = ("country", "class", "protocol", "agent-family")
RULES = Rules((Rule(name="lab", class_="mirror", networks=("216.160.83.0/24",)),))
WITHIN = [
    Query(dimensions=("month", *by), measures=MEASURES if not by or by[0] in OF_WHO else CHEAP)
    for by in (
        (),
        ("network",),
        ("network", "station"),
        ("stream",),
        ("country",),
        ("agent-family", "direction"),
        ("class",),
        ("protocol", "server"),
    )
]


@pytest.fixture
def read(store: Store, filled: Filled) -> Store:
    def fill(store: Store) -> None:
        geoip = GeoIP(CITY, ASN, precision=5)
        read_into(store, DATA, geoip=geoip, rules=RULES)
        read_into(store, DATA / "v4.5.3-text", server="other", geoip=geoip)

    return filled(store, "to be pruned", fill)


def answers(store: Store) -> list[list[dict]]:
    """Of groups within a month."""
    rows = [run_query(store, query).to_pylist() for query in WITHIN]
    for row in (row for answer in rows for row in answer):
        assert not row.pop("at-most", False)
    return rows


def test_groups_within_a_month_stay_exact(read: Store) -> None:
    before, held = answers(read), dump(read)
    tried = read.prune(BEFORE, try_only=True)
    assert dump(read) == held
    assert read.prune(BEFORE, try_only=False) == tried
    assert (tried.months, tried.transfers > 100, tried.clients > 5) == (3, True, True)
    assert answers(read) == before
    after = dump(read)
    assert after["entry_ledger"] == held["entry_ledger"]
    days = {row[1] for row in after["transfer"]}
    assert min(days) >= BEFORE.isoformat()
    assert_whole(read)
    assert read.prune(BEFORE, try_only=False).months == 0
    assert read.kept_since == BEFORE
    with pytest.raises(UsageError, match="kept since"):
        run_query(
            read, Query(dimensions=("network",), last=date(2026, 7, 1), measures=("connections",))
        )


@pytest.mark.of_both
def test_nothing_that_tells_who_it_was_is_left(read: Store) -> None:
    held = dump(read)
    read.prune(BEFORE, try_only=False)
    after = dump(read)
    old = {
        (row["client_profile"], row["connection"])
        for row in read.ask(
            "SELECT client_profile, connection FROM connection_by_day WHERE day < '2026-09-01'"
        ).to_pylist()
    }
    known = {str(value) for row in held["client_profile"] for value in row[:2]}
    known |= {row[5] for row in held["connection_by_day"]}
    assert not {str(value) for pair in old for value in pair} & known
    rows = read.ask(
        "SELECT o.*, c.pseudonym, a.name AS agent_name, a.family FROM client_profile o"
        " JOIN client c USING (client) JOIN agent a USING (agent) WHERE o.month IS NOT NULL"
    ).to_pylist()
    assert {row["month"].isoformat() for row in rows} == {"2026-03-01", "2026-06-01", "2026-07-01"}
    for row in rows:
        assert row["agent_name"] == row["family"]
        gone = (
            "auth_user",
            "latitude",
            "longitude",
            "asn",
            "organisation",
            "domain",
            "matched_rules",
        )
        assert all(row[name] is None for name in (*gone, "institution", "institution_source"))
        assert (row["city"], row["geohash"]) == ("unknown", "")
    months = {}
    for row in rows:
        months.setdefault(row["client"], set()).add(row["month"])
    assert all(len(found) == 1 for found in months.values())
    still = {row[0] for row in after["client"]}
    used = {row[1] for row in after["client_profile"]}
    assert still == used


@pytest.mark.of_both
def test_over_several_months_clients_are_at_most(read: Store) -> None:
    def result(**asked: object) -> list[tuple]:
        rows = run_query(read, Query(measures=("bytes", "clients"), **asked)).to_pylist()
        return [(row["clients"], row.get("at-most")) for row in rows]

    exact = result()[0][0]
    by_month = result(dimensions=("month",))
    assert {bound for _, bound in by_month} == {None}
    read.prune(BEFORE, try_only=False)
    [(most, is_bound)] = result()
    assert is_bound
    assert most >= exact
    assert [count for count, _ in result(dimensions=("month",))] == [count for count, _ in by_month]
    assert {bound for _, bound in result(dimensions=("month",))} == {False}
    assert result(dimensions=("year",)) == [(most, True)]
    assert result(first=date(2026, 6, 1), last=date(2026, 6, 30))[0][1] is False
    assert result(first=date(2026, 6, 30), last=date(2026, 7, 1))[0][1] is True
    for by in ((), ("year",)):  # March is the only month with data
        alone = Query(dimensions=by, last=date(2026, 5, 31), measures=("clients",))
        assert [row["at-most"] for row in run_query(read, alone).to_pylist()] == [False]
    weeks = run_query(read, Query(dimensions=("week",), measures=("clients",))).to_pylist()
    bounds = {row["week"]: row["at-most"] for row in weeks}
    assert bounds.get("2026-W27", True)  # 29 June to 5 July
    assert not bounds["2026-W48"]
    assert {bound for _, bound in result(first=date(2026, 9, 1))} == {None}
    assert "at-most" not in run_query(read, Query(measures=("bytes",))).column_names


def test_a_log_that_comes_late_counts_once_and_names_nobody(read: Store, log: Log) -> None:
    read.prune(BEFORE, try_only=False)
    before = answers(read)
    assert read_into(read, DATA).entries == 0  # the ledger knows them
    assert answers(read) == before
    late = block(agent="slinktool/4.3", log_time=1_773_500_000, connect_time=1_773_400_000)
    written = read_into(read, log(late, name="txlog-20260314T0000-20260315T0000"))
    assert written.entries == 1
    rows = read.ask("SELECT month, client FROM client_profile WHERE month IS NULL").to_pylist()
    now = read.ask(
        "SELECT count(*) AS n FROM connection_by_day f JOIN client_profile o USING (client_profile)"
        " WHERE f.day < '2026-09-01' AND o.month IS NULL"
    )
    assert rows
    assert now["n"].to_pylist() == [0]
    march = run_query(
        read, Query(dimensions=("month",), last=date(2026, 3, 31), measures=("bytes", "clients"))
    )
    assert [row["at-most"] for row in march.to_pylist()] == [True]
    assert read_into(read, log(late, name="txlog-20260314T0000-20260315T0000")).known == 1
    assert_whole(read)
    read.prune(BEFORE, try_only=False)
    assert (
        run_query(
            read,
            Query(dimensions=("month",), last=date(2026, 3, 31), measures=("bytes", "clients")),
        )
        == march
    )
    assert_whole(read)


def test_what_needs_transfers_is_refused(read: Store, tmp_path: Path) -> None:
    read.prune(BEFORE, try_only=False)
    read_into(read, DATA / "v4.1.0-text", server="other")
    with pytest.raises(StoreError, match="has data of days before"):
        read.merge_servers("default", "other", once=False, try_only=False)
    from ringserverstats.copy import copy

    with pytest.raises(StoreError, match="cannot be copied whole"):
        copy(read, make_store(tmp_path / "copy.duckdb"))


def test_days_of_pruned_months_can_be_deleted_and_read_again(read: Store) -> None:
    read.prune(BEFORE, try_only=False)
    query = Query(dimensions=("month", "network"), measures=("bytes", "packets", "transfers"))
    before = run_query(read, query)
    removed = read.delete("default", date(2026, 3, 1), date(2026, 3, 31), try_only=False)
    assert removed.entries > 0
    assert_whole(read)
    months = run_query(read, query)["month"].to_pylist()
    assert "2026-03" not in months
    assert months
    assert read_into(read, DATA).entries == removed.entries
    assert run_query(read, query) == before
    assert_whole(read)


def test_rules_leave_pruned_months_alone(read: Store) -> None:
    query = Query(dimensions=("month", "class"), last=date(2026, 8, 31), measures=("bytes",))
    read.prune(BEFORE, try_only=False)
    before = run_query(read, query).to_pylist()
    read.reclassify(Rules((Rule(name="all", class_="feeder", direction="TX"),)), try_only=False)
    assert run_query(read, query).to_pylist() == before


@pytest.mark.of_duckdb
def test_nothing_is_left_in_the_file(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    read_into(store, DATA / "v2020.075-midnight-denver")
    pseudonyms = {row[1] for row in dump(store)["client"]}
    assert pseudonyms
    path = tmp_path / "store.duckdb"

    def found() -> set[str]:
        raw = path.read_bytes()
        return {one for one in pseudonyms if one.encode() in raw}

    with_copy = dump(store)
    assert found()  # else the search could find nothing below
    store.prune(BEFORE, try_only=False)
    pruned = dump(store)
    with held_by_another(path), pytest.raises(StoreError, match="in use"):
        another(store, lock_timeout=0).vacuum()
    file = path.stat().st_ino
    assert store.prune(BEFORE, try_only=False).months == 0
    store.vacuum()  # what failed is done now
    assert dump(store) == pruned != with_copy
    assert path.stat().st_ino != file  # rewritten
    assert not found()
    assert path.stat().st_mode & 0o777 == 0o600
    assert_whole(store)
    assert read_into(store, DATA / "v2020.075-midnight-denver").entries == 0


@pytest.mark.of_duckdb
def test_a_store_that_changed_meanwhile_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    from ringserverstats.store.duckdb import store as module

    store = make_store(tmp_path / "store.duckdb")
    read_into(store, DATA / "v4.1.0-text")

    def then_changed(new: Path, path: Path, **given: object) -> None:
        read_into(another(store), log(block(agent="new")))
        put(new, path, **given)

    put = module.put_in_place
    monkeypatch.setattr(module, "put_in_place", then_changed)
    execute(store, "UPDATE store SET vacuum_pending = true")
    with pytest.raises(StoreError, match="changed just now"):
        store.vacuum()
    assert "new" in str(dump(store)["agent"])
    assert not list(tmp_path.glob("*.new-*"))


def test_the_command(run: CommandLine) -> None:
    run(str(DATA))
    before = run("stats", "--by", "month", "--format", "json").stdout
    tried = run("prune", "--keep", "1mo", "--dry-run")
    assert "would prune 3 months" in tried.stdout
    refused = run("prune", "--keep", "1mo")
    assert refused.returncode == 2
    assert "this would prune 3 months (2026-03, 2026-06, 2026-07); add --yes" in refused.stderr
    done = run("prune", "--keep", "1mo", "--yes")
    assert "pruned 3 months" in done.stdout, done.stderr
    rows = json.loads(run("stats", "--by", "month", "--format", "json").stdout)
    assert [{**row, "at-most": None} for row in rows] == [
        {**row, "at-most": None} for row in json.loads(before)
    ]
    shown = run("stats")
    assert "≤ " in shown.stdout
    assert "≤ upper bound" in shown.stdout
    assert json.loads(run("stats", "--format", "json").stdout)[0]["at-most"] is True
    result = run("stats", "--by", "month,institution")
    kept_since = months_before("1mo", date.today())
    assert "2026-03 to 2026-07 are pruned: of their clients" in result.stdout  # which have data
    assert "are pruned" not in run("stats", "--by", "month,country").stdout
    assert f"months before {kept_since}" in run("info").stdout
    for wrong in ("13", "0mo", "x", "-1mo"):
        refused = run("prune", "--keep", wrong)
        assert refused.returncode == 2, wrong
    assert run("audit").returncode == 0


def test_months_that_are_kept() -> None:
    today = date(2026, 11, 25)
    assert months_before("13mo", today) == date(2025, 10, 1)
    assert months_before("1y", today) == date(2025, 11, 1)
    assert months_before("11m", today) == date(2025, 12, 1)


@given(st.binary(max_size=60))
def test_a_family_is_its_own_family(raw: bytes) -> None:
    from ringserverstats.enrich.agents import family

    found = parse_agent(raw).family
    assert family(found) == found


def test_a_killed_prune_goes_on(run: CommandLine) -> None:
    """Killed behind its first month, of three."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run(str(DATA))
    before = answers(run.store)
    months = "SELECT count(*) AS n FROM pruned_month"
    process = run.popen("prune", "--keep", "1mo", "--yes", batch=1)
    while process.poll() is None and not run.store.ask(months)["n"][0].as_py():
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert answers(run.store) == before
    assert_whole(run.store)
    assert run("prune", "--keep", "1mo", "--yes").returncode == 0
    assert answers(run.store) == before
    left = run.store.ask("SELECT count(*) AS n FROM transfer WHERE day < '2026-09-01'")
    assert left["n"].to_pylist() == [0]


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_soak_of_kills_while_it_prunes(run: CommandLine) -> None:
    """Each from the same store: whatever was done is whole, and the same again does the rest."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run(str(DATA), str(sample_logs(run.folder / "logs", days=33)))
    path = run.folder / "store.duckdb"
    whole = path.with_name("whole.duckdb")
    shutil.copy(path, whole)
    before = answers(run.store)
    rng = random.Random(5)
    partly = Counter()
    for _ in range(50):
        for old in run.folder.glob("store.duckdb*"):
            old.unlink() if old.is_file() else shutil.rmtree(old)
        shutil.copy(whole, path)
        process = run.popen("prune", "--keep", "1mo", "--yes", batch=1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.4, 4.0))
        process.kill()
        process.wait()
        assert answers(run.store) == before
        assert_whole(run.store)
        months = run.store.ask("SELECT count(*) AS n FROM pruned_month")["n"][0].as_py()
        partly["none" if not months else "all" if process.returncode == 0 else "part"] += 1
        assert run("prune", "--keep", "1mo", "--yes").returncode == 0
        assert answers(run.store) == before
        assert_whole(run.store)
    print(f"kills of prune: {dict(partly)}")
    assert partly["part"] > 5


@pytest.mark.of_duckdb
def test_the_order_of_rows_does_not_tell_who_was_in_two_months(tmp_path: Path, log: Log) -> None:
    store = make_store(tmp_path / "store.duckdb")
    for month in (3, 4):
        noon = int(datetime(2026, month, 5, 12, tzinfo=UTC).timestamp())
        blocks = [
            block(
                address=f"198.51.100.{n}",
                transfers=((f"FR_S{n}__HHZ/MSEED", 512 + n, 1),),
                log_time=noon,
                connect_time=noon - 60,
            )
            for n in range(40)
        ]
        read_into(store, log("".join(blocks), name=f"log-{month}"))
    store.prune(BEFORE, try_only=False)
    store.vacuum()
    sql = (
        "SELECT c.{table}, f.bytes FROM {table} c JOIN client_profile o USING ({table})"
        " JOIN connection_by_day f ON f.client_profile = o.client_profile"
        " WHERE f.day {month} ORDER BY c.rowid"
    )
    for table in ("client", "client_profile"):
        first, second = (
            store.ask(sql.format(table=table, month=month))["bytes"].to_pylist()
            for month in ("< '2026-04-01'", ">= '2026-04-01'")
        )
        assert len(first) == len(second) == 40
        assert sum(one == other for one, other in zip(first, second, strict=True)) < 10


def test_an_old_log_that_is_read_again_makes_no_month_late(read: Store, log: Log) -> None:
    read.prune(BEFORE, try_only=False)
    read_into(read, DATA, log(block(agent="new", log_time=1_790_000_000), name="late-september"))
    assert read.ask("SELECT bool_or(has_late_logs) AS late FROM pruned_month")[
        "late"
    ].to_pylist() == [False]


@pytest.mark.of_both
def test_a_month_without_data_is_pruned_too(read: Store, log: Log) -> None:
    read.prune(BEFORE, try_only=False)
    may = block(agent="tool/1.2", log_time=1_779_000_000, connect_time=1_778_900_000)
    read_into(read, log(may, name="may"))
    rows = read.ask(
        "SELECT o.month, a.name FROM connection_by_day f"
        " JOIN client_profile o USING (client_profile)"
        " JOIN agent a USING (agent) WHERE f.day BETWEEN '2026-05-01' AND '2026-05-31'"
    ).to_pylist()
    assert rows == [{"month": date(2026, 5, 1), "name": "tool"}]


def test_what_prunes_nothing_changes_nothing(store: Store, log: Log) -> None:
    read_into(store, log(block()))
    held = dump(store)
    assert store.prune(date(2020, 1, 1), try_only=False).months == 0
    assert store.kept_since is None
    assert dump(store) == held
    assert store.ask("SELECT count(*) AS n FROM pruned_month")["n"].to_pylist() == [0]


def test_two_that_bring_late_logs_of_a_month(database: str, tmp_path: Path, log: Log) -> None:
    store = make_postgresql(database, tmp_path)
    read_into(store, DATA)
    store.prune(BEFORE, try_only=False)
    logs = [
        log(
            "".join(block(agent=f"{name}{n}", log_time=1_779_000_000 + n) for n in range(200)), name
        )
        for name in ("a", "b", "c")
    ]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda path: read_into(another(store), path, server=path.name), logs))
    assert [report.entries for report in done] == [200] * 3
    assert_whole(store)


def test_statistics_of_postgresql_hold_no_old_pseudonym(database: str, tmp_path: Path) -> None:
    store = make_postgresql(database, tmp_path)
    read_into(store, DATA / "v2020.075-midnight-denver")
    old = {row[1] for row in dump(store)["client"]}
    execute(store, "ANALYZE")

    def held() -> str:
        rows = store.ask(
            "SELECT concat(histogram_bounds::text, most_common_vals::text) AS v FROM pg_stats"
            " WHERE schemaname = current_schema()"
        )
        return str(rows["v"].to_pylist())

    assert any(one in held() for one in old)
    store.prune(BEFORE, try_only=False)
    store.vacuum()
    assert not any(one in held() for one in old)


@pytest.mark.of_duckdb
def test_what_a_killed_process_left_is_no_hindrance(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    read_into(store, DATA / "v4.1.0-text")
    left = tmp_path / "store.duckdb.new-1.tmp"
    left.mkdir()
    (left / "spilled").touch()
    os.utime(left, (0, 0))
    execute(store, "UPDATE store SET vacuum_pending = true")
    store.vacuum()
    assert not left.exists()
    assert store.ask("SELECT vacuum_pending FROM store")["vacuum_pending"].to_pylist() == [False]


@pytest.mark.of_both
@pytest.mark.soak
def test_the_audit_finds_who_could_be_followed(read: Store) -> None:
    read.prune(BEFORE, try_only=False)
    keys = read.open(create=False).keys
    assert audit(read, keys) == []
    pick = "(SELECT min(client_profile) FROM client_profile WHERE month {})"
    for sql, problem in (
        (
            "UPDATE client_profile SET month = NULL"
            f" WHERE client_profile = {pick.format('IS NOT NULL')}",
            "is not anonymous",
        ),
        (
            "UPDATE client_profile SET month = '2026-06-01' WHERE month = '2026-03-01'",
            "data of another month",
        ),
        ("UPDATE pruned_month SET month = '2026-01-01' WHERE month = '2026-03-01'", "not pruned"),
    ):
        held = dump(read), read.ask("SELECT * FROM pruned_month ORDER BY month").to_pylist()
        execute(read, sql)
        assert any(problem in one.problem for one in audit(read, keys)), sql
        execute(
            read,
            "UPDATE client_profile SET month = f.month FROM (SELECT client_profile, min(date_trunc("
            "'month', day)::date) AS month FROM connection_by_day GROUP BY client_profile) f"
            " WHERE f.client_profile = client_profile.client_profile AND f.month < '2026-09-01'",
        )
        execute(read, "UPDATE pruned_month SET month = '2026-03-01' WHERE month = '2026-01-01'")
        assert audit(read, keys) == []
        assert held[0] == dump(read)
