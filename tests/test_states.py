"""Every query is right, whether the rollups of a day are built, not built, or all that is left."""

import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from conftest import (
    SECRET,
    CommandLine,
    another,
    assert_whole,
    empty,
    execute,
    held_open,
    make_store,
    read_into,
    rest_in_soak,
    sample_logs,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from model import ENTRY, Entry

from ringserverstats.copy import copy
from ringserverstats.enrich.pseudonyms import pseudonym
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.errors import StoreError
from ringserverstats.keys import derive
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.summary import summary
from ringserverstats.store import sql_store
from ringserverstats.store.base import Store
from ringserverstats.store.rollups import ROLLUPS
from ringserverstats.store.tables import TABLES

FEBRUARY = date(2026, 2, 1)
DAYS = [date(2026, 1, 30) + timedelta(number) for number in range(5)]
STREAMS = ("FR_CIEL_00_HHZ/MSEED", "FR_CIEL_00_HHN/MSEED", "G_SSB_10_BHZ/MSEED", "RAW/BINARY")
CODES = {name: tuple(name.split("_")[:2]) if "_" in name else (None, None) for name in STREAMS}
SUMMED = ("bytes", "packets", "transfers")
QUERIES = (
    ((), (*SUMMED, "clients", "connections", "entries")),
    (("day",), (*SUMMED, "clients")),
    (("month", "network"), (*SUMMED, "clients")),
    (("server", "station"), (*SUMMED, "clients")),
    (("month", "stream"), SUMMED),
    (("stream",), ("clients",)),
    (("day", "hour"), SUMMED),
)
#: The totals of each view of a rollup, by day or month.
VIEWS = " UNION ALL ".join(
    f"SELECT '{rollup.table}' AS name, {rollup.time}::text AS time, sum(bytes) AS bytes,"
    f" sum(packets) AS packets, sum(transfers) AS transfers FROM {rollup.table} GROUP BY 2"
    for rollup in ROLLUPS
)


def _different(columns: str, view: str, function: str, period: str, first: date) -> str:
    """Return the SELECT of client profiles that only a view or only a function has."""
    last = DAYS[3]
    select = f"SELECT server, direction, protocol, client_profile, {columns} FROM"
    rows = f"{select} {view} WHERE {period} BETWEEN DATE '{first}' AND DATE '{last}'"
    called = f"{select} {function}(DATE '{first}', DATE '{last}')"
    differences = f"({rows} EXCEPT {called}) UNION ALL ({called} EXCEPT {rows})"
    return f"SELECT count(*) AS number FROM ({differences}) d"


DIFFERENT = " UNION ALL ".join(
    _different(
        columns, f"{view}_by_{period}".lstrip("_"), f"{name}_profiles_by_{period}", period, first
    )
    for name, columns, view in (
        ("station", "network, station", "station"),
        ("stream", "stream", ""),
    )
    for period, first in (("day", DAYS[1]), ("month", DAYS[0].replace(day=1)))
)


LATE = replace(
    ENTRY,
    address="192.0.2.9",
    agent="late/1",
    log_time=int(datetime(2026, 1, 31, 5, 7, tzinfo=UTC).timestamp()),
    connect_time=int(datetime(2026, 1, 31, 5, 0, tzinfo=UTC).timestamp()),
    transfers=((STREAMS[0], 77, 1),),
)


@dataclass
class Model:
    """The transfers that a store should have, as (server, day, hour, entry, transfer)."""

    rows: list[tuple[str, date, int | None, Entry, tuple[str, int, int]]] = field(
        default_factory=list
    )
    is_pruned: bool = False

    def query(self, query: Query) -> dict[tuple, tuple]:
        """The result of ``query``, counted row by row."""
        groups = defaultdict(list)
        for row in self.rows:
            if (query.first or date.min) <= row[1] <= (query.last or date.max):
                groups[tuple(self.key(name, row) for name in query.dimensions)].append(row)
        return {
            key: tuple(self.measure(name, rows) for name in query.shown)
            for key, rows in groups.items()
        }

    @staticmethod
    def key(name: str, row: tuple) -> object:
        server, day, hour, _, (stream, *_) = row
        network, station = CODES[stream]
        known = {
            "server": server,
            "day": str(day),
            "month": str(day)[:7],
            "hour": None if hour is None else f"{hour:02}",
        }
        return {**known, "network": network, "station": station, "stream": stream}[name]

    @staticmethod
    def measure(name: str, rows: list[tuple]) -> int:
        if name in ("bytes", "packets"):
            return sum(row[4][("bytes", "packets").index(name) + 1] for row in rows)
        if name == "transfers":
            return len(rows)
        of_entries = {
            "clients": lambda _, entry: entry.address,
            "connections": lambda server, entry: (server, entry.address, entry.connect_time),
            "entries": lambda server, entry: (server, entry),
        }
        return len({of_entries[name](row[0], row[3]) for row in rows})


def as_rows(store: Store, query: Query) -> dict[tuple, tuple]:
    found = run_query(store, query).to_pylist()
    size = len(query.dimensions)
    rows = [tuple(row.values())[: size + len(query.shown)] for row in found]
    result = {tuple(_plain(one) for one in row[:size]): row[size:] for row in rows}
    if not query.dimensions and not any(next(iter(result.values()))):
        return {}
    return result


def _plain(label: object) -> object:
    return None if label in ("", "(none)", "unknown") else label


@dataclass(frozen=True)
class Log:
    """A log of a server: of a day, or of one hour."""

    server: str
    day: date
    hour: int | None
    entries: tuple[Entry, ...]

    def write(self, folder: Path) -> Path:
        begin = datetime.combine(self.day, datetime.min.time()) + timedelta(hours=self.hour or 0)
        end = begin + (timedelta(days=1) if self.hour is None else timedelta(hours=1))
        path = folder / f"{self.server}-txlog-{begin:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}"
        path.write_text("".join(entry.text() for entry in self.entries))
        return path


@st.composite
def logs(draw: st.DrawFn) -> Log:
    day, hour = draw(st.sampled_from(DAYS)), draw(st.sampled_from([None, 0, 13]))
    begin = int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) + 3600 * (hour or 0)
    found = []
    for _ in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(STREAMS), min_size=1, max_size=3))
        large = draw(st.sampled_from([1, 2**62]))  # two of them exceed 63 bits
        found.append(
            Entry(
                host="h.example.org",
                address=f"192.0.2.{draw(st.integers(1, 3))}",
                protocol="SeedLink",
                agent=draw(st.sampled_from(["slarchive/4.1", "Client"])),
                direction="TX",
                log_time=begin + draw(st.integers(60, 3500)),
                connect_time=begin - draw(st.sampled_from([0, 90_000])),
                transfers=tuple(
                    (name, 512 * number or large, number or large)
                    for number, name in enumerate(names)
                ),
            )
        )
    return Log(draw(st.sampled_from("ab")), day, hour, tuple(dict.fromkeys(found)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), logs(), st.booleans()),
        st.tuples(st.just("refresh")),
        st.tuples(st.just("delete"), st.sampled_from("ab"), st.sampled_from(DAYS)),
        st.tuples(st.just("seal"), st.sampled_from(DAYS)),
        st.tuples(st.just("prune")),
    ),
    min_size=2,
    max_size=8,
)


def take(step: tuple, store: Store, model: Model, folder: Path) -> None:
    """Do ``step`` with the store and the model."""
    kind, *rest = step
    if kind == "read":
        log, refresh = rest
        report = read_into(store, log.write(folder), refresh=refresh)
        seen = {(row[0], row[3]) for row in model.rows}
        new = [entry for entry in log.entries if (log.server, entry) not in seen]
        assert report.entries == len(new)
        for entry in new:
            for transfer in entry.transfers:
                model.rows.append((log.server, log.day, log.hour, entry, transfer))
    elif kind == "refresh":
        store.refresh()
    elif kind == "delete" and rest[0] in {server.name for server in store.servers()}:
        store.delete(rest[0], rest[1], rest[1], try_only=False)
        model.rows = [row for row in model.rows if row[:2] != tuple(rest)]
    elif kind == "seal":
        store.delete_transfers(rest[0], try_only=False)
    elif kind == "prune":
        store.prune(FEBRUARY, try_only=False)
        model.is_pruned = True


def check(store: Store, model: Model) -> None:
    """Compare queries over all and over some days, and views, with the model."""
    for dimensions, measures in QUERIES:
        for first, last in ((None, None), (DAYS[1], DAYS[3])):
            shown = tuple(name for name in measures if name in SUMMED or not model.is_pruned)
            query = Query(dimensions=dimensions, measures=shown, first=first, last=last)
            assert as_rows(store, query) == model.query(query), query
    check_views(store, model)


def check_views(store: Store, model: Model) -> None:
    """Compare the views and functions for SQL users with the model, or with each other."""
    totals = defaultdict(dict)
    for row in store.ask(VIEWS).to_pylist():
        totals[row["name"]][row["time"]] = tuple(int(row[name]) for name in SUMMED)
    for rollup in ROLLUPS:
        by_time = model.query(Query(dimensions=(rollup.time,), measures=SUMMED))
        first = "-01" if rollup.is_monthly else ""
        assert totals[rollup.table] == {time + first: row for (time,), row in by_time.items()}
    assert not sum(store.ask(DIFFERENT)["number"].to_pylist())


def run_steps(steps: list[tuple], store: Store, folder: Path) -> None:
    if store.exists():
        empty(store)
    store.open(create=True)
    for name in "ab":
        store.add_server(name, "UTC")
    model = Model()
    for step in steps:
        take(step, store, model, folder)
        with held_open(store):
            check(store, model)
    assert_whole(store)
    store.refresh()
    check(store, model)
    assert_whole(store)


def of_examples(number: int) -> Callable[[Callable], Callable]:
    return settings(
        max_examples=number,
        phases=(Phase.explicit, Phase.generate),  # a smaller example takes minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@of_examples(4)
@given(steps=STEPS)
def test_every_query_is_right(steps: list[tuple], store: Store, tmp_path: Path) -> None:
    run_steps(steps, store, tmp_path)


@pytest.mark.soak
@pytest.mark.of_both
@of_examples(60)
@given(steps=STEPS)
def test_many_steps(steps: list[tuple], store: Store, tmp_path: Path) -> None:
    run_steps(steps, store, tmp_path)


def late_on(*day: int) -> Entry:
    begin = int(datetime(*day, tzinfo=UTC).timestamp()) + 5 * 3600
    return replace(LATE, log_time=begin + 60, connect_time=begin)


def fill(store: Store, folder: Path, *, refresh: bool, days: Sequence[date] = tuple(DAYS)) -> None:
    """Logs of two servers, days and hours, over a change of the month."""
    store.open(create=True)
    for name in "ab":
        store.add_server(name, "UTC")
    paths = []
    for number, day in enumerate(days):
        begin = int(datetime.combine(day, datetime.min.time(), UTC).timestamp())
        for server, hour in (("a", None), ("b", 13), ("b", 14)):
            found = tuple(
                Entry(
                    host="h.example.org",
                    address=f"192.0.2.{client}",
                    protocol="SeedLink",
                    agent="slarchive/4.1",
                    direction="TX",
                    log_time=begin + 3600 * (hour or 0) + 60 * client,
                    connect_time=begin - 86_400 * number,
                    transfers=tuple((name, 2**61 // client**9, client) for name in STREAMS[:2]),
                )
                for client in (1, 2)
            )
            paths.append(Log(server, day, hour, found).write(folder))
    read_into(store, *paths, refresh=refresh)


RULES = Rules((Rule(name="all", class_="feeder", direction="TX"),))
COMMANDS: dict[str, Callable[[Store], object]] = {
    "delete": lambda store: store.delete("a", DAYS[0], DAYS[2], try_only=False),
    "merge": lambda store: store.merge_servers("a", "b", once=False, try_only=False),
    "prune": lambda store: store.prune(FEBRUARY, try_only=False),
    "seal": lambda store: store.delete_transfers(DAYS[2], try_only=False),
    "reclassify": lambda store: store.reclassify(RULES, try_only=False),
    "rename": lambda store: store.change_server("a", rename="c"),
    "forget": lambda store: store.forget(
        pseudonym(derive(SECRET).clients, "192.0.2.1"), try_only=False
    ),
}


def everything(store: Store) -> list[object]:
    """What all queries, the coverage and the list of clients give, without pseudonyms."""
    queries = [Query(dimensions=by, measures=measures) for by, measures in QUERIES]
    queries += [Query(dimensions=("day", "class", "server", "stream"), measures=("bytes",))]
    with held_open(store):
        days = coverage(store, Query(), by="day").to_pylist()
        counts = _counts(summary(store))
        return [days, counts, *(run_query(store, query).to_pylist() for query in queries)]


def _counts(of_store: object) -> dict[str, object]:
    """What a summary counts, without sizes on disk and ids."""
    counts = {name: value for name, value in vars(of_store).items() if isinstance(value, int)}
    return {**counts, "size": 0}


@pytest.mark.parametrize("name", rest_in_soak(COMMANDS, keep=3))
def test_commands_do_the_same_to_stale_days(name: str, store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path, refresh=True)
    COMMANDS[name](store)
    store.refresh()
    expected = everything(store)
    empty(store)
    fill(store, tmp_path, refresh=False)
    COMMANDS[name](store)
    assert everything(store) == expected
    store.refresh()
    assert everything(store) == expected
    assert_whole(store)


@pytest.mark.of_both
def test_a_copy_of_stale_days_is_whole(store: Store, tmp_path: Path) -> None:
    fill(store, tmp_path, refresh=False)
    target = make_store(tmp_path / "copy.duckdb")
    copy(store, target)
    assert everything(target) == everything(store)
    assert_whole(target)


def test_a_late_log_of_a_sealed_day_survives_a_restore(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    fill(store, tmp_path, refresh=True)
    store.prune(FEBRUARY, try_only=False)
    late = Log("a", DAYS[1], 5, (LATE,))
    assert read_into(store, late.write(tmp_path), refresh=False).entries == 1
    with_late = everything(store)
    store.backup(tmp_path / "backup")
    store.delete("a", DAYS[1], DAYS[1], try_only=False)
    store.restore(tmp_path / "backup", ask=None)
    assert everything(store) == with_late
    store.refresh()
    assert everything(store) == with_late
    assert read_into(store, late.write(tmp_path)).known == 1
    assert_whole(store)


@pytest.mark.of_both
@pytest.mark.parametrize(
    "damage", ["DELETE FROM {table}", "UPDATE server_day SET bytes = bytes + 1"]
)
def test_a_day_is_not_built_from_other_transfers_than_its_ledger_has(
    store: Store, tmp_path: Path, damage: str
) -> None:
    fill(store, tmp_path, refresh=False)
    table = "transfer" if type(store).__name__ == "DuckDBStore" else "transfer_packed"
    execute(store, f"{damage.format(table=table)} WHERE day = '{DAYS[2]}' AND server = 1")
    text = f"of server 'a' of {DAYS[2]} are not those of its ledger"
    with pytest.raises(StoreError, match=text):
        store.refresh()
    # All others are built.
    stale = store.ask("SELECT server, day FROM server_day WHERE changed <> built").to_pylist()
    assert stale == [{"server": 1, "day": DAYS[2]}]
    with pytest.raises(StoreError, match=text):
        store.delete_transfers(DAYS[4], try_only=False)
    assert store.kept_since == DAYS[1].replace(day=1) + timedelta(31)


@pytest.mark.of_both
@pytest.mark.parametrize("command", ["prune", "delete_transfers"])
def test_logs_that_come_while_transfers_are_deleted_are_counted(
    store: Store, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of days before those that the command has listed, and of days that it has done."""
    days = [date(2026, month, 10) for month in (1, 3)]
    fill(store, tmp_path, refresh=True, days=days)
    between = [Log("a", date(2026, month, 12), 5, (late_on(2026, month, 12),)) for month in (1, 2)]
    written = []

    def write(*_: object) -> None:
        for log in between[len(written) :]:
            written.append(read_into(another(store), log.write(tmp_path), refresh=False).entries)

    before = date(2026, 4, 1)
    if command == "prune":
        store.prune(before, try_only=False, progress=write)
    else:
        monkeypatch.setattr(store, "_before_deletion", write)
        store.delete_transfers(before, try_only=False)
    assert written == [1, 1]
    query = Query(dimensions=("month", "server"), measures=("entries",))
    expected = {("2026-01", "a"): 3, ("2026-01", "b"): 4, ("2026-02", "a"): 1}
    expected |= {("2026-03", "a"): 2, ("2026-03", "b"): 4}
    assert {key: entries for key, (entries,) in as_rows(store, query).items()} == expected
    assert store.ask("SELECT 1 FROM transfer").num_rows == 0
    assert_whole(store)
    for log in between:  # once more, sealed
        late = Log("a", log.day, 6, (replace(log.entries[0], agent="later/1"),))
        assert read_into(store, late.write(tmp_path)).entries == 1
    assert_whole(store)


@pytest.mark.of_both
def test_what_is_written_while_rollups_are_built_is_not_lost(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, tmp_path, refresh=False)
    late = Log("a", DAYS[1], 5, (LATE,)).write(tmp_path)
    build, threads = sql_store.build_days, list[threading.Thread]()

    def build_and_write(*args: object) -> object:
        bad = build(*args)
        writing = threading.Thread(target=lambda: read_into(another(store), late, refresh=False))
        writing.start()
        writing.join(0.3)  # it waits for the lock, or has written before this ends
        threads.append(writing)
        return bad

    monkeypatch.setattr(sql_store, "build_days", build_and_write)
    store.refresh()
    monkeypatch.undo()
    for thread in threads:
        thread.join()
    found = run_query(store, Query(dimensions=("hour",), measures=("bytes",)))
    assert found.filter(pc.equal(found["hour"], "05"))["bytes"].to_pylist() == [LATE.total]
    assert_whole(store)
    store.refresh()
    assert_whole(store)


@pytest.mark.soak
@pytest.mark.of_both
@pytest.mark.parametrize("command", ["ingest", "prune"])
def test_kills_while_days_are_built_or_sealed(run: CommandLine, command: str) -> None:
    """Figures are the same behind 50 kills, and once the same command ran to its end."""
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    run.environment["RINGSERVERSTATS_TRANSFER_RETENTION_DAYS"] = "1"
    store = run.store
    days = [date(2026, month, 10) for month in range(1, 7)]
    count = {
        "ingest": "SELECT count(*) AS n FROM server_day WHERE changed <> built",
        "prune": "SELECT count(DISTINCT day) AS n FROM transfer",
    }[command]

    def left() -> int:
        return store.ask(count)["n"][0].as_py()

    def fill_again() -> None:
        if store.exists():
            empty(store)
        fill(store, run.folder, refresh=False, days=days)

    fill_again()
    words = (command, "--yes" if command == "prune" else next(run.folder.glob("a-txlog-*")))
    expected, most = everything(store), left()
    begin = time.monotonic()
    assert run.popen(*words, batch=1).wait() == 0
    length = time.monotonic() - begin
    assert left() == 0
    rng, killed, partly = random.Random(7), 0, 0
    while killed < 50:
        fill_again()
        process = run.popen(*words, batch=1)
        try:
            assert process.wait(rng.uniform(0.3, 1) * length) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        partly += 0 < left() < most
        assert everything(store) == expected
        assert run(*words).returncode == 0
        assert left() == 0
        assert everything(store) == expected
        assert_whole(store)
    print(f"{killed} kills, {partly} with some days done: exact")
    assert partly > 5


#: Rows and bytes that a store takes for each entry of the sample logs, as measured.
TAKEN = {"DuckDBStore": (54.1, 3066), "PostgreSQLStore": (4.21, 2229)}


@pytest.mark.of_both
def test_an_entry_takes_not_a_quarter_more_than_measured(store: Store, tmp_path: Path) -> None:
    store.open(create=True)
    size = store.size()
    entries = read_into(store, sample_logs(tmp_path, days=8)).entries
    engine = type(store).__name__
    tables = [name if engine == "DuckDBStore" else table.stored for name, table in TABLES.items()]
    rows = sum(store.ask(f"SELECT count(*) AS n FROM {name}")["n"][0].as_py() for name in tables)
    most_rows, most_bytes = TAKEN[engine]
    assert most_rows / 2 < rows / entries < 1.25 * most_rows
    assert most_bytes / 2 < (store.size() - size) / entries < 1.25 * most_bytes
