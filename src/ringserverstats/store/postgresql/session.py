"""The transaction of a store in PostgreSQL."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.errors import StoreError
from ringserverstats.store.aggregate import Mask, NewEntries, RollupRows, in_background
from ringserverstats.store.integers import with_integers
from ringserverstats.store.postgresql.copy_binary import encode_table
from ringserverstats.store.postgresql.packing import (
    ENTRY_COLUMNS,
    TRANSFER_COLUMNS,
    merge_select,
    pack_rollup,
    pack_select,
    pack_transfers,
)
from ringserverstats.store.rollups import FINEST_ROLLUP, ROLLUPS, Rollup, rollup_select
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
_TRANSFER_COUNTS = "array_fill(1::bigint, ARRAY[cardinality(stream)])"
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
# Keeps arrays in their row: from a TOAST table they would be fetched one by one.
_WHOLE_ROWS = "WITH (toast_tuple_target = 8160)"

#: Rows, and their encoding for COPY.
_Encoded = tuple[pa.Table, list[bytes]]


class PostgreSQLSession:
    """The transaction of ``connection``.

    Args:
        has_hypertable: transfers go into a hypertable of TimescaleDB.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, has_hypertable: bool) -> None:
        self._connection = connection
        self.profile_rollup_tables = tuple(
            _table(rollup) for rollup in ROLLUPS if rollup.has_client_profile
        )
        self.facts: tuple[str, ...] = ("transfer_packed",)
        if has_hypertable:
            self.facts = ("transfer_packed", "transfer_hypertable")

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return psycopg.RawCursor(self._connection).execute(sql, parameters).fetchall()

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return _as_table(psycopg.RawCursor(self._connection).execute(sql, parameters))

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return psycopg.RawCursor(self._connection).execute(sql, parameters or None).rowcount

    def register(self, name: str, rows: pa.Table, pieces: Iterable[bytes] | None = None) -> None:
        columns = ", ".join(f"{field.name} {_type(field.type)}" for field in rows.schema)
        self.execute(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.execute(f"CREATE TEMP TABLE {name} ({columns}) {_WHOLE_ROWS} ON COMMIT DROP")
        self.copy(f"pg_temp.{name}", rows, pieces)

    def create_temp_table_as(self, name: str, select: str) -> None:
        self.execute(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {select}")

    def copy(self, table: str, rows: pa.Table, pieces: Iterable[bytes] | None = None) -> None:
        """Copy ``rows`` into the columns of ``table`` with the same names.

        Args:
            pieces: the rows, if they are already encoded.
        """
        if not len(rows):
            return
        columns = ", ".join(rows.column_names)
        cursor = self._connection.cursor()
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)".encode()) as copy:
            for piece in pieces or encode_table(rows):
                copy.write(piece)

    def add_names(self, table: str, rows: pa.Table) -> None:
        # In the order of the keys, so that two writers cannot deadlock.
        self.register("given", rows.sort_by(table))
        names = ", ".join(rows.column_names)
        self.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM given ORDER BY {table}"
            " ON CONFLICT DO NOTHING"
        )

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        days = [pc.min(entries["day"]).as_py(), pc.max(entries["day"]).as_py()]
        new_entries = NewEntries(entries, transfers, streams)
        known = new_entries.have(self._are_known(new_entries.keys, days))
        encoding = _encode_rollups(new_entries.all_rollup_rows(known, new_entries.alone))
        with in_background(encoding) as encoded:  # while the server inserts the transfers
            self.copy("entry_ledger", entries.select(TABLES["entry_ledger"].names))
            packed = pack_transfers(entries, transfers)
            packed = packed.append_column("alone", pa.array(new_entries.alone))
            self._add_transfers(packed.append_column("known", pa.array(known)), days)
            for rollup, (new, others) in zip(ROLLUPS, encoded, strict=True):
                self.copy(_table(rollup), *new)
                if not len(others[0]):
                    continue
                self.register("given", *others)
                if rollup.is_packed:
                    self._merge_packed(rollup, "given", len(others[0]), days)
                else:
                    self._merge_rows(rollup)

    def _are_known(self, keys: pa.Table, days: list[date]) -> Mask:
        """Return which of ``keys`` have rollup rows by day and client profile."""
        same = [f"old.{name} = {_cast(f'given.{name}')}" for name in keys.column_names]
        self.register("given", keys.append_column("number", pa.array(np.arange(len(keys)))))
        known_rows = self.rows(
            "SELECT number FROM given WHERE EXISTS (SELECT FROM connection_by_day old"
            f" WHERE old.day BETWEEN $1 AND $2 AND {' AND '.join(same)})",
            days,
        )
        known = np.zeros(len(keys), np.bool_)
        known[[number for (number,) in known_rows]] = True
        return known

    def _add_transfers(self, packed: pa.Table, days: list[date]) -> None:
        """Insert packed transfers, and those of entries that are alone into `FINEST_ROLLUP`."""
        self.register("fact", packed)
        columns = (*ENTRY_COLUMNS, *TRANSFER_COLUMNS)
        self.execute(
            f"INSERT INTO {self.facts[-1]} ({', '.join(columns)})"
            f" SELECT {', '.join(map(_cast, columns))} FROM fact"
        )
        alone = f"SELECT *, {_TRANSFER_COUNTS} AS transfers FROM fact WHERE alone"
        self.execute(_insert(FINEST_ROLLUP, f"({alone} AND NOT known)"))
        known = pc.sum(pc.and_(packed["alone"], packed["known"])).as_py()
        if known:
            self._merge_packed(FINEST_ROLLUP, f"({alone} AND known)", known, days)

    def _merge_rows(self, rollup: Rollup) -> None:
        """Merge the rows of ``given`` into a rollup that is not packed."""
        added = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in rollup.values)
        self.execute(
            f"INSERT INTO {rollup.table} AS old ({', '.join(rollup.columns)})"
            f" SELECT {', '.join(map(_cast, rollup.columns))} FROM given"
            f" ON CONFLICT ({', '.join(rollup.keys)}) DO UPDATE SET {added}"
        )

    def _merge_packed(self, rollup: Rollup, given: str, count: int, days: list[date]) -> None:
        """Merge ``count`` packed rows into a rollup.

        Args:
            given: SQL of the rows.
            days: their first and last day.
        """
        table = _table(rollup)
        same = " AND ".join(f"old.{name} = {_cast(f'given.{name}')}" for name in rollup.group_keys)
        within = f"old.{rollup.time} BETWEEN $1 AND $2"  # limits the partitions that are read
        period = [day.replace(day=1) for day in days] if rollup.time == "month" else days
        merged = self.execute(
            f"UPDATE {table} AS old SET ({', '.join((*rollup.item_keys, *rollup.values))})"
            f" = ({merge_select(rollup)}) FROM {given} given WHERE {same} AND {within}",
            period,
        )
        merged += self.execute(f"{_insert(rollup, given)} ON CONFLICT DO NOTHING")
        if merged != count:  # never lose rows silently
            raise StoreError(
                f"merged {merged} of {count} rows into {table}. Nothing of this step was stored. "
                "Please report this."
            )

    def rebuild_rollup(self, rollup: Rollup, where: str, parameters: Sequence[object]) -> None:
        rows = rollup_select(rollup, where.format(time="day"))
        self._put_rollup(rollup, where.format(time=rollup.time), rows, parameters)

    def replace_rollup(self, rollup: Rollup, where: str, select: str) -> None:
        self.execute("DROP TABLE IF EXISTS pg_temp.replacement")
        self.create_temp_table_as("replacement", select)
        columns = ", ".join(rollup.columns)
        self._put_rollup(rollup, where, f"SELECT {columns} FROM replacement")

    def _put_rollup(
        self, rollup: Rollup, where: str, rows: str, parameters: Sequence[object] = ()
    ) -> None:
        """Replace the rows for which ``where`` holds by ``rows``, a SELECT."""
        table = _table(rollup)
        self.execute(f"DELETE FROM {table} WHERE {where}", parameters)
        columns = rollup.columns
        if rollup.is_packed:
            rows = pack_select(rollup, rows, group_keys=rollup.group_keys)
            columns = _packed_columns(rollup)
        self.execute(f"INSERT INTO {table} ({', '.join(columns)}) {rows}", parameters)


def _table(rollup: Rollup) -> str:
    """Return the table that holds the rows of ``rollup``, packed if it is."""
    return f"{rollup.table}_packed" if rollup.is_packed else rollup.table


def _packed_columns(rollup: Rollup) -> tuple[str, ...]:
    return (*rollup.group_keys, *rollup.item_keys, *rollup.values)


def _insert(rollup: Rollup, given: str) -> str:
    """Return the INSERT of packed rows, the SQL ``given``, into ``rollup``."""
    columns = _packed_columns(rollup)
    return (
        f"INSERT INTO {_table(rollup)} ({', '.join(columns)})"
        f" SELECT {', '.join(_cast(name) for name in columns)} FROM {given} given"
    )


def _encode_rollups(
    rows: Iterable[tuple[RollupRows, RollupRows]],
) -> Iterator[list[_Encoded]]:
    """Return ``rows``, a pair for each of `ROLLUPS`, encoded for COPY."""
    for rollup, pair in zip(ROLLUPS, rows, strict=True):
        tables = [pack_rollup(part) if rollup.is_packed else part.table() for part in pair]
        yield [(table, list(encode_table(table))) for table in tables]


def _cast(column: str) -> str:
    """Return SQL of a column of temporary tables, whose texts become enumerations if need be."""
    name = column.rpartition(".")[2]
    return f"{column}::{name}" if name in ("direction", "protocol") else column


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
