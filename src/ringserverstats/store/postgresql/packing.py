"""Packed rows: many transfers or rollup rows as one row of arrays.

All arrays of a row have the same length. Elements of ``bytes`` and ``packets`` have 64 bits: a sum
that exceeds them takes several elements. Elements are in the order of their item keys, so that the
same stations make the same arrays.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from ringserverstats.logs.batch import LARGEST_NUMBER
from ringserverstats.store.aggregate import RollupRows
from ringserverstats.store.rollups import AMOUNTS, Rollup
from ringserverstats.store.tables import TABLES

#: Columns of a packed transfer that are scalars, and those that are arrays.
ENTRY_COLUMNS = TABLES["transfer"].packed_names
TRANSFER_COLUMNS = TABLES["transfer"].arrays

_TEXT_KEYS = ("network", "station")
_HALF = LARGEST_NUMBER // 2  # the sum of two of them fits into an element


def pack_transfers(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Return one row for each entry, with its transfers in lists."""
    rows = entries.rename_columns({"entry": "id", "number": "entry"}).select(list(ENTRY_COLUMNS))
    offsets = pa.array(np.append(0, np.cumsum(entries["transfers"].to_numpy())), pa.int32())
    for name in TRANSFER_COLUMNS:
        values = transfers[name].combine_chunks()
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return rows


def pack_rollup(rows: RollupRows) -> pa.Table:
    """Return one row for each group, with item keys and values in lists."""
    rows = _split_large(rows)
    offsets = pa.array(np.append(0, np.cumsum(rows.lengths)), pa.int32())
    item = pa.array(rows.item, pa.int32())
    columns = {
        name: rows.items[name].combine_chunks().take(item) for name in rows.items.column_names
    }
    columns |= {name: pa.array(value) for name, value in rows.values.items()}
    packed = rows.groups
    for name, values in columns.items():
        packed = packed.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return packed


def _split_large(rows: RollupRows) -> RollupRows:
    """Return ``rows`` with sums of more than 64 bits split over several rows."""
    largest = np.maximum(*(rows.values[name] for name in AMOUNTS))
    if largest.dtype != object:
        return rows
    count = np.maximum((largest - 1) // LARGEST_NUMBER + 1, 1).astype(np.int64)
    row = np.repeat(np.arange(len(largest)), count)
    piece = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    before = piece.astype(object) * LARGEST_NUMBER
    values = {
        name: np.clip(rows.values[name][row] - before, 0, LARGEST_NUMBER).astype(np.int64)
        for name in AMOUNTS
    }
    values["transfers"] = np.where(piece == 0, rows.values["transfers"][row], 0)
    lengths = np.bincount(rows.group[row], minlength=len(rows.groups))
    return replace(rows, lengths=lengths, item=rows.item[row], values=values)


def merge_select(rollup: Rollup) -> str:
    """Return the SELECT that merges the arrays of ``old`` and ``given``, one packed row of each.

    If both have the same item keys, as for steady subscriptions, it only adds their values. That
    takes a sixth of the time.
    """
    pairs = ", ".join(
        f"unnest({side}.{name}) AS {side}_{name}"
        for name in rollup.values
        for side in ("old", "given")
    )
    added = ", ".join(
        f"array_agg(least(old_{name}, {_HALF}) + least(given_{name}, {_HALF})) AS {name}"
        for name in rollup.values
    )
    fits = " AND ".join(f"greatest(old_{name}, given_{name}) <= {_HALF}" for name in rollup.values)
    same_items = " AND ".join(f"old.{name} = given.{name}" for name in rollup.item_keys)
    arrays = (*rollup.item_keys, *rollup.values)
    both = " UNION ALL ".join(
        f"SELECT {', '.join(f'unnest({side}.{name}) AS {name}' for name in arrays)}"
        for side in ("old", "given")
    )
    items = ", ".join(rollup.item_keys)
    sums = ", ".join(f"sum({name}) AS {name}" for name in rollup.values)
    merged = f"SELECT {items}, {sums} FROM ({both}) b GROUP BY {items}"
    return (
        f"WITH steady AS MATERIALIZED (SELECT {added}, bool_and({fits}) AS fits"
        f" FROM (SELECT {pairs} WHERE {same_items}) p)"
        f" SELECT {', '.join(f'given.{name}' for name in rollup.item_keys)},"
        f" {', '.join(rollup.values)} FROM steady WHERE fits"
        f" UNION ALL SELECT * FROM ({pack_select(rollup, merged, group_keys=())}) o"
        " WHERE NOT coalesce((SELECT fits FROM steady), false)"
    )


def pack_select(rollup: Rollup, rows: str, *, group_keys: Sequence[str]) -> str:
    """Return the SELECT that packs ``rows`` as `pack_rollup` does.

    Args:
        rows: a SELECT of ``group_keys`` and all item keys and values of ``rollup``.
    """
    keys = ", ".join([*group_keys, *rollup.item_keys])
    fits = " AND ".join(f"{name} <= {LARGEST_NUMBER}" for name in AMOUNTS)
    whole = ", ".join(f"{name}::bigint AS {name}" for name in (*AMOUNTS, "transfers"))
    pieces = f"generate_series(0, div(greatest(bytes, packets) - 1, {LARGEST_NUMBER})::integer)"
    parts = ", ".join(
        f"least(greatest({name} - {LARGEST_NUMBER}::numeric * piece, 0), {LARGEST_NUMBER})::bigint"
        f" AS {name}"
        for name in AMOUNTS
    )
    arrays = ", ".join(
        f"array_agg({name}) AS {name}" for name in (*rollup.item_keys, *AMOUNTS, "transfers")
    )
    order = ", ".join(
        f'{name} COLLATE "C"' if name in _TEXT_KEYS else name
        for name in (*group_keys, *rollup.item_keys)
    )
    return (
        f"WITH summed AS MATERIALIZED ({rows}), split AS ("
        f"SELECT {keys}, {whole} FROM summed WHERE {fits}"
        f" UNION ALL SELECT {keys}, {parts},"
        " (CASE WHEN piece = 0 THEN transfers ELSE 0 END)::bigint AS transfers"
        f" FROM (SELECT *, {pieces} AS piece FROM summed WHERE NOT ({fits})) p)"
        f" SELECT {', '.join([*group_keys, arrays])} FROM (SELECT * FROM split ORDER BY {order}) o"
        f" GROUP BY ({', '.join(group_keys)})"
    )
