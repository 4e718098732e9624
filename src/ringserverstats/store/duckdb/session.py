"""The transaction of a DuckDB store."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.aggregate import Mask, NewEntries, RollupRows, column, in_background
from ringserverstats.store.integers import with_integers
from ringserverstats.store.rollups import (
    AMOUNTS,
    FINEST_ROLLUP,
    ROLLUPS,
    Rollup,
    rollup_select,
)
from ringserverstats.store.tables import TABLES

_ENUMS = "direction::direction AS direction, protocol::protocol AS protocol"
_ENTRIES = f"(SELECT * REPLACE ({_ENUMS}) FROM given_entry)"
_TRANSFERS = (
    "(SELECT e.* EXCLUDE (bytes, packets, transfers), t.stream, t.bytes, t.packets"
    f" FROM given_transfer t JOIN {_ENTRIES} e USING (row))"
)


class DuckDBSession:
    """The transaction of ``connection``."""

    facts: tuple[str, ...] = ("transfer",)
    profile_rollup_tables: tuple[str, ...] = tuple(
        rollup.table for rollup in ROLLUPS if rollup.has_client_profile
    )

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

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        new_entries = NewEntries(entries, transfers, streams)
        known = new_entries.have(self._are_known(new_entries.keys))
        alone = new_entries.alone & ~known
        self.register("given_entry", entries.append_column("alone", pa.array(alone)))
        self.register("given_transfer", transfers)
        with in_background(new_entries.all_rollup_rows(known, alone)) as pairs:
            self._add_transfers()
            for rollup, (new, others) in zip(ROLLUPS, pairs, strict=True):
                if len(new.item):
                    self._append(rollup, new)
                if len(others.item):
                    self._merge(rollup, others)

    def _add_transfers(self) -> None:
        """Insert into the ledger and the transfers, and alone entries into `FINEST_ROLLUP`."""
        ledger = ", ".join(TABLES["entry_ledger"].names)
        self.execute(f"INSERT INTO entry_ledger ({ledger}) SELECT {ledger} FROM {_ENTRIES}")
        columns = ", ".join(TABLES["transfer"].names)
        facts = f"(SELECT * REPLACE (number AS entry) FROM {_TRANSFERS})"
        self.execute(f"INSERT INTO transfer ({columns}) SELECT {columns} FROM {facts}")
        keys = ", ".join((*FINEST_ROLLUP.keys, *AMOUNTS))
        self.execute(
            f"INSERT INTO {FINEST_ROLLUP.table} ({keys}, transfers) SELECT {keys}, 1"
            f" FROM {_TRANSFERS} WHERE alone"
        )

    def _are_known(self, keys: pa.Table) -> Mask:
        """Return which of ``keys`` have rollup rows by day and client profile."""
        days = pc.min_max(keys["day"]).as_py()
        self.register("given", keys.append_column("number", pa.array(np.arange(len(keys)))))
        known_rows = self._connection.execute(
            f"SELECT number FROM (SELECT * REPLACE ({_ENUMS}) FROM given)"
            " SEMI JOIN (SELECT * FROM connection_by_day WHERE day BETWEEN $1 AND $2) old"
            f" USING ({', '.join(keys.column_names)})",
            [days["min"], days["max"]],
        ).fetchnumpy()["number"]
        known = np.zeros(len(keys), np.bool_)
        known[known_rows] = True
        return known

    def _append(self, rollup: Rollup, rows: RollupRows) -> None:
        """Insert ``rows`` into a rollup that has none with the same keys."""
        columns = ", ".join(rollup.columns)
        self.execute(
            f"INSERT INTO {rollup.table} ({columns}) SELECT {columns} FROM {self._given(rows)}"
        )

    def _merge(self, rollup: Rollup, rows: RollupRows) -> None:
        """Merge ``rows`` into a rollup."""
        # Codes may be NULL, which counts as equal here.
        same = " AND ".join(
            f"old.{name} {'IS NOT DISTINCT FROM' if name in rollup.item_keys else '='} new.{name}"
            for name in rollup.keys
        )
        added = ", ".join(f"{name} = old.{name} + new.{name}" for name in rollup.values)
        self.execute(
            f"MERGE INTO {rollup.table} AS old USING {self._given(rows)} AS new ON {same}"
            f" WHEN MATCHED THEN UPDATE SET {added}"
            f" WHEN NOT MATCHED THEN INSERT ({', '.join(rollup.columns)})"
            f" VALUES ({', '.join('new.' + name for name in rollup.columns)})"
        )

    def _given(self, rows: RollupRows) -> str:
        """Register ``rows`` and return the SQL that reads them."""
        values = {name: column(value) for name, value in rows.values.items()}
        numbers = {"group_number": pa.array(rows.group), "item_number": pa.array(rows.item)}
        self.register("given", pa.table({**numbers, **values}))
        for name, keys in (("group", rows.groups), ("item", rows.items)):
            numbered = keys.append_column(f"{name}_number", pa.array(np.arange(len(keys))))
            self.register(f"given_{name}", numbered)
        casts = ", ".join(f"{name}::hugeint AS {name}" for name in AMOUNTS)
        return (
            f"(SELECT * EXCLUDE (group_number, item_number) REPLACE ({_ENUMS}, {casts}) FROM given"
            " JOIN given_group USING (group_number) JOIN given_item USING (item_number))"
        )

    def replace_rollup(self, rollup: Rollup, where: str, select: str) -> None:
        self.execute(f"CREATE OR REPLACE TEMP TABLE replacement AS {select}")
        self.execute(f"DELETE FROM {rollup.table} WHERE {where}")
        columns = ", ".join(rollup.columns)
        self.execute(f"INSERT INTO {rollup.table} ({columns}) SELECT {columns} FROM replacement")
        self.execute("DROP TABLE replacement")

    def rebuild_rollup(self, rollup: Rollup, where: str, parameters: Sequence[object]) -> None:
        self.execute(
            f"DELETE FROM {rollup.table} WHERE {where.format(time=rollup.time)}", parameters
        )
        select = rollup_select(rollup, where.format(time="day"))
        self.execute(
            f"INSERT INTO {rollup.table} ({', '.join(rollup.columns)}) {select}", parameters
        )
