"""A backup is the store as it was at one moment, and comes back exactly."""

import fcntl
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import (
    DATA,
    SECRET,
    CommandLine,
    assert_whole,
    dump,
    make_store,
    read_into,
)
from model import START, block

from ringserverstats.errors import BusyError, StoreError
from ringserverstats.store.duckdb.file import _locked
from ringserverstats.store.duckdb.store import DuckDBStore

REAL = DATA / "v4.5.3-midnight-paris"
LOADED = date(2026, 1, 31)
BLOCKS = 6_000


def test_backup_and_restore_give_the_same_store(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, DATA)
    before = dump(store)
    saved = tmp_path / "backup.duckdb"
    store.backup(saved)
    assert saved.stat().st_mode & 0o777 == 0o600
    assert dump(make_store(saved)) == before
    read_into(store, REAL, server="later")
    store.restore(saved, ask=None)
    assert dump(store) == before
    assert_whole(store)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.duckdb", "store.duckdb"]


def test_a_store_has_the_format_of_duckdb_1_2(tmp_path: Path, run: CommandLine) -> None:
    """Source: DuckDB, storage_info.cpp: 65 is the format of version 1.2."""
    path = run.folder / "store.duckdb"
    assert run.process("ingest", REAL).returncode == 0  # within the tests files are copied
    for command in (("info",), ("prune", "--keep", "1mo", "--yes")):
        assert run(*command).returncode == 0
        assert int.from_bytes(path.read_bytes()[12:20], "little") == 65
    assert run("backup", tmp_path / "saved.duckdb").returncode == 0
    assert int.from_bytes((tmp_path / "saved.duckdb").read_bytes()[12:20], "little") == 65


def test_a_batch_that_a_killed_process_left_in_the_log_beside_is_in_the_backup(
    store: DuckDBStore, tmp_path: Path
) -> None:
    read_into(store, REAL)
    _leave_log(tmp_path / "store.duckdb")
    store.backup(tmp_path / "backup.duckdb")
    saved = dump(make_store(tmp_path / "backup.duckdb"))
    assert ("1", "x", "x") in saved["agent"]
    assert saved == dump(store)
    store.restore(tmp_path / "backup.duckdb", ask=None)
    assert dump(store) == saved


def test_a_backup_by_a_link_has_what_lies_beside_the_real_file(
    store: DuckDBStore, tmp_path: Path
) -> None:
    read_into(store, REAL)
    _leave_log(tmp_path / "store.duckdb")
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "link.duckdb"
    link.symlink_to(tmp_path / "store.duckdb")
    linked = make_store(link, secrets=store.options.secrets)
    linked.backup(tmp_path / "backup.duckdb")
    assert ("1", "x", "x") in dump(make_store(tmp_path / "backup.duckdb"))["agent"]
    _leave_log(tmp_path / "backup.duckdb", number=2)
    other = tmp_path / "links" / "backup.duckdb"
    other.symlink_to(tmp_path / "backup.duckdb")
    linked.restore(other, ask=None)
    assert ("2", "x", "x") in dump(store)["agent"]
    assert link.is_symlink()


def _leave_log(path: Path, *, number: int = 1) -> None:
    """What a process that is killed after a commit leaves."""
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "c.execute(\"SET checkpoint_threshold = '1GB'\");"
        f"c.execute(\"INSERT INTO agent VALUES ({number}, 'x', 'x')\"); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path])
    assert Path(f"{path}.wal").exists()


def _entries(store: DuckDBStore) -> int:
    return store.ask("SELECT count(*) AS n FROM entry_ledger", [])["n"][0].as_py()


@pytest.mark.soak
@pytest.mark.parametrize("times", [40])
def test_backups_under_load_restore_exactly(run: CommandLine, tmp_path: Path, times: int) -> None:
    """While logs are read, and killed now and then, each backup is whole and of one moment."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    rng = random.Random(times)
    log = tmp_path / "txlog-20260131T0000-20260201T0000"
    blocks = [
        block(log_time=START + number // 8, address=f"192.0.2.{number % 200}")
        for number in range(BLOCKS)
    ]
    log.write_text("".join(blocks))
    store = make_store(run.folder / "store.duckdb")
    read_into(store, REAL)
    whole = make_store(tmp_path / "whole.duckdb")
    read_into(whole, REAL, log)
    within = 0
    for number in range(times):
        process = run.popen("ingest", log, batch=BLOCKS // 6)
        while _entries(store) == 10 and process.poll() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.5) if number else 0)
        saved = tmp_path / f"backup{number}.duckdb"
        store.backup(saved)
        if number % 2:
            process.send_signal(signal.SIGKILL)
        process.wait()
        copy = make_store(saved)
        assert_whole(copy)
        within += 10 < _entries(copy) < 10 + BLOCKS
        copy.restore(saved.rename(tmp_path / "moved.duckdb"), ask=None)
        read_into(copy, log)
        assert dump(copy) == dump(whole)
        store.delete("default", LOADED, LOADED, try_only=False)
        saved.unlink()
    print(f"{times} backups under load, {within} of them within a log: exact")
    assert within


def test_a_restore_waits_for_who_uses_the_store(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, REAL)
    store.backup(tmp_path / "backup.duckdb")
    code = (
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(1, flush=True);"
        " time.sleep(float(sys.argv[2]))"
    )
    path = str(tmp_path / "store.duckdb")
    for seconds, wait in (("1", 30), ("30", 0.2)):
        other = subprocess.Popen(
            [sys.executable, "-c", code, path, seconds], stdout=subprocess.PIPE
        )
        assert other.stdout is not None
        other.stdout.readline()
        waiting = make_store(Path(path), lock_timeout=wait)
        if wait == 30:
            waiting.restore(tmp_path / "backup.duckdb", ask=None)
        else:
            with pytest.raises(BusyError, match="in use by another process"):
                waiting.restore(tmp_path / "backup.duckdb", ask=None)
        other.kill()
        other.wait()
    assert_whole(store)


def test_the_secret_is_asked_for_and_kept(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    store = make_store(there / "store.duckdb", secret=None, secrets=there / "config")
    read_into(store, REAL)
    saved = tmp_path / "backup.duckdb"
    store.backup(saved)
    secret = bytes.fromhex(next((there / "config").iterdir()).read_text())
    assert secret not in saved.read_bytes()
    assert secret.hex().encode() not in saved.read_bytes()
    fresh = make_store(here / "store.duckdb", secret=None, secrets=here / "config")
    with pytest.raises(StoreError, match="cannot be read"):
        fresh.restore(saved, ask=None)
    with pytest.raises(StoreError, match="not the secret"):
        fresh.restore(saved, ask=lambda _: b"x" * 32)
    assert not fresh.exists()
    assert list(here.iterdir()) == []
    fresh.restore(saved, ask=lambda _: secret)
    assert dump(fresh) == dump(store)
    kept = next((here / "config").iterdir())
    assert kept.stat().st_mode & 0o777 == 0o600
    assert read_into(fresh, REAL).entries == 0


def test_what_is_no_store_is_not_restored(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, REAL)
    before = dump(store)
    text, theirs, newer = tmp_path / "text", tmp_path / "theirs.duckdb", tmp_path / "newer.duckdb"
    text.write_text("no database")
    with duckdb.connect(theirs) as connection:
        connection.execute("CREATE TABLE theirs (one INTEGER)")
    shutil.copy(tmp_path / "store.duckdb", newer)
    with duckdb.connect(newer) as connection:
        connection.execute("INSERT INTO migration VALUES (999)")
    for path, message in ((text, "cannot be"), (theirs, "something else"), (newer, "upgrade")):
        with pytest.raises(StoreError, match=message):
            store.restore(path, ask=None)
    assert dump(store) == before
    assert not list(tmp_path.glob("*.new-*"))


def test_a_store_that_is_no_longer_readable_is_replaced(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, REAL)
    before = dump(store)
    store.backup(tmp_path / "backup.duckdb")
    (tmp_path / "store.duckdb").write_bytes(b"damaged" * 1000)
    store.restore(tmp_path / "backup.duckdb", ask=None)
    assert dump(store) == before


def test_commands(run: CommandLine, tmp_path: Path) -> None:
    saved = tmp_path / "backup.duckdb"
    assert run("backup", saved).returncode == 3
    run(REAL)
    done = run("backup", saved)
    assert done.returncode == 0
    assert ".secret" in done.stdout
    again = run("backup", saved)
    assert (again.returncode, "--replace" in again.stderr) == (2, True)
    assert run("backup", "--replace", saved).returncode == 0
    assert run("backup", "--replace", run.folder / "store.duckdb").returncode == 2
    assert run("backup", "/proc/no/backup").returncode == 3
    assert run("restore", saved).returncode == 2
    assert run("restore", "--yes", run.folder / "store.duckdb").returncode == 2
    assert run("restore", "--yes", saved).returncode == 0
    assert run("audit").returncode == 0


def test_the_secret_is_typed_without_being_shown(run: CommandLine, tmp_path: Path) -> None:
    run(REAL)
    saved = tmp_path / "backup.duckdb"
    run("backup", saved)
    kept = next((run.folder / "config").iterdir())
    secret = kept.read_text().strip()
    kept.unlink()
    (run.folder / "store.duckdb").unlink()
    child, terminal = pty.fork()
    if child == 0:
        args = [sys.executable, "-m", "ringserverstats", "restore", str(saved)]
        os.execve(sys.executable, args, run.environment)
    shown = b""
    while b"64 hexadecimal digits" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, secret.encode() + b"\n")
    while True:
        try:
            shown += os.read(terminal, 1000)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert secret.encode() not in shown
    assert kept.read_text().strip() == secret
    assert run("audit").returncode == 0


def test_the_log_of_a_store_that_is_gone_is_taken_over_by_nobody(
    store: DuckDBStore, tmp_path: Path
) -> None:
    read_into(store, REAL)
    before = dump(store)
    store.backup(tmp_path / "backup.duckdb")
    _leave_log(tmp_path / "store.duckdb")
    (tmp_path / "store.duckdb").unlink()
    with pytest.raises(StoreError, match="move it away"):
        read_into(store, REAL)
    store.restore(tmp_path / "backup.duckdb", ask=None)
    assert dump(store) == before
    assert_whole(store)
    (tmp_path / "backup.duckdb.wal").write_bytes(
        (tmp_path / "store.duckdb.wal.replaced").read_bytes()
    )
    store.backup(tmp_path / "backup.duckdb")
    assert dump(make_store(tmp_path / "backup.duckdb")) == before


def test_what_is_no_store_is_kept_when_a_backup_takes_its_place(
    store: DuckDBStore, tmp_path: Path
) -> None:
    read_into(store, REAL)
    store.backup(tmp_path / "backup.duckdb")
    (tmp_path / "store.duckdb").unlink()
    with duckdb.connect(tmp_path / "store.duckdb") as connection:
        connection.execute("CREATE TABLE theirs (one INTEGER)")
    store.restore(tmp_path / "backup.duckdb", ask=None)
    with duckdb.connect(tmp_path / "store.duckdb.replaced") as connection:
        assert connection.execute("FROM theirs").fetchall() == []


def test_copies_that_killed_processes_left_are_removed(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, REAL)
    old, young = tmp_path / "backup.duckdb.new-1", tmp_path / "backup.duckdb.new-2"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 4000,) * 2)
    store.backup(tmp_path / "backup.duckdb")
    assert (old.exists(), young.exists()) == (False, True)


def test_two_restores_at_once_and_a_writer_between_lose_nothing(
    store: DuckDBStore, tmp_path: Path
) -> None:
    """A lock on a file that another has replaced meanwhile does not lock the store."""
    read_into(store, REAL)
    store.backup(tmp_path / "backup.duckdb")
    path = tmp_path / "store.duckdb"
    held = open(path, "r+b")  # noqa: SIM115
    new = tmp_path / "new.duckdb"
    shutil.copy(tmp_path / "backup.duckdb", new)
    new.replace(path)
    fcntl.lockf(held, fcntl.LOCK_EX)
    assert _locked(path).fileno() != held.fileno()
    held.close()
    assert_whole(store)


def test_a_kill_while_a_backup_takes_the_place_leaves_the_old_store_whole(
    store: DuckDBStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_into(store, REAL)
    store.backup(tmp_path / "backup.duckdb")
    _leave_log(tmp_path / "store.duckdb")
    good = Path.replace

    def killed(path: Path, target: object) -> Path:
        if str(target).endswith("store.duckdb"):
            raise KeyboardInterrupt
        return good(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            store.restore(tmp_path / "backup.duckdb", ask=None)
    assert ("1", "x", "x") in dump(store)["agent"]


def test_a_link_to_the_store_stays_a_link(store: DuckDBStore, tmp_path: Path) -> None:
    read_into(store, REAL)
    store.backup(tmp_path / "backup.duckdb")
    link = tmp_path / "link.duckdb"
    link.symlink_to("store.duckdb")
    make_store(link).restore(tmp_path / "backup.duckdb", ask=None)
    assert link.is_symlink()
    assert_whole(store)
