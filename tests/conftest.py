"""What all tests share: a store of its own for each, and the command line on it."""

import gc
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import hypothesis
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from servers import MUST, PROGRAMS, WITHOUT, Server

from ringserverstats import cli, memory
from ringserverstats.enrich.networks import Network
from ringserverstats.import_report import ImportReport
from ringserverstats.ingest import IngestOptions, ingest
from ringserverstats.logs.source import find
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.audit import audit
from ringserverstats.store.base import Identity, Store
from ringserverstats.store.duckdb import engine
from ringserverstats.store.duckdb.engine import NEW_FILE
from ringserverstats.store.duckdb.schema import migrate
from ringserverstats.store.duckdb.store import DuckDBStore
from ringserverstats.store.postgresql.store import PostgreSQLStore
from ringserverstats.store.rollups import ROLLUPS
from ringserverstats.store.sql_store import Options

DATA = Path(__file__).parent / "data"
CITY, ASN = (DATA / "geoip" / f"GeoLite2-{name}-Test.mmdb" for name in ("City", "ASN"))
SECRET = bytes(range(32))
memory.share()  # as the program does
# The tests themselves use all processors. With more threads, small queries take longer.
engine._CONFIG["threads"] = 1
#: Seconds after which what is waited for hangs: no test depends on how busy the machine is.
LONG = 300
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds."""
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.01)


def sample_logs(folder: Path, *, days: int) -> Path:
    """Logs as `make demo` reads them, those of node-b by the hour at the end."""
    script = Path(__file__).parents[1] / "examples" / "make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sample"] = module
    spec.loader.exec_module(module)
    module.write(folder, days=days, hourly_from=days - 4)
    return folder


#: Networks whose code others have in turn while the sample lasts, and one that nobody knows.
REGISTRY = [
    Network("FR", date(1962, 1, 1), None, "RESIF & other | French", "10.15778/RESIF.FR"),
    Network("G", date(1982, 1, 1), date(2026, 9, 10), "GEOSCOPE", None),
    Network("1T", date(2024, 3, 1), date(2026, 9, 14), "First", "10.7914/SN/1T_2024"),
    Network("1T", date(2026, 9, 21), date(2026, 9, 30), "Second", None),
    Network("1T", date(2026, 10, 1), None, "Third", None),
    Network("XP", date(2014, 5, 1), date(2016, 1, 1), "Long ago", None),
]


def network_period(code: str | None, day: date) -> Network | None:
    """Which of `REGISTRY` a code stands for, by the definition."""
    own = [one for one in REGISTRY if one.code == code]
    running = [one for one in own if one.first_day <= day <= (one.last_day or date.max)]
    if running:
        return max(running, key=lambda one: one.first_day)

    def distance(one: Network) -> int:
        return (one.first_day - day if day < one.first_day else day - one.last_day).days

    near = [one for one in own if distance(one) <= 730]
    return min(near, key=lambda one: (distance(one), one.first_day), default=None)


def another(store: Store, **given: object) -> Store:
    """The same store, as another process has it."""
    return type(store)(_place(store), replace(store.options, **given))


def _place(store: Store) -> object:
    return store._info if isinstance(store, PostgreSQLStore) else store._path


def execute(store: Store, sql: str) -> None:
    """Change ``store`` behind its back."""
    module = psycopg if isinstance(store, PostgreSQLStore) else duckdb
    with module.connect(_place(store)) as connection:
        connection.execute(sql)


def empty(store: Store) -> None:
    """Leave nothing in ``store``."""
    if isinstance(store, PostgreSQLStore):
        with psycopg.connect(store._info) as connection:
            kinds = "c.relkind IN ('r', 'p') AND NOT c.relispartition"
            rows = connection.execute(
                "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace ="
                f" current_schema()::regnamespace AND {kinds} AND c.relname NOT LIKE '%yoyo%'"
            )
            connection.execute(f"TRUNCATE {', '.join(name for (name,) in rows.fetchall())}")
    else:
        for path in store._path.parent.glob(f"{store._path.name}*"):
            if path.is_dir():  # what a killed process had no room for in memory
                shutil.rmtree(path)
            else:
                path.unlink()


#: What is read from logs; the others (store, migration, server) say what the store is.
FACTS = ("entry_ledger", "transfer", *(one.table for one in ROLLUPS), "log_interval", "reject")
TABLES = (*FACTS, "stream", "agent", "client", "client_profile")


@contextmanager
def held_open(store: Store) -> Iterator[None]:
    """Nothing writes into ``store`` meanwhile; each question is spared the opening of the file.

    That takes DuckDB longer than most answers do, unless the process has it open already.
    """
    with store.reading() if isinstance(store, DuckDBStore) else nullcontext():
        yield


@contextmanager
def held_by_another(path: Path, *, write: bool = False) -> Iterator[Callable[[], object]]:
    """Another process has the DuckDB file open, until what this gives is called, or the end."""
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == 'r');"
        " print(); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-uc", code, path, "w" if write else "r"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        yield lambda: process.communicate(b"\n")
        if process.poll() is None:
            process.communicate(b"\n")


def assert_whole(store: Store) -> None:
    """All tables of ``store`` have the same entries."""
    with held_open(store):
        assert audit(store, store.open(create=False).keys) == []


#: Modules whose tests with a `store` or `run` can be run with both kinds of stores: those marked
#: `of_both` by `make test`, the others there with DuckDB, and by `make soak` with PostgreSQL. What
#: differs between the kinds is marked, or has tests in test_store_contract.py, test_both.py or
#: test_postgresql.py.
BOTH = (
    "test_web",
    "test_clients",
    "test_corrections",
    "test_coverage",
    "test_eida",
    "test_eida_service",
    "test_exactly_once",
    "test_footnotes",
    "test_forget",
    "test_influxdb",
    "test_networks",
    "test_prune",
    "test_published",
    "test_real_logs",
    "test_rejects",
    "test_states",
    "test_store_contract",
)


def rest_in_soak(values: Iterable[object], *, keep: int = 1) -> list[object]:
    """Parameters of which `make test` uses the first ``keep``, and `make soak` the others."""
    parameters = list(values)
    others = (one if isinstance(one, tuple) else (one,) for one in parameters[keep:])
    return [*parameters[:keep], *(pytest.param(*one, marks=pytest.mark.soak) for one in others)]


#: Turns of `make soak` for each turn of `make test`.
_SOAK_TURNS = 4


def turns(count: int, *, keep: int | None = None) -> list[object]:
    """The turns that `of_turn` has: ``keep`` (or ``count``) in `make test`, the others in soak."""
    return rest_in_soak(range(count * (1 + _SOAK_TURNS)), keep=keep or count)


def of_turn(groups: list[tuple[str, ...]], turn: int, count: int) -> Iterator[tuple[str, ...]]:
    """Single groups in each of the first ``count`` turns, each of the others in one of all."""
    for number, by in enumerate(groups):
        if turn < count if len(by) == 1 else number % (count * (1 + _SOAK_TURNS)) == turn:
            yield by


def options(folder: Path, **given: object) -> Options:
    usual = {
        "secret": SECRET,
        "secrets": folder,
        "ipv6_prefix": 64,
        "lock_timeout": 60,
        "memory": "200MB",
        "notify": lambda _: None,
    }
    return Options(**{**usual, **given})


def make_store(path: Path, **given: object) -> DuckDBStore:
    return DuckDBStore(path, options(path.parent, **given))


def make_postgresql(uri: str, folder: Path, **given: object) -> PostgreSQLStore:
    return PostgreSQLStore(uri, options(folder, **given))


def read_into(store: Store, *paths: object, **options: object) -> ImportReport:
    name = options.pop("name", None)
    sources = find(
        [str(path) for path in paths], name=name, server=options.pop("server", None)
    ).sources
    return ingest(sources, store, IngestOptions(ipv6_prefix=64, **options))


def totals(store: Store, query: Query) -> dict[str, int]:
    """The measures of ``query`` over all its rows."""
    row: dict[str, int] = run_query(store, query.ungrouped()).to_pylist()[0]
    return row


def dump(store: Store) -> dict[str, list[tuple]]:
    """All facts and sums of a store, in an order that does not depend on how they came there."""
    with store.reading() as ask:
        tables = {table: ask(f"SELECT * FROM {table}").to_pylist() for table in TABLES}
    return {
        table: sorted((tuple(map(str, row.values())) for row in rows), key=repr)
        for table, rows in tables.items()
    }


@dataclass
class CommandLine:
    """Runs the program within this process, or as one of its own where that matters.

    To start one takes longer than most commands do. That both answer the same is tested for each
    command: tests/test_program.py.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = ("PATH", "HOME", "LANG", "PYTHONPATH", "COVERAGE_PROCESS_START")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "DATABASE_URI": f"duckdb://{self.folder}/store.duckdb",
            "RINGSERVERSTATS_CONFIG_FOLDER": str(self.folder / "config"),
            "PYTHONUTF8": "1",
            **self.environment,
        }

    def __call__(
        self, *args: object, input: str | bytes = b"", text: bool = True
    ) -> subprocess.CompletedProcess[Any]:
        """Run it here. What it does not expect is raised, where a process shows its traceback."""
        given = input.encode() if isinstance(input, str) else input
        result = {
            name: io.TextIOWrapper(io.BytesIO(given if name == "stdin" else b""), "utf-8")
            for name in ("stdin", "stdout", "stderr")
        }
        words = [cli.PROGRAM, *map(str, args)]
        with ExitStack() as changed:
            changed.enter_context(mock.patch.dict(os.environ, self.environment, clear=True))
            changed.enter_context(mock.patch.multiple(sys, argv=words, **result))
            changed.enter_context(mock.patch.object(cli, "gc"))  # which is of all tests here
            try:
                cli.main()
                code: object = 0
            except SystemExit as end:
                code = end.code or 0
        said = []
        for name in ("stdout", "stderr"):
            result[name].flush()
            raw = result[name].buffer.getvalue()
            said.append(raw.decode().replace("\r\n", "\n").replace("\r", "\n") if text else raw)
        return subprocess.CompletedProcess(words, code, *said)

    def process(self, *args: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Run it as a process, with ``options`` for that."""
        given = {"capture_output": True, "text": True, "timeout": LONG, "env": self.environment}
        return subprocess.run(
            [sys.executable, "-m", "ringserverstats", *map(str, args)], **{**given, **options}
        )

    @property
    def store(self) -> Store:
        uri = self.environment["DATABASE_URI"]
        if uri.startswith("duckdb"):
            return make_store(self.folder / "store.duckdb")
        return make_postgresql(uri, self.folder)

    def popen(self, *args: object, batch: int, chunk: int = 1 << 17) -> subprocess.Popen[bytes]:
        """Start it and go on; ``batch`` rows are written, and built, at once, of a short log too.

        Args:
            chunk: bytes that are read at once.
        """
        code = (
            f"from ringserverstats import ingest; ingest.BATCH = {batch};"
            f" from ringserverstats.store import refresh; refresh._PART = {batch};"
            f" from ringserverstats.logs import source; source.CHUNK = {chunk};"
            " from ringserverstats.cli import main; main()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A shell that runs the tests in the background lets its children ignore interrupts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def pytest_collection_finish() -> None:
    """Leave the thousands of tests out of each garbage collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    is_of_both = metafunc.module.__name__ in BOTH and "of_duckdb" not in marks
    if is_of_both and {"store", "run", "kind"} & set(metafunc.fixturenames):
        later = () if "of_both" in marks else pytest.mark.soak
        kinds = ["duckdb", pytest.param("postgresql", marks=later)]
        metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return getattr(request, "param", "duckdb")


@pytest.fixture(scope="session", autouse=True)
def tables_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every DuckDB file starts as a copy of one that has the tables, which is quicker.

    To make the tables takes longer than most tests do. They are made step by step here, and in
    tests of older stores (tests/test_history.py).
    """
    tables = tmp_path_factory.mktemp("tables") / "tables.duckdb"
    with duckdb.connect(tables, config=NEW_FILE) as connection:
        migrate(connection)
    write_new = DuckDBStore._write_new

    def copy_and_write(store: DuckDBStore, new: Path, known: Identity) -> None:
        shutil.copyfile(tables, new)
        write_new(store, new, known)

    with mock.patch.object(DuckDBStore, "_write_new", copy_and_write):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A PostgreSQL server with a database `migrated`, which has the tables and nothing in them."""
    if not PROGRAMS.exists() and not MUST:
        pytest.skip(WITHOUT)
    made = Server()
    try:
        make_postgresql(made.make("migrated"), Path("/nowhere")).migrate()
        yield made
    finally:
        made.remove()


@pytest.fixture
def database(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URI of a database of its own for each test, of some modules with unusual defaults."""
    server.number = getattr(server, "number", 0) + 1
    name = f"test_{server.number}"
    uri = server.make(name, "migrated")
    if request.module.__name__ in ("test_store_contract", "test_postgresql", "test_real_logs"):
        server.make_unusual(name)
    yield uri
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> Store:
    if kind == "postgresql":
        return make_postgresql(request.getfixturevalue("database"), tmp_path)
    return make_store(tmp_path / "store.duckdb")


@pytest.fixture(scope="session")
def originals() -> dict[tuple[str, type], Any]:
    """Of stores that were filled: the file, or the name of the database."""
    return {}


Filled = Callable[[Store, str, Callable[[Store], object]], Store]


@pytest.fixture
def filled(
    originals: dict[tuple[str, type], Any],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Filled:
    """Fills an empty store, the second time from a copy of the first, which is quicker."""

    def fill_or_copy(store: Store, name: str, fill: Callable[[Store], object]) -> Store:
        known = originals.get((name, type(store)))
        if isinstance(store, PostgreSQLStore):
            server = request.getfixturevalue("server")
            database = conninfo_to_dict(store._info)["dbname"]
            if known:
                server.execute(f"DROP DATABASE {database} WITH (FORCE)")
                server.make(database, known)
            else:
                fill(store)
                known = f"original_{len(originals)}"
                server.make(known, database)
        elif known:
            shutil.copy(known, store._path)
        else:
            fill(store)
            known = shutil.copy(store._path, tmp_path_factory.mktemp("original"))
        originals[name, type(store)] = known
        return store

    return fill_or_copy


@pytest.fixture
def run(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> CommandLine:
    if kind == "postgresql":
        return CommandLine(tmp_path, {"DATABASE_URI": request.getfixturevalue("database")})
    return CommandLine(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Write a log file."""

    def write(text: str | bytes, name: str = "txlog-20260630T0000-20260701T0000") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write
