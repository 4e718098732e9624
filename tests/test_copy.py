"""A store is copied into another one of either kind, stopped, gone on with and made again."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from conftest import (
    DATA,
    LONG,
    SECRET,
    CommandLine,
    another,
    assert_whole,
    dump,
    execute,
    make_postgresql,
    make_store,
    read_into,
)
from model import START, block
from servers import Server

from ringserverstats import copy as copying
from ringserverstats.copy import copy, differences
from ringserverstats.errors import StoreError
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store, Written
from ringserverstats.store.duckdb.store import DuckDBStore

Log = Callable[..., Path]
QUESTIONS = (
    Query(measures=("bytes", "packets", "transfers", "entries", "connections", "clients")),
    Query(dimensions=("server", "day")),
    Query(dimensions=("month", "network", "station"), filters={"direction": ("TX",)}),
    Query(dimensions=("agent", "client"), filters={"network": ("FR",)}),
)


def days_of_logs(count: int, *, each: int = 8) -> str:
    """A log with ``each`` entries of four transfers on each of ``count`` days."""
    rng = random.Random(count)
    text = ""
    for number in range(count * each):
        streams = tuple(
            (f"FR_S{rng.randrange(9)}_00_HHZ/MSEED", rng.randrange(1, 99), 1) for _ in range(4)
        )
        when = START + 7_200 + number * (86_400 // each)
        text += block(
            log_time=when,
            connect_time=when - 60,
            transfers=streams,
            address=f"192.0.2.{rng.randrange(1, 9)}",
        )
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with a bit of everything."""
    folder = tmp_path_factory.mktemp("source")
    made = make_store(folder / "source.duckdb")
    made.open(create=True)
    made.add_server("unused", "Asia/Tokyo")
    made.add_server("paris", "Europe/Paris")
    read_into(made, DATA / "v4.5.3-midnight-paris", server="paris")
    made.change_server(
        "paris",
        rename="paname",
        paths=("/var/log/ring*", "/x [1]"),
        service=(date(2026, 6, 1), date(2026, 12, 31)),
    )
    made.change_server("unused", service=(date(2026, 6, 1), None))
    read_into(made, DATA)
    duplicates = block(agent="same", log_time=START + 500) * 3
    bad = block(agent="wrong").replace("bytes: 1536", "bytes: 1") + "junk\n"
    log = folder / "txlog-20260131T0000-20260201T0000"
    log.write_text(duplicates + bad)
    read_into(made, log)
    (folder / "some-days").write_text(days_of_logs(6))
    read_into(made, folder / "some-days", server="elsewhere")
    read_into(made, DATA / "v4.1.0-text", server="gone")
    made.merge_servers("gone", "elsewhere", once=False, try_only=False)
    assert len(dump(made)["reject"]) > 1
    return folder / "source.duckdb"


@pytest.fixture
def source(made: Path, tmp_path: Path) -> DuckDBStore:
    return make_store(Path(shutil.copy(made, tmp_path / "source.duckdb")))


def interrupt(patch: pytest.MonkeyPatch, store: Store, *, after: int) -> None:
    """Let ``store`` write ``after`` pieces and then no more."""
    good, calls = store.write, []

    def write(rows: object) -> Written:
        calls.append(1)
        if len(calls) > after:
            raise StoreError("the disk is full")
        return good(rows)

    patch.setattr(store, "write", write)


def assert_copied(source: Store, target: Store) -> None:
    assert differences(source, target) == []
    assert dump(target) == dump(source)
    assert target.servers() == source.servers()
    assert target.identity_and_servers() == source.identity_and_servers()
    assert_whole(target)
    for query in QUESTIONS:
        assert run_query(target, query).to_pylist() == run_query(source, query).to_pylist()
    for by in ("day", "month"):
        assert coverage(target, Query(), by=by) == coverage(source, Query(), by=by)


def test_there_and_back(source: DuckDBStore, database: str, tmp_path: Path) -> None:
    there = make_postgresql(database, tmp_path)
    done = copy(source, there)
    total = run_query(source, QUESTIONS[0]).to_pylist()[0]
    assert (done.entries, done.transfers, done.bytes) == tuple(
        total[name] for name in ("entries", "transfers", "bytes")
    )
    assert done.known == 0
    assert_copied(source, there)
    back = make_store(tmp_path / "back.duckdb")
    assert vars(copy(there, back)) == vars(done)
    assert_copied(source, back)
    # What is read again is known to the copies too.
    for store in (there, back):
        assert read_into(another(store), DATA / "v4.5.3-prefix").entries == 0


@pytest.mark.soak
@pytest.mark.parametrize(("one", "piece"), [(2**63 - 1, 1), (2**62, 300_000)])
def test_sums_over_64_bits(
    database: str,
    tmp_path: Path,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    one: int,
    piece: int,
) -> None:
    source = make_store(tmp_path / "source.duckdb")
    for number in range(2):
        transfers = (("FR_CIEL_00_HHZ/MSEED", one, one),)
        time = START + 7_200
        text = "".join(
            block(transfers=transfers, log_time=time + n + number) for n in (0, 3, 86_400)
        )
        read_into(source, log(text + block(log_time=time)))
    assert run_query(source, QUESTIONS[0]).to_pylist()[0]["bytes"] > 2**63
    there, back = make_postgresql(database, tmp_path), make_store(tmp_path / "back.duckdb")
    monkeypatch.setattr(copying, "PIECE", piece)
    copy(source, there)
    copy(there, back)
    for target in (there, back):  # PostgreSQL spreads such a sum over several rows of its views
        assert differences(source, target) == []
        for table in ("entry_ledger", "transfer", "connection_by_day"):
            assert dump(target)[table] == dump(source)[table]
        for query in QUESTIONS:
            assert run_query(target, query).to_pylist() == run_query(source, query).to_pylist()
        assert_whole(target)
    assert dump(back) == dump(source)


@pytest.mark.soak
def test_a_copy_has_the_secret_of_the_store(
    source: DuckDBStore, database: str, tmp_path: Path
) -> None:
    targets = make_postgresql(database, tmp_path), make_store(tmp_path / "other.duckdb")
    for target in targets:
        copy(source, target)
        opened = another(target).open(create=False)
        assert opened.keys == source.open(create=False).keys
        assert len(opened.servers) == 5
        with pytest.raises(StoreError, match="another secret"):
            another(target, secret=bytes(32)).open(create=False)


def test_a_secret_in_a_file_is_found_by_the_copy(database: str, tmp_path: Path, log: Log) -> None:
    source = make_store(tmp_path / "source.duckdb", secret=None)
    read_into(source, log(block()))
    target = make_postgresql(database, tmp_path, secret=None)
    copy(source, target)
    assert target.secret_place == source.secret_place
    assert len(list(tmp_path.glob("*.secret"))) == 1
    assert target.secret() == source.secret()
    assert read_into(another(target), log(block())).known == 1


@pytest.mark.soak
def test_a_copy_that_was_stopped_goes_on(
    source: DuckDBStore, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_query(source, QUESTIONS[0]).to_pylist()[0]["transfers"]
    target = make_postgresql(database, tmp_path)
    monkeypatch.setattr(copying, "PIECE", 40)
    known = entries = 0
    for after in (0, 4):
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, target, after=after)
            with pytest.raises(StoreError, match="disk is full"):
                copy(source, target)
        assert_whole(target)
        held = run_query(target, QUESTIONS[0]).to_pylist()[0]
        known, entries = held["entries"], held["entries"] - known
        assert (held["entries"] > 0) == (after > 0)
        assert entries >= 0
    assert differences(source, target) != []
    result: list[tuple[int, int]] = []
    done = copy(source, target, progress=lambda *both: result.append(both))
    assert done.known == known > 0
    assert result[-1] == (whole, whole)
    assert result == sorted(result)
    assert len(result) > 6
    assert_copied(source, target)


@pytest.mark.soak
def test_a_copy_stopped_before_its_notes_gets_them(source: DuckDBStore, tmp_path: Path) -> None:
    target = make_store(tmp_path / "target.duckdb")

    def fail(_: object) -> None:
        raise StoreError("stopped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, "set_log_status", fail)
        with pytest.raises(StoreError):
            copy(source, target)
    result = differences(source, target)
    assert [one.split(" but ")[1] for one in result] == [
        "log_intervals 0, complete 0, rejects 0, imported 0, networks 0"
    ]
    assert copy(source, target).entries == 0
    assert_copied(source, target)


def test_a_copy_made_again_brings_what_came_since(
    source: DuckDBStore, database: str, tmp_path: Path, log: Log
) -> None:
    target = make_postgresql(database, tmp_path)
    before = copy(source, target)
    again = copy(source, target)
    assert (again.entries, again.known) == (0, before.entries)
    source.change_server("paname", rename="lutece", paths=("/elsewhere",))
    more = block(agent="later", log_time=START + 900, connect_time=START + 800)
    bad = block(agent="bad later").replace("bytes: 1536", "bytes: 2")
    read_into(source, log(more + bad, "txlog-20260131T0000-20260201T0000"))
    read_into(source, log(more, "more"), server="brand-new")
    done = copy(source, target)
    assert (done.entries, done.transfers, done.bytes) == (2, 4, 2 * 1536)
    assert done.known == before.entries
    assert_copied(source, target)
    assert "lutece" in {one.name for one in target.servers()}


@pytest.mark.soak
def test_days_that_are_no_longer_whole_are_not_in_the_copy(tmp_path: Path) -> None:
    """Another time zone was set: the days of the logs are uncertain."""
    source, target = make_store(tmp_path / "source.duckdb"), make_store(tmp_path / "target.duckdb")
    source.open(create=True)
    source.add_server("a", "Europe/Paris")
    read_into(source, DATA / "v4.5.3-midnight-paris", server="a")
    copy(source, target)
    source.change_server("a", timezone="Europe/Rome")
    copy(source, target)
    assert dump(target)["log_interval"] == dump(source)["log_interval"]
    assert coverage(target, Query()) == coverage(source, Query())


def test_a_server_that_was_removed_since_is_removed_in_the_copy(tmp_path: Path) -> None:
    """Nothing was ever read of it, so that its copy holds nothing that the store does not."""
    source, target = make_store(tmp_path / "source.duckdb"), make_store(tmp_path / "target.duckdb")
    source.open(create=True)
    source.add_server("mistyped", "UTC")
    source.add_server("right", "UTC")
    copy(source, target)
    source.remove_server("mistyped")
    copy(source, target)
    assert target.servers() == source.servers()


def test_a_rejected_entry_that_was_resolved_since_is_resolved_in_the_copy(
    database: str, tmp_path: Path, log: Log
) -> None:
    """`--retry-rejects` and new versions take rejects away."""
    source, target = make_store(tmp_path / "source.duckdb"), make_postgresql(database, tmp_path)
    bad = log(block().replace("bytes: 1536", "bytes: 1") + block(agent="good"))
    read_into(source, bad)
    copy(source, target)
    assert len(dump(target)["reject"]) == 1
    bad.write_text(block(agent="good") + block(agent="good", log_time=START + 90))
    read_into(source, bad, retry_rejects=True)
    assert dump(source)["reject"] == []
    copy(source, target)
    result = differences(source, target)
    assert dump(target)["reject"] == [] or result  # never silently another


@pytest.mark.soak
def test_kills(run: CommandLine, source: DuckDBStore, database: str, log: Log) -> None:
    """Two processes are killed somewhere in the middle; the third one ends it."""
    read_into(source, log(days_of_logs(40), "two-months"), server="long")
    run.environment |= {
        "RINGSERVERSTATS_SECRET": SECRET.hex(),
        "DATABASE_URI": f"duckdb://{source.label}",
    }
    target = make_postgresql(database, run.folder)
    held = 0
    for _ in range(2):
        code = (
            "from ringserverstats import copy; copy.PIECE = 20;"
            "from ringserverstats.cli import main; main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, "copy", "--to", database],
            env=run.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + LONG
        while process.poll() is None and time.monotonic() < end:
            counted = target.ask("SELECT count(*) AS n FROM entry_ledger", [])["n"][0].as_py()
            if counted > held:
                time.sleep(random.Random(counted).uniform(0, 0.1))
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it had not ended by itself
        now = target.ask("SELECT count(*) AS n FROM entry_ledger", [])["n"][0].as_py()
        assert now >= counted > held
        held = now
        assert_whole(target)
    done = run("copy", "--to", database)
    assert done.returncode == 0, done.stderr
    assert f"{held:,} were there before" in done.stdout
    assert_copied(source, target)


@pytest.mark.soak
def test_a_store_whose_transfers_were_lost_is_not_copied(
    source: DuckDBStore, tmp_path: Path, run: CommandLine
) -> None:
    server = "(SELECT server FROM server WHERE name = 'elsewhere')"
    execute(source, f"DELETE FROM transfer WHERE day = '2026-02-03' AND server = {server}")
    target = make_store(tmp_path / "target.duckdb")
    with pytest.raises(StoreError, match=r"transfers from .* not those .*audit"):
        copy(source, target)
    run.environment |= {
        "RINGSERVERSTATS_SECRET": SECRET.hex(),
        "DATABASE_URI": f"duckdb://{source.label}",
    }
    failed = run("copy", "--to", f"duckdb://{tmp_path}/second.duckdb")
    assert failed.returncode == 3
    assert "ringserverstats audit" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfer SET entry = entry + 1 WHERE day = '2026-02-03'",
        "DELETE FROM entry_ledger WHERE day = '2026-02-03'",
        "DELETE FROM transfer WHERE day = '2026-02-03' AND entry ="
        " (SELECT min(entry) FROM transfer WHERE day = '2026-02-03')",
    ],
)
def test_a_damaged_store_is_not_copied(source: DuckDBStore, tmp_path: Path, change: str) -> None:
    execute(source, change)
    target = make_store(tmp_path / "target.duckdb")
    with pytest.raises(StoreError, match="audit"):
        copy(source, target)


@pytest.mark.parametrize("kind", ["duckdb", "postgresql"])
def test_a_single_transfer_that_was_lost_is_reported(
    source: DuckDBStore, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The entry still has others, so that numbers of entries alone do not tell."""
    execute(
        source,
        "DELETE FROM transfer WHERE rowid ="
        " (SELECT min(rowid) FROM transfer WHERE day = '2026-02-03')",
    )
    target: Store = make_store(tmp_path / "target.duckdb")
    if kind == "postgresql":
        target = make_postgresql(request.getfixturevalue("database"), tmp_path)
    with pytest.raises(StoreError, match="audit"):
        copy(source, target)


def test_commands(run: CommandLine, database: str, tmp_path: Path) -> None:
    logs = DATA / "v4.5.3-midnight-paris"
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    missing = run("copy", "--to", database)
    assert missing.returncode == 3
    assert "there is no store" in missing.stderr
    run(logs)
    assert run("copy").returncode == 2
    made = run("copy", "--to", database)
    assert made.returncode == 0, made.stderr
    assert "copied 10 entries with 22 transfers (1.50 MB) to postgresql://" in made.stdout
    assert "0 were there before" in made.stdout
    assert made.stdout.count(": no differences") == 2
    again = run("copy", "--to", database)
    assert again.returncode == 0
    assert "copied 0 entries with 0 transfers (0 B)" in again.stdout
    assert "10 were there before" in again.stdout
    # The copy is read, and is a source itself.
    assert '"transfers": 16' in run("stats", "--database", database, "--format", "json").stdout
    back = run("copy", "--database", database, "--to", f"duckdb://{tmp_path}/back.duckdb")
    assert back.returncode == 0
    assert "copied 10 entries" in back.stdout
    # Where the copy has more, both differ at the end.
    run("--database", database, DATA / "v4.1.0-text", "--as", "default")
    different = run("copy", "--to", database)
    assert different.returncode == 1
    assert "Different: " in different.stderr
    assert different.stdout.count(": no differences") == 2


@pytest.mark.soak
def test_a_copy_that_is_damaged_is_reported(
    run: CommandLine, database: str, tmp_path: Path
) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run(DATA / "v4.5.3-midnight-paris")
    assert run("copy", "--to", database).returncode == 0
    execute(make_postgresql(database, tmp_path), "DELETE FROM by_month_packed")
    result = run("copy", "--to", database)
    assert result.returncode == 1
    assert "Different" not in result.stderr
    assert "audit of postgresql://" in result.stdout


def test_targets_that_are_refused(
    run: CommandLine, database: str, server: Server, tmp_path: Path
) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run(DATA / "v4.1.0-text")
    store = run.store
    before = dump(store)

    def refused(uri: str, code: int, *words: str) -> None:
        done = run("copy", "--to", uri)  # what the user sees
        assert done.returncode == code, done.stderr
        for word in words:
            assert word in done.stderr
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr
        assert "copied" not in done.stdout

    refused(run.environment["DATABASE_URI"], 2, "is the store itself")
    refused("mysql://somewhere", 2)
    other = make_store(tmp_path / "other.duckdb")
    read_into(other, DATA / "v4.5.3-midnight-paris")
    held = dump(other)
    refused(f"duckdb://{other.label}", 3, "is another store, not a copy", "choose an empty one")
    assert dump(other) == held
    stranger = make_postgresql(database, tmp_path)
    stranger.open(create=True)
    refused(database, 3, "is another store")
    # A copy into which logs of a server of its own were read.
    copied = make_store(tmp_path / "copied.duckdb")
    copy(store, copied)
    read_into(copied, DATA / "v4.5.3-midnight-paris", server="own")
    held = dump(copied)
    refused(f"duckdb://{copied.label}", 3, "'own'", "use it instead of the store")
    assert dump(copied) == held
    # Databases without tables, and with those of a newer program.
    bare = server.make("copy_bare")
    try:
        refused(bare, 3, "has no tables of this program yet", "ringserverstats migrate")
        make_postgresql(bare, tmp_path).migrate()
        server.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id)"
            " VALUES ('x', 'ringserverstats-9999-later')",
            database="copy_bare",
        )
        refused(bare, 3, "was written by a newer program", "upgrade")
    finally:
        server.execute("DROP DATABASE copy_bare WITH (FORCE)")
    refused(f"{bare}_is_not_there", 3, "does not exist")
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(32).hex()
    refused(f"duckdb://{tmp_path}/new.duckdb", 3, "another secret")
    assert not (tmp_path / "new.duckdb").exists()
    assert dump(store) == before


@pytest.mark.soak
def test_a_store_whose_servers_were_merged_since_is_not_copied_over(
    source: DuckDBStore, tmp_path: Path
) -> None:
    target = make_store(tmp_path / "target.duckdb")
    copy(source, target)
    held = dump(target)
    source.merge_servers("paname", "node-a", once=False, try_only=False)
    with pytest.raises(StoreError, match="a server that the store does not have"):
        copy(source, target)
    assert dump(target) == held


@pytest.mark.soak
def test_a_copy_that_has_entries_on_other_days_is_reported(tmp_path: Path) -> None:
    """A log that was deleted and read again in another time zone: the ids are the same."""
    source, target = (make_store(tmp_path / f"{name}.duckdb") for name in ("here", "there"))
    unnamed = tmp_path / "unnamed"
    midnight = DATA / "v2020.075-midnight-denver"
    unnamed.write_bytes((midnight / "txlog-20260314T00:00-20260315T00:00").read_bytes())
    read_into(source, unnamed, server="a")
    copy(source, target)
    source.delete("a", date(2026, 1, 1), date(2026, 12, 31), try_only=False)
    source.change_server("a", timezone="America/Denver")
    read_into(source, unnamed, server="a")
    copy(source, target)
    assert any("day 2026-03-14" in one for one in differences(source, target))
