"""The numbered steps that bring a PostgreSQL database to the tables that this program knows.

They are applied by yoyo, by this program or by its own command.
"""

import contextlib
import io
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from ringserverstats.errors import StoreError

if TYPE_CHECKING:
    from yoyo.backends.base import DatabaseBackend
    from yoyo.migrations import Migration

#: First number of all advisory locks. The second one is a server's number, which is greater than
#: zero, or one of the others.
LOCKS = 1381192532
#: -3 is in the SQL of make_months.
ALL_SERVERS, MIGRATION, STEPS, SENDING = 0, -2, -4, -5

_PREFIX = "ringserverstats-"
_PAUSE = 0.2


def folder() -> Path:
    """Where the steps lie."""
    return Path(str(files("ringserverstats.store") / "migrations" / "postgresql"))


def grant(connection: psycopg.Connection[Any]) -> None:
    """Let the roles of the writer and the reader, where they are there, do what they need to."""
    connection.execute((folder().parent / "grants.sql").read_bytes())


def steps() -> list[str]:
    """The names of all steps, in order."""
    return sorted(path.stem for path in folder().glob("*.sql"))


def applied(connection: psycopg.Connection[Any]) -> set[str]:
    """The steps of this program that the database has seen; yoyo may keep others there too.

    By the view, which all roles may ask, where it is there.
    """
    if connection.execute("SELECT to_regclass('migration') IS NOT NULL").fetchall()[0][0]:
        numbers = {n for (n,) in connection.execute("SELECT number FROM migration").fetchall()}
        return {name for name in steps() if _number(name) in numbers}
    there = connection.execute("SELECT to_regclass('_yoyo_migration') IS NOT NULL").fetchall()
    if not there[0][0]:
        return set()
    rows = connection.execute(
        "SELECT migration_id FROM _yoyo_migration WHERE migration_id LIKE %s", [f"{_PREFIX}%"]
    )
    return {name for (name,) in rows.fetchall()}


def _number(name: str) -> int:
    return int(name.removeprefix(_PREFIX)[:4])


def is_migrated(connection: psycopg.Connection[Any]) -> bool:
    """Whether the tables are there."""
    rows = connection.execute("SELECT to_regclass('store') IS NOT NULL").fetchall()
    return bool(rows[0][0])


def check(connection: psycopg.Connection[Any], label: str) -> bool:
    """Make sure that the tables are those that this program knows.

    Returns:
        Whether transfers go into a hypertable of TimescaleDB.
    """
    rows = connection.execute(
        "SELECT to_regclass('migration') IS NOT NULL,"
        " to_regclass('transfer_hypertable') IS NOT NULL"
    ).fetchall()
    has_tables, has_hypertable = rows[0]
    numbers = (
        {n for (n,) in connection.execute("SELECT number FROM migration").fetchall()}
        if has_tables
        else set()
    )
    known = {_number(name) for name in steps()}
    if numbers - known:
        raise StoreError(
            f"{label} was written by a newer program (schema {max(numbers)}, this one knows "
            f"{max(known)}); upgrade ringserverstats"
        )
    if known - numbers:
        if not numbers:
            raise StoreError(
                f"{label} has no tables of this program yet; make them, as the role that is to own "
                "them, with: ringserverstats migrate"
            )
        raise StoreError(
            f"{label} has schema {max(numbers)}, this program needs {max(known)}; bring it up to "
            "date, as the owner of its tables, with: ringserverstats migrate"
        )
    return bool(has_hypertable)


def migrate(connection: psycopg.Connection[Any], info: str, *, lock_timeout: float) -> list[str]:
    """Apply the steps that the database has not seen, each in a transaction.

    Args:
        connection: holds off another that migrates, for as long as it is open.
        info: what libpq connects by.
        lock_timeout: seconds to lock_timeout for one that yoyo's own command runs.

    Returns:
        The steps that were applied.

    Raises:
        StoreError: somebody else is at it.
    """
    from yoyo import read_migrations
    from yoyo.backends import get_backend_class
    from yoyo.connections import DatabaseURI

    encoding = connection.execute("SHOW server_encoding").fetchall()[0][0]
    if encoding != "UTF8":
        raise StoreError(
            f"the database has the encoding {encoding}, in which not all texts can be kept; make "
            "one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    may = "SELECT has_schema_privilege(current_schema(), 'CREATE'), current_user"
    may_create, user = connection.execute(may).fetchall()[0]
    if not may_create:
        raise StoreError(
            f"the role {printable(user)} may make no tables in this database; migrate as the role "
            "that owns the database"
        )
    connection.execute(f"SELECT pg_advisory_lock({LOCKS}, {MIGRATION})")
    connection.commit()
    before = applied(connection)
    connection.commit()
    told: dict[str, Any] = dict(conninfo_to_dict(info))
    told["options"] = f"{told.get('options', '')} -c lock_timeout={int(lock_timeout * 1000) or 1}"
    scheme = "postgresql+psycopg"
    uri = DatabaseURI(scheme, None, None, None, None, told.pop("dbname", None), told)
    backend = get_backend_class(scheme)(uri, "_yoyo_migration")
    try:
        # Held by what makes the tables: of one that was killed a step may still be on its way.
        backend.execute(f"SELECT pg_advisory_lock({LOCKS}, {STEPS})")
        backend.commit()
        backend.init_database()
        _hold_off_yoyo(connection, lock_timeout)
        backend._is_locked = True  # else it would wait for the lock that we hold
        for step in backend.to_apply(read_migrations(str(folder()))):
            _apply(backend, step)
        connection.commit()
    except (errors.DuplicateTable, errors.DuplicateObject) as error:
        raise StoreError(
            f"the database holds tables of something else ({first_line(error)}); make one for this "
            "program alone, or a schema: postgresql://...?options=-csearch_path%3Dname"
        ) from None
    finally:
        backend.connection.close()
    return sorted(applied(connection) - before)


def _apply(backend: "DatabaseBackend", step: "Migration") -> None:
    """Apply a step and note that it was, in one transaction; yoyo's own way has two."""
    with backend.transaction():
        # Of batches that are on their way now: a new sum is to have them too.
        backend.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
        with contextlib.redirect_stdout(io.StringIO()):  # the answers of SELECTs
            step.process_steps(backend, "apply")
        backend.log_migration(step, "apply")
        backend.mark_one(step, log=False)


def _hold_off_yoyo(connection: psycopg.Connection[Any], lock_timeout: float) -> None:
    """Keep yoyo's own command away for a transaction.

    Its way, a row that says that it is at work, would stay behind where we are killed.

    Raises:
        StoreError: it is at work, for longer than ``lock_timeout`` seconds, or left such a row.
    """
    begin = time.monotonic()
    while True:
        connection.execute("LOCK TABLE yoyo_lock IN SHARE MODE")
        if not connection.execute("SELECT count(*) FROM yoyo_lock").fetchall()[0][0]:
            return
        connection.rollback()
        if time.monotonic() - begin > lock_timeout:
            raise StoreError(
                "another process is migrating this database with yoyo, or was killed while it did; "
                "in that case: yoyo break-lock --database postgresql+psycopg://..."
            )
        time.sleep(_PAUSE)


def first_line(error: Exception) -> str:
    """What ``error`` says, without the server's details, which may quote rows."""
    return printable(str(error).strip().split("\n")[0])


def printable(text: str) -> str:
    """``text`` without signs that do something to a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
