"""The schema of a DuckDB file."""

from pathlib import Path

import duckdb

from ringserverstats.errors import StoreError
from ringserverstats.store.schema import NEWEST, check_version, next_script
from ringserverstats.store.tables import DUCKDB


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the schema number of the file; 0 if it is no store."""
    try:
        rows = connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchall()
    except duckdb.CatalogException:  # faster than looking for the table first
        return 0
    return int(rows[0][0])


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables, or apply each migration that the file lacks, in a transaction."""
    while script := next_script(DUCKDB, schema_version(connection)):
        sql, migrations = script
        connection.execute("BEGIN")
        connection.execute(sql)
        connection.execute("INSERT INTO migration VALUES ($1)", [migrations[-1].number])
        connection.execute("COMMIT")


def check(connection: duckdb.DuckDBPyConnection, path: Path, *, write: bool) -> None:
    """Make sure that the schema is that of this program; ``write``: upgrade it.

    Raises:
        StoreError: the file is no store, or its schema number is another one.
    """
    version = schema_version(connection)
    if not version:
        raise StoreError(
            f"{path} is a DuckDB file of something else; choose another store with --database or "
            "DATABASE_URI"
        )
    check_version(DUCKDB, version, str(path))
    if write:
        migrate(connection)
    elif version < NEWEST:
        raise StoreError(
            f"{path} has schema {version}, this program needs {NEWEST}; copy the file, as there is "
            "no way back, and upgrade it with: ringserverstats migrate"
        )
