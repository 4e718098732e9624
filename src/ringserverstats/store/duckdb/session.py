"""A transaction of a DuckDB store."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.aggregate import Mask, NewEntries, RollupRows, column, in_background
from ringserverstats.store.integers import with_integers
from ringserverstats.store.rollups import AMOUNTS, FINEST_ROLLUP, ROLLUPS, Rollup, counted
from ringserverstats.store.tables import TABLES

_WORDS = "direction::direction AS direction, protocol::protocol AS protocol"
_ENTRIES = f"(SELECT * REPLACE ({_WORDS}) FROM given_entry)"
_TRANSFERS = (
    "(SELECT e.* EXCLUDE (bytes, packets, transfers), t.stream, t.bytes, t.packets"
    f" FROM given_transfer t JOIN {_ENTRIES} e USING (row))"
)


class DuckDBSession:
    """The transaction of ``connection``."""

    facts: tuple[str, ...] = ("transfer",)
    profile_rollup_tables: tuple[str, ...] = tuple(
        one.table for one in ROLLUPS if one.has_client_profile
    )

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def interrupt(self) -> None:
        """Stop what runs; for another thread to call."""
        self._connection.interrupt()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(parameters)).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return with_integers(self._connection.sql(sql, params=list(parameters)).to_arrow_table())

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        told = self._connection.execute(sql, list(parameters)).fetchall()
        return int(told[0][0]) if told else 0

    def register(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def create_temp_table_as(self, name: str, select: str) -> None:
        self.execute(f"CREATE TEMP TABLE {name} AS {select}")

    def add_names(self, table: str, given: pa.Table) -> None:
        # In the order of their keys, as that of what they were made of may tell of it.
        self.register("given", given.sort_by(table))
        self.execute(
            f"INSERT INTO {table} BY NAME SELECT * FROM given ANTI JOIN {table} USING ({table})"
        )
        self._connection.unregister("given")

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        fresh = NewEntries(entries, transfers, streams)
        known = fresh.have(self._are_known(fresh.keys))
        alone = fresh.alone & ~known
        self.register("given_entry", entries.append_column("alone", pa.array(alone)))
        self.register("given_transfer", transfers)
        with in_background(fresh.all_rollup_rows(known, alone)) as sums:
            self._add_facts()
            for one, (new, others) in zip(ROLLUPS, sums, strict=True):
                if len(new.number):
                    self._append(one, new)
                if len(others.number):
                    self._add(one, others)

    def _add_facts(self) -> None:
        """Add what was given to the ledger, the facts, and of alone entries to `FINEST_ROLLUP`."""
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
        """Which of ``keys`` have sums by day and client_profile already."""
        days = pc.min_max(keys["day"]).as_py()
        self.register("given", keys.append_column("place", pa.array(np.arange(len(keys)))))
        found = self._connection.execute(
            f"SELECT place FROM (SELECT * REPLACE ({_WORDS}) FROM given)"
            " SEMI JOIN (SELECT * FROM connection_by_day WHERE day BETWEEN $1 AND $2) old"
            f" USING ({', '.join(keys.column_names)})",
            [days["min"], days["max"]],
        ).fetchnumpy()["place"]
        known = np.zeros(len(keys), np.bool_)
        known[found] = True
        return known

    def _append(self, one: Rollup, summed: RollupRows) -> None:
        """Add ``summed`` to the sums ``one``, which have none of the same keys."""
        columns = ", ".join([*one.keys, *one.values])
        self.execute(
            f"INSERT INTO {one.table} ({columns}) SELECT {columns} FROM {self._given(summed)}"
        )

    def _add(self, one: Rollup, summed: RollupRows) -> None:
        """Add ``summed`` to the sums ``one``."""
        columns = ", ".join([*one.keys, *one.values])
        # Codes may be NULL, which is no different from NULL here.
        same = " AND ".join(
            f"old.{name} {'IS NOT DISTINCT FROM' if name in one.what else '='} new.{name}"
            for name in one.keys
        )
        added = ", ".join(f"{name} = old.{name} + new.{name}" for name in one.values)
        self.execute(
            f"MERGE INTO {one.table} AS old USING {self._given(summed)} AS new ON {same}"
            f" WHEN MATCHED THEN UPDATE SET {added}"
            f" WHEN NOT MATCHED THEN INSERT ({columns})"
            f" VALUES ({', '.join('new.' + name for name in [*one.keys, *one.values])})"
        )

    def _given(self, summed: RollupRows) -> str:
        """SQL of the rows of ``summed``, which are given."""
        values = {name: column(value) for name, value in summed.values.items()}
        rows = {"who": pa.array(summed.group), "name": pa.array(summed.number), **values}
        self.register("given", pa.table(rows))
        for name, table in (("who", summed.who), ("name", summed.names)):
            numbers = pa.array(np.arange(len(table)))
            self.register(f"given_{name}", table.append_column(name, numbers))
        casts = ", ".join(f"{name}::hugeint AS {name}" for name in AMOUNTS)
        return (
            f"(SELECT * EXCLUDE (who, name) REPLACE ({_WORDS}, {casts}) FROM given"
            " JOIN given_who USING (who) JOIN given_name USING (name))"
        )

    def replace_rollup(self, one: Rollup, where: str, select: str) -> None:
        self.execute(f"CREATE OR REPLACE TEMP TABLE anew AS {select}")
        self.execute(f"DELETE FROM {one.table} WHERE {where}")
        columns = ", ".join([*one.keys, *one.values])
        self.execute(f"INSERT INTO {one.table} ({columns}) SELECT {columns} FROM anew")
        self.execute("DROP TABLE anew")

    def rebuild_rollup(self, one: Rollup, where: str, parameters: Sequence[object]) -> None:
        self.execute(f"DELETE FROM {one.table} WHERE {where.format(time=one.time)}", parameters)
        columns = ", ".join([*one.keys, *one.values])
        self.execute(
            f"INSERT INTO {one.table} ({columns}) {counted(one, where.format(time='day'))}",
            parameters,
        )
