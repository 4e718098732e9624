"""What is PostgreSQL's own: roles, migrations, passwords, partitions, texts."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import (
    DATA,
    REGISTRY,
    SECRET,
    CommandLine,
    assert_whole,
    dump,
    execute,
    make_postgresql,
    make_store,
    read_into,
    rest_in_soak,
)
from model import START, block
from psycopg.conninfo import conninfo_to_dict
from servers import PASSWORD, PGBOUNCER, WITHOUT_PGBOUNCER, Server, pooler

from ringserverstats.errors import BusyError, StoreError, UsageError
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store, Token
from ringserverstats.store.postgresql import session, timescaledb
from ringserverstats.store.postgresql.store import connection_info
from ringserverstats.store.schema import NEWEST
from ringserverstats.store.snapshot import snapshot

REAL = DATA / "v4.5.3-midnight-paris"
Log = Callable[..., Path]
ROLES = ("ringserverstats_owner", "ringserverstats_writer", "ringserverstats_reader")


@pytest.fixture
def fresh(server: Server) -> Iterator[str]:
    """The name of a database in which there is nothing."""
    name = f"fresh_{uuid.uuid4().hex[:8]}"
    server.make(name)
    yield name
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def roles(server: Server, fresh: str) -> Iterator[Callable[[str], str]]:
    """The three roles, as docs/postgresql.md has them made; gives the URI of one."""
    server.execute(*(f"CREATE ROLE {name} LOGIN" for name in ROLES))
    server.execute(f"GRANT CREATE ON SCHEMA public TO {ROLES[0]}", database=fresh)
    yield lambda role: server.uri(fresh, f"ringserverstats_{role}")
    server.execute(*(f"DROP OWNED BY {name}" for name in ROLES), database=fresh)
    server.execute(*(f"DROP ROLE {name}" for name in ROLES))


def test_each_role_does_its_part_and_no_more(
    roles: Callable[[str], str], tmp_path: Path, log: Log
) -> None:
    owner, writer, reader = (
        make_postgresql(roles(role), tmp_path) for role in ("owner", "writer", "reader")
    )
    owner.migrate()
    execute(owner, "GRANT SELECT ON client TO ringserverstats_writer")  # as of earlier versions
    owner.migrate()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(writer, "SELECT address FROM client")
    bad = log(block().replace("bytes: 1536", "bytes: 1"), "bad")
    assert read_into(writer, DATA, bad).entries == 109
    assert read_into(writer, DATA, bad).known == 109
    read_into(writer, bad, retry_rejects=True)
    writer.add_server("b", "UTC")
    writer.change_server("b", rename="c")
    writer.remove_server("c")
    assert_whole(owner)
    writer.set_registry(REGISTRY)
    for of_stream in ("network", "station", "channel"):
        assert run_query(reader, Query(dimensions=(of_stream,))).to_pylist()
    assert run_query(reader, Query(dimensions=("station",), measures=("connections",))).to_pylist()
    for sql in (
        "SELECT * FROM transfer_packed",
        "INSERT INTO token VALUES ('me', '', true, '{}', '2026-01-01', '{}')",
        "CREATE TABLE theirs (one integer)",
        "DROP TABLE entry_ledger",
        "DELETE FROM entry_ledger",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(writer, sql)
    for sql in (
        "INSERT INTO log_interval SELECT * FROM log_interval",
        "SELECT address FROM client",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(reader, sql)
    with pytest.raises(StoreError, match="permission denied"):
        writer.delete("default", date(2026, 1, 1), date(2026, 12, 31), try_only=False)
    with pytest.raises(StoreError, match="correct, copy and add tokens"):
        writer.add_token(Token("me", "", True, (), date(2026, 1, 1)))
    with pytest.raises(StoreError, match="permission denied"):
        read_into(reader, DATA)
    with pytest.raises(StoreError, match="may make no tables"):
        make_postgresql(roles("reader"), tmp_path).migrate()
    assert owner.delete("default", date(2026, 1, 1), date(2026, 12, 31), try_only=False).days == 7
    read_into(writer, DATA)
    with pytest.raises(StoreError, match="permission denied"):
        writer.prune(date(2026, 4, 1), try_only=False)
    assert owner.prune(date(2026, 4, 1), try_only=False).months == 1
    assert read_into(writer, DATA / "v4.5.3-clockchange-paris", server="late").entries
    assert [row["at-most"] for row in run_query(reader, Query()).to_pylist()] == [True]


@pytest.mark.skipif(not PGBOUNCER.exists(), reason=WITHOUT_PGBOUNCER)
def test_a_pooler_keeps_no_lock_and_no_setting(server: Server, fresh: str, tmp_path: Path) -> None:
    """PgBouncer gives each transaction a session that others had and will have."""
    with pooler(server) as uri:
        store = make_postgresql(uri(fresh), tmp_path, lock_timeout=0.1)
        assert store.migrate() == 0
        assert read_into(store, REAL).entries == 10
        with store.sending(), psycopg.connect(server.uri(fresh)) as direct:
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            assert direct.execute(locks).fetchall() == [(0,)]
        with psycopg.connect(uri(fresh)) as session:
            assert session.execute(locks).fetchall() == [(0,)]
            assert timescaledb.is_pooled(session)
            changed = "SELECT name FROM pg_settings WHERE source = 'session'"
            assert session.execute(f"{changed} AND name <> 'client_encoding'").fetchall() == []
        assert_whole(store)


def test_a_full_server_is_waited_for(server: Server, database: str, tmp_path: Path) -> None:
    """Roles and databases have limits of their own, which the server reports alike."""
    server.execute("CREATE ROLE busy LOGIN CONNECTION LIMIT 2")
    name = database.rsplit("/", 1)[1]
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO busy", database=name)
    read_into(make_postgresql(database, tmp_path), REAL)
    store = make_postgresql(server.uri(name, "busy"), tmp_path, query_timeout=60)
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda _: _entries_of(store), range(16))
            assert set(answers) == {10}
        held = [psycopg.connect(server.uri(name, "busy")) for _ in range(2)]
        impatient = make_postgresql(server.uri(name, "busy"), tmp_path, lock_timeout=0.1)
        with pytest.raises(BusyError, match=r"no free connection for 0\.1 s"):
            impatient.servers()
        for connection in held:
            connection.close()
    finally:
        server.execute("DROP OWNED BY busy", database=name)
        server.execute("DROP ROLE busy")


def _entries_of(store: Store) -> int:
    with snapshot(store) as state:  # as each page of the service reads
        entries: int = state.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py()
        return entries


def test_a_wrong_password_is_called_that(server: Server, run: CommandLine) -> None:
    server.execute(f"CREATE ROLE secretive LOGIN PASSWORD '{PASSWORD}'")
    for user in ("secretive:no", "secretive"):
        run.environment["DATABASE_URI"] = server.uri("migrated", user)
        refused = run("info")
        assert refused.returncode == 3
        assert "refuses the connection" in refused.stderr
        assert "password" in refused.stderr
        assert "running" not in refused.stderr
    server.execute("DROP ROLE secretive")


def test_a_search_path_without_a_schema_is_named(server: Server, fresh: str) -> None:
    uri = f"{server.uri(fresh)}?options=-csearch_path%3Dgone"
    with pytest.raises(StoreError, match=r"no schema of the search_path .gone. exists"):
        make_postgresql(uri, Path("/nowhere")).migrate()


def test_a_user_may_be_called_like_an_address() -> None:
    """As in hosted databases. A password with an @ that is not escaped is still found."""
    info = conninfo_to_dict(connection_info("postgresql://me%40site:p%40ss@host/db"))
    assert (info["user"], info["password"], info["host"]) == ("me@site", "p@ss", "host")
    with pytest.raises(UsageError, match="%40"):
        connection_info("postgresql://me:p@ss@host/db")


def test_another_program_may_keep_its_steps_there_too(server: Server, fresh: str) -> None:
    """As release 0.17 did, whose table is kept aside."""
    store = make_postgresql(server.uri(fresh), Path("/nowhere"))
    server.execute(
        "CREATE TABLE ringserver_events (time timestamp, bytes bigint)",
        "INSERT INTO ringserver_events VALUES ('2020-01-01', 7)",
        database=fresh,
    )
    store.migrate()
    server.execute(
        "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '001.theirs')",
        database=fresh,
    )
    assert store.migrate() == NEWEST
    assert read_into(store, REAL).entries == 10
    kept = server.execute("SELECT sum(bytes) FROM ringserver_events_0_17", database=fresh)
    assert kept == [(7,)]


def test_the_password_is_never_shown(server: Server, run: CommandLine) -> None:
    server.execute(f"CREATE ROLE secretive LOGIN PASSWORD '{PASSWORD}' SUPERUSER")
    quoted = PASSWORD.replace(":", "%3A").replace("@", "%40").replace("/", "%2F")
    right = server.uri("migrated", f"secretive:{quoted}")
    wrong = right.replace("hunter2", "hunter3")
    for uri in (right, wrong, wrong.replace("postgresql", "postgres"), right + "?nonsense=1"):
        run.environment["DATABASE_URI"] = uri
        for command in (("info",), ("audit",), ("migrate", "--status"), ("stats",)):
            result = run(*command)
            for text in ("hunter", quoted, PASSWORD):
                assert text not in result.stdout + result.stderr
    assert run("--database", right, "info").stderr.count("a password on the command line") == 1
    run.environment["DATABASE_URI"] = right
    assert "a password" not in run("info").stderr
    server.execute("DROP OWNED BY secretive", "DROP ROLE secretive")


def test_texts_are_sorted_as_in_duckdb(database: str, tmp_path: Path, log: Log) -> None:
    """The server sorts as English does; PostgreSQL's texts hold no NUL."""
    agents = ["b", "A", "a", "B", "é", "Z", "_", "1", "a\0b", "\udce9"]
    text = b"".join(
        block(agent=agent, log_time=START + number).encode("utf-8", "surrogateescape")
        for number, agent in enumerate(agents)
    )
    stores: list[Store] = [
        make_postgresql(database, tmp_path),
        make_store(tmp_path / "store.duckdb"),
    ]
    for store in stores:
        read_into(store, log(text))
        assert_whole(store)
    one, other = (
        run_query(store, Query(dimensions=("agent",), sort="agent")).to_pylist() for store in stores
    )
    assert one == other
    assert dump(stores[0]) == dump(stores[1])


@pytest.mark.parametrize("is_large", [False, True], ids=["here", "in the server"])
@pytest.mark.parametrize("most", rest_in_soak([2**62, 2**62 - 1, 2**63 - 1]))
def test_sums_over_64_bits(
    database: str,
    tmp_path: Path,
    log: Log,
    most: int,
    is_large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large days are built in the server."""
    if is_large:
        monkeypatch.setattr(session, "_MOST_TRANSFERS", 0)
    blocks = [
        block(log_time=START + number, transfers=(("FR_A_00_HHZ/MSEED", most, most),))
        for number in range(5)
    ]
    stores: list[Store] = [
        make_postgresql(database, tmp_path),
        make_store(tmp_path / "store.duckdb"),
    ]
    for store in stores:
        for count in (1, 2, 5):
            read_into(store, log("".join(blocks[:count]), str(count)))
            assert_whole(store)
        for by in ((), ("day",), ("station",), ("channel", "month")):
            row = run_query(store, Query(dimensions=by)).to_pylist()[0]
            assert (row["bytes"], row["packets"], row["transfers"]) == (5 * most, 5 * most, 5)
    stores[0].delete("default", date(2026, 2, 1), date(2026, 2, 1), try_only=False)
    assert_whole(stores[0])


def test_partitions_are_made_for_months_and_no_others(server: Server, database: str) -> None:
    name = database.rsplit("/", 1)[1]
    with pytest.raises(psycopg.errors.RaiseException):
        server.execute("SELECT make_months('1999-01-01', '2000-01-01')", database=name)
    for _ in range(2):
        server.execute("SELECT make_months('2026-11-30', '2027-01-01')", database=name)
    rows = server.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'transfer_packed'::regclass ORDER BY 1",
        database=name,
    )
    months = ("202611", "202612", "202701")
    assert [name for (name,) in rows] == [f"transfer_packed_{month}" for month in months]


def test_backup_and_restore_are_left_to_its_own_tools(database: str, tmp_path: Path) -> None:
    store = make_postgresql(database, tmp_path)
    with pytest.raises(UsageError, match="pg_dump"):
        store.backup(tmp_path / "backup")
    with pytest.raises(UsageError, match="pg_restore"):
        store.restore(tmp_path / "backup", ask=None)


def test_a_dump_restores_the_store(server: Server, database: str, tmp_path: Path) -> None:
    """As docs/backup.md has it."""
    from servers import PROGRAMS

    store = make_postgresql(database, tmp_path)
    read_into(store, DATA)
    saved = tmp_path / "ringserverstats.dump"
    back = server.make(f"back_{uuid.uuid4().hex[:8]}")
    subprocess.run(
        [PROGRAMS / "pg_dump", "--format=custom", f"--file={saved}", database], check=True
    )
    subprocess.run([PROGRAMS / "pg_restore", f"--dbname={back}", saved], check=True)
    restored = make_postgresql(back, tmp_path)
    assert dump(restored) == dump(store)
    assert_whole(restored)
    assert read_into(restored, DATA).entries == 0


def test_odd_days_count_as_in_duckdb(database: str, tmp_path: Path, log: Log) -> None:
    early = log(block(log_time=946_684_800 + 60, connect_time=946_684_800 + 30), "early")
    late = log(block(log_time=START + 5), "txlog-20991231T0000-21000101T0000")
    stores = (make_postgresql(database, tmp_path), make_store(tmp_path / "store.duckdb"))
    for store in stores:
        store.open(create=True)
        store.add_server("default", "America/Denver")
        assert read_into(store, early, late).entries == 2
        assert_whole(store)
    assert dump(stores[0]) == dump(stores[1])


def test_texts_are_kept_whatever_the_client_is_set_to(
    database: str, tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = make_postgresql(database, tmp_path)
    read_into(store, log(block(agent="é").encode()))
    assert_whole(store)
    assert run_query(store, Query(dimensions=("agent",))).to_pylist()[0]["agent"] == "é"


def test_a_database_of_another_encoding_is_refused(server: Server, tmp_path: Path) -> None:
    server.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
        " LOCALE_PROVIDER libc TEMPLATE template0"
    )
    with pytest.raises(StoreError, match="LATIN1"):
        make_postgresql(server.uri("latin"), tmp_path).migrate()


def test_a_commit_whose_answer_is_lost_is_reported_as_such(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_postgresql(database, tmp_path)
    store.open(create=True)
    good = psycopg.Connection.commit

    def lost(connection: psycopg.Connection) -> None:
        good(connection)
        raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(psycopg.Connection, "commit", lost)
    with pytest.raises(StoreError, match="is not known: run the same again"):
        store.add_server("a", "UTC")
    monkeypatch.undo()
    assert [one.name for one in store.servers()] == ["a"]


def test_tables_of_others_are_left_alone(database: str, tmp_path: Path) -> None:
    store = make_postgresql(database, tmp_path)
    for name in ("twice", "cover", "given", "moved"):
        execute(store, f"CREATE TABLE {name} (theirs integer)")
    read_into(store, REAL, server="a")
    read_into(store, REAL, server="b")
    store.merge_servers("a", "b", once=True, try_only=False)
    store.delete("b", date(2026, 6, 30), date(2026, 6, 30), try_only=False)
    assert_whole(store)
    for name in ("twice", "cover", "given", "moved"):
        execute(store, f"SELECT theirs FROM {name}")


@pytest.mark.parametrize(
    "uri", ["postgresql://me:hun/ter2@127.0.0.1/db", "postgresql://me:hun@ter2@127.0.0.1/db"]
)
def test_a_password_that_is_not_written_as_it_must_be_is_not_shown(
    run: CommandLine, uri: str
) -> None:
    run.environment["DATABASE_URI"] = uri
    result = run("info")
    assert result.returncode == 2
    assert "%40" in result.stderr
    assert "hun" not in result.stderr
    assert "ter2" not in result.stderr


def test_whoever_asked_the_table_of_0_17_asks_the_view(server: Server, fresh: str) -> None:
    server.execute("CREATE ROLE grafana LOGIN")
    server.execute(
        "CREATE TABLE ringserver_events (time timestamp, bytes bigint, client text)",
        "GRANT SELECT ON ringserver_events TO grafana",
        "INSERT INTO ringserver_events VALUES ('2020-01-01', 7, 'x.example.org')",
        "CREATE VIEW per_day AS SELECT time::date AS day, sum(e.bytes) AS bytes"
        " FROM ringserver_events e GROUP BY 1",
        "CREATE VIEW of_clients AS SELECT client, bytes FROM ringserver_events",
        "GRANT SELECT ON per_day, of_clients TO grafana",
        database=fresh,
    )
    make_postgresql(server.uri(fresh), Path("/nowhere")).migrate()
    with psycopg.connect(server.uri(fresh, "grafana")) as connection:
        for view in ("ringserver_events", "per_day", "of_clients"):
            assert connection.execute(f"SELECT count(*) FROM {view}").fetchall() == [(0,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT client FROM ringserver_events_0_17")
    server.execute("DROP OWNED BY grafana", database=fresh)
    server.execute("DROP ROLE grafana")


def test_tables_of_something_else_are_not_touched(server: Server, fresh: str) -> None:
    store = make_postgresql(server.uri(fresh), Path("/nowhere"))
    server.execute("CREATE TABLE server (theirs integer)", database=fresh)
    with pytest.raises(StoreError, match="tables of something else"):
        store.migrate()
    server.execute(
        "DROP TABLE server", "CREATE TABLE ringserver_events (theirs integer)", database=fresh
    )
    with pytest.raises(StoreError, match="of something else is in the way"):
        store.migrate()
    server.execute("SELECT theirs FROM ringserver_events", database=fresh)


def test_info_of_a_database_in_which_nothing_is_yet(run: CommandLine, database: str) -> None:
    run.environment["DATABASE_URI"] = database
    result = run("info")
    assert result.returncode == 3
    assert "read logs into it" in result.stderr
    backup = run("backup", run.folder / "backup")
    assert backup.returncode in (2, 3)
    read_into(run.store, REAL)
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    assert "PostgreSQL 15" in run("info").stdout
    assert "pg_dump" in run("backup", run.folder / "backup").stderr


def test_functions_of_strangers_do_not_run_with_the_rights_of_the_owner(
    server: Server, database: str
) -> None:
    name = database.rsplit("/", 1)[1]
    lie = "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked'; END $$"
    server.execute(
        f"CREATE FUNCTION date_trunc(text, date) RETURNS timestamp {lie}",
        f"CREATE FUNCTION to_char(date, text) RETURNS text {lie}",
        f"CREATE FUNCTION generate_series(timestamp, timestamp, text) RETURNS date {lie}",
        "SELECT make_months('2026-11-30', '2026-11-30')",
        database=name,
    )


def test_options_of_the_uri_are_passed_on(server: Server, run: CommandLine) -> None:
    result = conninfo_to_dict(
        connection_info("postgresql://me@h/db?sslmode=verify-full&sslrootcert=/ca.pem")
    )
    assert (result["sslmode"], result["sslrootcert"]) == ("verify-full", "/ca.pem")
    run.environment["DATABASE_URI"] = server.uri("migrated") + "?sslmode=require"
    refused = run("info")  # of a server that has no TLS
    assert refused.returncode == 3
    assert "SSL" in refused.stderr


def test_a_session_whose_temporary_tables_were_used_before_will_do(
    database: str, tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pooler gives it, with what the server takes for them by itself."""
    connect = psycopg.connect

    def used(*given: Any, **result: Any) -> Any:
        connection = connect(*given, **result)
        connection.execute("CREATE TEMP TABLE other AS SELECT 1")
        connection.commit()
        return connection

    monkeypatch.setattr(psycopg, "connect", used)
    store = make_postgresql(database, tmp_path)
    assert read_into(store, log(block())).entries == 1
    assert_whole(store)


def test_a_subscription_has_the_same_list_of_stations_every_day(
    database: str, tmp_path: Path, log: Log
) -> None:
    """Read at once or bit by bit, in any order: of equal lists one is unfolded."""
    streams = [f"FR_{station}_00_HHZ/MSEED" for station in ("ZZ", "aa", "B", "A1")]
    transfers = [(name, 1000, 1) for name in (*streams, "RAW/BINARY")]
    days = [START + day * 86_400 for day in range(3)]
    store = make_postgresql(database, tmp_path)
    read_into(store, log(block(log_time=days[0], transfers=tuple(transfers)), "one"))
    read_into(store, log(block(log_time=days[1], transfers=tuple(transfers[::-1])), "two"))
    for number, one in enumerate(transfers[1:] + transfers[:1]):
        read_into(store, log(block(log_time=days[2] + number, transfers=(one,)), f"at {number}"))
    found = store.ask("SELECT day, station FROM station_by_day_packed ORDER BY day").to_pylist()
    assert [row["station"] for row in found] == [["A1", "B", "ZZ", "aa", None]] * 3
    assert_whole(store)


def test_a_batch_that_is_refused_stores_nothing_and_goes_on(
    server: Server, database: str, tmp_path: Path, log: Log
) -> None:
    """The server says no while sums are still being made."""
    name = database.rsplit("/", 1)[1]
    store = make_postgresql(database, tmp_path)
    read_into(store, log(block(log_time=START)))
    before = dump(store)
    server.execute(
        "ALTER TABLE entry_ledger ADD CONSTRAINT no CHECK (bytes < 2000) NOT VALID", database=name
    )
    huge = block(log_time=START + 99, transfers=(("FR_CIEL_00_HHZ/MSEED", 2_000_000, 1),))
    path = log("".join(block(log_time=START + n) for n in range(1, 20_000)) + huge, "more")
    with pytest.raises(StoreError, match="nothing of this step was stored"):
        read_into(store, path)
    assert dump(store) == before
    server.execute("ALTER TABLE entry_ledger DROP CONSTRAINT no", database=name)
    assert read_into(store, path).known == 0
    assert_whole(store)


def test_years_of_months_need_no_more_locks_than_one(
    database: str, tmp_path: Path, log: Log
) -> None:
    """A server has room for the locks of some hundred tables in one transaction."""
    texts = [
        block(log_time=int(datetime(year, month, 15, tzinfo=UTC).timestamp()))
        for year in range(2000, 2027)
        for month in range(1, 12 if year < 2026 else 11)
    ]
    store = make_postgresql(database, tmp_path)
    assert read_into(store, log("".join(texts))).entries == len(texts)
