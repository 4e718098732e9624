"""The transaction of a DuckDB store."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from ringserverstats.store.integers import with_integers
from ringserverstats.store.rollups import Rollup
from ringserverstats.store.tables import TABLES

_ENUMS = "direction::direction AS direction, protocol::protocol AS protocol"
_ENTRIES = f"(SELECT * REPLACE ({_ENUMS}) FROM given_entry)"
_TRANSFERS = (
    "(SELECT e.* EXCLUDE (entry, bytes, packets, transfers), e.number AS entry, t.stream, t.bytes,"
    " t.packets"
    f" FROM given_transfer t JOIN {_ENTRIES} e USING (row))"
)


class DuckDBSession:
    """The transaction of ``connection``."""

    facts: tuple[str, ...] = ("transfer",)

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def interrupt(self) -> None:
        """Stop the running statement, from another thread."""
        self._connection.interrupt()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(parameters)).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return with_integers(self._connection.sql(sql, params=list(parameters)).to_arrow_table())

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        rows = self._connection.execute(sql, list(parameters)).fetchall()
        return int(rows[0][0]) if rows else 0

    def register(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def create_temp_table_as(self, name: str, select: str) -> None:
        self.execute(f"CREATE TEMP TABLE {name} AS {select}")

    def add_names(self, table: str, rows: pa.Table) -> None:
        # In the order of the keys, as the order of the log may identify clients.
        self.register("given", rows.sort_by(table))
        self.execute(
            f"INSERT INTO {table} BY NAME SELECT * FROM given ANTI JOIN {table} USING ({table})"
        )
        self._connection.unregister("given")

    def add_entries(self, entries: pa.Table, transfers: pa.Table) -> None:
        self.add_to_ledger(entries)
        self.register("given_transfer", transfers)
        columns = ", ".join(TABLES["transfer"].names)
        self.execute(f"INSERT INTO transfer ({columns}) SELECT {columns} FROM {_TRANSFERS}")

    def add_to_ledger(self, entries: pa.Table) -> None:
        self.register("given_entry", entries)
        columns = ", ".join(TABLES["entry_ledger"].names)
        self.execute(f"INSERT INTO entry_ledger ({columns}) SELECT {columns} FROM given_entry")

    def delete_transfers(self, before: date) -> None:
        self.execute("DELETE FROM transfer WHERE day < $1", [before])

    def stored(self, rollup: Rollup) -> str:
        return rollup.built

    def build_rollups(self, rollups: Sequence[Rollup], where: str) -> None:
        for rollup in rollups:
            self.insert_rollup(rollup, rollup.build_select(where))

    def insert_rollup(self, rollup: Rollup, select: str) -> None:
        self.execute(f"INSERT INTO {rollup.built} ({', '.join(rollup.columns)}) {select}")
