"""A transaction of a store in PostgreSQL.

The sums of a batch are made by DuckDB in memory, from the same declarations as those of a DuckDB
store, and copied where there is no row for them yet; only what is there already is added up by the
server.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.logs.batch import LARGEST_NUMBER, Int32s
from ringserverstats.store.answers import with_integers
from ringserverstats.store.copying import encoded
from ringserverstats.store.sums import FRESH, SUMS, Sum, counted, grouped, packed

_PIECES = f"generate_series(0, div(greatest(bytes, packets), {LARGEST_NUMBER})::integer)"
_PIECES_DUCKDB = (
    f"unnest(generate_series(0, (greatest(bytes, packets) // {LARGEST_NUMBER})::integer))"
)
_TYPES = {
    pa.int8(): "smallint",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("s"): "timestamp",
    pa.string(): "text",
    pa.uuid(): "uuid",
}
_SEEN = ("server", "log_day", "entry", "day", "bytes", "packets", "transfers", "log_time")
_OF_TRANSFER = ("stream", "bytes", "packets")
_OF_ENTRY = (
    *("entry", "origin", "connection", "server", "day", "direction", "protocol", "hour"),
    "log_time",
)
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
_ALONE = """
SELECT any_value(row) AS row FROM entry GROUP BY day, server, direction, protocol, origin
HAVING count(*) = 1 AND NOT bool_or(repeats)
"""
_SUM_MEMORY = "256MB"


class PostgreSQLSession:
    """The transaction of ``connection``.

    Args:
        has_hypertable: transfers go into that of TimescaleDB.
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

    def change(self, sql: str, parameters: Sequence[object] = ()) -> int:
        return psycopg.RawCursor(self._connection).execute(sql, parameters or None).rowcount

    def give(self, name: str, rows: pa.Table) -> None:
        columns = ", ".join(f"{field.name} {_type(field.type)}" for field in rows.schema)
        self.change(f"DROP TABLE IF EXISTS pg_temp.{name}")
        self.change(f"CREATE TEMP TABLE {name} ({columns}) ON COMMIT DROP")
        self.copy(f"pg_temp.{name}", rows)

    def keep(self, name: str, select: str) -> None:
        self.change(f"CREATE TEMP TABLE {name} ON COMMIT DROP AS {select}")

    def copy(self, table: str, rows: pa.Table) -> None:
        """Put ``rows`` into ``table``, by the names of its columns."""
        if not len(rows):
            return
        columns = ", ".join(rows.column_names)
        cursor = self._connection.cursor()
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)".encode()) as copy:
            for piece in encoded(rows):
                copy.write(piece)

    def add_names(self, table: str, given: pa.Table) -> None:
        # In the order of their keys, so that two writers never wait for each other in a circle.
        self.give("given", given.sort_by(table))
        self.change(
            f"INSERT INTO {table} SELECT * FROM given ORDER BY {table} ON CONFLICT DO NOTHING"
        )

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        transfers = _of(entries, transfers)
        facts = _facts(entries, transfers)
        with ThreadPoolExecutor(1) as pool:  # sums are made while the server takes the facts
            sums = _sums(entries, transfers, streams, facts)
            pending = pool.submit(next, sums, None)
            self.copy("seen", entries.select(list(_SEEN)))
            self.copy(self.facts[-1], facts)
            while (made := pending.result()) is not None:
                pending = pool.submit(next, sums, None)
                one, rows = made
                if one.is_packed:
                    self._add_packed(one, rows)
                else:
                    self._add_plain(one, rows)

    def _add_plain(self, one: Sum, rows: pa.Table) -> None:
        """Add rows of sums, as texts, to those that are there."""
        self.give("given", rows)
        added = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in one.values)
        columns = ", ".join([*one.keys, *one.values])
        self.change(
            f"INSERT INTO {one.table} AS old ({columns})"
            f" SELECT {', '.join(_cast(name) for name in one.keys)},"
            f" {', '.join(f'{name}::numeric' for name in one.values)} FROM given"
            f" ON CONFLICT ({', '.join(one.keys)}) DO UPDATE SET {added}"
        )

    def _add_packed(self, one: Sum, rows: pa.Table) -> None:
        """Add packed rows to those that are there; most are the first of their keys."""
        if not len(rows):
            return
        self.give("given", rows.select(list(one.who)).append_column("row", _numbers(len(rows))))
        same = " AND ".join(f"old.{name} = {_cast(f'given.{name}')}" for name in one.who)
        days = pc.min_max(rows[one.time]).as_py()
        found = self.table(
            f"SELECT given.row FROM given JOIN {one.table}_packed old ON {same}"
            f" WHERE old.{one.time} BETWEEN $1 AND $2",
            [days["min"], days["max"]],
        )
        known = np.zeros(len(rows), np.bool_)
        known[found["row"].to_numpy()] = True
        self.copy(f"{one.table}_packed", rows.filter(pa.array(~known)))
        if known.any():
            self._add_up(one, rows.filter(pa.array(known)), same)

    def _add_up(self, one: Sum, rows: pa.Table, same: str) -> None:
        """Add packed ``rows`` to those of the same keys, all of which are there."""
        self.give("given", rows)
        table = f"{one.table}_packed"
        arrays = (*one.what, *one.values)
        sides = [
            f"SELECT {', '.join(f'old.{name}' for name in one.who)},"
            f" {', '.join(f'unnest({side}.{name}) AS {name}' for name in arrays)}"
            f" FROM {table} old JOIN given ON {same}"
            for side in ("old", "given")
        ]
        names = ", ".join([*one.who, *one.what])
        added = ", ".join(f"sum({name}) AS {name}" for name in one.values)
        summed = f"SELECT {names}, {added} FROM ({' UNION ALL '.join(sides)}) b GROUP BY {names}"
        self.change(
            f"UPDATE {table} AS old SET {', '.join(f'{name} = new.{name}' for name in arrays)}"
            f" FROM ({packed(one, summed, pieces=_PIECES, wide='numeric')}) new"
            f" WHERE {' AND '.join(f'old.{name} = new.{name}' for name in one.who)}"
        )

    def sum_again(self, one: Sum, where: str, parameters: Sequence[object]) -> None:
        table = f"{one.table}_packed" if one.is_packed else one.table
        self.change(f"DELETE FROM {table} WHERE {where.format(time=one.time)}", parameters)
        rows = counted(one, where.format(time="day"))
        columns = [*one.keys, *one.values]
        if one.is_packed:
            rows = packed(one, rows, pieces=_PIECES, wide="numeric")
            columns = [*one.who, *one.what, *one.values]
        self.change(f"INSERT INTO {table} ({', '.join(columns)}) {rows}", parameters)


def _facts(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """The rows of ``entries``, each with its transfers in lists."""
    of_entry = entries.rename_columns({"entry": "id", "number": "entry"}).select(list(_OF_ENTRY))
    found, ends = of_entry, _ends(entries["transfers"].to_numpy())
    for name in _OF_TRANSFER:
        values = transfers[name].combine_chunks()
        found = found.append_column(name, pa.ListArray.from_arrays(ends, values))
    return found


def _ends(counts: Int32s) -> pa.Array:
    """Where lists of so many elements begin, and the last one ends."""
    return pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())


def _sums(
    entries: pa.Table, transfers: pa.Table, streams: pa.Table, facts: pa.Table
) -> Iterator[tuple[Sum, pa.Table]]:
    """The rows of all sums of a batch: packed, or with numbers as texts."""
    with duckdb.connect(config={"memory_limit": _SUM_MEMORY}) as summing:
        summing.register("entry", entries)
        alone = np.isin(entries["row"].to_numpy(), summing.sql(_ALONE).fetchnumpy()["row"])
        summing.register("fresh_entry", entries.append_column("alone", pa.array(alone)))
        summing.register("given_transfer", transfers)
        summing.register("given_stream", streams)
        summing.execute(f"CREATE VIEW fresh_transfer AS {FRESH['fresh_transfer']}")
        summing.execute(f"CREATE TABLE fresh_station AS {FRESH['fresh_station']}")
        for one in SUMS:
            if not one.is_packed:
                yield one, summing.sql(_as_texts(one)).to_arrow_table()
            elif one.single and one.what == ("stream",):  # packed as the facts are
                yield one, _summed(facts.filter(pa.array(alone)), one)
                yield one, summing.sql(_packed(one, "NOT alone")).to_arrow_table()
            else:
                yield one, summing.sql(_packed(one, "true")).to_arrow_table()


def _summed(facts: pa.Table, one: Sum) -> pa.Table:
    """Entries that are alone with their keys, as packed sums."""
    ends = _ends(pc.list_value_length(facts["stream"]).to_numpy())
    ones = pa.array(np.ones(ends[-1].as_py(), np.int64))
    return facts.select([*one.who, *_OF_TRANSFER]).append_column(
        "transfers", pa.ListArray.from_arrays(ends, ones)
    )


def _packed(one: Sum, where: str) -> str:
    return packed(one, grouped(one, one.source, where), pieces=_PIECES_DUCKDB, wide="hugeint")


def _as_texts(one: Sum) -> str:
    """SQL of the sums ``one`` of the new rows; numbers of any size as texts."""
    texts = ", ".join(f"{name}::text AS {name}" for name in one.values)
    return f"SELECT {', '.join(one.keys)}, {texts} FROM ({grouped(one, one.source, 'true')})"


def _numbers(count: int) -> pa.Array:
    return pa.array(np.arange(count, dtype=np.int32))


def _of(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Those of ``transfers`` that are of ``entries``, in the order of these."""
    rows, row = entries["row"].to_numpy(), transfers["row"].to_numpy()
    place = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
    is_of_them = rows[place] == row
    if not is_of_them.all():
        transfers = transfers.filter(pa.array(is_of_them))
        row = row[is_of_them]
    if np.any(np.diff(row) < 0):
        transfers = transfers.take(pa.array(np.argsort(row, kind="stable")))
    return transfers


def _cast(column: str) -> str:
    """``column`` of what was given, where words are texts, as its own type."""
    name = column.rpartition(".")[2]
    return f"{column}::{name}" if name in ("direction", "protocol") else column


def _type(kind: pa.DataType) -> str:
    """The type of a column that is given."""
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    return "text" if pa.types.is_dictionary(kind) else _TYPES[kind]


def _as_table(cursor: psycopg.RawCursor[Any]) -> pa.Table:
    """The rows of ``cursor`` as columns."""
    described = cursor.description or []
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(described)
    arrays = [_array(values, one.type_code) for values, one in zip(columns, described, strict=True)]
    return with_integers(pa.table(arrays, names=[one.name for one in described]))


def _array(values: Sequence[Any], oid: int) -> pa.Array:
    if oid == _UUID:
        bits = pa.array([value and value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(pa.uuid(), bits)
    return pa.array(values, _COLUMNS.get(oid, pa.string()))
