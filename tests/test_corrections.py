"""Days are forgotten and read again, servers are merged: the totals stay right."""

import random
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from conftest import (
    DATA,
    CommandLine,
    Filled,
    another,
    assert_whole,
    dump,
    execute,
    make_store,
    read_into,
    rest_in_soak,
)
from model import START, block

from ringserverstats.errors import StoreError, UsageError
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store import corrections, sql_store
from ringserverstats.store.base import Store

Log = Callable[..., Path]
ALL = (date(2000, 1, 1), date(2100, 1, 1))
OTHERS = (DATA / "v2020.075-midnight-denver", DATA / "v4.5.3-prefix")


def total(store: Store) -> dict[str, int]:
    return run_query(store, Query()).to_pylist()[0]


@pytest.fixture
def week(log: Log) -> Path:
    """A log of a week without a name that tells, whose entries are of ten days."""
    rng = random.Random(3)
    text = ""
    for number in range(120):
        time = START + number * 7_200
        streams = tuple(
            (f"FR_S{rng.randrange(9)}_00_HHZ/MSEED", rng.randrange(1, 99), 1) for _ in range(4)
        )
        text += block(
            log_time=time,
            connect_time=time - 60,
            transfers=streams,
            address=f"192.0.2.{rng.randrange(1, 9)}",
        )
    return log(text, "a-week")


@pytest.fixture
def read(store: Store, week: Path, filled: Filled) -> Store:
    """A store in which the week is of two servers, of one with logs of others before and after."""

    def fill(store: Store) -> None:
        read_into(store, week, *OTHERS)
        read_into(store, week, server="other")

    return filled(store, "a week and more", fill)


@pytest.mark.parametrize(
    ("first", "last"),
    rest_in_soak(
        [
            (date(2026, 1, 31), date(2026, 2, 1)),  # over the border of a month
            ALL,
            (date(2026, 2, 3), date(2026, 2, 5)),  # in the middle of the log's days
            (date(2026, 2, 9), date(2026, 2, 9)),
        ]
    ),
)
def test_delete_and_read_again_gives_the_same_store(
    read: Store, week: Path, first: date, last: date
) -> None:
    store, before = read, dump(read)
    gone = store.delete("default", first, last, try_only=False)
    assert_whole(store)
    assert gone.entries > 0
    left = dump(store)
    days = {str(row[3]) for row in left["entry_ledger"] if row[0] == "1"}
    assert not any(first <= date.fromisoformat(day) <= last for day in days)
    assert len(before["entry_ledger"]) - len(left["entry_ledger"]) == gone.entries
    report = read_into(store, week, *OTHERS)
    assert (report.entries, report.bytes) == (gone.entries, gone.bytes)
    assert dump(store) == before
    assert_whole(store)


def test_delete_takes_rejects_and_coverage_of_its_days_and_names_nobody_uses(
    store: Store, log: Log
) -> None:
    bad = block(agent="wrong").replace("bytes: 1536", "bytes: 1")
    for day, after in (("20260131", "20260201"), ("20260202", "20260203")):
        time = START + (86_400 * 2 if day == "20260202" else 0)
        text = block(log_time=time, connect_time=time - 9, agent=f"of-{day}") + bad
        bad = bad.replace("wrong", "other")
        read_into(store, log(text, f"txlog-{day}T0000-{after}T0000"))
    before = dump(store)
    assert len(before["reject"]) == 2
    gone = store.delete("default", date(2026, 1, 31), date(2026, 1, 31), try_only=False)
    assert (gone.entries, gone.rejects, gone.days) == (1, 1, 1)
    left = dump(store)
    assert [row[1] for row in left["agent"]] == ["of-20260202"]
    assert len(left["log_interval"]) == len(left["reject"]) == 1
    assert_whole(store)


def fail(*_: object, **__: object) -> None:
    raise StoreError("at the end")


@pytest.mark.soak
def test_trying_and_failing_change_nothing(read: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before = read, dump(read)
    would = store.delete("default", *ALL, try_only=True)
    store.merge_servers("other", "default", once=True, try_only=True)
    with pytest.raises(UsageError, match="no server 'nobody'"):
        store.delete("nobody", *ALL, try_only=False)
    with pytest.raises(UsageError, match="is one server"):
        store.merge_servers("default", "default", once=True, try_only=False)
    assert dump(store) == before
    for module, name in ((corrections, "recount"), (sql_store, "raise_versions")):
        monkeypatch.setattr(module, name, fail)
        with pytest.raises(StoreError, match="at the end"):
            store.delete("default", *ALL, try_only=False)
        with pytest.raises(StoreError, match="at the end"):
            store.merge_servers("other", "default", once=True, try_only=False)
        assert dump(store) == before
    monkeypatch.undo()
    assert store.delete("default", *ALL, try_only=False) == would


@pytest.mark.of_both
def test_a_server_whose_transfers_were_lost_is_not_merged(
    store: Store, kind: str, week: Path
) -> None:
    read_into(store, week, server="default")
    read_into(store, DATA / "v4.1.0-text", server="other")
    table = "transfer" if kind == "duckdb" else "transfer_packed"
    execute(store, f"DELETE FROM {table} WHERE day = '2026-02-03'")
    with pytest.raises(StoreError, match="audit"):
        store.merge_servers("default", "other", once=False, try_only=False)
    store.delete("default", date(2026, 2, 3), date(2026, 2, 3), try_only=False)
    assert_whole(store)
    store.merge_servers("default", "other", once=False, try_only=False)
    assert_whole(store)


def test_merge_is_as_if_all_had_been_read_under_one_name(
    store: Store, tmp_path: Path, week: Path
) -> None:
    """Ids of entries and connections too, so that logs read later are of the same connections."""
    half = DATA / "v4.5.3-midnight-paris"
    names = [
        f"{kind}-{day}"
        for kind in ("txlog", "rxlog")
        for day in ("20260630T0000-20260701T0000", "20260701T0000-20260702T0000")
    ]
    read_into(store, week, half / names[0], half / names[2], server="right")
    read_into(store, half / names[1], half / names[3], DATA / "v4.1.0-text", server="wrong")
    before = total(store)
    done = store.merge_servers("wrong", "right", once=False, try_only=False)
    assert done.entries == 0
    after = total(store)
    # Three clients stayed connected over midnight: known under two names, that looked like six.
    assert after.pop("connections") == before.pop("connections") - 3
    assert after == before
    assert_whole(store)
    whole = make_store(tmp_path / "whole.duckdb")
    for part in (week, half, DATA / "v4.1.0-text"):
        read_into(whole, part, server="right")
    assert dump(store) == dump(whole)
    assert read_into(store, half, server="wrong").entries == 0  # logs may still bear that name
    assert [(one.name, one.former_names) for one in store.servers()] == [("right", ("wrong",))]


def test_entries_that_both_have_are_merged_only_on_demand(
    store: Store, tmp_path: Path, week: Path
) -> None:
    midnight = DATA / "v4.5.3-midnight-paris"
    read_into(store, week, midnight, server="right")
    read_into(store, midnight, DATA / "v4.1.0-text", server="wrong")
    before = dump(store)
    with pytest.raises(UsageError, match=r"10 entries .* add --once"):
        store.merge_servers("wrong", "right", once=False, try_only=False)
    assert dump(store) == before
    twice = store.merge_servers("wrong", "right", once=True, try_only=False)
    assert (twice.entries, twice.transfers) == (10, 22)
    assert_whole(store)
    whole = make_store(tmp_path / "whole.duckdb")
    read_into(whole, week, midnight, DATA / "v4.1.0-text", server="right")
    assert dump(store) == dump(whole)


def test_rename_changes_no_total(store: Store, week: Path) -> None:
    read_into(store, week)
    before = dump(store)
    store.change_server("default", rename="other")
    assert dump(store) == before
    assert_whole(store)


def test_commands(run: CommandLine, tmp_path: Path) -> None:
    logs = shutil.copytree(DATA / "v4.5.3-midnight-paris", tmp_path / "logs")
    run(logs)
    days = ("--server", "default", "--from", "2026-06-30", "--to", "2026-06-30")
    dry = run("delete", *days, "--dry-run")
    assert "would delete 5 entries with 11 transfers" in dry.stdout
    refused = run("delete", *days)
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert run("delete", "--server", "default", "--from", "2027", "--to", "2026").returncode == 2
    assert run("delete", *days, "--yes").stdout.startswith("deleted 5 entries")
    assert run("audit").returncode == 0
    run("--as", "b", logs)
    dry = run("server", "merge", "b", "default", "--dry-run")
    assert "5 entries (11 transfers" in dry.stdout
    assert run("server", "merge", "b", "default", "--yes").returncode == 2
    assert run("server", "merge", "b", "default", "--yes", "--once").returncode == 0
    assert run("audit").returncode == 0


def test_registered_paths_are_read_without_naming_them(run: CommandLine, tmp_path: Path) -> None:
    for server, folder in (("a", "v4.5.3-midnight-paris"), ("b", "v4.5.3-prefix")):
        shutil.copytree(DATA / folder, tmp_path / "logs" / server)
    assert "register the paths" in run("ingest").stderr
    run("server", "add", "a", "--path", tmp_path / "logs" / "a")
    run("server", "add", "b")
    run("server", "path", "b", tmp_path / "logs" / "b" / "*rxlog*", "/no/such/*")
    done = run("ingest", "--json")
    assert done.returncode == 0
    assert '"entries": 12' in done.stdout
    info = run("info").stdout
    assert " node-a" not in info  # the registered server goes before the file's prefix
    run("server", "path", "b", tmp_path / "logs" / "b" / "*txlog*")
    assert '"entries": 0' in run("ingest", "--json", "--as", "a").stdout
    assert '"entries": 11' in run("ingest", "--json").stdout
    assert run("verify").returncode == 0
    run("server", "path", "--remove", "b", "/no/such/*")
    listed = run("server", "list").stdout
    assert "/no/such" not in listed
    assert "*txlog*" in listed


@pytest.mark.parametrize("what", rest_in_soak(["delete", "merge"]))
def test_a_correction_while_logs_are_read_ends_the_reading(
    store: Store, week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    _correct_while_logs_are_read(store, week, tmp_path, monkeypatch, what)


@pytest.mark.soak
@pytest.mark.of_duckdb
def test_a_restore_while_logs_are_read_ends_the_reading(
    store: Store, week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _correct_while_logs_are_read(store, week, tmp_path, monkeypatch, "restore")


def _correct_while_logs_are_read(
    store: Store, week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What was looked up before it holds no longer: nothing may be written by it."""
    other = another(store)
    read_into(store, DATA / "v4.1.0-text", server="right")
    if what == "restore":
        other.backup(tmp_path / "backup.duckdb")
    corrections = {
        "merge": lambda: other.merge_servers("wrong", "right", once=False, try_only=False),
        "delete": lambda: other.delete("wrong", *ALL, try_only=False),
        "restore": lambda: other.restore(tmp_path / "backup.duckdb", ask=None),
    }
    good, calls = store.write, []

    def write(rows: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            corrections[what]()
        return good(rows)

    with monkeypatch.context() as patch:
        patch.setattr("ringserverstats.ingest.BATCH", 10)
        patch.setattr("ringserverstats.logs.source.CHUNK", 2_000)
        patch.setattr(store, "write", write)
        with pytest.raises(StoreError, match="run the same again"):
            read_into(store, week, server="wrong")
    assert_whole(store)
    read_into(store, week, server="wrong")
    assert_whole(store)
    whole = make_store(tmp_path / "whole.duckdb")
    read_into(whole, DATA / "v4.1.0-text", server="right")
    read_into(whole, week, server="right" if what == "merge" else "wrong")
    assert total(store) == total(whole)


def test_a_correction_of_one_server_ends_no_ingest_of_others(store: Store, week: Path) -> None:
    """Nor does the end of a server that had the same clients."""
    read_into(store, DATA / "v4.1.0-text", server="a")
    read_into(store, DATA / "v4.1.0-text", server="gone")
    good, other = store.write, another(store)

    def write(rows: object) -> object:
        store.write = good
        other.delete("a", *ALL, try_only=False)
        other.merge_servers("gone", "a", once=False, try_only=False)
        return good(rows)

    store.write = write
    assert read_into(store, week, server="b").entries == 120
    assert_whole(store)


def test_the_number_of_a_server_is_given_once_ever(store: Store, week: Path) -> None:
    read_into(store, week, server="a")
    read_into(store, DATA / "v4.1.0-text", server="b")
    store.merge_servers("b", "a", once=False, try_only=False)
    assert store.add_server("c", "UTC").number == 3


def test_delete_of_a_day_of_a_log_of_a_week_leaves_none_of_its_days_complete(
    store: Store, log: Log
) -> None:
    path = log(block(log_time=START + 86_400 * 3), "txlog-20260131T0000-20260207T0000")
    read_into(store, path)
    asked = Query(filters={"direction": ("TX",)})
    assert set(coverage(store, asked)["state"].to_pylist()) == {"complete"}
    day = date(2026, 1, 31)  # on which the connection's week is counted
    store.delete("default", day, day, try_only=False)
    assert set(coverage(store, asked)["state"].to_pylist()) == {"incomplete"}
    read_into(store, path)
    assert set(coverage(store, asked)["state"].to_pylist()) == {"complete"}


def test_registered_paths_that_are_not_as_they_should_be(run: CommandLine, tmp_path: Path) -> None:
    logs = tmp_path / "logs [1]"
    shutil.copytree(DATA / "v4.5.3-prefix", logs)
    (logs / "README").write_text("no log")
    (logs / "txlog-20260101T0000-20260102T0000").symlink_to("nowhere")
    run("server", "add", "a", "--path", logs)
    assert run("server", "path", "a", "").returncode == 2
    run("server", "path", "a", f"{tmp_path}/logs*/*", "/gone/*")
    done = run("ingest", "--json")
    assert done.returncode == 0
    assert '"entries": 13' in done.stdout
    assert '"other_files": 1' in done.stdout
    assert "the path '/gone/*' of server 'a' matches no file" in done.stderr
    assert done.stderr.count("cannot be opened") == 1
    run("server", "rename", "a", "b")
    assert '"known": 13' in run("ingest", "--json", "--as", "a").stdout
