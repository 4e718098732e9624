"""Servers that stop, connections that break, disks that are full, locks: the totals stay right."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from conftest import (
    LONG,
    SECRET,
    CommandLine,
    assert_whole,
    empty,
    make_postgresql,
    make_store,
    read_into,
    rest_in_soak,
)
from model import START, block
from servers import Server

from ringserverstats.store.base import Store
from ringserverstats.store.postgresql.schema import ALL_SERVERS, LOCKS

BATCH = 5_000
BLOCKS = 2_000
CHUNK = 1 << 18  # bytes that are read at once: enough for a batch
HIDDEN = "hunter2"  # a password that no message may show; the servers want none
OURS = "datname = current_database() AND application_name = 'ringserverstats'"
CONNECTED = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"
Totals = dict[str, list[tuple[object, ...]]]


def blocks(count: int, *, start: int = START, seed: int = 7) -> list[str]:
    """Blocks of many clients and streams, with duplicates among them."""
    rng = random.Random(seed)
    written: list[str] = []
    for number in range(count):
        streams = tuple(
            (f"FR_S{rng.randrange(200):03d}_00_HHZ/MSEED", rng.randrange(1, 10**6), 1)
            for _ in range(12)
        )
        address = f"192.0.2.{rng.randrange(1, 200)}"
        entry = block(address=address, log_time=start + number // 8, transfers=streams)
        written += [entry] * (1 + (number % 50 == 0))
    return written


def totals(store: Store) -> Totals:
    """What ``store`` has of each server by name, and of each of its streams."""
    sums = "sum(bytes) AS bytes, sum(packets) AS packets, sum(transfers) AS transfers"
    queries = {
        "ledger": f"SELECT name, day, count(*) AS n, {sums} FROM entry_ledger"
        " JOIN server USING (server) GROUP BY name, day",
        "streams": f"SELECT name, month, stream, {sums} FROM by_month JOIN server USING (server)"
        " GROUP BY name, month, stream",
    }
    return {
        name: sorted(tuple(map(str, row.values())) for row in store.ask(sql, []).to_pylist())
        for name, sql in queries.items()
    }


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of a dozen batches."""
    path = tmp_path_factory.mktemp("long") / "txlog-20260131T0000-20260201T0000"
    path.write_text("".join(blocks(BLOCKS)))
    return path


@pytest.fixture(scope="module")
def expected(long_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Totals:
    """The totals of the long log."""
    store = make_store(tmp_path_factory.mktemp("whole") / "store.duckdb")
    read_into(store, long_log)
    return totals(store)


@contextmanager
def own_server(server: Server) -> Iterator[str]:
    """The URI of a database with tables in ``server``, which is removed at the end."""
    try:
        uri = server.make("faults")
        make_postgresql(uri, Path("/nowhere")).migrate()
        yield uri
    finally:
        server.remove()


def command_line(folder: Path, uri: str, **environment: str) -> CommandLine:
    given = {"DATABASE_URI": uri.replace("@", f":{HIDDEN}@"), **environment}
    return CommandLine(folder, {"RINGSERVERSTATS_SECRET": SECRET.hex(), **given})


class Process:
    """A run of the program that goes on while the test does something."""

    def __init__(self, run: CommandLine, *args: object) -> None:
        code = (
            f"from ringserverstats import ingest; ingest.BATCH = {BATCH};"
            f" from ringserverstats.logs import source; source.CHUNK = {CHUNK};"
            " from ringserverstats.cli import main; main()"
        )
        self._error = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.started = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            env=run.environment,
            stdout=subprocess.DEVNULL,
            stderr=self._error,
        )

    @property
    def is_over(self) -> bool:
        return self.started.poll() is not None

    def end(self, timeout: float = LONG) -> tuple[int, str]:
        """Wait for its end: the exit code, and what it said of errors."""
        try:
            code = self.started.wait(timeout)
        finally:
            self.kill()
        self._error.seek(0)
        return code, self._error.read()

    def kill(self) -> None:
        self.started.kill()
        self.started.wait()

    def killed_after(self, seconds: float) -> bool:
        """Kill it, unless it ended before."""
        try:
            self.started.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        return self.started.returncode == -signal.SIGKILL


def wait_for(condition: Callable[[], object], process: Process | None = None) -> None:
    """Wait until ``condition`` holds, which must be before ``process`` ends."""
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until
        assert process is None or not process.is_over, process.end()
        time.sleep(0.01)


def value(uri: str, sql: str) -> object:
    with psycopg.connect(uri, application_name="test") as connection:
        return connection.execute(sql).fetchall()[0][0]


def entries(uri: str) -> object:
    return value(uri, "SELECT count(*) FROM entry_ledger")


def waits(uri: str) -> object:
    """How many of our transactions wait for a lock."""
    return value(
        uri,
        f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND wait_event_type = 'Lock'",
    )


def assert_reported(end: tuple[int, str], *words: str) -> None:
    """The run failed and gave one reason, which has one of ``words``."""
    code, error = end
    assert code == 3, error
    assert error.count("\n") == 1, error
    assert error.startswith("Error: "), error
    assert HIDDEN not in error
    assert not words or any(word in error for word in words), error


def assert_succeeded(end: tuple[int, str]) -> None:
    """The run succeeded and has no other note than that on locations."""
    code, error = end
    notes = [line for line in error.splitlines() if not line.startswith("Note: no GeoIP database")]
    assert (code, notes) == (0, [])


def assert_exact(run: CommandLine, log: Path, expected: Totals) -> None:
    """What is in the store is whole; reading ``log`` (again) gives ``expected``."""
    assert_whole(run.store)
    assert_succeeded(Process(run, "ingest", log).end())
    assert totals(run.store) == expected
    assert_whole(run.store)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["immediate", "fast"])
def test_server_is_stopped(tmp_path: Path, long_log: Path, expected: Totals, mode: str) -> None:
    server = Server()
    with own_server(server) as uri:
        run = command_line(tmp_path, uri)
        process = Process(run, "ingest", long_log)
        wait_for(lambda: entries(uri), process)
        server.stop(mode)
        assert_reported(
            process.end(), "server closed", "terminating connection", "cannot be reached"
        )
        assert_reported(Process(run, "ingest", long_log).end(), "cannot be reached")
        server.start()
        assert 0 < entries(uri) < BLOCKS
        assert_exact(run, long_log, expected)


@pytest.mark.parametrize(
    ("ends", "within"),
    rest_in_soak(
        [
            ("pg_terminate_backend", "query LIKE 'COPY %' AND state = 'active'"),
            ("pg_terminate_backend", "state <> 'idle'"),
            ("pg_cancel_backend", "state = 'active'"),
        ]
    ),
)
def test_connection_is_cut(
    database: str, tmp_path: Path, long_log: Path, expected: Totals, ends: str, within: str
) -> None:
    """Before a commit, and behind one; what comes after the last one cuts nothing."""
    run = command_line(tmp_path, database)
    end = f"SELECT count({ends}(pid)) FROM pg_stat_activity WHERE {OURS} AND {within}"
    rng = random.Random(3)
    cuts = partly = 0
    while cuts < 2:
        held = entries(database)
        process = Process(run, "ingest", long_log)
        wait_for(lambda: value(database, "SELECT count(*) FROM store"), process)
        while cuts and not process.is_over and entries(database) == held:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        while not process.is_over and not value(database, end):
            pass
        code, error = process.end()
        if code:
            assert_reported((code, error), "terminating connection", "canceling", "closed")
            assert "PATIENCE" not in error  # which is of questions
            cuts += 1
            partly += 0 < entries(database) < BLOCKS
            assert_whole(run.store)
        else:
            empty(run.store)
    assert partly
    assert_exact(run, long_log, expected)
    print(f"{ends}: {cuts} cuts, {partly} with some entries committed: exact")


def test_connection_is_cut_before_anything_is_done(
    database: str, tmp_path: Path, long_log: Path
) -> None:
    run = command_line(tmp_path, database)
    with psycopg.connect(database, application_name="test") as other:
        other.execute("LOCK TABLE store")
        process = Process(run, "ingest", long_log)
        wait_for(lambda: waits(database), process)
        value(
            database,
            f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS}",
        )
        assert_reported(process.end(), "terminating connection")


class _SmallServer(Server):
    """A server on a disk of its own, which is full when the test says so; its log is elsewhere."""

    def __init__(self, disk: Path, log: Path) -> None:
        self._log = log
        super().__init__(folder=disk)

    def _run(self, program: str, *args: object) -> None:
        more = ("--waldir", self._log / "wal") if program == "initdb" else ()
        super()._run(program, *args, *more)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 300 MB in memory."""
    path = Path(tempfile.mkdtemp(prefix="disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=300M,mode=755", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True) if os.geteuid() == 0 else None
    if done is None or done.returncode:
        path.rmdir()
        pytest.skip(f"a small disk cannot be mounted ({done.stderr if done else 'not root'})")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()


def resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.soak
def test_disk_is_full(disk: Path, tmp_path: Path, long_log: Path, expected: Totals) -> None:
    log = Path(tempfile.mkdtemp(prefix="wal-"))
    shutil.chown(log, "postgres")
    try:
        with own_server(_SmallServer(disk, log)) as uri:
            run = command_line(tmp_path, uri)
            resize(disk, shutil.disk_usage(disk).used + 2_000_000)
            for _ in range(2):
                assert_reported(
                    Process(run, "ingest", long_log).end(), "No space left on device", "disk"
                )
                assert 0 < entries(uri) < BLOCKS
                assert_whole(run.store)
            resize(disk, 300_000_000)
            assert_exact(run, long_log, expected)
    finally:
        shutil.rmtree(log)


@pytest.mark.parametrize(
    "lock",
    rest_in_soak(
        [
            "LOCK TABLE transfer_packed",
            f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})",
            "LOCK TABLE entry_ledger",
            "LOCK TABLE store",
        ]
    ),
)
def test_another_has_locked(
    database: str, tmp_path: Path, long_log: Path, expected: Totals, lock: str
) -> None:
    run = command_line(tmp_path, database, RINGSERVERSTATS_LOCK_TIMEOUT="1")
    assert run("server", "add", "default").returncode == 0
    with psycopg.connect(database) as other:
        other.execute(lock)
        end = Process(run, "ingest", long_log).end()
    assert_reported(
        end, "in use by another process for 1 s; try again, or raise RINGSERVERSTATS_LOCK_TIMEOUT"
    )
    assert entries(database) == 0
    if lock == "LOCK TABLE entry_ledger":
        assert_exact(run, long_log, expected)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four logs of which neighbours have some entries in common."""
    folder = tmp_path_factory.mktemp("logs")
    all_blocks = blocks(1_500, start=START + 7_000)
    paths = []
    for number in range(4):
        path = folder / f"log{number}"
        path.write_text("".join(all_blocks[number * 300 :][:600]))
        paths.append(path)
    return paths


def selections(logs: list[Path], seed: int) -> list[tuple[str, list[Path]]]:
    """What four processes read: a server's name and logs."""
    rng = random.Random(seed)
    return [(server, rng.sample(logs, rng.randrange(2, 5))) for server in "abab"]


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 9)]
)
def test_four_processes_read_overlapping_logs(
    database: str, tmp_path: Path, logs: list[Path], seed: int
) -> None:
    run = command_line(tmp_path, database)
    whole = make_store(tmp_path / "whole.duckdb")
    given = selections(logs, seed)
    processes = [Process(run, "ingest", "--as", name, *some) for name, some in given]
    ends = [process.end() for process in processes]
    assert [code for code, _ in ends] == [0] * 4, ends
    for name, some in given:
        read_into(whole, *some, server=name)
    assert totals(run.store) == totals(whole)
    assert_whole(run.store)


def steps(logs: list[Path]) -> list[list[object]]:
    """Commands that may each be run again: two servers read logs, and become one."""
    return [
        ["ingest", "--as", "a", *logs[:2]],
        ["ingest", "--as", "b", *logs[1:3]],
        ["server", "merge", "b", "a", "--once", "--yes"],
        ["delete", "--server", "a", "--from", "2026-02-01", "--to", "2026-02-01", "--yes"],
        ["ingest", "--as", "a", *logs],
    ]


@pytest.mark.soak
@pytest.mark.parametrize("times", [50])
def test_killed_while_logs_are_read_and_corrected(
    database: str, tmp_path: Path, logs: list[Path], times: int
) -> None:
    whole = CommandLine(tmp_path, {"RINGSERVERSTATS_SECRET": SECRET.hex()})
    for step in steps(logs):
        assert whole(*step).returncode == 0
    run = command_line(tmp_path, database)
    rng = random.Random(times)
    killed = within = rounds = 0
    while killed < times:
        for step in steps(logs):
            before = totals(run.store)
            process = Process(run, *step)
            while not process.is_over and not value(database, CONNECTED):
                time.sleep(0.01)
            if process.killed_after(rng.uniform(0, 0.7)):
                killed += 1
                if run.store.exists():  # else it was killed before it said who the store is
                    assert_whole(run.store)
                within += totals(run.store) != before
                code, error = Process(run, *step).end()
                # Killed between the commit and its end.
                assert code == 0 or (step[1] == "merge" and "no server 'b'" in error), error
        assert_whole(run.store)
        assert totals(run.store) == totals(whole.store)
        empty(run.store)
        rounds += 1
    print(f"{killed} kills, {within} with something committed, {rounds} rounds: exact")


@pytest.mark.soak
def test_deadlock_is_tried_again(
    database: str, tmp_path: Path, long_log: Path, expected: Totals
) -> None:
    run = command_line(tmp_path, database)
    names = make_store(tmp_path / "names.duckdb")
    read_into(names, long_log)
    rows = names.ask("SELECT stream, name FROM stream ORDER BY stream", []).to_pylist()
    insert = "INSERT INTO stream (stream, name) VALUES (%(stream)s, %(name)s)"
    with psycopg.connect(database) as other:
        other.execute("SET deadlock_timeout = '1min'")  # so the ingest is aborted
        other.execute(insert, rows[-1])
        process = Process(run, "ingest", long_log)
        wait_for(lambda: waits(database), process)
        other.execute(insert, rows[0])  # as the ingest has: it waits for us, we for it
        other.rollback()
    assert_succeeded(process.end())
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    wait_for(lambda: value(database, deadlocks))
    assert totals(run.store) == expected
    assert_whole(run.store)


@pytest.mark.soak
def test_question_ends_when_patience_does(
    database: str, tmp_path: Path, logs: list[Path], long_log: Path, expected: Totals
) -> None:
    hasty = command_line(tmp_path, database, RINGSERVERSTATS_QUERY_TIMEOUT="0.2")
    assert hasty("ingest", "--as", "a", logs[0]).returncode == 0
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE connection_by_day_built IN ACCESS EXCLUSIVE MODE")
        process = Process(hasty, "ingest", long_log)
        wait_for(lambda: waits(database), process)
        assert_reported(Process(hasty, "stats").end(), "raise RINGSERVERSTATS_QUERY_TIMEOUT")
        time.sleep(0.5)
        assert not process.is_over
    assert_succeeded(process.end())
    stored = totals(hasty.store).items()
    assert {name: [row for row in rows if row[0] != "a"] for name, rows in stored} == expected
    assert_whole(hasty.store)


@pytest.fixture
def bare(server: Server) -> Iterator[str]:
    """A database without tables."""
    yield server.make("bare")
    server.execute("DROP DATABASE bare WITH (FORCE)")


def assert_migrated(run: CommandLine) -> None:
    result = run.process("migrate")
    assert result.returncode == 0, result.stderr
    assert run("migrate", "--status").returncode == 0


@pytest.mark.soak
def test_two_migrate_at_once(bare: str, tmp_path: Path) -> None:
    run = command_line(tmp_path, bare)
    ends = [process.end() for process in [Process(run, "migrate") for _ in range(2)]]
    assert [code for code, _ in ends] == [0, 0], ends
    assert_migrated(run)
    log = tmp_path / "log"
    log.write_text(block())
    assert run("ingest", log).returncode == 0
    assert_whole(run.store)


@pytest.mark.soak
def test_migrate_waits_no_longer_than_set(bare: str, tmp_path: Path) -> None:
    run = command_line(tmp_path, bare, RINGSERVERSTATS_LOCK_TIMEOUT="1")
    with psycopg.connect(bare) as other:
        other.execute("CREATE TYPE direction AS ENUM ('TX', 'RX')")
        first = Process(run, "migrate")
        wait_for(lambda: waits(bare), first)
        try:
            assert_reported(Process(run, "migrate").end())
        finally:
            first.kill()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_migrate_that_was_killed_leaves_nothing_in_the_way(
    bare: str, tmp_path: Path, seed: int
) -> None:
    run = command_line(tmp_path, bare, RINGSERVERSTATS_LOCK_TIMEOUT="2")
    rng = random.Random(seed)
    for _ in range(3 if seed else 1):
        Process(run, "migrate").killed_after(rng.uniform(0.3, 0.9))
    assert_migrated(run)


def test_a_step_waits_for_batches_that_are_on_their_way(bare: str, tmp_path: Path) -> None:
    """Else it would miss their rows."""
    run = command_line(tmp_path, bare)
    with psycopg.connect(bare) as batch:
        batch.execute(f"SELECT pg_advisory_xact_lock_shared({LOCKS}, {ALL_SERVERS})")
        process = Process(run, "migrate")
        wait_for(lambda: waits(bare), process)
        batch.rollback()
    assert process.end()[0] == 0


def test_migrate_that_was_killed_within_a_step(bare: str, tmp_path: Path) -> None:
    run = command_line(tmp_path, bare, RINGSERVERSTATS_LOCK_TIMEOUT="2")
    with psycopg.connect(bare) as other:
        other.execute("CREATE TYPE direction AS ENUM ('TX', 'RX')")
        process = Process(run, "migrate")
        wait_for(lambda: waits(bare), process)
        process.kill()
        other.rollback()
    assert_migrated(run)
