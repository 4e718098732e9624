"""The numbered steps that bring a DuckDB file to the tables that this program knows."""

from importlib.resources import files
from pathlib import Path

import duckdb

from ringserverstats.errors import StoreError


def migrations() -> list[tuple[int, str]]:
    """Number and SQL of every step of the schema, in order."""
    folder = files("ringserverstats.store") / "migrations" / "duckdb"
    steps = sorted((path for path in folder.iterdir()), key=lambda path: path.name)
    return [(int(path.name.split("_")[0]), path.read_text("utf-8")) for path in steps]


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """The number of the last step that the file has seen; 0 where it is no store yet."""
    try:
        rows = connection.execute("SELECT coalesce(max(number), 0) FROM migration").fetchall()
    except duckdb.CatalogException:  # quicker than to look for the table first
        return 0
    return int(rows[0][0])


def migrate(connection: duckdb.DuckDBPyConnection) -> None:
    """Apply the steps that the file has not seen, each in a transaction."""
    version = schema_version(connection)
    for number, sql in migrations():
        if number > version:
            connection.execute("BEGIN")
            connection.execute("CREATE TABLE IF NOT EXISTS migration (number INTEGER NOT NULL)")
            connection.execute(sql)
            connection.execute("INSERT INTO migration VALUES ($1)", [number])
            connection.execute("COMMIT")


def check(connection: duckdb.DuckDBPyConnection, path: Path, *, write: bool) -> None:
    """Make sure that the tables are those that this program knows; ``write``: bring them there."""
    version, newest = schema_version(connection), migrations()[-1][0]
    if not version:
        raise StoreError(
            f"{path} is a DuckDB file of something else; choose another store with --database or "
            "DATABASE_URI"
        )
    if version > newest:
        raise StoreError(
            f"{path} was written by a newer program (schema {version}, this one knows {newest}); "
            "upgrade ringserverstats"
        )
    if write:
        migrate(connection)
    elif version < newest:
        raise StoreError(
            f"{path} has schema {version}, this program needs {newest}; copy the file, as there is "
            "no way back, and bring it up to date with: ringserverstats migrate"
        )
