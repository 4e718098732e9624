"""The transaction of a store in PostgreSQL."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.integers import with_integers
from ringserverstats.store.postgresql.building import PACKED_TRANSFERS, build, unpack
from ringserverstats.store.postgresql.copy_binary import encode_table
from ringserverstats.store.postgresql.packing import pack_select, pack_transfers
from ringserverstats.store.rollups import Rollup
from ringserverstats.store.tables import TABLES

_TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.decimal128(38, 0): "numeric",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("s"): "timestamp",
    pa.string(): "text",
    pa.uuid(): "uuid",
}
# By the object ids of pg_type; those of enumerations, which vary, are texts.
_UUID = 2950
_COLUMNS = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    701: pa.float64(),
    1009: pa.list_(pa.string()),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1700: pa.decimal128(38, 0),
}
# Entries with transfers of some days, all their transfers, and whether days without transfers are
# among them.
_SIZE = """
SELECT (SELECT count(*) FROM stored_transfer f WHERE {where}), coalesce(sum(transfers), 0),
       coalesce(bool_or(day < (SELECT kept_since FROM store)), false)
  FROM server_day f WHERE {where}
"""
_MOST_TRANSFERS = 1_000_000  # that fit into the memory of this process
# Keeps arrays in their row: from a TOAST table they would be fetched one by one.
_WHOLE_ROWS = "WITH (toast_tuple_target = 8160)"


class PostgreSQLSession:
    """The transaction of ``connection``.

    Args:
        has_hypertable: transfers go into a hypertable of TimescaleDB.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, has_hypertable: bool) -> None:
        self._connection = connection
        self.facts: tuple[str, ...] = ("transfer_packed",)
        if has_hypertable:
            self.facts = ("transfer_packed", "transfer_hypertable")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return psycopg.RawCursor(self._connection).execute(sql, parameters).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return _as_table(psycopg.RawCursor(self._connection).execute(sql, parameters))

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return psycopg.RawCursor(self._connection).execute(sql, parameters or None).rowcount

    def register(self, name: str, rows: pa.Table) -> None:
        columns = ", ".join(f"{field.name} {_type(field.type)}" for field in rows.schema)
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.execute(f"CREATE TEMP TABLE {name} ({columns}) {_WHOLE_ROWS} ON COMMIT DROP")
        self.copy(f"pg_temp.{name}", rows)

    def create_temp_table_as(self, name: str, select: str) -> None:
        self.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {select}")

    def copy(self, table: str, rows: pa.Table) -> None:
        """Copy ``rows`` into the columns of ``table`` with the same names."""
        if not len(rows):
            return
        columns = ", ".join(rows.column_names)
        cursor = self._connection.cursor()
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)".encode()) as copy:
            for piece in encode_table(rows):
                copy.write(piece)

    def add_names(self, table: str, rows: pa.Table) -> None:
        # In the order of the keys, so that two writers cannot deadlock.
        self.register("given", rows.sort_by(table))
        names = ", ".join(rows.column_names)
        self.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM given ORDER BY {table}"
            " ON CONFLICT DO NOTHING"
        )

    def add_entries(self, entries: pa.Table, transfers: pa.Table) -> None:
        self.add_to_ledger(entries)
        self.copy(self.facts[-1], pack_transfers(entries, transfers))

    def add_to_ledger(self, entries: pa.Table) -> None:
        self.copy("entry_ledger", entries.select(TABLES["entry_ledger"].names))

    def delete_transfers(self, before: date) -> None:
        if len(self.facts) > 1:  # far faster than deleting compressed rows
            self.rows("SELECT drop_chunks('transfer_hypertable', older_than => $1::date)", [before])
        for table in self.facts:
            self.execute(f"DELETE FROM {table} WHERE day < $1", [before])

    def stored(self, rollup: Rollup) -> str:
        return rollup.stored

    def build_rollups(self, rollups: Sequence[Rollup], where: str) -> None:
        kept, count, are_sealed = self.rows(_SIZE.format(where=where))[0]
        if are_sealed or count > _MOST_TRANSFERS:
            for rollup in rollups:
                self.insert_rollup(rollup, rollup.build_select(where))
            return
        if not kept:
            return
        transfers = self._transfers(where)
        self.register("given", pa.table({"stream": pc.unique(transfers["stream"])}))
        streams = self.table(
            "SELECT s.stream, s.name, s.network, s.station FROM stream s JOIN given USING (stream)"
        )
        for rollup, built in build(rollups, transfers, streams):
            self.copy(rollup.stored, built)

    def _transfers(self, where: str) -> pa.Table:
        cursor = psycopg.RawCursor(self._connection)
        return unpack(cursor.execute(PACKED_TRANSFERS.format(where=where), binary=True).fetchall())

    def insert_rollup(self, rollup: Rollup, select: str) -> None:
        columns = rollup.columns
        if rollup.is_packed:
            select = pack_select(rollup, select)
            columns = (*rollup.group_keys, *rollup.item_keys, *rollup.values)
        self.execute(f"INSERT INTO {rollup.stored} ({', '.join(columns)}) {select}")


def _type(arrow: pa.DataType) -> str:
    """Return the PostgreSQL type of a column of a temporary table."""
    if pa.types.is_list(arrow):
        return f"{_type(arrow.value_type)}[]"
    return "text" if pa.types.is_dictionary(arrow) else _TYPES[arrow]


def _as_table(cursor: psycopg.RawCursor[Any]) -> pa.Table:
    """Return the rows of ``cursor`` as columns."""
    description = cursor.description or []
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(description)
    arrays = [
        _array(values, field.type_code) for values, field in zip(columns, description, strict=True)
    ]
    return with_integers(pa.table(arrays, names=[field.name for field in description]))


def _array(values: Sequence[Any], oid: int) -> pa.Array:
    """Return the values of a column of the type with object id ``oid``."""
    if oid == _UUID:
        bits = pa.array([value and value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(pa.uuid(), bits)
    return pa.array(values, _COLUMNS.get(oid, pa.string()))
