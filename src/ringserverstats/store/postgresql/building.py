"""Rollup rows of a PostgreSQL store, built by DuckDB in this process, with the same SQL.

PostgreSQL takes several times as long to sort and pack them.
"""

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from ringserverstats.logs.batch import LARGEST_NUMBER, Int64s
from ringserverstats.store.duckdb.session import DuckDBSession
from ringserverstats.store.rollups import AMOUNTS, Rollup
from ringserverstats.store.schema import new_schema
from ringserverstats.store.tables import DUCKDB, TABLES

#: The packed rows that are read: columns of an entry, then arrays as PostgreSQL sends them.
PACKED_TRANSFERS = """
SELECT server, day, hour, direction::text, protocol::text, client_profile, entry, connection,
       array_send(stream), array_send(bytes), array_send(packets)
  FROM stored_transfer f WHERE {where}
"""
_ENTRY = ("server", "day", "hour", "direction", "protocol", "client_profile", "entry", "connection")
_ARRAYS = TABLES["transfer"].arrays
# Of the binary format of an array (array_send): its header in bytes, and each element.
_HEADER = 20
_ELEMENT = np.dtype([("size", ">i4"), ("value", ">i8")])
# All days are stale, so that the views of days have their transfers.
_STALE = """
INSERT INTO server_day
SELECT DISTINCT server, day, 1, 0, false, 0, 0, 0, 0, TIMESTAMP '2000-01-01' FROM transfer
"""
_lock = threading.Lock()
_CASTS = {"direction": "text", "protocol": "text", "hour": "smallint"}


def unpack(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return the transfers of ``rows``, the result of `PACKED_TRANSFERS`."""
    columns = list(zip(*rows, strict=True))
    schema = TABLES["transfer"].schema
    of_entry = pa.table(
        [pa.array(columns[number], schema.field(name).type) for number, name in enumerate(_ENTRY)],
        names=list(_ENTRY),
    )
    lengths = [(len(blob) - _HEADER) // _ELEMENT.itemsize for blob in columns[len(_ENTRY)]]
    transfers = of_entry.take(pa.array(np.repeat(np.arange(len(rows)), lengths)))
    for name, blobs in zip(_ARRAYS, columns[len(_ENTRY) :], strict=True):
        transfers = transfers.append_column(name, pa.array(_numbers(blobs)))
    return transfers


def build(
    rollups: Sequence[Rollup], transfers: pa.Table, streams: pa.Table
) -> list[tuple[Rollup, pa.Table]]:
    """Return the rows of each of ``rollups`` as PostgreSQL stores them.

    Args:
        transfers: rows with the columns of table ``transfer``.
        streams: the columns stream, name, network and station of their streams.
    """
    with _lock:
        connection = _scratch()
        connection.execute("BEGIN")
        try:
            session = DuckDBSession(connection)
            for table, rows in (("stream", streams), ("transfer", transfers)):
                session.register("given", rows)
                session.execute(f"INSERT INTO {table} BY NAME SELECT * FROM given")
            session.execute(_STALE)
            session.build_rollups(rollups, "true")
            return [(rollup, _stored(connection, rollup)) for rollup in rollups]
        finally:
            connection.execute("ROLLBACK")


@cache
def _scratch() -> duckdb.DuckDBPyConnection:
    """Return an empty store in memory. To create one takes longer than to build most days."""
    connection = duckdb.connect()
    connection.execute(new_schema(DUCKDB))
    return connection


def _numbers(blobs: Sequence[bytes]) -> Int64s:
    data = b"".join(blob[_HEADER:] for blob in blobs)
    return np.frombuffer(data, _ELEMENT)["value"].astype(np.int64)


def _stored(connection: duckdb.DuckDBPyConnection, rollup: Rollup) -> pa.Table:
    """Return the rows of ``rollup`` as PostgreSQL stores them."""
    if not rollup.is_packed:
        columns = ", ".join(map(_cast, rollup.columns))
        return _table(connection, f"SELECT {columns} FROM {rollup.built}")
    rows = rollup.built
    sql = f"SELECT max(greatest(bytes, packets)) FROM {rows}"
    [(largest,)] = connection.execute(sql).fetchall()
    if largest and largest > LARGEST_NUMBER:  # several elements
        parts = ", ".join(
            f"least(greatest({name} - {LARGEST_NUMBER}::hugeint * piece, 0), {LARGEST_NUMBER})"
            f" AS {name}"
            for name in AMOUNTS
        )
        pieces = f"((greatest(bytes, packets, 1) - 1) // {LARGEST_NUMBER} + 1)::bigint"
        split = f"SELECT *, unnest(range({pieces})) AS piece FROM {rows}"
        transfers = "CASE WHEN piece = 0 THEN transfers ELSE 0 END AS transfers"
        rows = f"(SELECT * REPLACE ({parts}, {transfers}) FROM ({split}))"
    # Of the columns of ``rows``: names that are cast have another order.
    keys = ", ".join(f"r.{name}" for name in rollup.group_keys)
    packed = _table(
        connection,
        f"SELECT {', '.join(map(_cast, rollup.group_keys))}, count(*) AS rows FROM {rows} r"
        f" GROUP BY {keys} ORDER BY {keys}",
    )
    item_keys = ", ".join(f"r.{name}" for name in rollup.item_keys)
    values = ", ".join(f"{name}::bigint AS {name}" for name in rollup.values)
    items = _table(
        connection, f"SELECT {item_keys}, {values} FROM {rows} r ORDER BY {keys}, {item_keys}"
    )
    offsets = pa.array(np.append(0, np.cumsum(packed["rows"].to_numpy())), pa.int32())
    for name, column in zip(items.column_names, items.columns, strict=True):
        lists = pa.ListArray.from_arrays(offsets, column.combine_chunks())
        packed = packed.append_column(name, lists)
    return packed.drop_columns("rows")


def _cast(name: str) -> str:
    return f"{name}::{_CASTS[name]} AS {name}" if name in _CASTS else name


def _table(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return connection.sql(sql).to_arrow_table()
