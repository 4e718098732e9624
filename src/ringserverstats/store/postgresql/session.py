"""A transaction of a store in PostgreSQL."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.errors import StoreError
from ringserverstats.logs.batch import LARGEST_NUMBER
from ringserverstats.store.aggregate import Mask, NewEntries, RollupRows, in_background
from ringserverstats.store.integers import with_integers
from ringserverstats.store.postgresql.copy_binary import encoded
from ringserverstats.store.rollups import AMOUNTS, FINEST_ROLLUP, ROLLUPS, Rollup, counted
from ringserverstats.store.tables import TABLES

_TEXTS = ("network", "station")
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
_OF_TRANSFER = TABLES["transfer"].arrays
_OF_ENTRY = TABLES["transfer"].packed_names
_HALF = LARGEST_NUMBER // 2  # two of them make no more than one
_ONES = "array_fill(1::bigint, ARRAY[cardinality(stream)])"
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
# Arrays that lie beside their rows are fetched one by one to go on to where they stay.
_WHOLE_ROWS = "WITH (toast_tuple_target = 8160)"


#: Rows, and the same as COPY takes them.
_Given = tuple[pa.Table, list[bytes]]


class PostgreSQLSession:
    """The transaction of ``connection``.

    Args:
        has_hypertable: transfers go into that of TimescaleDB.
    """

    def __init__(self, connection: psycopg.Connection[Any], *, has_hypertable: bool) -> None:
        self._connection = connection
        self.profile_rollup_tables = tuple(_table(one) for one in ROLLUPS if one.has_client_profile)
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
        """Put ``rows``, ``encoded`` in ``pieces``, into ``table``, by the names of its columns."""
        if not len(rows):
            return
        columns = ", ".join(rows.column_names)
        cursor = self._connection.cursor()
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT binary)".encode()) as copy:
            for piece in pieces or encoded(rows):
                copy.write(piece)

    def add_names(self, table: str, given: pa.Table) -> None:
        # In the order of their keys, so that two writers never wait for each other in a circle.
        self.register("given", given.sort_by(table))
        names = ", ".join(given.column_names)
        self.execute(
            f"INSERT INTO {table} ({names}) SELECT {names} FROM given ORDER BY {table}"
            " ON CONFLICT DO NOTHING"
        )

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        days = [pc.min(entries["day"]).as_py(), pc.max(entries["day"]).as_py()]
        fresh = NewEntries(entries, transfers, streams)
        known = fresh.have(self._are_known(fresh.keys, days))
        encoding = _encoded(fresh.all_rollup_rows(known, fresh.alone))
        with in_background(encoding) as sums:  # while the server takes the facts
            self.copy("entry_ledger", entries.select(TABLES["entry_ledger"].names))
            facts = _facts(entries, transfers)
            facts = facts.append_column("alone", pa.array(fresh.alone))
            self._add_facts(facts.append_column("known", pa.array(known)), days)
            for one, (new, others) in zip(ROLLUPS, sums, strict=True):
                self.copy(_table(one), *new)
                if not len(others[0]):
                    continue
                self.register("given", *others)
                if one.is_packed:
                    self._add_packed(one, "given", len(others[0]), days)
                else:
                    self._add_plain(one)

    def _are_known(self, keys: pa.Table, days: list[date]) -> Mask:
        """Which of ``keys`` have sums by day and client_profile already."""
        same = [f"old.{name} = {_cast(f'given.{name}')}" for name in keys.column_names]
        self.register("given", keys.append_column("place", pa.array(np.arange(len(keys)))))
        found = self.rows(
            "SELECT place FROM given WHERE EXISTS (SELECT FROM connection_by_day old"
            f" WHERE old.day BETWEEN $1 AND $2 AND {' AND '.join(same)})",
            days,
        )
        known = np.zeros(len(keys), np.bool_)
        known[[place for (place,) in found]] = True
        return known

    def _add_facts(self, facts: pa.Table, days: list[date]) -> None:
        """Add to the facts, and what is of entries that are alone to sums that are as fine."""
        self.register("fact", facts)
        columns = ", ".join((*_OF_ENTRY, *_OF_TRANSFER))
        words = ", ".join(_cast(name) for name in (*_OF_ENTRY, *_OF_TRANSFER))
        self.execute(f"INSERT INTO {self.facts[-1]} ({columns}) SELECT {words} FROM fact")
        alone = f"SELECT *, {_ONES} AS transfers FROM fact WHERE alone"
        self.execute(_insert(FINEST_ROLLUP, f"({alone} AND NOT known)"))
        known = pc.sum(pc.and_(facts["alone"], facts["known"])).as_py()
        if known:
            self._add_packed(FINEST_ROLLUP, f"({alone} AND known)", known, days)

    def _add_plain(self, one: Rollup) -> None:
        """Add the rows that were given to those that are there."""
        added = ", ".join(f"{name} = old.{name} + excluded.{name}" for name in one.values)
        columns = ", ".join([*one.keys, *one.values])
        self.execute(
            f"INSERT INTO {one.table} AS old ({columns})"
            f" SELECT {', '.join(map(_cast, [*one.keys, *one.values]))} FROM given"
            f" ON CONFLICT ({', '.join(one.keys)}) DO UPDATE SET {added}"
        )

    def _add_packed(self, one: Rollup, given: str, count: int, days: list[date]) -> None:
        """Add the packed rows of ``given`` to those that are there.

        Args:
            count: how many these are.
            days: the first and the last one that they are of.
        """
        table = _table(one)
        same = " AND ".join(f"old.{name} = {_cast(f'given.{name}')}" for name in one.who)
        within = f"old.{one.time} BETWEEN $1 AND $2"  # for those partitions alone
        period = [day.replace(day=1) for day in days] if one.time == "month" else days
        done = self.execute(
            f"UPDATE {table} AS old SET ({', '.join((*one.what, *one.values))}) = ({_merged(one)})"
            f" FROM {given} given WHERE {same} AND {within}",
            period,
        )
        done += self.execute(f"{_insert(one, given)} ON CONFLICT DO NOTHING")
        if done != count:  # never silently
            raise StoreError(
                f"{count} rows were to be added to {table}, {done} were; nothing of this step was "
                "stored: please report this"
            )

    def rebuild_rollup(self, one: Rollup, where: str, parameters: Sequence[object]) -> None:
        rows = counted(one, where.format(time="day"))
        self._put_rollup(one, where.format(time=one.time), rows, parameters)

    def replace_rollup(self, one: Rollup, where: str, select: str) -> None:
        self.execute("DROP TABLE IF EXISTS pg_temp.anew")
        self.create_temp_table_as("anew", select)
        columns = ", ".join([*one.keys, *one.values])
        self._put_rollup(one, where, f"SELECT {columns} FROM anew")

    def _put_rollup(
        self, one: Rollup, where: str, rows: str, parameters: Sequence[object] = ()
    ) -> None:
        """Put ``rows``, a SELECT, in the place of those of ``where``."""
        table = _table(one)
        self.execute(f"DELETE FROM {table} WHERE {where}", parameters)
        columns = [*one.keys, *one.values]
        if one.is_packed:
            rows = _packed(one, rows, who=one.who)
            columns = [*one.who, *one.what, *one.values]
        self.execute(f"INSERT INTO {table} ({', '.join(columns)}) {rows}", parameters)


def _table(one: Rollup) -> str:
    """Where the rows of ``one`` lie."""
    return f"{one.table}_packed" if one.is_packed else one.table


def _insert(one: Rollup, given: str) -> str:
    """SQL that puts the packed rows of ``given`` where those of ``one`` lie."""
    columns = [*one.who, *one.what, *one.values]
    return (
        f"INSERT INTO {_table(one)} ({', '.join(columns)})"
        f" SELECT {', '.join(_cast(name) for name in columns)} FROM {given} given"
    )


def _facts(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """The rows of ``entries``, each with its transfers in lists."""
    found = entries.rename_columns({"entry": "id", "number": "entry"}).select(list(_OF_ENTRY))
    ends = pa.array(np.append(0, np.cumsum(entries["transfers"].to_numpy())), pa.int32())
    for name in _OF_TRANSFER:
        values = transfers[name].combine_chunks()
        found = found.append_column(name, pa.ListArray.from_arrays(ends, values))
    return found


def _encoded(sums: Iterable[tuple[RollupRows, RollupRows]]) -> Iterator[list[_Given]]:
    """``sums``, one of each, as they are given to the server."""
    for one, both in zip(ROLLUPS, sums, strict=True):
        tables = [_in_lists(summed) if one.is_packed else summed.table() for summed in both]
        yield [(rows, list(encoded(rows))) for rows in tables]


def _in_lists(summed: RollupRows) -> pa.Table:
    """A row for each of ``who``, with all else in lists."""
    summed = _in_places(summed)
    ends = pa.array(np.append(0, np.cumsum(summed.lengths)), pa.int32())
    number = pa.array(summed.number, pa.int32())
    columns: dict[str, pa.Array] = {}
    for name in summed.names.column_names:
        one = summed.names[name].combine_chunks()
        is_text = pa.types.is_string(one.type)
        columns[name] = pa.DictionaryArray.from_arrays(number, one) if is_text else one.take(number)
    columns |= {name: pa.array(value) for name, value in summed.values.items()}
    found = summed.who
    for name, column in columns.items():
        found = found.append_column(name, pa.ListArray.from_arrays(ends, column))
    return found


def _in_places(summed: RollupRows) -> RollupRows:
    """A place of an array has 64 bits, so that a sum of more is spread over several places."""
    most = np.maximum(*(summed.values[name] for name in AMOUNTS))
    if most.dtype != object:
        return summed
    count = np.maximum((most - 1) // LARGEST_NUMBER + 1, 1).astype(np.int64)
    row = np.repeat(np.arange(len(most)), count)
    piece = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    before = piece.astype(object) * LARGEST_NUMBER
    values = {
        name: np.clip(summed.values[name][row] - before, 0, LARGEST_NUMBER).astype(np.int64)
        for name in AMOUNTS
    }
    values["transfers"] = np.where(piece == 0, summed.values["transfers"][row], 0)
    lengths = np.bincount(summed.group[row], minlength=len(summed.who))
    return replace(summed, lengths=lengths, number=summed.number[row], values=values)


def _merged(one: Rollup) -> str:
    """SQL of the lists of ``old`` and ``given``, one packed row of each, added up.

    Where both name the same, as those of steady subscriptions do, only numbers are added: a sixth
    of the time that it takes to bring other lists together.
    """
    arrays = (*one.what, *one.values)
    pairs = ", ".join(
        f"unnest({side}.{name}) AS {side}_{name}"
        for name in one.values
        for side in ("old", "given")
    )
    added = ", ".join(
        f"array_agg(least(old_{name}, {_HALF}) + least(given_{name}, {_HALF})) AS {name}"
        for name in one.values
    )
    fits = " AND ".join(f"greatest(old_{name}, given_{name}) <= {_HALF}" for name in one.values)
    alike = " AND ".join(f"old.{name} = given.{name}" for name in one.what)
    sides = " UNION ALL ".join(
        f"SELECT {', '.join(f'unnest({side}.{name}) AS {name}' for name in arrays)}"
        for side in ("old", "given")
    )
    what, sums = ", ".join(one.what), ", ".join(f"sum({name}) AS {name}" for name in one.values)
    other = f"SELECT {what}, {sums} FROM ({sides}) b GROUP BY {what}"
    return (
        f"WITH steady AS MATERIALIZED (SELECT {added}, bool_and({fits}) AS fits"
        f" FROM (SELECT {pairs} WHERE {alike}) p)"
        f" SELECT {', '.join(f'given.{name}' for name in one.what)}, {', '.join(one.values)}"
        " FROM steady WHERE fits"
        f" UNION ALL SELECT * FROM ({_packed(one, other, who=())}) o"
        " WHERE NOT coalesce((SELECT fits FROM steady), false)"
    )


def _packed(one: Rollup, rows: str, *, who: Sequence[str]) -> str:
    """SQL of ``rows`` (a SELECT of ``who`` and all else of ``one``) packed into arrays, by ``who``.

    As of `_in_lists`: in the same order, which makes lists of the same stations equal.
    """
    keys = ", ".join([*who, *one.what])
    fits = " AND ".join(f"{name} <= {LARGEST_NUMBER}" for name in AMOUNTS)
    whole = ", ".join(f"{name}::bigint AS {name}" for name in (*AMOUNTS, "transfers"))
    pieces = f"generate_series(0, div(greatest(bytes, packets) - 1, {LARGEST_NUMBER})::integer)"
    parts = ", ".join(
        f"least(greatest({name} - {LARGEST_NUMBER}::numeric * piece, 0), {LARGEST_NUMBER})::bigint"
        f" AS {name}"
        for name in AMOUNTS
    )
    arrays = ", ".join(
        f"array_agg({name}) AS {name}" for name in (*one.what, *AMOUNTS, "transfers")
    )
    order = ", ".join(
        f'{name} COLLATE "C"' if name in _TEXTS else name for name in (*who, *one.what)
    )
    return (
        f"WITH summed AS MATERIALIZED ({rows}), placed AS ("
        f"SELECT {keys}, {whole} FROM summed WHERE {fits}"
        f" UNION ALL SELECT {keys}, {parts},"
        " (CASE WHEN piece = 0 THEN transfers ELSE 0 END)::bigint AS transfers"
        f" FROM (SELECT *, {pieces} AS piece FROM summed WHERE NOT ({fits})) p)"
        f" SELECT {', '.join([*who, arrays])} FROM (SELECT * FROM placed ORDER BY {order}) o"
        f" GROUP BY ({', '.join(who)})"
    )


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
