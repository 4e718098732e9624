"""The schema of a PostgreSQL database.

Migrations are applied by this program, or by yoyo's own command: its tables record which were.
"""

from collections.abc import Iterator
from enum import Enum, auto
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import errors

from ringserverstats.errors import StoreError
from ringserverstats.store.rollups import ROLLUPS
from ringserverstats.store.schema import NEWEST, Migration, check_version, next_script
from ringserverstats.store.tables import POSTGRESQL, TABLES

#: First number of all advisory locks. The second one is a server's number, which is greater than
#: zero, or one of the others.
LOCKS = 1381192532
#: -3 is in the SQL of make_months.
ALL_SERVERS, MIGRATION, SENDING = 0, -2, -5

_WRITER, _READER = "ringserverstats_writer", "ringserverstats_reader"
_VIEWS = (
    *("migration", "coverage", "complete_day", "ringserver_events", "unbuilt_day", "unlisted_day"),
    *("open_day", "unlisted_transfer", "unbuilt_transfer", "unbuilt_entry", "unbuilt_station"),
    *("stored_transfer", "stream_transfer", "station_transfer", "entry_total"),
    *(rollup.table for rollup in ROLLUPS),
)
_TIMESCALEDB = ("transfers_by_day", "transfers_by_month")
_YOYO = """
CREATE TABLE IF NOT EXISTS yoyo_lock (
    locked integer DEFAULT 1 PRIMARY KEY, ctime timestamp, pid integer NOT NULL
);
CREATE TABLE IF NOT EXISTS _yoyo_log (
    id varchar(36) PRIMARY KEY, migration_hash varchar(64), migration_id varchar(255),
    operation varchar(10), username varchar(255), hostname varchar(255), comment varchar(255),
    created_at_utc timestamp
);
CREATE TABLE IF NOT EXISTS _yoyo_version (
    version integer PRIMARY KEY, installed_at_utc timestamp
);
CREATE TABLE IF NOT EXISTS _yoyo_migration (
    migration_hash varchar(64) PRIMARY KEY, migration_id varchar(255), applied_at_utc timestamp
);
INSERT INTO _yoyo_version SELECT 2, now() AT TIME ZONE 'UTC'
 WHERE NOT EXISTS (SELECT FROM _yoyo_version)
"""
_RECORD = """
INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)
VALUES (%s, %s, now() AT TIME ZONE 'UTC')
"""

Connection = psycopg.Connection[Any]


def schema_version(connection: Connection) -> int:
    """Return the schema number of the database; 0 if it has no tables of this program."""
    if not _exists(connection, "migration"):
        return 0
    rows = connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchall()
    return int(rows[0][0])


def is_migrated(connection: Connection) -> bool:
    """Return whether the tables exist."""
    return _exists(connection, "store")


def check(connection: Connection, label: str) -> bool:
    """Make sure that the schema is that of this program.

    Returns:
        Whether transfers go into a hypertable of TimescaleDB.
    """
    version = schema_version(connection)
    check_version(POSTGRESQL, version, label)
    if not version:
        raise StoreError(
            f"{label} has no tables of this program yet; create them, as the role that is to own "
            "them, with: ringserverstats migrate"
        )
    if version < NEWEST:
        raise StoreError(
            f"{label} has schema {version}, this program needs {NEWEST}; upgrade it, as the owner "
            "of its tables, with: ringserverstats migrate"
        )
    return _exists(connection, "transfer_hypertable")


class Step(Enum):
    """The result of `migrate_step`."""

    APPLIED = auto()
    UP_TO_DATE = auto()
    YOYO_IS_MIGRATING = auto()


def migrate_step(connection: Connection, label: str) -> Step:
    """Create the tables, or apply the next migration that the database lacks.

    The caller's transaction keeps other processes from migrating.

    Args:
        connection: of the role that owns the tables, or will.
        label: the name of the database in messages.

    Raises:
        StoreError: the database or the role is unsuitable.
    """
    _check_database(connection)
    connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {MIGRATION})")
    check_version(POSTGRESQL, schema_version(connection), label)
    connection.execute(_YOYO)
    if not _lock_out_yoyo(connection):
        return Step.YOYO_IS_MIGRATING
    script = next_script(POSTGRESQL, schema_version(connection))
    if script is None:
        return Step.UP_TO_DATE
    _apply(connection, *script)
    return Step.APPLIED


def _apply(connection: Connection, sql: str, migrations: list[Migration]) -> None:
    # Batches that are being written end first, so that a migration misses none of their rows.
    connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
    try:
        connection.execute(sql.encode())
    except (errors.DuplicateTable, errors.DuplicateObject) as error:
        raise StoreError(
            f"the database holds tables of something else ({first_line(error)}); create one for "
            "this program alone, or a schema: postgresql://...?options=-csearch_path%3Dname"
        ) from None
    for migration in migrations:
        digest = sha256(migration.name.encode()).hexdigest()  # by which yoyo knows it
        connection.execute(_RECORD, [digest, migration.name])


def _check_database(connection: Connection) -> None:
    encoding = connection.execute("SHOW server_encoding").fetchall()[0][0]
    if encoding != "UTF8":
        raise StoreError(
            f"the database has the encoding {encoding}, in which not all texts can be kept; create "
            "one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    privilege = (
        "SELECT current_schema(), has_schema_privilege(current_schema(), 'CREATE'), current_user"
    )
    schema, may_create, user = connection.execute(privilege).fetchall()[0]
    if schema is None:
        path = connection.execute("SHOW search_path").fetchall()[0][0]
        raise StoreError(
            f"no schema of the search_path ({printable(path)}) exists. Create one with CREATE "
            "SCHEMA, or correct the search_path in DATABASE_URI or of the role."
        )
    if not may_create:
        raise StoreError(
            f"the role {printable(user)} may make no tables in this database; migrate as the role "
            "that owns the database"
        )


def _lock_out_yoyo(connection: Connection) -> bool:
    """Keep yoyo's own command from migrating until the end of the transaction.

    yoyo's way, a row that says that it is at work, would remain where this process is killed.

    Returns:
        False if yoyo is migrating, or left such a row.
    """
    connection.execute("LOCK TABLE yoyo_lock IN SHARE MODE")
    return not connection.execute("SELECT count(*) FROM yoyo_lock").fetchall()[0][0]


def grant(connection: Connection) -> None:
    """Grant the roles of writer and reader, where they exist, what they need."""
    roles = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
    for (role,) in connection.execute(roles, [[_WRITER, _READER]]).fetchall():
        (schema,) = connection.execute("SELECT quote_ident(current_schema())").fetchall()[0]
        grants = [f"USAGE ON SCHEMA {schema}", *_grants(connection, is_writer=role == _WRITER)]
        # Earlier versions let the writer read columns that are private now.
        private = [
            table.stored for table in TABLES.values() if any(c.is_private for c in table.columns)
        ]
        revoked = f"REVOKE SELECT ON {', '.join(private)} FROM {role}"
        granted = (f"GRANT {one} TO {role}" for one in grants)
        connection.execute("; ".join((revoked, *granted)).encode())


def _grants(connection: Connection, *, is_writer: bool) -> Iterator[str]:
    for view in (*_VIEWS, *(name for name in _TIMESCALEDB if _exists(connection, name))):
        yield f"SELECT ON {view}"
    for table in TABLES.values():
        private = {column.name for column in table.columns if column.is_private}
        public = f" ({', '.join(set(table.names) - private)})" if private else ""
        yield f"SELECT{public} ON {table.name}"
        if table.is_readable:
            yield f"SELECT{public} ON {table.stored}"
        if is_writer and table.writer:
            yield f"{table.writer} ON {table.stored}"
    if is_writer:
        yield "EXECUTE ON FUNCTION make_months(date, date)"
        if _exists(connection, "transfer_hypertable"):
            yield "INSERT ON transfer_hypertable"


def _exists(connection: Connection, relation: str) -> bool:
    rows = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [relation]).fetchall()
    return bool(rows[0][0])


def first_line(error: Exception) -> str:
    """Return the message of ``error`` without the server's details, which may quote rows."""
    return printable(str(error).strip().split("\n")[0])


def printable(text: str) -> str:
    """Return ``text`` without characters that control a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)
