"""What `Store` promises of each method, tried on DuckDB and on PostgreSQL.

What a method does in all cases has tests of its own, which `make test` runs on DuckDB alone where
both kinds share the code. Here each is run once on both, with effects that can be seen.
"""

import inspect
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from unittest import mock
from uuid import UUID

import pyarrow as pa
import pytest
from conftest import (
    REGISTRY,
    SECRET,
    Filled,
    another,
    assert_whole,
    dump,
    make_store,
    read_into,
)
from model import START, block

from ringserverstats import __version__
from ringserverstats.enrich.pseudonyms import pseudonym
from ringserverstats.enrich.rows import Rows
from ringserverstats.enrich.rules import Rule, Rules
from ringserverstats.errors import BusyError, StoreError, UsageError
from ringserverstats.keys import derive
from ringserverstats.store import sql_store as common
from ringserverstats.store.base import FileRead, Store, Token
from ringserverstats.store.export_queue import day_state, due, pending_export
from ringserverstats.store.postgresql.store import PostgreSQLStore
from ringserverstats.store.schema import NEWEST
from ringserverstats.store.versions import raise_versions

pytestmark = pytest.mark.of_both

Log = Callable[..., Path]
JANUARY, MARCH = date(2026, 1, 31), date(2026, 3, 2)
IN_MARCH = START + 30 * 86_400
CLIENT = pseudonym(derive(SECRET).clients, "192.0.2.17")
BEFORE = [("a", JANUARY, 2, 3072), ("a", MARCH, 1, 1536), ("b", MARCH, 1, 1536)]


@pytest.fixture
def later(log: Log) -> Path:
    """A log of server a of which nothing was read."""
    return log(block(log_time=START + 90, agent="late/1"), "txlog-20260131T0000-20260201T0001")


@pytest.fixture
def read(store: Store, log: Log, filled: Filled) -> Store:
    """A store with logs of two servers and two months, and one reject."""
    bad = block(log_time=IN_MARCH).replace("bytes: 1536", "bytes: 1")
    of_march = block(log_time=IN_MARCH, connect_time=IN_MARCH - 60)
    logs = (
        log(block() + block(address="192.0.2.18"), "txlog-20260131T0000-20260201T0000"),
        log(of_march + bad, "txlog-20260302T0000-20260303T0000"),
    )
    other = log(of_march.replace("slarchive", "other"), "other")

    def fill(store: Store) -> None:
        store.open(create=True)
        store.add_server("a", "UTC")
        read_into(store, *logs, server="a")
        read_into(store, other, server="b")

    filled(store, "contract", fill)
    assert totals(store) == BEFORE
    return store


def totals(store: Store) -> list[tuple[str, date, int, int]]:
    """Server, day, entries and bytes."""
    rows = store.ask(
        "SELECT v.name, c.day, sum(c.entries) AS entries, sum(c.bytes) AS bytes"
        " FROM connection_by_day c JOIN server v ON v.server = c.server"
        " GROUP BY v.name, c.day ORDER BY v.name, c.day"
    ).to_pylist()
    return [(row["name"], row["day"], int(row["entries"]), int(row["bytes"])) for row in rows]


def values(store: Store, column: str, table: str) -> list[object]:
    return store.ask(f"SELECT {column} AS v FROM {table} ORDER BY 1")["v"].to_pylist()


def batch_of(store: Store, log: Path) -> Rows:
    """What reading ``log`` as one of server a writes first."""
    with mock.patch.object(store, "compare", wraps=store.compare) as compare:
        read_into(store, log, server="a", dry_run=True)
    return compare.call_args_list[0].args[0]


def test_a_test_here_calls_each_method() -> None:
    module = sys.modules[__name__]
    tests = [one for name, one in inspect.getmembers(module) if name.startswith("test_")]
    called = {name for one in tests for name in one.__code__.co_names}
    methods = {name for name in dir(Store) if not name.startswith("_")}
    assert methods - called == set()


def test_exists_and_open(store: Store, later: Path) -> None:
    assert not store.exists()
    assert store.open(create=False).servers == []
    assert not store.exists()
    made = store.open(create=True)
    assert store.exists()
    assert another(store).open(create=False) == made
    assert made.keys == derive(SECRET)
    with pytest.raises(StoreError, match="another secret"):
        another(store, secret=b"x" * 32).open(create=False)
    bad = later.read_text().replace("bytes: 1536", "bytes: 1")
    later.write_text(bad)
    read_into(store, later, server="a")
    opened = store.open(create=False)
    assert [(one.number, one.name) for one in opened.servers] == [(1, "a")]
    assert opened.rejected == {(1, str(later)): False}
    assert [server for server, _ in opened.digests] == [1]


def test_secret_place(store: Store) -> None:
    store.open(create=True)
    assert store.secret_place == "setting RINGSERVERSTATS_SECRET"  # noqa: S105 - where it lies
    identity, _ = store.identity_and_servers()
    assert another(store, secret=None).secret_place.endswith(f"/{identity.id}.secret")


def test_label_features_and_size(read: Store, kind: str) -> None:
    names = {"duckdb": "DuckDB", "postgresql": "PostgreSQL"}
    assert names[kind] in " ".join(read.features().values())
    assert read.label.startswith("/" if kind == "duckdb" else "postgresql://")
    assert read.size() > 100_000


def test_schema_version_and_migrate(store: Store, kind: str) -> None:
    before = 0 if kind == "duckdb" else NEWEST  # the database has its tables already
    assert store.schema_version() == before
    assert store.migrate() == before
    assert store.schema_version() == NEWEST
    assert store.migrate() == NEWEST


def test_add_change_and_remove_server(read: Store) -> None:
    made = read.add_server("c", "Europe/Paris")
    assert (made.number, made.name, made.timezone) == (3, "c", "Europe/Paris")
    assert read.add_server("c", "UTC").timezone == "Europe/Paris"
    read.change_server("c", rename="d", timezone="UTC", paths=("/logs/*",), service=(JANUARY, None))
    [changed] = [one for one in read.servers() if one.number == 3]
    assert (changed.name, changed.former_names, changed.timezone) == ("d", ("c",), "UTC")
    assert (changed.paths, changed.first_day, changed.last_day) == (("/logs/*",), JANUARY, None)
    assert read.add_server("c", "UTC") == changed
    with pytest.raises(UsageError):
        read.remove_server("a")
    read.remove_server("d")
    assert [one.name for one in read.servers()] == ["a", "b"]
    assert totals(read) == BEFORE


def test_identity_and_initialise_copy(store: Store, tmp_path: Path, later: Path) -> None:
    original = make_store(tmp_path / "original.duckdb")
    read_into(original, later, server="a")
    for _ in range(2):
        store.initialise_copy(*original.identity_and_servers())
        assert store.identity_and_servers() == original.identity_and_servers()
        original.add_server("b", "Europe/Paris")
    other = make_store(tmp_path / "other.duckdb")
    other.open(create=True)
    with pytest.raises(StoreError, match="another store"):
        store.initialise_copy(*other.identity_and_servers())
    assert [one.name for one in store.servers()] == ["a", "b"]


def test_mark_incomplete(read: Store) -> None:
    intervals = read.ask("SELECT day, complete FROM log_interval ORDER BY day").to_pylist()
    assert intervals == [{"day": JANUARY, "complete": True}, {"day": MARCH, "complete": True}]
    read.mark_incomplete({(1, JANUARY)})
    intervals = read.ask("SELECT day, complete FROM log_interval ORDER BY day").to_pylist()
    assert intervals == [{"day": JANUARY, "complete": False}, {"day": MARCH, "complete": True}]


def test_merge_servers(read: Store) -> None:
    held = dump(read)
    read.merge_servers("b", "a", once=False, try_only=True)
    assert dump(read) == held
    assert read.merge_servers("b", "a", once=False, try_only=False).entries == 0
    assert totals(read) == [("a", JANUARY, 2, 3072), ("a", MARCH, 2, 3072)]
    assert [(one.name, one.former_names) for one in read.servers()] == [("a", ("b",))]
    assert_whole(read)


def test_delete(read: Store) -> None:
    held = dump(read)
    would = read.delete("a", JANUARY, JANUARY, try_only=True)
    assert dump(read) == held
    assert read.delete("a", JANUARY, JANUARY, try_only=False) == would
    assert (would.entries, would.transfers, would.bytes) == (2, 4, 3072)
    assert totals(read) == BEFORE[1:]
    assert values(read, "day", "log_interval") == [MARCH]
    assert_whole(read)


def test_reclassify(read: Store) -> None:
    rules = Rules((Rule(name="others", class_="feeder", agents=("other*",)),))
    classes = values(read, "class", "client_profile")
    assert read.reclassify(rules, try_only=True).moved
    assert values(read, "class", "client_profile") == classes == ["external"] * 3
    done = read.reclassify(rules, try_only=False)
    assert done.moved == {("external", "feeder"): 1}
    assert values(read, "class", "client_profile") == ["external", "external", "feeder"]
    assert totals(read) == BEFORE


def test_set_registry(read: Store) -> None:
    for networks in (REGISTRY, REGISTRY[:1]):
        read.set_registry(networks)
        assert values(read, "name", "registry") == sorted(one.name for one in networks)
        assert_whole(read)  # which compares what codes stand for
    assert totals(read) == BEFORE


def test_forget(read: Store) -> None:
    held = dump(read)
    would = read.forget(CLIENT, try_only=True)
    assert dump(read) == held
    assert CLIENT in str(held)
    assert read.forget(CLIENT, try_only=False) == would
    assert (would.entries, would.bytes) == (3, 3 * 1536)
    assert CLIENT not in str(dump(read))
    assert totals(read) == BEFORE
    assert_whole(read)
    assert read.forget(CLIENT, try_only=False).entries == 0


def test_prune_and_tidy(read: Store) -> None:
    seen: list[tuple[int, int]] = []
    assert read.kept_since is None
    assert read.prunable(MARCH) == [JANUARY.replace(day=1)]
    held = dump(read)
    would = read.prune(date(2026, 3, 1), try_only=True)
    assert (would.months, would.clients, would.transfers) == (1, 2, 4)
    assert dump(read) == held
    done = read.prune(
        date(2026, 3, 1), try_only=False, progress=lambda done, of: seen.append((done, of))
    )
    assert done == would
    assert seen == [(0, 1), (1, 1)]
    assert read.prunable(MARCH) == []
    assert read.kept_since == date(2026, 3, 1)
    assert set(values(read, "day", "transfer")) == {MARCH}
    assert totals(read) == BEFORE
    assert_whole(read)
    assert values(read, "vacuum_pending", "store") == [True]
    read.vacuum()
    assert values(read, "vacuum_pending", "store") == [False]
    assert totals(read) == BEFORE


def test_exporters(read: Store) -> None:
    assert read.register_exporter("here", "by day", all_due=False)
    assert due(read.ask, "here") == []
    assert read.register_exporter("there", "by day", all_due=True)
    assert not read.register_exporter("there", "by day", all_due=True)
    assert [(one.day, one.corrected) for one in due(read.ask, "there")] == [
        (JANUARY, False),
        (MARCH, False),
    ]
    states = {day: day_state(read.ask, "there", day) for day in (JANUARY, MARCH)}
    assert {state.exported for state in states.values()} == {0}
    for state in states.values():
        assert read.mark_exported("there", state)
    assert due(read.ask, "there") == []
    months = [JANUARY.replace(day=1), MARCH.replace(day=1)]
    assert pending_export(read.ask, "there") == months
    read.mark_months_complete("there", months[0])
    assert pending_export(read.ask, "there") == months[1:]
    read.mark_unexported("there", JANUARY, JANUARY)
    assert [one.day for one in due(read.ask, "there")] == [JANUARY]
    assert pending_export(read.ask, "there") == months
    read.delete("a", MARCH, MARCH, try_only=False)
    assert [(one.day, one.corrected) for one in due(read.ask, "there")] == [
        (JANUARY, False),
        (MARCH, True),
    ]
    assert not read.register_exporter("there", "by hour", all_due=False)
    assert [one.corrected for one in due(read.ask, "there")] == [True, True]


def test_a_day_that_changed_while_it_was_sent_stays_due(read: Store) -> None:
    read.register_exporter("there", "by day", all_due=True)
    before = day_state(read.ask, "there", MARCH)
    read.delete("a", MARCH, MARCH, try_only=False)
    assert not read.mark_exported("there", before)
    assert [(one.day, one.corrected) for one in due(read.ask, "there")][1:] == [(MARCH, True)]
    state = day_state(read.ask, "there", MARCH)
    assert state.version > before.version
    # Two processes send it: which one wrote last is unknown.
    assert read.mark_exported("there", state)
    assert not read.mark_exported("there", state)
    assert [one.day for one in due(read.ask, "there")] == [JANUARY, MARCH]
    assert read.mark_exported("there", day_state(read.ask, "there", MARCH))
    # Another one began to send a period.
    state = day_state(read.ask, "there", MARCH)
    read.mark_unexported("there", MARCH, MARCH)
    assert not read.mark_exported("there", state)
    assert [one.day for one in due(read.ask, "there")] == [JANUARY, MARCH]


def test_sending(read: Store) -> None:
    other = another(read, lock_timeout=0.1)
    with read.sending(), pytest.raises(BusyError), other.sending():
        pass
    with other.sending():
        if isinstance(read, PostgreSQLStore):
            opened = "SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in%'"
            assert read.ask(opened)["n"].to_pylist() == [0]
        read.mark_unexported("there", JANUARY, JANUARY)


def test_settle_rejects(read: Store) -> None:
    [(server, file)] = read.open(create=False).rejected
    [digest] = values(read, "digest", "reject")
    kept = FileRead(server, file, 10**6, [UUID(str(digest)).bytes], __version__)
    assert read.settle_rejects(kept, try_only=False) == 0
    settled = FileRead(server, file, 10**6, [], __version__)
    assert read.settle_rejects(settled, try_only=True) == 1
    assert values(read, "digest", "reject") == [digest]
    assert read.settle_rejects(settled, try_only=False) == 1
    assert values(read, "digest", "reject") == []


def test_compare_write_and_refresh(read: Store, later: Path) -> None:
    rows = batch_of(read, later)
    nothing = rows.entries.slice(0, 0)
    would = read.compare(rows, nothing)
    assert (would.entries, would.transfers, would.bytes, would.packets) == (1, 2, 1536, 3)
    assert read.compare(rows, rows.entries.select(["server", "entry"])).known == 1
    assert totals(read) == BEFORE
    done = read.write(rows)
    assert (done.entries, done.transfers, done.bytes, done.packets) == (1, 2, 1536, 3)
    assert done.connections.tolist() == would.connections.tolist()
    after = [("a", JANUARY, 3, 4608), *BEFORE[1:]]
    assert totals(read) == after
    again = read.write(rows)
    assert (again.entries, again.known) == (0, 1)
    read.refresh()
    assert totals(read) == after
    assert_whole(read)


def test_delete_transfers(read: Store) -> None:
    before = totals(read)
    count = len(values(read, "stream", "transfer"))
    assert read.delete_transfers(MARCH, try_only=True) == 4
    assert len(values(read, "stream", "transfer")) == count
    assert read.delete_transfers(MARCH, try_only=False) == 4
    assert len(values(read, "stream", "transfer")) == count - 4
    assert read.kept_since == MARCH
    assert totals(read) == before
    assert read.delete_transfers(MARCH, try_only=False) == 0
    assert_whole(read)


def test_write_that_fails_at_its_end_stores_nothing(
    read: Store, later: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, held = batch_of(read, later), dump(read)

    def fail(*_: object, **__: object) -> None:
        raise StoreError("at the end")

    with monkeypatch.context() as patch:
        patch.setattr(common, raise_versions.__name__, fail)
        with pytest.raises(StoreError, match="at the end"):
            read.write(rows)
    assert dump(read) == held
    assert read.write(rows).entries == 1


def test_set_log_status(read: Store) -> None:
    rows = Rows()
    assert values(read, "day", "log_interval")
    assert values(read, "digest", "reject")
    read.set_log_status(rows)
    assert values(read, "day", "log_interval") == values(read, "digest", "reject") == []
    assert totals(read) == BEFORE


def test_tokens(read: Store) -> None:
    one = Token("one", "ab" * 32, True, (), JANUARY, ("a", "X,{}\"'"))
    two = Token("two", "cd" * 32, False, ("FR", "X,{}\"'"), MARCH)
    for token in (two, one):
        read.add_token(token)
    assert read.tokens() == [one, two]
    with pytest.raises(UsageError, match="already"):
        read.add_token(one)
    read.remove_token("one")
    with pytest.raises(UsageError, match="no token"):
        read.remove_token("one")
    assert read.tokens() == [two]


def test_backup_and_restore(read: Store, kind: str, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    if kind == "postgresql":
        for attempt in (lambda: read.backup(backup), lambda: read.restore(backup, ask=None)):
            with pytest.raises(UsageError, match="docs/backup"):
                attempt()
        return
    held = dump(read)
    read.backup(backup)
    read.delete("a", JANUARY, MARCH, try_only=False)
    assert totals(read) == BEFORE[2:]
    read.restore(backup, ask=None)
    assert dump(read) == held


def test_scratch(read: Store, tmp_path: Path) -> None:
    made = read.new_empty_like(tmp_path / "temporary.duckdb")
    assert made.servers() == read.servers()
    assert made.open(create=False).keys == read.open(create=False).keys
    assert totals(made) == []
    assert totals(read) == BEFORE


def test_ask_and_reading(read: Store) -> None:
    most = 2**63 - 1
    row = read.ask(
        "SELECT $1::text AS word, $2::date AS day, NULL AS nothing", ["ä'", "2026-01-31"]
    )
    assert row.to_pylist() == [{"word": "ä'", "day": JANUARY, "nothing": None}]
    sums = "SELECT sum(n) AS n FROM (VALUES ({}), ({})) v(n)"
    with read.reading() as ask:
        small, large = (ask(sums.format(most - 1, one)) for one in (1, 2))
    assert (small["n"].type, small["n"].to_pylist()) == (pa.int64(), [most])
    assert (large["n"].type, large["n"].to_pylist()) == (pa.decimal128(38, 0), [most + 1])
    with pytest.raises(StoreError):
        read.ask("SELECT nothing FROM nowhere")
