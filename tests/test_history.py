"""The history of release 0.17 is brought in exactly once, and tells what its logs tell."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import (
    DATA,
    SECRET,
    CommandLine,
    another,
    assert_whole,
    dump,
    make_postgresql,
    make_store,
    read_into,
    rest_in_soak,
)
from model import block
from psycopg.conninfo import conninfo_to_dict
from servers import Server as PostgreSQL

from ringserverstats import import_0_17 as history
from ringserverstats.copy import copy, differences
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.import_0_17 import Imported017, import_0_17
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store
from ringserverstats.store.duckdb.store import DuckDBStore
from ringserverstats.store.postgresql.store import PostgreSQLStore
from ringserverstats.store.schema import NEWEST

Row = tuple[Any, ...]
Make = Callable[..., PostgreSQLStore]

TABLE = (
    "CREATE TABLE ringserver_events (time timestamp, bytes bigint, network text, station text,"
    " location text, channel text, city text, country text, agent text, geohash text, client text)"
)
DENVER, TEXT = DATA / "v2020.075-midnight-denver", DATA / "v2020.075-text"
FIRST = DENVER / "txlog-20260314T00:00-20260315T00:00"
SECOND = DENVER / "txlog-20260315T00:00-20260316T00:00"
THIRD = TEXT / "node-a-txlog-20261124T00:00-20261125T00:00"
DAYS = date(2026, 3, 14), date(2026, 3, 15), date(2026, 11, 24)
YEAR = 2026
SENT = {"direction": ("TX",)}
#: What both a log and its history tell, by day.
QUESTIONS = tuple(
    Query(dimensions=by, filters=SENT, measures=("bytes", "transfers"))
    for by in (("day",), ("day", "stream"), ("month", "station"), ("agent", "protocol", "day"))
)
_START = re.compile(
    r"START CLIENT (?P<host>\S+) \[[^ ]+\] \((?P<agent>.*)\) @ (?P<time>\S+ \S+)"
    r" \(connected \S+ \S+\) TX"
)
_STREAM = re.compile(r"(\w*)_(\w*)_(\w*)_(\w*)/MSEED (\d+) (\d+)")


def events(*paths: Path) -> list[Row]:
    """What release 0.17 wrote of some text logs."""
    found: list[Row] = []
    for path in paths:
        for line in path.read_text().splitlines():
            if match := _START.fullmatch(line):
                host, agent, time = match.groups()
            elif match := _STREAM.fullmatch(line):
                network, station, location, channel, size, _ = match.groups()
                if re.fullmatch("[0-9XYZ][0-9A-Z]", network):
                    network = f"{network}{YEAR}"
                codes = network, station, location, channel
                place = "Karlsruhe", "DE", agent, "u0tyd"
                found.append((datetime.fromisoformat(time), int(size), *codes, *place, host))
            else:
                assert line.startswith("END CLIENT"), line
    return found


def event(time: str, size: int | None = 512, **changes: str) -> Row:
    """A single row."""
    result = {"network": "FR", "station": "CIEL", "agent": "DataLink|x", "client": "a.example.org"}
    result |= changes
    codes = result["network"], result["station"], "00", "HHZ"
    rest = None, None, result["agent"], None, result["client"]
    return (datetime.fromisoformat(time), size, *codes, *rest)


def fill(uri: str, rows: list[Row], table: str = history.TABLE) -> None:
    with psycopg.connect(uri) as connection:
        places = ", ".join(["%s"] * 11)
        connection.cursor().executemany(f"INSERT INTO {table} VALUES ({places})", rows)


def uri_of(store: PostgreSQLStore) -> str:
    result = conninfo_to_dict(store._info)
    return f"postgresql://{result['user']}@{result['host']}:{result['port']}/{result['dbname']}"


def select(store: PostgreSQLStore, sql: str) -> list[Row]:
    with psycopg.connect(store._info) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def base(server: PostgreSQL) -> Iterator[str]:
    """A database in which 0.17 was, and then the tables of this program were made."""
    server.make("history_base")
    server.execute(TABLE, database="history_base")
    make_postgresql(server.uri("history_base"), Path("/nowhere")).migrate()
    yield "history_base"
    server.execute("DROP DATABASE history_base WITH (FORCE)")


@pytest.fixture
def make(server: PostgreSQL, base: str, tmp_path: Path) -> Iterator[Make]:
    """Makes stores with such rows, each with a server `node` in Denver."""
    made: list[str] = []

    def make(rows: list[Row], *, timezone: str = "America/Denver") -> PostgreSQLStore:
        name = f"history_{len(made)}"
        uri = server.make(name, base)
        made.append(name)
        fill(uri, rows)
        store = make_postgresql(uri, tmp_path)
        if timezone:
            store.open(create=True)
            store.add_server("node", timezone)
        return store

    yield make
    for name in made:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> DuckDBStore:
    """A store that read the logs themselves."""
    store = make_store(tmp_path_factory.mktemp("logs") / "store.duckdb")
    store.open(create=True)
    store.add_server("node", "America/Denver")
    read_into(store, DENVER, TEXT, server="node")
    return store


def bring(store: Store, **options: Any) -> Imported017:
    server = next(one for one in store.servers() if one.name == "node")
    return import_0_17(store, server, ipv6_prefix=64, **options)


def by_day(store: Store, *, direction: str = "TX") -> dict[str, tuple[int, int]]:
    """Bytes and transfers."""
    asked = Query(dimensions=("day",), filters={"direction": (direction,)})
    rows = run_query(store, asked).to_pylist()
    return {str(row["day"]): (row["bytes"], row["transfers"]) for row in rows}


def everything(store: PostgreSQLStore) -> dict[str, list[Row]]:
    return {**dump(store), "imported_day": sorted(select(store, "SELECT * FROM imported_day"))}


ALL = events(FIRST, SECOND, THIRD)


def test_the_rows_of_0_17_are_those_of_the_logs() -> None:
    """The control: what this test writes for 0.17."""
    assert [len(events(path)) for path in (FIRST, SECOND, THIRD)] == [8, 8, 47]
    assert sum(row[1] for row in ALL) == 554496 + 411136 + 1625600
    assert {row[2] for row in ALL} >= {"XP2026", "1T2026", "Z32026", "FR", "WI"}
    assert len(set(ALL)) == len(ALL) - 2  # duplicates


def test_migrate_keeps_the_table_of_0_17_aside(
    server: PostgreSQL, tmp_path: Path, logs: DuckDBStore
) -> None:
    uri = server.make("history_fresh")
    try:
        server.execute(TABLE, database="history_fresh")
        fill(uri, ALL, "ringserver_events")
        store = make_postgresql(uri, tmp_path)
        store.migrate()
        kept = f"SELECT * FROM {history.TABLE} ORDER BY time, client, agent, network, station"
        before = select(store, kept)
        assert sorted(before, key=repr) == sorted(ALL, key=repr)
        assert select(store, "SELECT * FROM ringserver_events") == []
        store.open(create=True)
        store.add_server("node", "America/Denver")
        bring(store)
        assert select(store, kept) == before
        assert by_day(store) == by_day(logs)
        assert len(select(store, "SELECT * FROM ringserver_events")) == len(ALL)
        assert store.migrate() == NEWEST
    finally:
        server.execute("DROP DATABASE history_fresh WITH (FORCE)")


def test_the_history_tells_what_the_logs_tell(make: Make, logs: DuckDBStore) -> None:
    store = make(ALL)
    done = bring(store)
    assert done == Imported017(
        days=3, entries=done.entries, transfers=63, bytes=sum(row[1] for row in ALL)
    )
    # Twins are one entry: all that 0.17 kept of a connection is its host name.
    assert done.entries == run_query(logs, Query(filters=SENT)).to_pylist()[0]["entries"] - 2
    for query in QUESTIONS:
        assert run_query(store, query).to_pylist() == run_query(logs, query).to_pylist()
    assert_whole(store)
    networks = {name for (name,) in select(store, "SELECT DISTINCT network FROM stream")}
    assert networks == {row[2].removesuffix(str(YEAR)) for row in ALL}
    assert {"XP", "1T", "Z3"} <= networks
    assert sorted(select(store, "SELECT * FROM imported_day")) == [(1, day) for day in DAYS]
    times = "SELECT DISTINCT log_time FROM entry_ledger ORDER BY 1"
    assert [time for (time,) in select(store, times)] == sorted({row[0] for row in ALL})


def test_imported_days_are_complete(make: Make) -> None:
    store = make(ALL)
    bring(store)
    result = coverage(store, Query(filters=SENT)).to_pylist()
    states = {row["day"]: row["state"] for row in result}
    assert {day for day, state in states.items() if state == "complete"} == set(map(str, DAYS))
    assert {state for day, state in states.items() if day not in map(str, DAYS)} == {"missing"}


def test_no_host_name_is_in_any_table(make: Make) -> None:
    store = make(ALL)
    bring(store)
    tables = select(
        store,
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'v', 'm')"
        " AND c.relnamespace = current_schema()::regnamespace",
    )
    names = {name for (name,) in tables}
    assert {"client", "client_profile", "entry_ledger", "ringserver_events", history.TABLE} <= names
    needles = {row[-1] for row in ALL} | {"jdoe", "127.0.0"}
    assert len(needles) >= 8
    text = {
        name: "\n".join(row for (row,) in select(store, f"SELECT t::text FROM {name} t"))
        for name in names
    }
    assert all(
        needle in text[history.TABLE] for needle in needles
    )  # the search finds what is there
    own = "\n".join(rows for name, rows in text.items() if name != history.TABLE)
    assert {needle for needle in needles if needle in own} == set()
    hidden = {needle.encode().hex() for needle in needles}
    assert {needle for needle in hidden if needle in own} == set()
    pseudonyms = select(store, "SELECT count(*), count(address), count(host) FROM client")
    assert pseudonyms == [(len({row[-1] for row in ALL}), 0, 0)]


def test_rules_by_host_name_hold_for_history(make: Make) -> None:
    """Also of names deeper than a registrable domain, of which nothing is kept."""
    store = make(ALL)
    host = max(row[-1] for row in ALL if str(row[-1]).count(".") > 1)
    bring(store, rules=Rules((Rule(name="one", class_="mirror", domains=(host,)),)))
    asked = Query(dimensions=("class",), measures=("bytes",))
    found = {row["class"]: row["bytes"] for row in run_query(store, asked).to_pylist()}
    assert found["mirror"] == sum(row[1] for row in ALL if row[-1] == host) > 0
    assert sum(found.values()) == sum(row[1] for row in ALL)
    assert_whole(store)


def test_twice_counts_nothing_twice(make: Make) -> None:
    store = make(ALL)
    first = bring(store)
    before = everything(store)
    second = bring(store)
    assert second == Imported017(days=3, known=first.entries)
    assert everything(store) == before
    assert_whole(store)


@pytest.mark.parametrize("times", [2, 3])
def test_rows_of_a_log_that_was_sent_again_are_reported_and_not_counted(
    make: Make, logs: DuckDBStore, times: int
) -> None:
    store = make(ALL + events(FIRST, THIRD) * (times - 1))
    done = bring(store)
    assert done.repeated == (8 + 47) * (times - 1)
    assert done.transfers == 63
    assert by_day(store) == by_day(logs)
    assert_whole(store)


def test_a_log_that_was_sent_again_after_an_import_counts_nothing(
    make: Make, logs: DuckDBStore
) -> None:
    store = make(ALL)
    first = bring(store)
    fill(store._info, events(FIRST))
    assert bring(store) == Imported017(days=3, known=first.entries, repeated=8)
    assert by_day(store) == by_day(logs)


def test_rows_that_came_since_are_brought_in(make: Make, logs: DuckDBStore) -> None:
    """0.17 was still at work at the first import."""
    store = make(ALL[:-2])
    bring(store)
    fill(store._info, ALL[-2:])
    late = [event("2026-11-24 20:00:00"), event("2026-11-25 09:00:00")]
    fill(store._info, late)
    bring(store)
    expected = by_day(logs)
    result = by_day(store)
    assert result["2026-11-25"] == (512, 1)
    assert result["2026-03-14"] == expected["2026-03-14"]
    assert_whole(store)


def test_days_of_which_logs_were_read_are_left_out_and_reported(
    make: Make, logs: DuckDBStore
) -> None:
    store = make(ALL)
    read_into(store, FIRST, server="node")
    done = bring(store)
    assert (done.refused, done.refused_days, done.days) == (8, 1, 2)
    assert by_day(store) == by_day(logs)
    assert sorted(select(store, "SELECT day FROM imported_day")) == [(day,) for day in DAYS[1:]]
    again = bring(store)
    assert (again.refused, again.entries, again.known) == (8, 0, done.entries)
    assert_whole(store)


def test_logs_of_imported_days_count_nothing_but_what_was_received(
    make: Make, logs: DuckDBStore
) -> None:
    store = make(ALL)
    bring(store)
    before = by_day(store)
    sent, received = (
        run_query(logs, Query(filters={"direction": (way,)})).to_pylist()[0]["entries"]
        for way in ("TX", "RX")
    )
    assert received == 4
    would = read_into(store, DENVER, TEXT, server="node", dry_run=True)
    report = read_into(store, DENVER, TEXT, server="node")
    for result in (would, report):
        assert (result.entries, result.imported, result.known) == (received, sent, 0)
        assert any("imported from release 0.17" in note for note in result.notes)
    assert by_day(store) == before == by_day(logs)
    assert by_day(store, direction="RX") == by_day(logs, direction="RX") != {}
    again = read_into(store, DENVER, TEXT, server="node")
    assert (again.entries, again.imported, again.known) == (0, sent, received)
    assert bring(store).refused == 0  # they are imported still
    assert_whole(store)
    # Another server's days are its own.
    other = read_into(store, FIRST, server="other")
    assert (other.entries, other.imported) == (4, 0)


def test_logs_of_an_imported_day_can_be_read_once_it_is_deleted(
    make: Make, logs: DuckDBStore
) -> None:
    store = make(ALL)
    bring(store)
    gone = store.delete("node", DAYS[0], DAYS[0], try_only=False)
    assert (gone.transfers, gone.bytes) == (8, 554496)
    assert str(DAYS[0]) not in by_day(store)
    report = read_into(store, DENVER, server="node")
    assert (report.imported, report.entries) == (4, 4 + 2)
    day = Query(first=DAYS[0], last=DAYS[0])
    assert run_query(store, day).to_pylist() == run_query(logs, day).to_pylist()
    assert by_day(store) == by_day(logs)
    done = bring(store)
    assert (done.refused, done.refused_days, done.entries) == (8, 1, 0)
    assert by_day(store) == by_day(logs)
    assert_whole(store)


@pytest.mark.parametrize("rows", [1, 500_000])
def test_until_a_day(make: Make, logs: DuckDBStore, rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_ROWS", rows)
        store = make(ALL)
        assert bring(store, until=DAYS[0] - timedelta(days=1)) == Imported017()
        assert bring(store, until=DAYS[0]).days == 1
        assert set(by_day(store)) == {str(DAYS[0])}
        assert bring(store, until=date(2026, 8, 1)).days == 2
        assert bring(store, until=date(2030, 1, 1)).days == 3
    assert by_day(store) == by_day(logs)


def test_a_dry_run_tells_the_same_and_changes_nothing(make: Make) -> None:
    store = make(ALL + events(SECOND) + [event("2026-07-01 12:00:00", None)])
    read_into(store, FIRST, server="node")
    for _ in range(2):  # of nothing yet, and of what is there
        before = everything(store)
        would = bring(store, dry_run=True)
        assert everything(store) == before
        assert bring(store) == would
        assert would.refused == 8
        assert would.wrong == 1
        assert would.repeated == 8


@pytest.mark.parametrize(
    ("zone", "midnight"),
    rest_in_soak(
        [
            ("America/Denver", "06:00"),
            ("Asia/Kathmandu", "18:15"),
            ("Asia/Tokyo", "15:00"),
            ("UTC", "00:00"),
        ],
        keep=2,
    ),
)
def test_what_is_logged_just_after_midnight_is_of_the_day_before(
    make: Make, zone: str, midnight: str
) -> None:
    begins = datetime.fromisoformat(f"2026-07-02 {midnight}:00")
    own = date(2026, 7, 2) if zone in ("America/Denver", "UTC") else date(2026, 7, 3)
    before = own - timedelta(days=1)
    result = {-1: before, 0: before, 9: before, 10: own, 3600: own}
    rows = [event(str(begins + timedelta(seconds=n)), 1 << i) for i, n in enumerate(result)]
    for size in (1, 500_000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(history, "_ROWS", size)
            store = make(rows, timezone=zone)
            bring(store)
            assert by_day(store) == {str(before): (7, 3), str(own): (24, 2)}
            assert_whole(store)


def test_rows_without_a_number_of_bytes_are_reported(make: Make, logs: DuckDBStore) -> None:
    wrong = [
        event("2026-03-14 12:00:00", None),
        event("2026-03-15 05:59:48", -1),
        event("2026-11-24 09:38:52", -(2**63)),
        event("2026-05-05 12:00:00", None),
    ]
    store = make(ALL + wrong)
    done = bring(store)
    assert (done.wrong, done.transfers, done.repeated, done.days) == (4, 63, 0, 3)
    assert by_day(store) == by_day(logs)


def test_rows_without_anything_else_are_counted(make: Make) -> None:
    time = datetime.fromisoformat("2026-03-14 12:00:00")
    store = make([(time, 5, *[None] * 9), (time, 6, *[""] * 9)])
    done = bring(store)
    assert (done.transfers, done.bytes) == (2, 11)
    assert_whole(store)


def test_a_row_without_a_time_stops_nothing(make: Make, logs: DuckDBStore) -> None:
    store = make([*ALL, (None, *ALL[0][1:])])
    assert bring(store).transfers == 63
    assert by_day(store) == by_day(logs)


@pytest.mark.parametrize("bytes_", [2**63 - 1, 2**62])
def test_large_numbers(make: Make, bytes_: int) -> None:
    rows = [event(f"2026-03-14 12:00:0{n}", bytes_) for n in range(3)]
    store = make(rows)
    assert bring(store).bytes == 3 * bytes_
    assert run_query(store, Query()).to_pylist()[0]["bytes"] == 3 * bytes_
    assert_whole(store)


def test_an_import_that_failed_goes_on(make: Make) -> None:
    rows = [*ALL, event("2026-05-05 12:00:00"), event("2026-06-06 12:00:00")]
    store, whole = make(rows), make(rows)
    done = bring(whole)
    held = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_ROWS", 1)
        for after, days in enumerate((0, 2, 3)):
            with pytest.MonkeyPatch.context() as failing:
                good, calls = store.write, []

                def write(
                    rows: object, good: Any = good, calls: Any = calls, n: int = after
                ) -> Any:
                    calls.append(1)
                    if len(calls) > n:
                        raise StoreError("the disk is full")
                    return good(rows)

                failing.setattr(store, "write", write)
                with pytest.raises(StoreError, match="disk is full"):
                    bring(store)
            assert len(by_day(store)) == days
            held = len(dump(store)["entry_ledger"])
            assert_whole(store)
        steps: list[tuple[int, int]] = []
        again = bring(store, progress=lambda *both: steps.append(both))
    assert again.known == held > 0
    assert again.entries == done.entries - held
    assert steps == sorted(steps)
    assert steps[-1] == (65, 65)
    assert everything(store) == everything(whole)


@pytest.mark.soak
def test_an_import_that_was_killed_goes_on(make: Make, run: CommandLine, logs: DuckDBStore) -> None:
    """Killed within the transaction of the second piece."""
    store = make(ALL)
    run.environment |= {"DATABASE_URI": uri_of(store), "RINGSERVERSTATS_SECRET": SECRET.hex()}
    code = """if True:
        import os, signal
        from ringserverstats import import_0_17 as history
        from ringserverstats.store import sql_store as common
        history._ROWS, good, calls = 1, common.insert_log_status, []
        def insert_log_status(*given):
            calls.append(good(*given))
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return calls[-1]
        common.insert_log_status = insert_log_status
        from ringserverstats.cli import main
        main()
    """
    words = [sys.executable, "-c", code, "import-0.17", "--as", "node"]
    assert subprocess.run(words, env=run.environment).returncode == -signal.SIGKILL
    assert set(by_day(store)) == {str(day) for day in DAYS[:2]}
    assert_whole(store)
    done = run("import-0.17", "--as", "node")
    assert done.returncode == 0, done.stderr
    assert by_day(store) == by_day(logs)
    assert_whole(store)


def test_commands(make: Make, run: CommandLine, database: str) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()

    def refused(*args: object) -> str:
        done = run("import-0.17", *args)
        assert done.returncode == 2, done.stderr
        assert done.stdout == ""
        assert done.stderr.startswith("Error: ")
        return done.stderr

    assert "kept its history in PostgreSQL" in refused()
    assert "no server 'default' yet" in refused("--database", database)
    run("server", "add", "node", "--timezone", "America/Denver", "--database", database)
    said = refused("--database", database, "--as", "node")
    assert "there is no table ringserver_events_0_17 in postgresql://" in said
    assert "ringserverstats migrate" in said
    assert run("import-0.17", "--until", "yesterday").returncode == 2

    store = make(
        ALL + events(SECOND) + [event("2026-07-01 12:00:00", None)], timezone="America/Denver"
    )
    run.environment["DATABASE_URI"] = uri_of(store)
    assert "ringserverstats server add nobody --timezone" in refused("--as", "nobody")
    read_into(store, FIRST, server="node")
    would = run("import-0.17", "--as", "node", "--dry-run")
    assert would.returncode == 0
    assert would.stdout.startswith("would import ")
    assert select(store, "SELECT * FROM imported_day") == []
    done = run("import-0.17", "--as", "node")
    assert done.returncode == 0
    assert done.stdout == would.stdout.replace("would import", "imported")
    assert "with 55 transfers (2.04 MB) of 2 days; 0 entries were imported before" in done.stdout
    assert done.stderr == would.stderr
    assert "Note: 8 rows are repetitions" in done.stderr
    assert "Note: 8 rows are of 1 days of which logs were read: left out" in done.stderr
    assert "Note: 1 rows have no time or number of bytes: left out" in done.stderr
    assert "example" not in done.stdout + done.stderr  # no host name
    again = run("import-0.17", "--as", "node", "--until", "2026-03-15")
    assert again.stdout.startswith("imported 0 entries with 0 transfers (0 B) of 1 days; 3 entries")
    read = run("--as", "node", SECOND)
    assert read.returncode == 0
    assert "of imported days" in read.stdout
    assert "delete these days first" in read.stderr


def test_without_the_table_nothing_is_made(database: str, tmp_path: Path) -> None:
    store = make_postgresql(database, tmp_path)
    store.open(create=True)
    store.add_server("node", "UTC")
    with pytest.raises(UsageError, match="no table ringserver_events_0_17"):
        bring(store)


def test_an_empty_table(make: Make) -> None:
    store = make([])
    assert bring(store) == Imported017()


@pytest.mark.soak
def test_a_copy_has_the_history_too(make: Make, tmp_path: Path) -> None:
    store = make(ALL)
    bring(store, until=DAYS[1])
    target = make_store(tmp_path / "copy.duckdb")
    copy(store, target)
    bring(store)
    copy(store, target)
    imported = "SELECT server, day FROM imported_day ORDER BY server, day"
    for one in (store, target):  # and neither counts the logs
        assert read_into(one, DENVER, TEXT, server="node").imported == 17
    assert differences(store, target) == []
    assert dump(target) == dump(store)
    assert target.ask(imported, []).to_pylist() == store.ask(imported, []).to_pylist()


@pytest.mark.soak
def test_a_copy_gets_what_came_of_an_imported_day_since(make: Make, tmp_path: Path) -> None:
    """0.17 was still at work, so that a day was imported twice, and copied in between."""
    store = make(ALL)
    bring(store)
    target = make_store(tmp_path / "copy.duckdb")
    copy(store, target)
    fill(store._info, [event("2026-11-24 20:00:00")])
    assert bring(store).entries == 1
    assert copy(store, target).entries == 1
    assert differences(store, target) == []
    assert dump(target) == dump(store)


def test_the_view_of_0_17_agrees_on_days(
    make: Make, run: CommandLine, log: Callable[..., Path]
) -> None:
    store = make(ALL)
    store.add_server("tokyo", "Asia/Tokyo")
    store.add_server("denver", "America/Denver")
    bring(store)
    name = "txlog-20260701T0000-20260702T0000"
    for server, begins in (("tokyo", "2026-06-30 15:00:00"), ("denver", "2026-07-01 06:00:00")):
        first = int(datetime.fromisoformat(f"{begins}+00:00").timestamp())
        text = "".join(
            block(log_time=first + n, connect_time=first - 60, transfers=(("FR_A_00_HHZ/X", m, 1),))
            for n, m in ((1, 1), (40_000, 20), (60_000, 300), (86_399, 4000), (86_403, 50_000))
        )
        read_into(store, log(text, name), server=server)
        received = text.replace(") TX", ") RX").replace("total TX", "total RX")
        read_into(store, log(received, name.replace("tx", "rx")), server=server)
    read_into(store, DENVER, server="denver")
    rows = select(
        store, "SELECT time::date::text, sum(bytes), count(*) FROM ringserver_events GROUP BY 1"
    )
    result = {day: (int(size), count) for day, size, count in rows}
    assert result == by_day(store)
    assert result["2026-07-01"] == (2 * 54_321, 10)
    run.environment |= {"DATABASE_URI": uri_of(store), "RINGSERVERSTATS_SECRET": SECRET.hex()}
    asked = run("stats", "--by", "day", "--direction", "TX", "--format", "json")
    assert asked.returncode == 0, asked.stderr
    groups = json.loads(asked.stdout)
    assert {row["day"]: row["bytes"] for row in groups if row["bytes"]} == {
        day: size for day, (size, _) in result.items()
    }
    # Where a log time is within its day, it is unchanged.
    same = select(
        store,
        "SELECT count(*), count(*) FILTER (WHERE s.log_time = s.clamped) FROM (SELECT log_time,"
        " greatest(day::timestamp, least(log_time, day + interval '86399 s')) AS clamped"
        " FROM entry_ledger) s",
    )[0]
    assert 0 < same[1] < same[0]
    times = (
        "SELECT time, bytes FROM ringserver_events WHERE bytes IN (20, 300) ORDER BY bytes, time"
    )
    assert [str(time) for time, _ in select(store, times)] == [
        "2026-07-01 02:06:40",  # of Tokyo
        "2026-07-01 17:06:40",
        "2026-07-01 07:40:00",
        "2026-07-01 22:40:00",
    ]
    columns = select(store, "SELECT * FROM ringserver_events LIMIT 0") or select(
        store,
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'ringserver_events' ORDER BY ordinal_position",
    )
    old = "time bytes network station location channel city country agent geohash client"
    assert [name for (name,) in columns] == old.split()


def test_logs_that_are_read_while_days_are_imported_stop_that(
    make: Make, logs: DuckDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever commits first has the day; nothing counts twice."""
    store = make(events(FIRST, SECOND))
    good = store.write

    def later(rows: object) -> object:
        monkeypatch.undo()
        read_into(another(store), DENVER, server="node")  # as cron does
        return good(rows)

    monkeypatch.setattr(store, "write", later)
    with pytest.raises(StoreError, match="run the same again"):
        bring(store)
    assert by_day(store)["2026-03-14"] == by_day(logs)["2026-03-14"]
    assert bring(store).refused_days == 2
    assert_whole(store)
