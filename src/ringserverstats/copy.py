"""Copy a store into another one.

Entries are written as by `ringserverstats.ingest`, so that entries that the target has are not
counted again: a copy that was stopped continues, and a repeated copy adds what is new.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.log_status import LOG_INTERVALS, REJECTS
from ringserverstats.enrich.rows import (
    AGENTS,
    CLIENT_PROFILES,
    CLIENTS,
    ENTRIES,
    IMPORTED,
    STREAMS,
    TRANSFERS,
    Rows,
)
from ringserverstats.errors import StoreError
from ringserverstats.logs.batch import Int64s
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.registry import networks_of

#: Transfers to copy at once. Those from PostgreSQL are Python tuples on the way.
PIECE = 300_000
_DAYS = """
SELECT server, day, sum(transfers) AS transfers
  FROM entry_ledger GROUP BY server, day ORDER BY server, day
"""
_ENTRIES = """
SELECT server, log_day, log_time, entry, day, bytes, packets, transfers,
       entry_number(server, entry) AS number
  FROM entry_ledger WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_TRANSFERS = """
SELECT entry AS number, hour, direction::text AS direction, protocol::text AS protocol,
       client_profile, connection, stream, bytes, packets
  FROM transfer WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_INTERVALS = """
SELECT server, direction::text AS direction, day, first_minute, last_minute, first_day, last_day,
       complete FROM log_interval
"""
_REJECTS = """
SELECT server, digest, direction::text AS direction, day, file, position, line, lines, reason,
       version, entries FROM reject
"""
_IMPORTED = """
SELECT server, day FROM imported_day WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_TOTALS = """
SELECT v.name AS server, c.day::text AS day, c.direction::text AS direction,
       sum(c.entries) AS entries, sum(c.transfers) AS transfers, sum(c.bytes) AS bytes,
       sum(c.packets) AS packets
  FROM connection_by_day c JOIN server v ON v.server = c.server
 GROUP BY v.name, c.day, c.direction ORDER BY v.name, c.day, c.direction::text
"""
_STATUS = """
SELECT (SELECT count(*) FROM log_interval) AS log_intervals,
       (SELECT count(*) FROM log_interval WHERE complete) AS complete,
       (SELECT coalesce(sum(entries), 0)::bigint FROM reject) AS rejects,
       (SELECT count(*) FROM imported_day) AS imported,
       (SELECT count(*) FROM registry) AS networks
"""


@dataclass
class Copied:
    """The amounts that a copy added, and the entries that the target had (``known``)."""

    entries: int = 0
    transfers: int = 0
    bytes: int = 0
    known: int = 0


def copy(
    source: Store, target: Store, *, progress: Callable[[int, int], None] = lambda *_: None
) -> Copied:
    """Add the entries of ``source`` to ``target``, and copy the log status and the registry.

    Args:
        progress: called with the number of transfers done and in total.

    Raises:
        StoreError: ``target`` is another store, ``source`` does not keep all transfers, or one of
            the two cannot be used. What was copied before stays, and a repeated copy continues.
    """
    if source.kept_since is not None:
        raise StoreError(
            f"{source.label} keeps transfers since {source.kept_since} only, so that it cannot be "
            "copied whole; docs/backup.md says how to copy it as it is"
        )
    target.initialise_copy(*source.identity_and_servers())
    target.open(create=True)
    copied = Copied()
    with source.reading() as ask:
        # The current log status is right once all earlier entries are copied.
        log_status = Rows(
            log_intervals=_cast(ask(_INTERVALS), LOG_INTERVALS),
            rejects=_cast(ask(_REJECTS), REJECTS),
            imported_days=_cast(ask("SELECT server, day FROM imported_day"), IMPORTED),
        )
        networks = networks_of(ask)
        days = ask(_DAYS).to_pylist()
    total, done = sum(row["transfers"] for row in days), 0
    for server, first, last, count in _pieces(days, PIECE):
        with source.reading() as ask:  # others can write between two pieces
            rows = _rows(ask, server, first, last)
        written = target.write(rows)
        copied.entries += written.entries
        copied.transfers += written.transfers
        copied.bytes += written.bytes
        copied.known += written.known
        done += count
        progress(done, total)
    target.set_log_status(log_status)
    target.set_registry(networks)
    target.refresh()
    return copied


def differences(source: Store, target: Store) -> list[str]:
    """Return the differences between totals and log status of two stores, as text."""
    pairs = (
        pair
        for sql in (_TOTALS, _STATUS)
        for pair in zip_longest(*(store.ask(sql, []).to_pylist() for store in (source, target)))
    )
    return [f"{_as_text(here)}, but {_as_text(there)}" for here, there in pairs if here != there]


def _as_text(row: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items()) if row else "nothing"


def _pieces(days: list[dict[str, Any]], batch: int) -> Iterator[tuple[int, date, date, int]]:
    """Return server, first and last day and number of transfers of pieces of some ``batch``."""
    piece: list[dict[str, Any]] = []
    count = 0
    for row in days:
        if piece and (row["server"] != piece[0]["server"] or count + row["transfers"] > batch):
            yield piece[0]["server"], piece[0]["day"], piece[-1]["day"], count
            piece, count = [], 0
        piece.append(row)
        count += row["transfers"]
    if piece:
        yield piece[0]["server"], piece[0]["day"], piece[-1]["day"], count


def _rows(ask: Ask, server: int, first: date, last: date) -> Rows:
    """Return the entries of a server from ``first`` to ``last`` as they were written.

    Raises:
        StoreError: the transfers are not those of the ledger.
    """
    span = [server, first.isoformat(), last.isoformat()]
    entries = ask(_ENTRIES, span).sort_by("number")
    transfers = ask(_TRANSFERS, span).sort_by("number")
    entry_number, transfer_number = (table["number"].to_numpy() for table in (entries, transfers))
    first_row = np.searchsorted(transfer_number, entry_number)  # of each entry
    row = np.searchsorted(entry_number, transfer_number)  # the entry of each transfer
    if not _is_whole(entries, transfers, first_row, row):
        raise StoreError(
            f"the transfers from {first} to {last} are not those of the ledger, so they were not "
            "copied. See: ringserverstats audit"
        )
    first_transfers = transfers.take(pa.array(first_row))
    for name in ("hour", "direction", "protocol", "client_profile", "connection"):
        entries = entries.append_column(name, first_transfers[name])
    client_profiles = _used_rows(
        ask, "client_profile", CLIENT_PROFILES, pc.unique(entries["client_profile"])
    )
    return Rows(
        _cast(entries, ENTRIES),
        _cast(transfers.append_column("row", pa.array(row)), TRANSFERS),
        _used_rows(ask, "stream", STREAMS, pc.unique(transfers["stream"])),
        _used_rows(ask, "agent", AGENTS, pc.unique(client_profiles["agent"])),
        _used_rows(ask, "client", CLIENTS, pc.unique(client_profiles["client"])),
        client_profiles,
        imported_days=_cast(ask(_IMPORTED, span), IMPORTED),
    )


def _is_whole(entries: pa.Table, transfers: pa.Table, first: Int64s, row: Int64s) -> bool:
    """Return True if the entries have exactly the transfers of the ledger.

    Args:
        entries: sorted by ``number``.
        transfers: sorted by ``number``.
        first: the index of each entry's first transfer.
        row: the index of each transfer's entry.
    """
    numbers = entries["number"].to_numpy()
    if np.any(numbers[1:] == numbers[:-1]) or np.any(row == len(entries)):
        return False
    counts = np.bincount(row, minlength=len(entries))
    if not np.array_equal(counts, entries["transfers"].to_numpy()):
        return False
    if not np.array_equal(numbers[row], transfers["number"].to_numpy()):
        return False
    return not len(first) or all(
        np.array_equal(np.add.reduceat(transfers[name].to_numpy(), first), entries[name].to_numpy())
        for name in ("bytes", "packets")
    )


def _used_rows(ask: Ask, name: str, schema: pa.Schema, used: pa.Array) -> pa.Table:
    """Return the rows of the table ``name`` with the ids ``used``."""
    table = ask(f"SELECT {', '.join(schema.names)} FROM {name}")
    return _cast(table.filter(pc.is_in(table[name], value_set=used)), schema)


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns of ``table`` that ``schema`` has, with its types."""
    columns = [
        _uuids(column) if kind == pa.uuid() and column.type != kind else column.cast(kind)
        for column, kind in zip(table.select(schema.names).columns, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _uuids(texts: pa.ChunkedArray) -> pa.Array:
    """Return UUIDs, which DuckDB returns as texts."""
    digits = pc.replace_substring(texts, "-", "")
    bits = bytes.fromhex("".join(digits.to_pylist()))
    storage = pa.Array.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(bits)])
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)
