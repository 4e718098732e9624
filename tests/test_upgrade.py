"""Stores of commit 0291b82, the last one with the old names, are upgraded and answer as before.

tests/data/stores-0291b82 has a DuckDB file, a dump of a PostgreSQL database, and what that commit
answered to some commands: what `answers.json` has under each engine.
"""

import json
import lzma
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from conftest import (
    DATA,
    SECRET,
    CommandLine,
    assert_whole,
    execute,
    make_postgresql,
    make_store,
    read_into,
)
from servers import PROGRAMS, Server

from ringserverstats.enrich import log_status, rows
from ringserverstats.errors import StoreError
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.schema import FOLDER, NEWEST, OLDEST, migrations
from ringserverstats.store.tables import TABLES

OLD = DATA / "stores-0291b82"
#: Clients without an agent had another label then.
ANSWERS = json.loads((OLD / "answers.json").read_text().replace("not told", "unspecified"))
LOGS = DATA / "v4.5.3-midnight-paris"
Schema = dict[str, list[tuple[Any, ...]]]
_DUCKDB = {
    "columns": "SELECT table_name, column_index, column_name, data_type, is_nullable,"
    " column_default FROM duckdb_columns() WHERE NOT internal ORDER BY 1, 2",
    "constraints": "SELECT table_name, constraint_type, constraint_column_names"
    " FROM duckdb_constraints() ORDER BY ALL",
    # DuckDB writes the same view with other letters and brackets once it was read from a file.
    "views": "SELECT view_name, regexp_replace(lower(sql), '[()]', '', 'g') FROM duckdb_views()"
    " WHERE NOT internal ORDER BY 1",
    "functions": "SELECT function_name, parameters, macro_definition FROM duckdb_functions()"
    " WHERE NOT internal ORDER BY 1",
    "types": "SELECT type_name, labels FROM duckdb_types() WHERE NOT internal ORDER BY 1",
}
# Without the partitions of months and the table of release 0.17.
_RELATIONS = (
    "pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND NOT c.relispartition"
    " AND c.relkind IN ('r', 'p', 'v', 'c') AND c.relname <> 'ringserver_events_0_17'"
)
_POSTGRESQL = {
    "columns": "SELECT c.relname, CASE c.relkind WHEN 'v' THEN a.attnum END, a.attname,"
    " format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation, a.attstorage,"
    " (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef"
    "   WHERE adrelid = c.oid AND adnum = a.attnum)"
    " FROM pg_attribute a JOIN (SELECT * FROM {}) c ON c.oid = a.attrelid"
    " WHERE a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2, 3",
    "tables": "SELECT relname, relkind, pg_get_partkeydef(oid) FROM {} ORDER BY 1",
    "constraints": "SELECT c.relname, pg_get_constraintdef(n.oid) FROM pg_constraint n"
    " JOIN (SELECT * FROM {}) c ON c.oid = n.conrelid ORDER BY 1, 2",
    "views": "SELECT relname, pg_get_viewdef(oid) FROM {} AND c.relkind = 'v' ORDER BY 1",
    "functions": "SELECT proname, regexp_replace(pg_get_functiondef(oid), '\\s+', ' ', 'g'),"
    " proacl::text FROM pg_proc WHERE prokind = 'f'"
    " AND pronamespace = current_schema()::regnamespace ORDER BY 1, 2",
    "types": "SELECT t.typname, e.enumlabel FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid"
    " WHERE t.typnamespace = current_schema()::regnamespace ORDER BY 1, e.enumsortorder",
}


def schema_of_file(path: Path) -> Schema:
    with duckdb.connect(path, read_only=True) as connection:
        return {name: connection.execute(sql).fetchall() for name, sql in _DUCKDB.items()}


def schema_of_database(uri: str) -> Schema:
    with psycopg.connect(uri) as connection:
        return {
            name: connection.execute(sql.format(_RELATIONS)).fetchall()
            for name, sql in _POSTGRESQL.items()
        }


def assert_same(schema: Schema, new: Schema) -> None:
    """Part by part, so that a difference is shown by name."""
    assert schema.keys() == new.keys()
    for name, rows_of_part in new.items():
        assert len(rows_of_part) > 1, name
        assert sorted(schema[name], key=repr) == sorted(rows_of_part, key=repr), name


def assert_answers(run: CommandLine, engine: str) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    recorded = ANSWERS[engine]
    assert len(recorded["queries"]) > 8
    for query in recorded["queries"]:
        answer = run(*query["command"], "--format", "json")
        assert answer.returncode == 0, answer.stderr
        rows = json.loads(answer.stdout)
        if query["command"][0] == "coverage":  # it had no reasons
            rows = [{name: row[name] for name in query["rows"][0]} for row in rows]
        else:  # nor rows of days without logs
            rows = [row for row in rows if row.get("bytes", 0) is not None]
        assert rows == query["rows"], query["command"]
    info = json.loads(run("info", "--json").stdout)
    assert info["schema"] == NEWEST
    assert {name: info[name] for name in recorded["info"]} == recorded["info"]


def assert_what_queries_do_not_show(store: Any) -> None:
    """Tokens, servers, rejects and what is to be exported."""
    assert [token.name for token in store.tokens()] == ["node-a", "owner-of-fr"]
    assert store.tokens()[1].networks == ("FR", "XP2014")
    paris = next(server for server in store.servers() if server.name == "paris")
    assert paris.former_names == ("rouen",)
    assert paris.paths == ("/var/log/ringserver/txlog*",)
    assert paris.first_day is not None
    for table, count in (("reject", 1), ("exporter", 2), ("exported_day", 1)):
        assert store.ask(f"SELECT count(*) AS n FROM {table}")["n"][0].as_py() == count, table
    months = store.ask("SELECT month FROM pruned_month")["month"].to_pylist()
    assert {date(2026, 3, 1), date(2026, 6, 1)} <= set(months)
    assert store.ask("SELECT count(*) AS n FROM exporter WHERE clear_first")["n"][0].as_py() == 1


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "store.duckdb"
    path.write_bytes(lzma.decompress((OLD / "store.duckdb.xz").read_bytes()))
    return path


@pytest.fixture
def bare(server: Server) -> Iterator[Callable[[], str]]:
    """Creates empty databases, and returns their URIs."""
    names: list[str] = []

    def create() -> str:
        names.append(f"upgrade_{len(names)}")
        return server.make(names[-1])

    yield create
    for name in names:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def old_database(bare: Callable[[], str]) -> str:
    return restore(bare())


def restore(uri: str) -> str:
    dump = lzma.decompress((OLD / "store.sql.xz").read_bytes())
    words = [PROGRAMS / "psql", "-qX", "-v", "ON_ERROR_STOP=1", uri]
    subprocess.run(words, input=dump, check=True, stdout=subprocess.DEVNULL)
    return uri


def yoyo_apply(uri: str) -> subprocess.CompletedProcess[str]:
    """Apply the migrations by yoyo's own command, as docs/postgresql.md has it."""
    yoyo = Path(sys.executable).with_name("yoyo")
    uri = uri.replace("postgresql:", "postgresql+psycopg:")
    return subprocess.run(
        [yoyo, "apply", "--batch", "--no-config-file", "--database", uri, FOLDER],
        capture_output=True,
        text=True,
    )


def test_a_duckdb_file_of_before_is_upgraded_and_answers_as_before(
    old_file: Path, run: CommandLine
) -> None:
    store = make_store(old_file)
    with pytest.raises(StoreError, match=f"has schema 10, this program needs {NEWEST}"):
        run_query(store, Query())
    assert run("migrate", "--status").returncode == 1
    upgraded = run("migrate").stdout
    assert upgraded == f"upgraded {old_file} from schema 10 to {NEWEST}\n"
    assert run("migrate", "--status").returncode == 0
    assert f"is up to date (schema {NEWEST})" in run("migrate").stdout
    assert_answers(run, "duckdb")
    assert_what_queries_do_not_show(store)
    assert_whole(store)
    assert read_into(store, LOGS, server="paris").entries == 0
    assert store.add_server("b", "UTC").number == 3


def test_a_duckdb_file_that_was_upgraded_is_like_a_new_one(old_file: Path, tmp_path: Path) -> None:
    make_store(old_file).migrate()
    assert make_store(tmp_path / "new.duckdb").migrate() == 0
    assert_same(schema_of_file(old_file), schema_of_file(tmp_path / "new.duckdb"))


def test_a_duckdb_file_is_upgraded_by_what_writes_to_it(old_file: Path) -> None:
    store = make_store(old_file)
    assert read_into(store, DATA / "v4.1.0-text", server="denver").entries > 0
    assert store.schema_version() == NEWEST
    assert_whole(store)


def test_a_backup_of_before_is_restored_and_upgraded(old_file: Path, run: CommandLine) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    backup = old_file.rename(old_file.with_name("old.duckdb"))
    before = backup.read_bytes()
    assert run("restore", backup).returncode == 0
    assert run("audit").returncode == 0
    assert run("info", "--database", f"duckdb://{backup}").returncode == 3
    assert backup.read_bytes() == before


def test_a_duckdb_file_that_is_too_old_is_refused(old_file: Path, run: CommandLine) -> None:
    with duckdb.connect(old_file) as connection:
        connection.execute(f"DELETE FROM migration WHERE number = {OLDEST['duckdb']}")
    before = old_file.read_bytes()
    for command in (("migrate",), ("ingest", LOGS), ("stats",)):
        refused = run(*command)
        assert refused.returncode == 3
        assert "schema 9, which this program cannot upgrade; nothing was changed" in refused.stderr
    assert old_file.read_bytes() == before


def test_a_database_of_before_is_upgraded_and_answers_as_before(
    old_database: str, run: CommandLine, tmp_path: Path
) -> None:
    run.environment["DATABASE_URI"] = old_database
    store = make_postgresql(old_database, tmp_path)
    with pytest.raises(StoreError, match=f"has schema 9, this program needs {NEWEST}"):
        run_query(store, Query())
    assert run("migrate", "--status").returncode == 1
    assert f"from schema 9 to {NEWEST}" in run("migrate").stdout
    assert run("migrate", "--status").returncode == 0
    assert f"is up to date (schema {NEWEST})" in run("migrate").stdout
    assert_answers(run, "postgresql")
    assert_what_queries_do_not_show(store)
    assert_whole(store)
    assert read_into(store, LOGS, server="paris").entries == 0
    events = store.ask("SELECT count(*) AS n FROM ringserver_events")["n"][0].as_py()
    assert events > store.ask("SELECT count(*) AS n FROM imported_day")["n"][0].as_py() == 1


def test_a_database_that_was_upgraded_is_like_a_new_one(
    old_database: str, bare: Callable[[], str], tmp_path: Path
) -> None:
    new = bare()
    assert make_postgresql(new, tmp_path).migrate() == 0
    expected = schema_of_database(new)
    make_postgresql(old_database, tmp_path).migrate()
    assert_same(schema_of_database(old_database), expected)
    assert yoyo_apply(new).returncode == 0  # all are recorded
    assert_same(schema_of_database(new), expected)


def test_what_yoyo_applies_is_like_a_new_database(
    bare: Callable[[], str], run: CommandLine, tmp_path: Path
) -> None:
    new = bare()
    make_postgresql(new, tmp_path).migrate()
    assert run("migrate", "--path").stdout == f"{FOLDER}\n"
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    for uri in (bare(), restore(bare())):
        run.environment["DATABASE_URI"] = uri
        refused = run("ingest", LOGS)
        assert refused.returncode == 3
        assert "ringserverstats migrate" in refused.stderr
        applied = yoyo_apply(uri)
        assert applied.returncode == 0, applied.stderr
        assert_same(schema_of_database(uri), schema_of_database(new))
        assert "is up to date" in run("migrate").stdout
        assert run("ingest", LOGS, "--as", "b").returncode == 0
        assert run("audit").returncode == 0


def test_a_database_that_is_too_old_is_refused(old_database: str, tmp_path: Path) -> None:
    store = make_postgresql(old_database, tmp_path)
    execute(
        store,
        "DELETE FROM _yoyo_migration WHERE migration_id LIKE 'ringserverstats-0009-%';"
        " DROP FUNCTION stream_origins_by_day, stream_origins_by_month; DROP TYPE stream_origin",
    )
    before = schema_of_database(old_database)
    with pytest.raises(StoreError, match="schema 8, which this program cannot upgrade"):
        store.migrate()
    with pytest.raises(StoreError, match="schema 8, which this program cannot upgrade"):
        store.ask("SELECT 1")
    refused = yoyo_apply(old_database)
    assert refused.returncode != 0
    assert "too old to be upgraded" in refused.stderr
    assert schema_of_database(old_database) == before


def test_the_newest_migration_has_the_number_of_the_schema() -> None:
    numbers = [migration.number for migration in migrations()]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, NEWEST)


def test_rows_of_batches_have_the_columns_of_their_tables() -> None:
    for name, schema in (
        ("stream", rows.STREAMS),
        ("agent", rows.AGENTS),
        ("client", rows.CLIENTS),
        ("client_profile", rows.CLIENT_PROFILES),
        ("imported_day", rows.IMPORTED),
        ("log_interval", log_status.LOG_INTERVALS),
        ("reject", log_status.REJECTS),
    ):
        assert schema.equals(TABLES[name].schema), name
