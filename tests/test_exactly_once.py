"""The same log twice, grown, overlapping, by two processes, after a kill: the totals stay right."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    DATA,
    LONG,
    SECRET,
    CommandLine,
    another,
    assert_whole,
    dump,
    empty,
    execute,
    held_by_another,
    make_store,
    read_into,
)
from model import START, block

from ringserverstats import ingest as pipeline
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.logs.duplicates import WINDOW, Duplicates
from ringserverstats.store.base import Store
from ringserverstats.store.duckdb.session import DuckDBSession
from ringserverstats.store.postgresql.session import PostgreSQLSession

REAL = DATA / "v4.5.3-midnight-paris"
BATCH = 1_400  # rows, of which the long log has six times as many
Log = Callable[..., Path]


def test_same_log_twice_in_one_run_and_in_two(store: Store) -> None:
    first = read_into(store, REAL, REAL / "txlog-20260630T0000-20260701T0000")
    before = dump(store)
    again = read_into(store, REAL)
    assert (again.entries, again.known) == (0, first.entries)
    assert dump(store) == before


def test_two_files_that_overlap(store: Store, log: Log) -> None:
    blocks = [block(log_time=START + 100 * number) for number in range(5)]
    first = log("".join(blocks[:4]), "one")
    second = log("".join(blocks[1:]), "two")
    report = read_into(store, first, second)
    assert (report.entries, report.known) == (5, 3)


def test_a_log_that_is_moved_within_its_interval_is_reported(run: CommandLine, log: Log) -> None:
    """Entries that end within the second of the move are in both files. They may be copies."""
    name = "a-txlog-20260131T0000-20260201T0000"
    at_the_move = block(log_time=START + 100)
    moved = log(block() + 3 * at_the_move, f"{name}.1")
    current = log(2 * at_the_move + block(log_time=START + 200), name)
    other_day = log(block(), "a-txlog-20260201T0000-20260202T0000")
    done = run("ingest", "--json", moved, current, other_day)
    report = json.loads(done.stdout)
    assert (report["entries"], report["known"], report["in_copies"]) == (5, 3, 2)
    note = "2 identical entries in two files of one interval: a moved log, or a copy"
    assert note in done.stderr
    assert note in run("verify", moved, current).stderr
    assert "identical" not in run("verify", current).stderr
    assert json.loads(run("ingest", "--json", current).stdout)["in_copies"] == 0


def test_crlf_is_the_same_log(store: Store, log: Log) -> None:
    read_into(store, log(block()))
    report = read_into(store, log(block().replace("\n", "\r\n"), "windows"))
    assert (report.entries, report.known) == (0, 1)


def test_duplicates_apart_from_each_other_count_both(store: Store, log: Log) -> None:
    path = log(block() + block(agent="other") + block())
    assert read_into(store, path).entries == 3
    assert read_into(store, path).known == 3


def test_a_log_that_stands_twice_counts_once_however_it_is_split() -> None:
    """An entry of the second copy is new only to what was logged within the window before it."""
    times = [0, WINDOW * 5 // 2, WINDOW * 3]
    duplicates = Duplicates(b"key")

    def ids(rows: list[int]) -> list[bytes]:
        digest = np.array([bytes([row] * 16) for row in rows], "V16")
        return [one.tobytes() for one in duplicates.ids(digest, np.array(times)[rows])]

    first = ids([0, 1, 2])
    assert [ids([row]) for row in (0, 1, 2)] == [[one] for one in first]


def test_a_log_that_stands_twice_in_one_input_counts_once(store: Store, log: Log) -> None:
    blocks = "".join(block(log_time=START + 100 * number) for number in range(5))
    assert read_into(store, log(blocks + blocks)).entries == 5


def test_block_of_two_servers_is_two_entries_and_reported(store: Store, log: Log) -> None:
    path = log(block())
    assert read_into(store, path, server="a").known_elsewhere == 0
    report = read_into(store, path, server="b")
    assert (report.entries, report.known_elsewhere) == (1, 1)
    rows = store.ask("SELECT count(DISTINCT entry) AS n FROM transfer", []).to_pylist()
    assert rows == [{"n": 2}]


@pytest.mark.of_both
def test_stream_in_two_spellings_within_one_entry(store: Store, log: Log) -> None:
    both = (("FR_CIEL_00_HHZ/MSEED", 512, 1), ("FDSN:FR_CIEL_00_H_H_Z/MSEED", 1024, 2))
    for number in range(3):
        read_into(store, log(block(transfers=both, log_time=START + number), f"log{number}"))
    for table in ("by_day", "by_month"):
        rows = store.ask(f"SELECT bytes, packets, transfers FROM {table}", []).to_pylist()
        assert rows == [{"bytes": 3 * 1536, "packets": 9, "transfers": 6}]


def test_server_by_prefix_of_the_file_name(store: Store) -> None:
    read_into(store, DATA / "v4.5.3-prefix", REAL)
    assert [server.name for server in store.servers()] == ["default", "node-a"]


def test_rename_changes_nothing_else(store: Store) -> None:
    read_into(store, REAL, server="old")
    before = dump(store)
    store.change_server("old", rename="new", timezone=None)
    assert dump(store) == before
    assert read_into(store, REAL, server="new").entries == 0
    assert read_into(store, REAL, server="old").entries == 0  # its logs may still bear that name
    with pytest.raises(UsageError, match="is or was called"):
        store.add_server("other", "UTC")
        store.change_server("other", rename="old", timezone=None)
    store.change_server("new", rename="old", timezone=None)
    assert [server.name for server in store.servers()] == ["old", "other"]
    store.change_server("old", rename="new", timezone=None)
    with pytest.raises(UsageError, match="no server 'old'"):
        store.change_server("old", rename="x", timezone=None)


def test_dry_run_tells_what_would_be_done_and_does_nothing(store: Store) -> None:
    assert read_into(store, REAL, dry_run=True).entries == 10
    assert not store.exists()
    read_into(store, REAL / "txlog-20260630T0000-20260701T0000")
    before = dump(store)
    report = read_into(store, REAL, dry_run=True)
    assert (report.entries, report.known) == (6, 4)
    assert dump(store) == before


def test_dry_run_tells_the_same_as_the_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of entries that stand in several files, whose batches are written apart."""
    monkeypatch.setattr(pipeline, "BATCH", 100)
    copy = shutil.copytree(REAL, tmp_path / "copy")
    dry = read_into(store, DATA, copy, dry_run=True)
    assert dry.known == 10
    real = read_into(store, DATA, copy)
    assert replace(dry, notes=[]) == replace(real, notes=[])


def test_other_secret_or_prefix_is_refused(store: Store) -> None:
    read_into(store, REAL)
    with pytest.raises(StoreError, match="another secret"):
        read_into(another(store, secret=b"x" * 32), REAL)
    with pytest.raises(StoreError, match="ipv6_prefix = 64"):
        read_into(another(store, ipv6_prefix=56), REAL)


@pytest.mark.of_both
def test_store_of_a_newer_program_is_refused(store: Store, kind: str) -> None:
    read_into(store, REAL)
    step = {
        "duckdb": "INSERT INTO migration VALUES (999)",
        "postgresql": "INSERT INTO _yoyo_migration (migration_hash, migration_id)"
        " VALUES ('x', 'ringserverstats-0999-later')",
    }
    execute(store, step[kind])
    with pytest.raises(StoreError, match="upgrade ringserverstats"):
        read_into(store, REAL)


def test_failed_batch_stores_nothing_of_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault at any statement of the transaction leaves the store as it was."""
    read_into(store, REAL / "txlog-20260630T0000-20260701T0000")
    before = dump(store)
    calls = 0

    def failing(good: Callable[..., object], at: int) -> Callable[..., object]:
        def execute(self: object, sql: str, *args: object) -> object:
            nonlocal calls
            calls += 1
            return good(self, "SELECT nothing" if calls == at else sql, *args)

        return execute

    at, failures = 1, 0
    while True:
        with monkeypatch.context() as patch:
            for session in (DuckDBSession, PostgreSQLSession):
                patch.setattr(session, "execute", failing(session.execute, at))
            calls = 0
            try:
                report = read_into(store, REAL)
            except StoreError as error:
                assert "nothing of this step was stored" in str(error)
                failures += 1
            else:
                break
        if dump(store) != before:  # an earlier batch was kept, as the last one has the coverage
            assert_whole(store)
        at += 2  # the others are as these; each takes as long
    assert failures >= 8
    assert report.known + report.entries == 10
    assert_whole(store)


@pytest.mark.of_both
@pytest.mark.soak
def test_sums_stay_right_in_many_small_batches(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_store(tmp_path / "whole.duckdb")
    read_into(whole, DATA)
    monkeypatch.setattr(pipeline, "BATCH", 100)
    read_into(store, DATA)
    assert dump(store) == dump(whole)


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of half a dozen batches, with duplicates in it."""
    rng = random.Random(7)
    blocks = []
    for number in range(2_000):
        streams = tuple(
            (f"FR_S{rng.randrange(200):03d}_00_HHZ/MSEED", rng.randrange(1, 10**6), 1)
            for _ in range(4)
        )
        entry = block(
            address=f"192.0.2.{rng.randrange(1, 200)}",
            log_time=START + number // 2,
            transfers=streams,
        )
        blocks += [entry] * (1 + (number % 50 == 0))
    path = tmp_path_factory.mktemp("long") / "txlog-20260131T0000-20260201T0000"
    path.write_text("".join(blocks))
    return path


def _totals(store: Store) -> dict[str, int]:
    sql = "SELECT count(*) AS entries, sum(bytes)::bigint AS bytes, sum(packets)::bigint AS packets"
    return store.ask(f"{sql} FROM entry_ledger", []).to_pylist()[0]


@pytest.fixture(scope="module")
def expected(long_log: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The totals of the long log."""
    whole = make_store(tmp_path_factory.mktemp("whole") / "store.duckdb")
    read_into(whole, long_log)
    return _totals(whole)


def _wait_for_entries(store: Store, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``process`` has committed some; it leaves the file to others between batches."""
    while process.poll() is None and not (store.exists() and _totals(store)["entries"]):
        time.sleep(0.01)


@pytest.mark.parametrize("times", [1, pytest.param(100, marks=pytest.mark.soak)])
def test_killed_at_any_moment_and_run_again(
    run: CommandLine, long_log: Path, expected: dict[str, int], times: int
) -> None:
    """Every other kill is behind the first entries that are committed."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    store = run.store
    rng = random.Random(times)
    begin = time.monotonic()
    process = run.popen("ingest", long_log, batch=BATCH)
    _wait_for_entries(store, process)
    committed = time.monotonic()
    assert process.wait() == 0
    length, rest = (time.monotonic() - since for since in (begin, committed))  # as busy as it is
    assert _totals(store) == expected
    empty(store)
    killed = within = finished = 0
    while killed < times or not finished:
        process = run.popen("ingest", long_log, batch=BATCH)
        is_within = killed < times and killed % 2 == 0
        if is_within:
            _wait_for_entries(store, process)
        seconds = rng.uniform(0, rest) if is_within else rng.uniform(0.05, length)
        try:
            assert process.wait(seconds if killed < times else None) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            if store.exists():
                assert_whole(store)
                within += _totals(store)["entries"] > 0
        else:
            finished += 1
            assert_whole(store)
            assert _totals(store) == expected
            empty(store)
    assert within >= (times + 1) // 2
    print(
        f"{killed} kills, {within} with some entries committed, {finished} runs to the end: exact"
    )


@pytest.mark.of_duckdb
def test_another_duckdb_file_is_no_store_and_stays_as_it_is(run: CommandLine) -> None:
    import duckdb

    path = run.folder / "store.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 1 AS one")
    before = path.read_bytes()
    for command in (("info",), ("ingest", REAL), ("server", "add", "x")):
        result = run(*command)
        assert result.returncode == 3
        assert "something else" in result.stderr
    assert path.read_bytes() == before


def test_two_processes_at_once_give_exact_totals(
    run: CommandLine, long_log: Path, expected: dict[str, int]
) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    processes = [run.popen("ingest", long_log, batch=BATCH) for _ in range(3)]
    assert [process.wait(LONG) for process in processes] == [0, 0, 0]
    store = run.store
    assert_whole(store)
    assert _totals(store) == expected


@pytest.mark.of_duckdb
def test_a_process_waits_for_another_with_a_message(run: CommandLine) -> None:
    assert run("ingest", REAL).returncode == 0
    command = [sys.executable, "-m", "ringserverstats", "stats", "--format", "json"]
    with (
        held_by_another(run.folder / "store.duckdb", write=True) as let_go,
        subprocess.Popen(
            command, env=run.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process,
    ):
        waiting = process.stderr.readline()  # which it writes while it waits
        let_go()
    assert b"waiting for another process" in waiting
    assert process.returncode == 0
