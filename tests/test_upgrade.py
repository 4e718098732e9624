"""A store that an older version of the program made is brought up to date and keeps what it has."""

from pathlib import Path

import duckdb
import pytest
from conftest import DATA, SECRET, CommandLine, assert_whole, dump, make_store, read_into

from ringserverstats.enrich.rows import CLIENT_PROFILES, client_profile_id
from ringserverstats.errors import StoreError
from ringserverstats.keys import derive
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.duckdb.schema import migrations
from ringserverstats.store.rollups import ROLLUPS

REAL = DATA / "v4.5.3-midnight-paris"
OLD = (
    "entry_ledger",
    "stream",
    "agent",
    "client",
    "client_profile",
    "transfer",
    "by_day",
    "by_month",
    "connection_by_day",
)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A store as the first schema had it, in which `REAL` is."""
    now = make_store(tmp_path / "now.duckdb")
    read_into(now, REAL, server="a")
    make_origins_old(tmp_path / "now.duckdb")
    path = tmp_path / "store.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE migration (number INTEGER NOT NULL)")
        connection.execute(migrations()[0][1])
        connection.execute("INSERT INTO migration VALUES (1)")
        connection.execute("INSERT INTO store VALUES ($1, $2, 64)", ["x", derive(SECRET).check])
        connection.execute("INSERT INTO server VALUES (1, 'a', 'Europe/Paris', [])")
        connection.execute(f"ATTACH '{tmp_path / 'now.duckdb'}' AS now (READ_ONLY)")
        for table in OLD:
            rows = connection.execute(f"SELECT column_name FROM (DESCRIBE {table})").fetchall()
            columns = ", ".join(name for (name,) in rows)
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM now.{table}")
    return path


def make_origins_old(path: Path) -> None:
    """Let the client_profiles be as they were before they had directions and places."""
    with duckdb.connect(path) as connection:
        for client_profile, client, agent in connection.execute(
            "SELECT client_profile, client, agent FROM client_profile"
        ).fetchall():
            old = client_profile_id(derive(SECRET), (client, agent, None, None))
            for table in (
                "client_profile",
                "transfer",
                *(one.table for one in ROLLUPS if one.has_client_profile),
            ):
                connection.execute(
                    f"UPDATE {table} SET client_profile = {old} WHERE client_profile = {client_profile}"
                )
        lost = (name for name in CLIENT_PROFILES.names[4:] if name != "class")
        connection.execute(
            f"UPDATE client_profile SET {', '.join(f'{name} = NULL' for name in lost)}"
        )


def test_it_is_asked_only_when_it_is_up_to_date(first: Path) -> None:
    store = make_store(first)
    with pytest.raises(StoreError, match="has schema 1, this program needs 10"):
        run_query(store, Query())
    assert read_into(store, REAL, server="a").entries == 0
    assert_whole(store)
    with duckdb.connect(first.with_name("now.duckdb")) as connection:
        connection.execute(
            "UPDATE entry_ledger SET log_time = NULL"
        )  # which the old schema did not keep
    assert dump(store) == dump(make_store(first.with_name("now.duckdb")))
    assert store.add_server("b", "UTC").number == 2


def test_its_days_are_incomplete_until_their_logs_are_read_again(first: Path) -> None:
    store = make_store(first)
    store.add_server("b", "UTC")
    query = Query(filters={"direction": ("TX",)})
    assert set(coverage(store, query)["state"].to_pylist()) == {"incomplete"}
    read_into(store, REAL, server="a")
    assert set(coverage(store, query)["state"].to_pylist()) == {"complete"}


def test_a_backup_of_it_is_restored_and_brought_up_to_date(first: Path, run: CommandLine) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    old = first.rename(first.with_name("old.duckdb"))
    assert run("restore", old).returncode == 0
    assert run("audit").returncode == 0
    before = old.read_bytes()
    assert run("info", "--database", f"duckdb://{old}").returncode == 3
    assert old.read_bytes() == before
