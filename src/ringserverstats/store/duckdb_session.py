"""A transaction of a DuckDB store."""

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.answers import with_integers
from ringserverstats.store.summing import Fresh
from ringserverstats.store.sums import AS_FINE, SUMS, Sum, counted

_WORDS = "direction::direction AS direction, protocol::protocol AS protocol"
_ENTRIES = f"(SELECT * REPLACE ({_WORDS}) FROM given_entry)"
_TRANSFERS = (
    "(SELECT e.* EXCLUDE (bytes, packets, transfers), t.stream, t.bytes, t.packets"
    f" FROM given_transfer t JOIN {_ENTRIES} e USING (row))"
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
        fresh = Fresh(entries, transfers, streams)
        self.give("given_entry", entries)
        alone = fresh.are_alone(AS_FINE.who) & ~entries["repeats"].to_numpy()
        alone &= ~self._are_known(entries)
        self.give("given_entry", entries.append_column("alone", pa.array(alone)))
        self.give("given_transfer", transfers)
        self.change(
            "INSERT INTO seen SELECT server, log_day, entry, day, bytes, packets, transfers,"
            f" log_time FROM {_ENTRIES}"
        )
        self.change(
            "INSERT INTO transfer SELECT server, day, hour, direction, protocol, origin, stream,"
            f" number, connection, bytes, packets FROM {_TRANSFERS}"
        )
        self.change(
            f"INSERT INTO {AS_FINE.table} SELECT day, server, direction, protocol, origin, stream,"
            f" bytes, packets, 1 FROM {_TRANSFERS} WHERE alone"
        )
        for one in SUMS:
            summed = fresh.sums(one, without=alone if one is AS_FINE else None)
            self.give("given", summed.table())
            self._add(one)
        self._connection.unregister("given")

    def _are_known(self, entries: pa.Table) -> npt.NDArray[np.bool_]:
        """Which entries have others in the store of their day, server, protocol and origin."""
        days = pc.min_max(entries["day"]).as_py()
        rows = self._connection.execute(
            f"SELECT row FROM {_ENTRIES}"
            " SEMI JOIN (SELECT * FROM connection_by_day WHERE day BETWEEN $1 AND $2) old"
            " USING (day, server, direction, protocol, origin)",
            [days["min"], days["max"]],
        ).fetchnumpy()["row"]
        known: npt.NDArray[np.bool_] = np.isin(entries["row"].to_numpy(), rows)
        return known

    def _add(self, one: Sum) -> None:
        """Add the rows that were given to the sums ``one``."""
        columns = ", ".join([*one.keys, *one.values])
        # Codes may be NULL, which is no different from NULL here.
        same = " AND ".join(
            f"old.{name} {'IS NOT DISTINCT FROM' if name in one.what else '='} new.{name}"
            for name in one.keys
        )
        added = ", ".join(f"{name} = old.{name} + new.{name}" for name in one.values)
        casts = ", ".join(
            [_WORDS, *(f"{name}::hugeint AS {name}" for name in ("bytes", "packets"))]
        )
        self.change(
            f"MERGE INTO {one.table} AS old USING (SELECT * REPLACE ({casts}) FROM given) AS new"
            f" ON {same}"
            f" WHEN MATCHED THEN UPDATE SET {added}"
            f" WHEN NOT MATCHED THEN INSERT ({columns})"
            f" VALUES ({', '.join('new.' + name for name in [*one.keys, *one.values])})"
        )

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
