"""Rollup rows of the new entries of a batch, in columns. Each engine merges them in its own way."""

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
#: Integer columns by name: int64, or Python integers (dtype object) where a sum may exceed 64 bits.
Values = dict[str, npt.NDArray[Any]]

_T = TypeVar("_T")

# A sum that is less than this in floating point fits into 64 bits: the error is far smaller.
_SAFE = 2.0**62
_DECIMAL = pa.decimal128(38, 0)


def column(numbers: npt.NDArray[Any]) -> pa.Array:
    """Return ``numbers`` of `Values` as Arrow integers, or as decimals if they are Python's."""
    return pa.array(numbers, _DECIMAL if numbers.dtype == object else None)


@dataclass(frozen=True)
class RollupRows:
    """New rows of a rollup, those of the same group side by side.

    Args:
        groups: the group keys of each group, in order.
        lengths: the number of rows of each group.
        items: the item keys, in order.
        item: for each row its index in ``items``, ascending within a group.
        values: the value columns, one value a row.
    """

    groups: pa.Table
    lengths: Numbers
    items: pa.Table
    item: Numbers
    values: Values

    @property
    def group(self) -> Numbers:
        """The index in ``groups`` of each row."""
        return np.repeat(np.arange(len(self.groups)), self.lengths)

    def table(self) -> pa.Table:
        """Return all rows with all columns; `AMOUNTS` are decimals."""
        parts = (self.groups.take(pa.array(self.group)), self.items.take(pa.array(self.item)))
        columns = {name: table[name] for table in parts for name in table.column_names}
        for name, value in self.values.items():
            columns[name] = column(value).cast(_DECIMAL) if name in AMOUNTS else column(value)
        return pa.table(columns)


@dataclass(frozen=True)
class _Source:
    """Rows to add up: for each the index of its entry and of its item in ``items``, and values."""

    entry: Numbers
    item: Numbers
    items: pa.Table
    values: Values

    def of(self, entries: Mask) -> "_Source":
        """Return the rows of those ``entries``."""
        mask = entries[self.entry]
        values = {name: value[mask] for name, value in self.values.items()}
        return _Source(self.entry[mask], self.item[mask], self.items, values)


class NewEntries:
    """The new entries of a batch.

    Args:
        entries: rows of schema `ENTRIES`.
        transfers: their transfers, rows of schema `TRANSFERS`, in the order of the entries.
        streams: rows of schema `STREAMS`, one for each stream of the transfers.
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
        self._items: dict[tuple[str, tuple[str, ...]], tuple[Numbers, pa.Table]] = {}

    @property
    def keys(self) -> pa.Table:
        """The distinct group keys of `FINEST_ROLLUP`."""
        return self._grouped(FINEST_ROLLUP.group_keys)[1]

    def have(self, keys: Mask) -> Mask:
        """Return which entries have those of `keys`."""
        groups, _ = self._grouped(FINEST_ROLLUP.group_keys)
        entries: Mask = keys[groups]
        return entries

    @cached_property
    def alone(self) -> Mask:
        """Which entries are the only ones with their `keys` and list no stream twice."""
        groups, _ = self._grouped(FINEST_ROLLUP.group_keys)
        alone: Mask = np.bincount(groups)[groups] == 1
        alone[self._entries["repeats"].to_numpy()] = False
        return alone

    def all_rollup_rows(self, known: Mask, alone: Mask) -> Iterator[tuple[RollupRows, RollupRows]]:
        """Return for each of `ROLLUPS` the rows with keys that the store lacks, and all others.

        Args:
            known: entries with `keys` for which the store has rollup rows.
            alone: entries that are left out of `FINEST_ROLLUP`: it gets their transfers as rows.
        """
        for rollup in ROLLUPS:
            of = ~alone if rollup is FINEST_ROLLUP else np.ones_like(known)
            is_finest = rollup.group_keys == FINEST_ROLLUP.group_keys
            new = ~known if is_finest else np.zeros_like(known)
            yield self.rollup_rows(rollup, of & new), self.rollup_rows(rollup, of & ~new)

    def rollup_rows(self, rollup: Rollup, of: Mask) -> RollupRows:
        """Return the rows of ``rollup`` for the entries ``of``."""
        source = self._source(rollup.source)
        if not of.all():
            source = source.of(of)
        groups, group_keys = self._grouped(rollup.group_keys)
        numbers, items = self._numbered_items(rollup)
        key, values = _summed(
            groups[source.entry] * len(items) + numbers[source.item], source.values
        )
        group, item = np.divmod(key, max(len(items), 1))
        lengths = np.bincount(group, minlength=len(group_keys))
        return RollupRows(
            group_keys.filter(pa.array(lengths > 0)),
            lengths[lengths > 0],
            items,
            item,
            {name: values[name] for name in rollup.values},
        )

    def _source(self, name: str) -> _Source:
        """Return the rows of a source of `SOURCES`."""
        if name == "transfers":
            return self._of_transfers
        return self._of_stations if name == "stations" else self._of_entries

    def _numbered_items(self, rollup: Rollup) -> tuple[Numbers, pa.Table]:
        """Return the index of each item of the source in the distinct item keys, and these."""
        key = (rollup.source, rollup.item_keys)
        if key not in self._items:
            self._items[key] = _numbered(self._source(rollup.source).items, rollup.item_keys)
        return self._items[key]

    def _grouped(self, keys: tuple[str, ...]) -> tuple[Numbers, pa.Table]:
        """Return the index of each entry in the distinct group keys, and these."""
        if keys not in self._groups:
            self._groups[keys] = _numbered(self._entries, keys)
        return self._groups[keys]

    @cached_property
    def _of_transfers(self) -> _Source:
        entry = np.repeat(np.arange(len(self._entries)), self._entries["transfers"].to_numpy())
        item = pc.index_in(self._transfers["stream"], value_set=self._streams["stream"])
        values = {name: self._transfers[name].to_numpy() for name in AMOUNTS}
        values["transfers"] = np.ones(len(entry), np.int64)
        return _Source(entry, item.to_numpy(), self._streams, values)

    @cached_property
    def _of_stations(self) -> _Source:
        source = self._of_transfers
        numbers, stations = _numbered(source.items, ("network", "station"))
        key, values = _summed(source.entry * len(stations) + numbers[source.item], source.values)
        entry, station = np.divmod(key, max(len(stations), 1))
        return _Source(entry, station, stations, values)

    @cached_property
    def _of_entries(self) -> _Source:
        number = np.arange(len(self._entries))
        values = {
            name: self._entries[name].to_numpy().astype(np.int64)
            for name in (*AMOUNTS, "transfers")
        }
        return _Source(number, number, self._entries, {**values, "entries": np.ones_like(number)})


@contextmanager
def in_background(rows: Iterator[_T]) -> Iterator[Iterator[_T]]:
    """Compute ``rows``, one value for each of `ROLLUPS`, in another thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = [pool.submit(next, rows) for _ in ROLLUPS]
        try:
            yield (pending.pop(0).result() for _ in ROLLUPS)
        except BaseException:  # finish only the current one: other processes may be waiting
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _numbered(table: pa.Table, columns: tuple[str, ...]) -> tuple[Numbers, pa.Table]:
    """Return the index of each row of ``table`` in its distinct ``columns``, and these, sorted.

    NULL is a value that sorts last. Texts sort by their bytes.
    """
    plain = pa.table({name: _plain(table[name]) for name in columns})
    codes = np.zeros(len(plain), np.int64)
    for values in plain.columns:
        encoded = pc.dictionary_encode(values.combine_chunks(), null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy()
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    distinct = plain.take(pa.array(first))
    order = pc.sort_indices(distinct, sort_keys=[(name, "ascending") for name in columns])
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return rank[numbers], distinct.take(order)


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column, a dictionary as its texts."""
    return values.cast(pa.string()) if pa.types.is_dictionary(values.type) else values


def _summed(key: Numbers, values: Values) -> tuple[Numbers, Values]:
    """Return the distinct keys, sorted, and the sums of ``values`` for each."""
    order = np.argsort(key)
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return key[first], {name: _sums(value[order], first) for name, value in values.items()}


def _sums(values: npt.NDArray[Any], first: Numbers) -> npt.NDArray[Any]:
    """Return the sums of ``values`` from each index in ``first`` to the next."""
    if not len(first):
        return values
    if np.sum(values, dtype=np.float64) >= _SAFE:
        values = values.astype(object)
    sums: npt.NDArray[Any] = np.add.reduceat(values, first)
    return sums
