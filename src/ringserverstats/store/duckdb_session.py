"""A transaction of a DuckDB store."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.answers import with_integers
from ringserverstats.store.sums import FRESH, SUMS, Sum, counted, statements

_FRESH_ENTRY = (
    "CREATE OR REPLACE TEMP VIEW fresh_entry AS SELECT * REPLACE"
    " (direction::direction AS direction, protocol::protocol AS protocol) FROM given_entry"
)
_FRESH = (
    f"CREATE OR REPLACE TEMP VIEW fresh_transfer AS {FRESH['fresh_transfer']}",
    f"CREATE OR REPLACE TEMP TABLE fresh_station AS {FRESH['fresh_station']}",
)


class DuckDBSession:
    """The transaction of ``connection``."""

    facts: tuple[str, ...] = ("transfer",)
    of_origins: tuple[str, ...] = tuple(one.table for one in SUMS if one.is_of_origins)

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def interrupt(self) -> None:
        """Stop what runs; for another thread to call."""
        self._connection.interrupt()

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(parameters)).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return with_integers(self._connection.sql(sql, params=list(parameters)).to_arrow_table())

    def change(self, sql: str, parameters: Sequence[object] = ()) -> int:
        told = self._connection.execute(sql, list(parameters)).fetchall()
        return int(told[0][0]) if told else 0

    def give(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def keep(self, name: str, select: str) -> None:
        self.change(f"CREATE TEMP TABLE {name} AS {select}")

    def add_names(self, table: str, given: pa.Table) -> None:
        # In the order of their keys, as that of what they were made of may tell of it.
        self.give("given", given.sort_by(table))
        self.change(f"INSERT INTO {table} SELECT * FROM given ANTI JOIN {table} USING ({table})")
        self._connection.unregister("given")

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        self.give("given_stream", streams)
        self.give("given_entry", entries)
        self._connection.execute(_FRESH_ENTRY)
        alone = pa.array(self._alone(entries))
        self.give("given_entry", entries.append_column("alone", alone))
        self.give("given_transfer", transfers)
        self._connection.execute(_FRESH_ENTRY)
        for sql in _FRESH:
            self._connection.execute(sql)
        self.change(
            "INSERT INTO seen SELECT server, log_day, entry, day, bytes, packets, transfers,"
            " log_time FROM fresh_entry"
        )
        self.change(
            "INSERT INTO transfer SELECT server, day, hour, direction, protocol, origin, stream,"
            " number, connection, bytes, packets FROM fresh_transfer"
        )
        for one in SUMS:
            for sql in statements(one):
                self.change(sql)

    def _alone(self, entries: pa.Table) -> npt.NDArray[np.bool_]:
        """Which new entries are the only ones ever of their day, server, protocol and origin."""
        days = pc.min_max(entries["day"]).as_py()
        single = self._connection.execute(
            "SELECT any_value(row) AS row FROM fresh_entry"
            " ANTI JOIN (SELECT * FROM connection_by_day WHERE day BETWEEN $1 AND $2) old"
            " USING (day, server, direction, protocol, origin)"
            " GROUP BY day, server, direction, protocol, origin HAVING count(*) = 1",
            [days["min"], days["max"]],
        ).fetchnumpy()["row"]
        alone: npt.NDArray[np.bool_] = np.isin(entries["row"].to_numpy(), single)
        alone[entries["repeats"].to_numpy()] = False
        return alone

    def replace_sums(self, one: Sum, where: str, select: str) -> None:
        self.change(f"CREATE OR REPLACE TEMP TABLE anew AS {select}")
        self.change(f"DELETE FROM {one.table} WHERE {where}")
        columns = ", ".join([*one.keys, *one.values])
        self.change(f"INSERT INTO {one.table} ({columns}) SELECT {columns} FROM anew")
        self.change("DROP TABLE anew")

    def sum_again(self, one: Sum, where: str, parameters: Sequence[object]) -> None:
        self.change(f"DELETE FROM {one.table} WHERE {where.format(time=one.time)}", parameters)
        columns = ", ".join([*one.keys, *one.values])
        self.change(
            f"INSERT INTO {one.table} ({columns}) {counted(one, where.format(time='day'))}",
            parameters,
        )
