"""With TimescaleDB: a hypertable, compression, retention, aggregates that agree with our sums."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

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
    wait_for,
)
from model import ENTRY, block
from servers import PGBOUNCER, TIMESCALEDB, WITHOUT_PGBOUNCER, WITHOUT_TIMESCALEDB, Server, pooler
from test_upgrade import assert_same, restore, schema_of_database

from ringserverstats.enrich.pseudonyms import pseudonym
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.keys import derive
from ringserverstats.logs.source import find
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.audit import audit
from ringserverstats.store.postgresql.schema import ALL_SERVERS, LOCKS
from ringserverstats.store.postgresql.store import PostgreSQLStore, timescaledb
from ringserverstats.store.schema import NEWEST
from ringserverstats.verify import verify

pytestmark = pytest.mark.skipif(not TIMESCALEDB.exists(), reason=WITHOUT_TIMESCALEDB)
Log = Callable[..., Path]
REAL = DATA / "v4.5.3-midnight-paris"


def _today() -> date:
    """Asked by each test, as midnight may come between two."""
    return datetime.now(UTC).date()


#: Each with what it must agree with.
AGGREGATES = {
    "transfers_by_day": ("day", "station_by_day"),
    "transfers_by_month": ("month", "station_by_month"),
}


@pytest.fixture(scope="module")
def timescale() -> Iterator[Server]:
    made = Server(shared_preload_libraries="timescaledb", max_worker_processes=20)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def store(timescale: Server, tmp_path: Path) -> Iterator[PostgreSQLStore]:
    timescale.number = getattr(timescale, "number", 0) + 1
    name = f"test_{timescale.number}"
    made = make_postgresql(timescale.make(name), tmp_path)
    made.migrate()
    yield made
    timescale.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run_sql(store: PostgreSQLStore, *statements: str) -> list[tuple]:
    with psycopg.connect(store._info, autocommit=True) as connection:
        for sql in statements:
            cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def run_jobs(store: PostgreSQLStore, kind: str) -> None:
    """Run TimescaleDB's jobs of a kind, as it does itself after some time."""
    for (job,) in run_sql(
        store,
        "SELECT job_id FROM timescaledb_information.jobs"
        f" WHERE proc_name LIKE 'policy_{kind}%' ORDER BY 1",
    ):
        run_sql(store, f"CALL run_job({job})")


def assert_agree(store: PostgreSQLStore, since: date = date(2000, 1, 1)) -> None:
    """The aggregates equal the rollups of days (or whole months) ``since``, once refreshed."""
    run_jobs(store, "refresh")
    for name, (column, table) in AGGREGATES.items():
        columns = f"{column}, server, direction, protocol, network, station"
        rows = run_sql(
            store,
            f"SELECT {columns}, bytes, packets, transfers FROM {name} WHERE {column} >= '{since}'"
            " ORDER BY 1, 2, 3, 4, 5, 6",
        )
        ours = run_sql(
            store,
            f"SELECT {columns}, sum(bytes), sum(packets), sum(transfers) FROM {table}"
            f" WHERE {column} >= '{since}' GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
        )
        assert rows == ours, name


def dated(day: date, number: int = 0) -> str:
    """A block of ``day``."""
    noon = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp())
    return block(log_time=noon + number, connect_time=noon - 3600)


def test_it_holds_the_same_as_duckdb(store: PostgreSQLStore, tmp_path: Path) -> None:
    duck = make_store(tmp_path / "store.duckdb")
    for one in (store, duck):
        read_into(one, DATA)
        read_into(one, DATA)
    assert dump(store) == dump(duck)
    assert_whole(store)
    assert_agree(store)
    sources = find([str(DATA)]).sources
    assert (
        verify(sources, store, ipv6_prefix=64).counts
        == verify(sources, duck, ipv6_prefix=64).counts
    )
    assert "2.24" in store.features()["timescaledb"]
    assert store.migrate() == NEWEST


@pytest.mark.soak
def test_late_and_repeated_logs_compression_and_corrections(
    store: PostgreSQLStore, log: Log
) -> None:
    days = [date(2026, 1, 1) + timedelta(days=9 * number) for number in range(30)]
    paths = [log("".join(dated(day, n) for n in range(5)), f"log-{day}") for day in days]
    read_into(store, *paths[::2])
    assert_agree(store)
    run_sql(store, "SELECT compress_chunk(c) FROM show_chunks('transfer_hypertable') c")
    read_into(store, *paths)  # late ones among them
    assert_agree(store)
    assert_whole(store)
    run_sql(store, "SELECT compress_chunk(c, true) FROM show_chunks('transfer_hypertable') c")
    read_into(store, *paths, server="other")
    assert store.delete("default", days[3], days[20], try_only=False).entries == 18 * 5
    assert_agree(store)
    assert_whole(store)
    assert store.merge_servers("default", "other", once=True, try_only=False).entries == 12 * 5
    run_sql(store, "SELECT compress_chunk(c, true) FROM show_chunks('transfer_hypertable') c")
    alias = pseudonym(derive(SECRET).clients, ENTRY.address)
    assert store.forget(alias, try_only=False).entries == 30 * 5
    assert_agree(store)
    assert_whole(store)


@pytest.mark.soak
def test_what_was_packed_moves_when_it_comes_later(timescale: Server, tmp_path: Path) -> None:
    uri = timescale.make("later")
    plain = make_postgresql(uri, tmp_path, timescaledb="no")
    plain.migrate()
    read_into(plain, DATA)
    assert plain.features()["timescaledb"] == "not used"
    before = dump(plain)
    later = another(plain, timescaledb="auto")
    later.migrate()
    assert dump(later) == before
    assert_whole(later)
    assert_agree(later)
    assert read_into(later, DATA).entries == 0


def hypertable_of_before(timescale: Server, name: str) -> str:
    """One that commit 0291b82 made: with the same SQL, but for the name of a column."""
    uri = restore(timescale.make(name))
    make = (
        timescaledb._TABLE,
        "SELECT create_hypertable('transfer_hypertable', by_range('day', INTERVAL '7 days'),"
        " create_default_indexes => false)",
        timescaledb._COMPRESSION,
        f"CREATE OR REPLACE VIEW transfer AS {timescaledb._TRANSFER.unpacked(*timescaledb._BOTH)}",
        timescaledb._LOGGED,
        f"WITH moved AS (DELETE FROM transfer_packed RETURNING *) INSERT INTO transfer_hypertable"
        f" ({timescaledb._COLUMNS}) SELECT {timescaledb._COLUMNS} FROM moved",
    )
    timescale.execute(
        "CREATE EXTENSION timescaledb",
        *(sql.replace("client_profile", "origin") for sql in make),
        "SELECT compress_chunk(c, true) FROM show_chunks('transfer_hypertable') c",
        database=name,
    )
    return uri


@pytest.mark.soak
def test_days_that_a_policy_of_before_dropped_are_sealed(timescale: Server, tmp_path: Path) -> None:
    store = make_postgresql(hypertable_of_before(timescale, "of_retention"), tmp_path)
    last = run_sql(store, "SELECT max(day) FROM transfer_hypertable")[0][0]
    since = last + timedelta(days=10)
    run_sql(
        store,
        "SELECT add_retention_policy('transfer_hypertable',"
        f" INTERVAL '{(_today() - since).days} days')",
    )
    run_jobs(store, "retention")
    assert run_sql(store, "SELECT count(*) FROM transfer_hypertable") == [(0,)]
    assert store.migrate() == 9
    assert run_sql(
        store,
        "SELECT count(*) FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'",
    ) == [(0,)]
    assert store.kept_since == since
    assert_whole(store)
    assert read_into(store, REAL, server="paris").entries == 0
    assert read_into(store, REAL, server="new").entries > 0
    assert_whole(store)


@pytest.mark.soak
def test_a_hypertable_of_before_is_upgraded(timescale: Server, tmp_path: Path) -> None:
    uri = hypertable_of_before(timescale, "of_before")
    store = make_postgresql(uri, tmp_path)
    assert store.migrate() == 9
    assert_whole(store)
    assert read_into(store, REAL, server="paris").entries == 0
    assert read_into(store, REAL, server="new").entries > 0
    assert_whole(store)
    assert_agree(store, since=date(2026, 7, 1))
    new = make_postgresql(timescale.make("of_now"), tmp_path)
    new.migrate()
    assert_same(schema_of_database(store._info), schema_of_database(new._info))


@pytest.mark.soak
def test_deleted_transfers_leave_sums_and_aggregates(store: PostgreSQLStore, log: Log) -> None:
    """Late logs of days whose transfers are deleted count as well."""
    days = [_today() - timedelta(days=age) for age in (400, 399, 200, 150, 98, 60, 30, 1)]
    paths = [log("".join(dated(day, n) for n in range(3)), f"log-{day}") for day in days]
    read_into(store, *paths)
    run_sql(store, "SELECT compress_chunk(c) FROM show_chunks('transfer_hypertable') c")
    before = dump(store)
    since = _today() - timedelta(days=100)
    assert store.delete_transfers(since, try_only=False) == 4 * 3 * 2
    left = run_sql(store, "SELECT min(day), count(DISTINCT day) FROM transfer_hypertable")
    assert left == [(days[4], 4)]
    assert store.kept_since == since
    after = dump(store)
    for table in before:
        assert table == "transfer" or after[table] == before[table]
    assert_whole(store)
    assert_agree(store)
    late = log(dated(days[0], 9) + dated(days[-2], 9), "late")
    assert read_into(store, late).entries == 2
    assert read_into(store, *paths, late).entries == 0
    assert_whole(store)
    assert_agree(store, since=days[4])
    history = run_sql(store, f"SELECT sum(bytes) FROM transfers_by_day WHERE day < '{days[4]}'")
    assert history == [(4 * 3 * 1536,)]  # not lost, and not added to
    sources = find([str(path) for path in (*paths, late)]).sources
    assert verify(sources, store, ipv6_prefix=64).findings == []
    assert run_query(store, Query(dimensions=("station",))).to_pylist()[0]["transfers"] == 8 * 3 + 2
    with pytest.raises(UsageError, match=f"kept since {store.kept_since}"):
        run_query(store, Query(dimensions=("station",), measures=("connections",)))
    recent = Query(dimensions=("station",), measures=("connections",), first=store.kept_since)
    assert run_query(store, recent).num_rows > 0
    assert store.delete("default", days[0], days[0], try_only=False).entries == 4
    assert_whole(store)


@pytest.mark.soak
def test_pruned_months_stay_in_the_aggregates(store: PostgreSQLStore, log: Log) -> None:
    first = _today().replace(day=1) - timedelta(days=200)
    days = [first + timedelta(days=20 * number) for number in range(10)]
    paths = [log("".join(dated(day, n) for n in range(3)), f"log-{day}") for day in days]
    read_into(store, *paths)
    run_sql(store, "SELECT compress_chunk(c, true) FROM show_chunks('transfer_hypertable') c")
    query = Query(dimensions=("month", "station"), measures=("bytes", "transfers", "clients"))
    before = run_query(store, query).to_pylist()
    cut = days[5].replace(day=1)
    assert store.prune(cut, try_only=False).transfers > 0
    after = run_query(store, query).to_pylist()
    assert [{**row, "at-most": None} for row in after] == [
        {**row, "at-most": None} for row in before
    ]
    left = run_sql(store, "SELECT min(day) FROM transfer_hypertable")
    assert left[0][0] >= cut
    run_jobs(store, "")
    assert_agree(store)
    read_into(store, log(dated(days[0], 9), "late"))
    read_into(store, log(dated(days[-1], 9), "new"))
    assert_agree(store, since=cut)
    history = run_sql(store, f"SELECT sum(bytes) FROM transfers_by_day WHERE day < '{cut}'")
    assert history == [(sum(day < cut for day in days) * 3 * 1536,)]
    assert audit(store, store.open(create=False).keys) == []


@pytest.mark.soak
def test_what_no_owner_has_refreshed_is_in_the_aggregates_after_a_prune(
    store: PostgreSQLStore, log: Log
) -> None:
    read_into(store, log(dated(date(2026, 3, 5)), "march"))
    assert run_sql(store, "SELECT sum(bytes) FROM transfers_by_day") == [(None,)]
    assert store.prune(date(2026, 5, 1), try_only=False).transfers == 2
    assert run_sql(store, "SELECT sum(bytes) FROM transfers_by_day") == [(1536,)]
    assert_agree(store)


def test_no_transfers_are_deleted_before_the_aggregates_have_them(
    store: PostgreSQLStore, log: Log
) -> None:
    days = [_today() - timedelta(days=age) for age in (400, 390, 80)]
    read_into(store, *(log(dated(day), f"log-{day}") for day in days))
    since = _today() - timedelta(days=100)
    with psycopg.connect(store._info) as busy:  # the refresh waits for this lock in vain
        busy.execute("LOCK TABLE transfer_hypertable")
        impatient = another(store, lock_timeout=0.1)
        for destroy in (impatient.delete_transfers, impatient.prune):
            with pytest.raises(StoreError, match="in use"):
                destroy(since, try_only=False)
    assert store.kept_since is None
    assert store.delete_transfers(since, try_only=False) == 4
    assert run_sql(store, "SELECT count(*) FROM transfer_hypertable") == [(1,)]
    assert_agree(store)


@pytest.mark.soak
@pytest.mark.skipif(not PGBOUNCER.exists(), reason=WITHOUT_PGBOUNCER)
def test_a_pooler_is_refused_where_a_session_is_needed(
    timescale: Server, store: PostgreSQLStore, tmp_path: Path
) -> None:
    with pooler(timescale) as uri:
        name = store._info.split("dbname=")[1].split()[0]
        notes: list[str] = []
        pooled = make_postgresql(uri(name), tmp_path, notify=notes.append)
        assert read_into(pooled, REAL).entries == 10
        assert notes == []
        with pytest.raises(StoreError, match="direct connection"):
            pooled.migrate()
        with pytest.raises(StoreError, match="direct connection"):
            pooled.prune(date(2026, 9, 1), try_only=False)
    assert store.migrate() == NEWEST
    assert_agree(store)


@pytest.mark.soak
def test_with_the_apache_licence_it_is_not_used(run: CommandLine) -> None:
    """Compression, retention and continuous aggregates need the other one."""
    server = Server(shared_preload_libraries="timescaledb", **{"timescaledb.license": "apache"})
    try:
        run.environment |= {
            "DATABASE_URI": server.make("apache"),
            "RINGSERVERSTATS_SECRET": SECRET.hex(),
        }
        for _ in range(2):
            migrated = run("migrate")
            assert migrated.returncode == 0
            assert "TimescaleDB: not used (timescaledb.license is apache)" in migrated.stderr
        assert run("ingest", REAL).returncode == 0
        run.environment["RINGSERVERSTATS_TIMESCALEDB"] = "yes"
        assert run("migrate").returncode == 3
    finally:
        server.remove()


@pytest.mark.soak
def test_settings_yes_and_no(server: Server, timescale: Server, run: CommandLine) -> None:
    run.environment |= {
        "RINGSERVERSTATS_SECRET": SECRET.hex(),
        "RINGSERVERSTATS_TIMESCALEDB": "yes",
        "DATABASE_URI": server.make("without"),
    }
    refused = run("migrate")
    assert refused.returncode == 3
    assert "shared_preload_libraries" in refused.stderr
    run.environment["DATABASE_URI"] = timescale.make("with_it")
    assert "TimescaleDB 2.24" in run("migrate").stderr
    assert run("ingest", REAL).returncode == 0
    assert "2.24" in run("info").stdout
    run.environment["RINGSERVERSTATS_TIMESCALEDB"] = "perhaps"
    assert run("info").returncode == 2


@pytest.mark.soak
def test_a_writer_alone_stores_and_the_aggregates_follow(timescale: Server, tmp_path: Path) -> None:
    names = ("ringserverstats_writer", "ringserverstats_reader")
    timescale.execute(*(f"CREATE ROLE {name} LOGIN" for name in names))
    make_postgresql(timescale.make("roles"), tmp_path).migrate()
    writer = make_postgresql(timescale.uri("roles", names[0]), tmp_path)
    assert read_into(writer, DATA).entries == 109
    owner = make_postgresql(timescale.uri("roles"), tmp_path)
    assert_whole(owner)
    assert_agree(owner)
    reader = make_postgresql(timescale.uri("roles", names[1]), tmp_path)
    assert run_sql(reader, "SELECT count(*) > 0 FROM transfers_by_month") == [(True,)]


@pytest.mark.soak
def test_a_batch_that_waits_while_the_hypertable_is_made_writes_there(
    timescale: Server, tmp_path: Path
) -> None:
    plain = make_postgresql(timescale.make("race"), tmp_path, timescaledb="no")
    plain.migrate()
    read_into(plain, DATA / "v4.1.0-text", server="a")
    before = run_query(plain, Query(dimensions=("network",), measures=("entries",))).to_pylist()
    with psycopg.connect(plain._info) as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
        writing = pool.submit(read_into, another(plain), REAL, server="a")
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_for(lambda: run_sql(plain, waiting)[0][0])
        with psycopg.connect(plain._info) as other:
            assert timescaledb._missing(other) == ""
        timescaledb._make_hypertable(holder)
        assert writing.result().entries == 10
    later = another(plain, timescaledb="auto")
    later.migrate()
    assert_whole(later)
    assert_agree(later)
    after = run_query(later, Query(dimensions=("network",), measures=("entries",))).to_pylist()
    assert sum(row["entries"] for row in after) > sum(row["entries"] for row in before)
