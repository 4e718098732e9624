"""Random faults put into a copy of a store are found, by `audit` alone or with `verify`."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path

import duckdb
import pytest
from conftest import (
    DATA,
    REGISTRY,
    CommandLine,
    assert_whole,
    held_open,
    make_store,
    read_into,
)
from model import START, block

from ringserverstats.enrich.agents import family, parse_agent
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.errors import RingserverStatsError
from ringserverstats.logs.source import find
from ringserverstats.store.audit import audit
from ringserverstats.store.duckdb.store import DuckDBStore
from ringserverstats.store.rollups import ROLLUPS
from ringserverstats.verify import verify

Log = Callable[..., Path]

#: What an operator may choose, or what two logs may tell differently: nothing says what is right.
FREE = {
    ("server", "timezone"),
    ("server", "former_names"),
    ("server", "paths"),
    ("server", "first_day"),
    ("server", "last_day"),
    ("reject", "file"),
    ("reject", "version"),
    ("client", "host"),
    ("store", "generation"),
    ("store", "last_server"),
    ("store", "kept_since"),
    ("server_day", "changed_at"),
    ("store", "vacuum_pending"),
    ("registry", "last_day"),  # of a network behind which another one began
    ("client_profile", "class"),
    ("client_profile", "institution"),
    ("client_profile", "institution_source"),
}
SETS = ("v2020.075-text", "v4.5.3-midnight-paris", "v4.5.3-jsonl", "v4.5.3-midnight-denver-jsonl")


@dataclass
class Proven:
    """A store, the logs that are in it, and a copy to put faults into."""

    folder: Path
    logs: Path

    @property
    def copy(self) -> DuckDBStore:
        return make_store(self.folder / "copy.duckdb", secret=None, secrets=self.folder)

    def fault(self, *statements: str) -> None:
        shutil.copy(self.folder / "store.duckdb", self.folder / "copy.duckdb")
        with duckdb.connect(self.folder / "copy.duckdb") as connection:
            for sql in statements:
                assert connection.execute(sql).fetchall()[0][0] > 0, sql

    def audited(self) -> set[str]:
        """The tables in which audit finds something."""
        store = self.copy
        with held_open(store):
            return {one.table for one in audit(store, store.open(create=False).keys)}

    def finds(self) -> str:
        """Which of the two finds something: audit, verify, the opening of the store, or none."""
        try:
            with held_open(self.copy):
                if self.audited():
                    return "audit"
                sources = find([str(self.logs)]).sources
                return "verify" if verify(sources, self.copy, ipv6_prefix=64).findings else ""
        except RingserverStatsError:
            return "open"


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    folder = tmp_path_factory.mktemp("proven")
    logs = folder / "logs"
    for name in SETS:
        shutil.copytree(DATA / name, logs / name)
    hour = int(datetime(2026, 11, 24, 23, tzinfo=UTC).timestamp())  # of a month that is there
    good = block(log_time=hour + 99, connect_time=hour)
    bad = good.replace("bytes: 1536", "bytes: 1").replace("slarchive", "bad") + "stray\n" + good
    (logs / "node-b-txlog-20261124T2300-20261125T0000").write_text(bad)
    # Hourly logs of one client, so that the day has rows by stream.
    early = "".join(block(log_time=hour - 3500 + number, connect_time=hour) for number in range(4))
    (logs / "node-b-txlog-20261124T2200-20261124T2300").write_text(early)
    path = folder / "store.duckdb"
    store = make_store(path, secret=None, secrets=folder)
    read_into(store, logs)
    store.set_registry(REGISTRY)
    assert_whole(store)
    assert verify(find([str(logs)]).sources, store, ipv6_prefix=64).findings == []
    return Proven(folder, logs)


def _tables(proven: Proven) -> dict[str, list[tuple[str, str]]]:
    with duckdb.connect(proven.folder / "store.duckdb", read_only=True) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_name) WHERE table_type = 'BASE TABLE'"
        ).fetchall()
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        tables.setdefault(table, []).append((column, kind))
    return tables


def _faults(proven: Proven, rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """One fault of each kind and column, each in a row by chance: table, what is wrong, SQL."""
    for table, columns in _tables(proven).items():
        if table in ("imported_day", "pruned_month"):  # tests/test_history.py, tests/test_prune.py
            continue
        if table in (
            "token",
            "day_version",
            "exporter",
            "exported_day",
            "pending_export",
            "migration",
        ):  # which say nothing about logs
            continue
        with duckdb.connect(proven.folder / "store.duckdb", read_only=True) as connection:
            rows = [row for (row,) in connection.execute(f"SELECT rowid FROM {table}").fetchall()]
        where = f"WHERE rowid = {rng.choice(rows)}"
        yield table, "lost", f"DELETE FROM {table} {where}"
        where = f"WHERE rowid = {rng.choice(rows)}"
        yield table, "doubled", f"INSERT INTO {table} SELECT * FROM {table} {where}"
        for column, kind in columns:
            if (table, column) not in FREE:
                where = f"WHERE rowid = {rng.choice(rows)}"
                value = _other(column, kind, rng)
                yield table, f"{column} changed", f"UPDATE {table} SET {column} = {value} {where}"


def _together(faults: Iterable[tuple[str, str, str]]) -> Iterator[list[tuple[str, str, str]]]:
    """Those of tables of sums, one in each, as each of these is compared with the transfers."""
    of_sums: dict[str, list[tuple[str, str, str]]] = {one.built: [] for one in ROLLUPS}
    for fault in faults:
        if fault[0] in of_sums:
            of_sums[fault[0]].append(fault)
        else:
            yield [fault]
    for some in zip_longest(*of_sums.values()):
        yield [fault for fault in some if fault]


def _other(column: str, kind: str, rng: random.Random) -> str:
    """SQL of a value that ``column`` does not have, near to it or far."""
    if kind == "DATE":
        return f"coalesce({column}, '2026-01-01') + {rng.choice((-365, -1, 1, 40))}"
    if kind == "UUID":
        return "uuid()"
    if kind == "TIMESTAMP":
        return f"{column} + INTERVAL ({rng.choice((-90_000, 1, 3_600))}) SECOND"
    if kind == "BOOLEAN":
        return f"NOT {column}"
    if kind.startswith("ENUM"):
        return (
            f"CASE WHEN {column} = enum_first({column}) THEN enum_last({column})"
            f" ELSE enum_first({column}) END"
        )
    if kind == "VARCHAR":
        return f"coalesce({column}, '') || {rng.choice(('x', 'ä', '/'))!r}"
    if kind == "TINYINT":
        return f"coalesce(({column} + 1) % 24, 3)"
    return f"coalesce({column}, 0) + {rng.choice((-1, 1, 2))}"


@pytest.mark.parametrize(
    ("rounds", "one_in", "one_in_sums"),
    [(1, 20, 6), pytest.param(15, 1, 1, marks=pytest.mark.soak)],
)
def test_every_fault_is_found(proven: Proven, rounds: int, one_in: int, one_in_sums: int) -> None:
    """One in ``one_in_sums`` of those put into all rollups at once, one in ``one_in`` of others."""
    rng = random.Random(rounds)
    found: dict[str, int] = {}
    for _ in range(rounds):
        for faults in _together(_faults(proven, rng)):
            if rng.randrange(one_in if len(faults) == 1 else one_in_sums):
                continue
            proven.fault(*(sql for *_, sql in faults))
            if len(faults) > 1:
                assert {table for table, *_ in faults} <= proven.audited(), faults
                by = "audit"
            else:
                by = proven.finds()
                assert by, faults
            found[by] = found.get(by, 0) + len(faults)
    assert found["audit"] > found["verify"] > 0
    print(f"{sum(found.values())} faults, all found: {found}")


def test_no_alarm_where_nothing_is_wrong(proven: Proven) -> None:
    proven.fault("UPDATE server SET name = name || '2', former_names = [name]")
    assert proven.finds() == ""


def test_differences_name_server_day_and_amounts(proven: Proven) -> None:
    proven.fault(
        "UPDATE connection_by_day_built SET bytes = bytes + 5"
        " WHERE day = '2026-06-30' AND direction = 'RX'"
    )
    store = proven.copy
    found = audit(store, store.open(create=False).keys)
    assert [(one.table, one.server, one.period, one.unit) for one in found] == [
        ("connection_by_day_built", "default", "2026-06-30", "bytes")
    ]
    assert (found[0].rows, found[0].stored - found[0].counted) == (1, 5)


def _finding(proven: Proven, *logs: object) -> list[tuple]:
    sources = find([str(proven.logs / str(log)) for log in logs]).sources
    found = verify(sources, proven.copy, ipv6_prefix=64).findings
    return [(one.thing, one.state, one.server, one.day, one.differs) for one in found]


MIDNIGHT = "v4.5.3-midnight-paris/txlog-20260630T0000-20260701T0000"


def test_verify_tells_missing_different_and_only_in_the_store(proven: Proven) -> None:
    first = "SELECT min(entry) FROM entry_ledger WHERE day = '2026-06-30'"
    proven.fault(f"DELETE FROM entry_ledger WHERE entry = ({first})")
    gone = ("entry", "missing", "default", "2026-06-30", None)
    assert gone in _finding(proven, "v4.5.3-midnight-paris")
    proven.fault(
        "UPDATE transfer SET packets = packets + 1 WHERE day = '2026-06-30' AND direction = 'TX'"
    )
    result = _finding(proven, MIDNIGHT)
    assert result == [("entry", "different", "default", "2026-06-30", "streams")] * 4
    proven.fault("UPDATE log_interval SET complete = false WHERE day = '2026-06-30'")
    result = _finding(proven, MIDNIGHT)
    assert result == [("coverage", "different", "default", "2026-06-30", "complete")]


def test_what_only_the_store_has_is_reported_where_the_logs_cover_it(
    proven: Proven, tmp_path: Path
) -> None:
    shutil.copy(proven.folder / "store.duckdb", proven.folder / "copy.duckdb")
    text = (proven.logs / MIDNIGHT).read_text()
    half = tmp_path / Path(MIDNIGHT).name
    half.write_text(text[: text.index("START", 10)])
    store = proven.copy
    found = verify(find([str(half)]).sources, store, ipv6_prefix=64)
    assert found.counts == {("entry", "only in the store"): 3}  # and none of RX
    unnamed = tmp_path / "unnamed"
    unnamed.write_text(half.read_text())
    found = verify(find([str(unnamed)]).sources, store, ipv6_prefix=64)
    assert (found.counts, found.partly) == ({}, 1)


def test_verify_by_the_hour(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    for hour in (3, 4):
        log = tmp_path / f"txlog-20260131T0{hour}00-20260131T0{hour + 1}00"
        time = START - 22 * 3600 + 3600 * hour
        log.write_text(block(log_time=time + 60) + block(log_time=time + 90))
        read_into(store, log)
    found = verify(find([str(log)]).sources, store, ipv6_prefix=64)
    assert found.counts == {}
    log.write_text(block(log_time=time + 60))
    found = verify(find([str(log)]).sources, store, ipv6_prefix=64)
    assert found.counts == {("entry", "only in the store"): 1}


def test_verify_changes_nothing_and_needs_a_store(proven: Proven, tmp_path: Path) -> None:
    before = (proven.folder / "store.duckdb").read_bytes()
    store = make_store(proven.folder / "store.duckdb", secret=None, secrets=proven.folder)
    verify(find([str(proven.logs)]).sources, store, ipv6_prefix=64)
    assert (proven.folder / "store.duckdb").read_bytes() == before
    with pytest.raises(RingserverStatsError, match="there is no store"):
        verify([], make_store(tmp_path / "none.duckdb"), ipv6_prefix=64)


def test_commands(run: CommandLine, proven: Proven) -> None:
    assert run("audit").returncode == 3
    assert run("verify", proven.logs).returncode == 3
    run(proven.logs)
    good = run("audit")
    assert (good.returncode, good.stdout[:14]) == (0, "No differences")
    good = run("verify", proven.logs)
    assert (good.returncode, good.stdout[:14]) == (0, "No differences")
    with duckdb.connect(run.folder / "store.duckdb") as connection:
        connection.execute("UPDATE by_month_built SET bytes = 0")
        connection.execute("DELETE FROM entry_ledger WHERE day = '2026-06-30'")
    bad = run("audit")
    assert bad.returncode == 1
    assert "does not match the transfers" in bad.stdout
    bad = run("verify", proven.logs)
    assert bad.returncode == 1
    assert "5 entry missing" in bad.stdout
    rows = run("verify", proven.logs, "--format", "csv").stdout.splitlines()
    assert len(rows) == 6
    for secret in run.folder.glob("config/*.secret"):
        secret.unlink()
    bad = run("audit")
    assert bad.returncode == 1
    assert "ids are not compared" in bad.stderr


def test_names_are_of_one_form() -> None:
    """What is stored of a name gives the same again, as audit relies on."""
    from test_fuzz import LOGS

    for data in LOGS.values():
        for word in data.replace(b"|", b" ").split(b" "):
            name = parse_stream(word).name
            assert parse_stream(name.encode()) == parse_stream(word)
            agent = parse_agent(word)
            assert family(agent.text) == agent.family
