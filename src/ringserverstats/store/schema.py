"""The schema of a store: created complete when new, upgraded by migrations when older."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ringserverstats.errors import StoreError
from ringserverstats.store.rollups import public_views
from ringserverstats.store.tables import DUCKDB, LOGGED_TRANSFER, TABLES

FOLDER = Path(str(files("ringserverstats.store") / "migrations"))
PREFIX = "ringserverstats-"
#: The schema number of this program.
NEWEST = 17
#: The oldest schema number that can be upgraded. Numbers differed between engines up to here.
OLDEST = {"duckdb": 10, "postgresql": 9}


@dataclass(frozen=True)
class Migration:
    """A migration: ``name`` is that of its file, and its id for yoyo."""

    number: int
    name: str
    sql: str


@cache
def migrations() -> list[Migration]:
    """Return all migrations in order. The first one creates the tables where yoyo applies it."""
    return [
        Migration(int(path.stem.removeprefix(PREFIX)[:4]), path.stem, path.read_text("utf-8"))
        for path in sorted(FOLDER.glob(f"{PREFIX}*"))
    ]


def next_script(engine: str, version: int) -> tuple[str, list[Migration]] | None:
    """Return the SQL of the next step that upgrades a store; None if it is up to date.

    Args:
        engine: "duckdb" or "postgresql".
        version: the schema number of the store; 0: it has no tables.

    Returns:
        The SQL, and the migrations that are applied with it.
    """
    if not version:
        return new_schema(engine), migrations()
    pending = (migration for migration in migrations() if migration.number > version)
    return next(((_for_engine(engine, one.sql), [one]) for one in pending), None)


def check_version(engine: str, version: int, label: str) -> None:
    """Raise StoreError if this program cannot use or upgrade schema number ``version``."""
    if version > NEWEST:
        raise StoreError(
            f"{label} was written by a newer program (schema {version}, this one knows {NEWEST}); "
            "upgrade ringserverstats"
        )
    if 0 < version < OLDEST[engine]:
        raise StoreError(
            f"{label} has schema {version}, which this program cannot upgrade; nothing was "
            "changed. Upgrade it with an earlier version of ringserverstats first"
        )


def new_schema(engine: str) -> str:
    """Return the SQL that creates the tables of a new store."""
    text = (FOLDER.parent / "schema.sql").read_text("utf-8")
    partitioned = (f"'{table.stored}'" for table in TABLES.values() if table.is_partitioned)
    fields = {
        "{tables}": "".join(table.create(engine) for table in TABLES.values()),
        "{rollups}": public_views(),
        "{partitioned}": ", ".join(partitioned),
        "{logged_transfer}": TABLES["transfer"].unpacked(
            TABLES["transfer"].stored, names=LOGGED_TRANSFER
        ),
    }
    for field, value in fields.items():
        text = text.replace(field, value)
    return _for_engine(engine, text)


def _for_engine(engine: str, sql: str) -> str:
    """Return ``sql``, which is for PostgreSQL, as ``engine`` needs it; see schema.sql."""
    return "\n".join(_duckdb_lines(sql.splitlines())) if engine == DUCKDB else sql


def _duckdb_lines(lines: Iterable[str]) -> Iterator[str]:
    is_skipped = False
    for line in lines:
        is_skipped = line == "--postgresql" or (is_skipped and line != "--end")
        if not is_skipped:
            yield line.removeprefix("--duckdb ")
