"""Packed rows: many transfers or rollup rows as one row of arrays.

All arrays of a row have the same length. Elements of ``bytes`` and ``packets`` have 64 bits: a sum
that exceeds them takes several elements. Elements are in the order of their item keys, so that the
same stations make the same arrays.
"""

import numpy as np
import pyarrow as pa

from ringserverstats.logs.batch import LARGEST_NUMBER
from ringserverstats.store.rollups import AMOUNTS, Rollup
from ringserverstats.store.tables import TABLES

# Columns of a packed transfer that are scalars, and those that are arrays.
_ENTRY_COLUMNS = TABLES["transfer"].packed_names
_TRANSFER_COLUMNS = TABLES["transfer"].arrays

_TEXT_KEYS = ("network", "station")


def pack_transfers(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Return one row for each entry, with its transfers in lists, in the order of streams."""
    rows = entries.rename_columns({"entry": "id", "number": "entry"}).select(list(_ENTRY_COLUMNS))
    offsets = pa.array(np.append(0, np.cumsum(entries["transfers"].to_numpy())), pa.int32())
    order = np.lexsort((transfers["stream"].to_numpy(), transfers["row"].to_numpy()))
    for name in _TRANSFER_COLUMNS:
        values = pa.array(transfers[name].to_numpy()[order])
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets, values))
    return rows


def pack_select(rollup: Rollup, rows: str) -> str:
    """Return the SELECT that packs ``rows``, one row for each group.

    Args:
        rows: a SELECT of all columns of ``rollup``.
    """
    group_keys = rollup.group_keys
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
        f"WITH totals AS MATERIALIZED ({rows}), split AS ("
        f"SELECT {keys}, {whole} FROM totals WHERE {fits}"
        f" UNION ALL SELECT {keys}, {parts},"
        " (CASE WHEN piece = 0 THEN transfers ELSE 0 END)::bigint AS transfers"
        f" FROM (SELECT *, {pieces} AS piece FROM totals WHERE NOT ({fits})) p)"
        f" SELECT {', '.join([*group_keys, arrays])} FROM (SELECT * FROM split ORDER BY {order}) o"
        f" GROUP BY {', '.join(group_keys)}"
    )
