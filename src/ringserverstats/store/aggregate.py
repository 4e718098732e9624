"""The sums of what is new in a batch, in columns; each kind of store adds them in its own way."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.store.rollups import AMOUNTS, FINEST_ROLLUP, NO_HOUR, ROLLUPS, Rollup

Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
#: Columns of whole numbers, by name: of 64 bits, or Python's where a sum may have more.
Values = dict[str, npt.NDArray[Any]]

_T = TypeVar("_T")

# Whatever sums up to less as floats has 64 bits: these err by far less than the rest.
_SAFE = 2.0**62
_WIDE = pa.decimal128(38, 0)


def column(numbers: npt.NDArray[Any]) -> pa.Array:
    """``numbers`` of `Values`: Python's as decimals."""
    return pa.array(numbers, _WIDE if numbers.dtype == object else None)


@dataclass(frozen=True)
class RollupRows:
    """New rows of a table of sums, those of the same time and who side by side.

    Args:
        who: a row for each of these: their key columns of time and who, in order.
        lengths: how many rows each of them has.
        names: key columns of what was taken, in order; ``number`` tells which of these each row is
            of, in order within the same ``who``.
        values: of each row.
    """

    who: pa.Table
    lengths: Numbers
    names: pa.Table
    number: Numbers
    values: Values

    @property
    def group(self) -> Numbers:
        """Which row of ``who`` each row is of."""
        return np.repeat(np.arange(len(self.who)), self.lengths)

    def table(self) -> pa.Table:
        """All rows with all columns; those that may have more than 64 bits are of decimals."""
        who, names = self.who.take(pa.array(self.group)), self.names.take(pa.array(self.number))
        columns = {name: table[name] for table in (who, names) for name in table.column_names}
        for name, value in self.values.items():
            columns[name] = column(value).cast(_WIDE) if name in AMOUNTS else column(value)
        return pa.table(columns)


@dataclass(frozen=True)
class _Rows:
    """What is summed up: of each row the number of its entry, and which of ``items`` it is of."""

    entry: Numbers
    item: Numbers
    items: pa.Table
    values: Values

    def of(self, entries: Mask) -> "_Rows":
        mask = entries[self.entry]
        values = {name: value[mask] for name, value in self.values.items()}
        return _Rows(self.entry[mask], self.item[mask], self.items, values)


class NewEntries:
    """The new entries of a batch.

    Args:
        entries: rows of schema `ENTRIES`.
        transfers: rows of schema `TRANSFERS`, those of the entries, in their order.
        streams: rows of schema `STREAMS`, one for each stream of these.
    """

    def __init__(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        hours = pc.fill_null(entries["hour"].cast(pa.int16()), NO_HOUR)
        self._entries = (
            entries.drop_columns("hour")
            .append_column("hour", hours)
            .append_column("month", pc.floor_temporal(entries["day"], unit="month"))
        )
        self._transfers = transfers
        self._streams = streams
        self._groups: dict[tuple[str, ...], tuple[Numbers, pa.Table]] = {}
        self._names: dict[tuple[str, tuple[str, ...]], tuple[Numbers, pa.Table]] = {}

    @property
    def keys(self) -> pa.Table:
        """What sums of days and client_profiles have as `RollupRows.who`, each once."""
        return self._grouped(FINEST_ROLLUP.who)[1]

    def have(self, keys: Mask) -> Mask:
        """Which entries have those of `keys`."""
        groups, _ = self._grouped(FINEST_ROLLUP.who)
        entries: Mask = keys[groups]
        return entries

    @cached_property
    def alone(self) -> Mask:
        """Which entries are the only ones of their `keys` and name no stream twice."""
        groups, _ = self._grouped(FINEST_ROLLUP.who)
        alone: Mask = np.bincount(groups)[groups] == 1
        alone[self._entries["repeats"].to_numpy()] = False
        return alone

    def all_rollup_rows(self, known: Mask, alone: Mask) -> Iterator[tuple[RollupRows, RollupRows]]:
        """The rows of each of `ROLLUPS`: those whose keys the store has not, and all others.

        Args:
            known: entries of whose `keys` it has sums.
            alone: entries that `FINEST_ROLLUP` gets from their transfers, so that they are left out.
        """
        for one in ROLLUPS:
            of = ~alone if one is FINEST_ROLLUP else np.ones_like(known)
            new = ~known if one.who == FINEST_ROLLUP.who else np.zeros_like(known)
            yield self.sums(one, of & new), self.sums(one, of & ~new)

    def sums(self, one: Rollup, of: Mask) -> RollupRows:
        """The rows of ``one`` that the entries ``of`` make."""
        rows = self._rows(one.source)
        if not of.all():
            rows = rows.of(of)
        groups, who = self._grouped(one.who)
        numbers, names = self._named(one)
        key, values = _summed(groups[rows.entry] * len(names) + numbers[rows.item], rows.values)
        group, number = np.divmod(key, max(len(names), 1))
        lengths = np.bincount(group, minlength=len(who))
        return RollupRows(
            who.filter(pa.array(lengths > 0)),
            lengths[lengths > 0],
            names,
            number,
            {name: values[name] for name in one.values},
        )

    def _rows(self, source: str) -> _Rows:
        """What sums of this ``source`` are made of."""
        if source == "transfers":
            return self._of_transfers
        return self._of_stations if source == "stations" else self._of_entries

    def _named(self, one: Rollup) -> tuple[Numbers, pa.Table]:
        """Which keys of what each of the items is of, that sums of the source of ``one`` have."""
        if (one.source, one.what) not in self._names:
            self._names[one.source, one.what] = _numbered(self._rows(one.source).items, one.what)
        return self._names[one.source, one.what]

    def _grouped(self, who: tuple[str, ...]) -> tuple[Numbers, pa.Table]:
        if who not in self._groups:
            self._groups[who] = _numbered(self._entries, who)
        return self._groups[who]

    @cached_property
    def _of_transfers(self) -> _Rows:
        entry = np.repeat(np.arange(len(self._entries)), self._entries["transfers"].to_numpy())
        item = pc.index_in(self._transfers["stream"], value_set=self._streams["stream"])
        values = {name: self._transfers[name].to_numpy() for name in AMOUNTS}
        values["transfers"] = np.ones(len(entry), np.int64)
        return _Rows(entry, item.to_numpy(), self._streams, values)

    @cached_property
    def _of_stations(self) -> _Rows:
        rows = self._of_transfers
        numbers, stations = _numbered(rows.items, ("network", "station"))
        key, values = _summed(rows.entry * len(stations) + numbers[rows.item], rows.values)
        entry, station = np.divmod(key, max(len(stations), 1))
        return _Rows(entry, station, stations, values)

    @cached_property
    def _of_entries(self) -> _Rows:
        number = np.arange(len(self._entries))
        values = {
            name: self._entries[name].to_numpy().astype(np.int64)
            for name in (*AMOUNTS, "transfers")
        }
        return _Rows(number, number, self._entries, {**values, "entries": np.ones_like(number)})


@contextmanager
def in_background(rows: Iterator[_T]) -> Iterator[Iterator[_T]]:
    """What is made for each of `ROLLUPS`, by a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(next, rows) for _ in ROLLUPS]
        try:
            yield (pending.pop(0).result() for _ in ROLLUPS)
        except BaseException:  # no more than the one that is being made: others may wait
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _numbered(table: pa.Table, columns: tuple[str, ...]) -> tuple[Numbers, pa.Table]:
    """A number for each row of ``table``, in the order of ``columns``, and these by the number.

    NULL is a value like others, the last one; texts are ordered by their bytes.
    """
    plain = pa.table({name: _plain(table[name]) for name in columns})
    codes = np.zeros(len(plain), np.int64)
    for values in plain.columns:
        encoded = pc.dictionary_encode(values.combine_chunks(), null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    found = plain.take(pa.array(first))
    order = pc.sort_indices(found, sort_keys=[(name, "ascending") for name in columns])
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return place[numbers], found.take(order)


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column, as texts where it has words."""
    return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values


def _summed(key: Numbers, values: Values) -> tuple[Numbers, Values]:
    """All keys once, in order, and the sums of ``values`` by key."""
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return key[first], {name: _sums(value[order], first) for name, value in values.items()}


def _sums(values: npt.NDArray[Any], first: Numbers) -> npt.NDArray[Any]:
    """The sums of ``values`` from each index in ``first`` to the next."""
    if not len(first):
        return values
    if np.sum(values, dtype=np.float64) >= _SAFE:
        values = values.astype(object)
    sums: npt.NDArray[Any] = np.add.reduceat(values, first)
    return sums
