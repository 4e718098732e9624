"""What all tests share: a store of its own for each, and the command line on it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringserverstats.ingest import Receipt, ingest
from ringserverstats.logs.source import find
from ringserverstats.store.audit import audit
from ringserverstats.store.duckdb import DuckDBStore

DATA = Path(__file__).parent / "data"
SECRET = bytes(range(32))


#: What is read from logs; the others (store, migration, server) say what the store is.
FACTS = ("seen", "transfer", "by_day", "by_month", "connection_by_day", "covered", "reject")
TABLES = (*FACTS, "stream", "agent", "client", "origin")


def assert_whole(store: DuckDBStore) -> None:
    """All tables of ``store`` tell of the same entries."""
    assert audit(store, store.open(create=False).keys) == []


def make_store(path: Path, **options: object) -> DuckDBStore:
    given = {
        "secret": SECRET,
        "secrets": path.parent,
        "ipv6_prefix": 64,
        "wait": 60,
        "memory": "200MB",
        "tell": lambda _: None,
    }
    return DuckDBStore(path, **{**given, **options})


def read_into(store: DuckDBStore, *paths: object, **options: object) -> Receipt:
    name = options.pop("name", None)
    sources, _ = find([str(path) for path in paths], name=name, server=options.pop("server", None))
    return ingest(sources, store, ipv6_prefix=64, **options)


def dump(store: DuckDBStore) -> dict[str, list[tuple]]:
    """All facts and sums of a store, in an order that does not depend on how they came there."""
    found = {}
    for table in TABLES:
        rows = store.ask(f"SELECT * FROM {table}", []).to_pylist()
        found[table] = sorted((tuple(map(str, row.values())) for row in rows), key=repr)
    return found


@dataclass
class CommandLine:
    """Runs the program in a process of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = ("PATH", "HOME", "LANG", "COVERAGE_PROCESS_START")
        self.environment = {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "DATABASE_URI": f"duckdb://{self.folder}/store.duckdb",
            "RINGSERVERSTATS_CONFIG_FOLDER": str(self.folder / "config"),
            "PYTHONUTF8": "1",
            **self.environment,
        }

    def __call__(self, *args: object, **options: object) -> subprocess.CompletedProcess[str]:
        given = {"capture_output": True, "text": True, "timeout": 120, "env": self.environment}
        return subprocess.run(
            [sys.executable, "-m", "ringserverstats", *map(str, args)], **{**given, **options}
        )

    def popen(self, *args: object, batch: int) -> subprocess.Popen[bytes]:
        """Start it and go on; ``batch`` rows are written at once."""
        code = (
            f"from ringserverstats import ingest; ingest.BATCH = {batch};"
            " from ringserverstats.cli import main; main()"
        )
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, args)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


@pytest.fixture
def store(tmp_path: Path) -> DuckDBStore:
    return make_store(tmp_path / "store.duckdb")


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Write a log file."""

    def write(text: str | bytes, name: str = "txlog-20260630T0000-20260701T0000") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write
