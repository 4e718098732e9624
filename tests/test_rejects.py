"""Rejects are kept once each, at their place, and go when they are counted."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DATA, CommandLine, assert_whole, read_into
from model import START, block
from test_fuzz import LOGS, _mutated

from ringserverstats import __version__
from ringserverstats.enrich import log_status
from ringserverstats.logs import entries
from ringserverstats.logs.reasons import total_reason
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.store.base import Store

Log = Callable[..., Path]
GOOD = [block(log_time=START + 100 * number) for number in range(6)]
BAD = GOOD[1].replace("bytes: 1536", "bytes: 1")
DAY = "20260131T0000-20260201T0000"


def listed(store: Store) -> list[dict]:
    return rejects(store, Query()).to_pylist()


def test_a_reject_says_where_it_is_and_why(store: Store, log: Log) -> None:
    path = log(GOOD[0] + BAD + GOOD[2], f"txlog-{DAY}")
    read_into(store, path)
    assert listed(store) == [
        {
            "server": "default",
            "direction": "TX",
            "day": "2026-01-31",
            "entries": 1,
            "file": str(path),
            "line": 5,
            "lines": 4,
            "position": len(GOOD[0]),
            "reason": total_reason(1, 1536),
            "version": __version__,
        }
    ]
    assert_whole(store)


def test_it_is_kept_once_however_it_is_read(store: Store, log: Log) -> None:
    whole = GOOD[0] + BAD + GOOD[2]
    read_into(store, log(whole))
    for again in (
        log(whole),
        log(whole.replace("\n", "\r\n"), "windows"),
        log(gzip.compress(whole.encode()), "packed.gz"),
        log(BAD + GOOD[3], "another"),
    ):
        report = read_into(store, again)
        assert (report.rejected, report.rejected_before) == (0, 1)
        assert len(listed(store)) == 1
    read_into(store, log(whole), server="other")
    assert [row["server"] for row in listed(store)] == ["default", "other"]


def test_places_of_all_that_is_rejected_of_mutated_logs(store: Store, tmp_path: Path) -> None:
    """The byte is where the line begins, whatever else is wrong with the log."""
    rng = random.Random(5)
    logs = list(LOGS.values())
    paths = [tmp_path / f"log{number}" for number in range(60)]
    for path in paths:
        path.write_bytes(_mutated(rng.choice(logs), rng))
    report = read_into(store, *paths)
    assert all(reject.digest for _, reject in report.rejects)
    begins = {
        str(path): [0, *(place + 1 for place, one in enumerate(path.read_bytes()) if one == 10)]
        for path in paths
    }
    found = listed(store)
    assert len(found) > 60
    for row in found:
        assert row["position"] == begins[row["file"]][row["line"] - 1]
    assert_whole(store)


def _older_program(patch: pytest.MonkeyPatch) -> None:
    """A limit that an earlier program may have had, for a log with entries of over 30 streams."""
    patch.setattr(entries, "MOST_STREAMS", 1)
    patch.setattr(log_status, "__version__", "0.9")


def test_what_a_newer_program_can_read_is_counted_and_no_longer_rejected(
    store: Store, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log("".join(GOOD[:3]) + BAD)
    with monkeypatch.context() as older:
        _older_program(older)
        assert read_into(store, path).rejected == 4
    assert [row["version"] for row in listed(store)] == ["0.9"] * 4
    report = read_into(store, path, retry_rejects=True)
    assert (report.entries, report.rejected, report.resolved) == (3, 1, 3)
    assert [(row["line"], row["version"]) for row in listed(store)] == [(13, __version__)]
    assert_whole(store)


def test_reading_again_alone_counts_them_too(
    store: Store, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log("".join(GOOD[:3]))
    with monkeypatch.context() as older:
        _older_program(older)
        read_into(store, path)
    report = read_into(store, path)
    assert (report.entries, report.resolved) == (3, 3)
    assert listed(store) == []


def test_a_file_that_was_damaged_and_is_whole_now(store: Store, log: Log) -> None:
    packed = gzip.compress("".join(GOOD).encode())
    read_into(store, log(packed[:-30], "log.gz"))
    read_into(store, log(packed[:-30], "log.gz"))
    assert [row["lines"] for row in listed(store)] == [0]
    report = read_into(store, log(packed, "log.gz"), retry_rejects=True)
    assert report.resolved == 1
    assert listed(store) == []


def test_a_retry_leaves_the_rejects_of_other_files_and_servers(store: Store, log: Log) -> None:
    one, other = log(BAD, "one"), log(GOOD[2].replace("START", "STRAY"), "other")
    read_into(store, one, other)
    read_into(store, one, server="b")
    one.write_text(GOOD[1])
    assert read_into(store, one, retry_rejects=True).resolved == 1
    assert [(row["server"], row["file"]) for row in listed(store)] == [
        ("b", str(one)),
        ("default", str(other)),
    ]


def test_a_dry_run_keeps_and_forgets_nothing(store: Store, log: Log) -> None:
    path = log(BAD)
    read_into(store, path)
    before = listed(store)
    path.write_text(GOOD[1])
    read_into(store, path, dry_run=True, retry_rejects=True)
    assert listed(store) == before


def test_a_file_that_is_no_log_does_not_fill_the_store(store: Store, log: Log) -> None:
    path = log("".join(f"START CLIENT {number}\n" for number in range(5_000)))
    report = read_into(store, path)
    rows = listed(store)
    assert len(rows) == log_status.MOST_OF_A_CHUNK + 1
    assert report.rejected == 4_999  # the last one is incomplete: it may grow
    assert sum(row["lines"] for row in rows) == 4_999
    assert rows[-1]["reason"] == "3999 more rejects up to line 4999"
    assert sum(row["entries"] for row in rows) == 4_999


def test_commands(run: CommandLine, log: Log) -> None:
    path = log(GOOD[0] + BAD, f"txlog-{DAY}")
    run(path)
    shown = run("rejects").stdout
    assert "total is 1" in shown
    assert str(path) in shown
    rows = json.loads(run("rejects", "--month", "2026-01", "--format", "json").stdout)
    assert [row["line"] for row in rows] == [5]
    assert run("rejects", "--month", "2026-02").stdout == "Nothing was rejected.\n"
    assert run("rejects", "--server", "o*").stdout == "Nothing was rejected.\n"
    path.write_text(GOOD[0] + GOOD[1])
    done = run("ingest", "--retry-rejects", path)
    assert "resolved" in done.stdout
    assert run("rejects").stdout == "Nothing was rejected.\n"
    refused = run("ingest", "--retry-rejects", "-", input=GOOD[0])
    assert refused.returncode == 2
    assert "found by the name of their file" in refused.stderr


def test_real_logs_have_none(store: Store) -> None:
    read_into(store, DATA)
    assert listed(store) == []


def test_a_file_that_is_damaged_no_longer_is_reported_so_no_longer(store: Store, log: Log) -> None:
    packed = gzip.compress("".join(GOOD).encode())
    for length in (60, 90):
        read_into(store, log(packed[:length], "log.gz"))
    assert len(listed(store)) == 1
    assert read_into(store, log(packed, "log.gz")).resolved == 1
    assert listed(store) == []


def test_a_retry_forgets_nothing_that_it_did_not_see(store: Store, log: Log) -> None:
    path = log(GOOD[0] + BAD)
    read_into(store, path)
    path.write_text(GOOD[0])
    assert read_into(store, path, retry_rejects=True).resolved == 0
    assert len(listed(store)) == 1


def test_a_file_with_very_many_that_grows(store: Store, log: Log) -> None:
    for count in (3_000, 5_000):
        read_into(store, log("".join(f"START CLIENT {number}\n" for number in range(count))))
        assert len(listed(store)) == log_status.MOST_OF_A_CHUNK + 1
        assert sum(row["lines"] for row in listed(store)) == count - 1


def test_a_file_that_is_no_log_covers_no_day(store: Store, log: Log) -> None:
    read_into(store, log("garbage\n" * 50, f"txlog-{DAY}"))
    query = Query(filters={"direction": ("TX",)})
    (day,) = coverage(store, query).to_pylist()
    assert (day["state"], day["reason"]) == ("incomplete", "all entries were rejected")
    assert day["rejects"] == 1


def test_a_day_with_rejects_is_complete_and_marked(run: CommandLine, log: Log) -> None:
    run(log(GOOD[0] + BAD + GOOD[2], f"txlog-{DAY}"))
    (day,) = json.loads(run("coverage", "--format", "json").stdout)
    assert (day["state"], day["reason"], day["rejects"]) == ("complete", None, 1)
    shown = run("stats", "--by", "day", "--measure", "bytes,bytes-per-day").stdout
    assert "2026-01-31 †   3.07 kB         3.07 kB" in shown
    assert "† rejected: 1 entry (4 lines): ringserverstats rejects" in shown
    by_server = run("stats", "--by", "server", "--measure", "bytes").stdout
    assert "default †   3.07 kB" in by_server
    public = run("stats", "--by", "day", "--public").stdout
    assert "†" not in public  # the entry may be of an embargoed network
    assert "3.07 kB" in public
    assert run("coverage", "--strict").returncode == 1
    run.environment["RINGSERVERSTATS_MAX_REJECTS"] = "1"
    assert run("coverage", "--strict").returncode == 0
    assert run("ingest", "--strict", log(GOOD[3] + BAD, f"txlog-{DAY}")).returncode == 0
    run.environment["RINGSERVERSTATS_MAX_REJECTS"] = "0"
    assert run("ingest", "--strict", log(GOOD[4] + BAD, f"txlog-{DAY}")).returncode == 1


def test_damaged_logs_from_standard_input_are_distinguished_by_their_names(
    run: CommandLine,
) -> None:
    packed = gzip.compress("".join(GOOD).encode())
    for day, data in (("20260131", packed[:60]), ("20260201", packed[:60])):
        name = f"txlog-{day}T0000-{day}T0100"
        done = run("ingest", "-", "--name", name, input=data, text=False)
        assert b"damaged" in done.stderr
    assert len(json.loads(run("rejects", "--format", "json").stdout)) == 2
    run("ingest", "-", "--name", "txlog-20260201T0000-20260201T0100", input=packed, text=False)
    rows = json.loads(run("rejects", "--format", "json").stdout)
    assert [row["day"] for row in rows] == ["2026-01-31"]
    assert "rejected: 1 damaged or refused log:" in run("stats", "--month", "2026-01").stdout


def test_a_whole_copy_elsewhere_settles_a_damaged_log(
    store: Store, log: Log, tmp_path: Path
) -> None:
    whole = "".join(GOOD)
    read_into(store, log(gzip.compress(whole.encode())[:60], f"txlog-{DAY}.gz"))
    (tmp_path / "archive").mkdir()
    copy = tmp_path / "archive" / f"txlog-{DAY}"
    copy.write_text(whole)
    assert read_into(store, copy).resolved == 1
    assert listed(store) == []
