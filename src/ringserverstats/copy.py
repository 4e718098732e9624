"""A whole store into another one, by the one way that entries are written.

What the target knows already is counted once, as when a log is read again, so that a copy which was
stopped goes on where it was, and one that is made again brings what came since.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
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

#: Transfers that are copied at once, each a Python tuple where it comes from PostgreSQL.
PIECE = 300_000
_DAYS = """
SELECT server, day, sum(transfers) AS transfers FROM entry_ledger GROUP BY server, day ORDER BY server, day
"""
_ENTRIES = """
SELECT server, log_day, log_time, entry, day, bytes, packets, transfers,
       entry_number(server, entry) AS number
  FROM entry_ledger WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_TRANSFERS = """
SELECT entry AS number, hour, direction::text AS direction, protocol::text AS protocol, client_profile,
       connection, stream, bytes, packets
  FROM transfer WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_COVERED = """
SELECT server, direction::text AS direction, day, first_minute, last_minute, first_day, last_day,
       complete FROM log_interval
"""
_REJECTS = """
SELECT server, digest, direction::text AS direction, day, file, position, line, lines, reason,
       version FROM reject
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
_NOTES = """
SELECT (SELECT count(*) FROM log_interval) AS log_intervals,
       (SELECT count(*) FROM log_interval WHERE complete) AS complete,
       (SELECT count(*) FROM reject) AS rejects, (SELECT count(*) FROM imported_day) AS imported,
       (SELECT count(*) FROM registry) AS networks
"""


@dataclass
class Copied:
    """What one copy did: ``entries`` and ``bytes`` that are new in the target, ``known`` before."""

    entries: int = 0
    transfers: int = 0
    bytes: int = 0
    known: int = 0


def copy(
    source: Store, target: Store, *, progress: Callable[[int, int], None] = lambda *_: None
) -> Copied:
    """Count in ``target`` all that ``source`` holds and it does not.

    Args:
        progress: called with the transfers done and to do.

    Raises:
        StoreError: ``target`` is another store, ``source`` does not keep all transfers, or one of
            the two cannot be used. What was copied before stays, and the same again goes on.
    """
    if source.kept_since is not None:
        raise StoreError(
            f"{source.label} keeps transfers since {source.kept_since} only, so that it cannot be "
            "copied whole; docs/backup.md tells how it is copied as it is"
        )
    target.initialise_copy(*source.identity_and_servers())
    target.open(create=True)
    copied = Copied()
    with source.reading() as ask:
        # What is known of logs now is true when all that was read before is copied.
        notes = Rows(
            log_intervals=_fitted(ask(_COVERED), LOG_INTERVALS),
            rejects=_fitted(ask(_REJECTS), REJECTS),
            imported_days=_fitted(ask("SELECT server, day FROM imported_day"), IMPORTED),
        )
        networks = networks_of(ask)
        days = ask(_DAYS).to_pylist()
    size, done = sum(row["transfers"] for row in days), 0
    for server, first, last, count in _pieces(days, PIECE):
        with source.reading() as ask:  # others may write to it between two pieces
            rows = _rows(ask, server, first, last)
        written = target.write(rows)
        copied.entries += written.entries
        copied.transfers += written.transfers
        copied.bytes += written.bytes
        copied.known += written.known
        done += count
        progress(done, size)
    target.set_notes(notes)
    target.set_registry(networks)
    target.finish()
    return copied


def differences(source: Store, target: Store) -> list[str]:
    """What the two stores do not tell alike, in words; nothing where one is a copy of the other."""
    found = []
    for sql in (_TOTALS, _NOTES):
        here, there = (store.ask(sql, []).to_pylist() for store in (source, target))
        if here != there:
            both = zip_longest(here, there)
            found += [f"{_told(one)}, but {_told(other)}" for one, other in both if one != other]
    return found


def _told(row: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items()) if row else "nothing"


def _pieces(days: list[dict[str, Any]], batch: int) -> Iterator[tuple[int, date, date, int]]:
    """Consecutive days of a server with some ``batch`` transfers, and how many these are."""
    held: list[dict[str, Any]] = []
    for row in days:
        count = sum(one["transfers"] for one in held)
        if held and (row["server"] != held[0]["server"] or count + row["transfers"] > batch):
            yield held[0]["server"], held[0]["day"], held[-1]["day"], count
            held = []
        held.append(row)
    if held:
        count = sum(one["transfers"] for one in held)
        yield held[0]["server"], held[0]["day"], held[-1]["day"], count


def _rows(ask: Ask, server: int, first: date, last: date) -> Rows:
    """What was read of a server's days, as it was when it was written.

    Raises:
        StoreError: the ledger and the transfers do not tell of the same entries.
    """
    span = [server, first.isoformat(), last.isoformat()]
    entries = ask(_ENTRIES, span).sort_by("number")
    transfers = ask(_TRANSFERS, span).sort_by("number")
    first_row, row = _places(entries["number"].to_numpy(), transfers["number"].to_numpy())
    if not _is_whole(entries, transfers, first_row, row):
        raise StoreError(
            f"the transfers from {first} to {last} are not those that the ledger tells of, so they "
            "were not copied; see: ringserverstats audit"
        )
    own = transfers.take(pa.array(first_row))
    for name in ("hour", "direction", "protocol", "client_profile", "connection"):
        entries = entries.append_column(name, own[name])
    repeats = _repeats(row, transfers["stream"].to_numpy(), len(entries))
    client_profiles = _named(
        ask, "client_profile", CLIENT_PROFILES, pc.unique(entries["client_profile"])
    )
    return Rows(
        _fitted(entries.append_column("repeats", pa.array(repeats)), ENTRIES),
        _fitted(transfers.append_column("row", pa.array(row)), TRANSFERS),
        _named(ask, "stream", STREAMS, pc.unique(transfers["stream"])),
        _named(ask, "agent", AGENTS, pc.unique(client_profiles["agent"])),
        _named(ask, "client", CLIENTS, pc.unique(client_profiles["client"])),
        client_profiles,
        imported_days=_fitted(ask(_IMPORTED, span), IMPORTED),
    )


def _places(entries: Int64s, transfers: Int64s) -> tuple[Int64s, Int64s]:
    """Of sorted numbers of entries the first transfer of each, of transfers the entry of each."""
    return np.searchsorted(transfers, entries), np.searchsorted(entries, transfers)


def _is_whole(entries: pa.Table, transfers: pa.Table, first: Int64s, row: Int64s) -> bool:
    """Whether the entries have just the transfers that the ledger tells of."""
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


def _repeats(row: Int64s, stream: Int64s, count: int) -> npt.NDArray[np.bool_]:
    """Which of ``count`` entries name a stream twice."""
    order = np.lexsort((stream, row))
    row, stream = row[order], stream[order]
    found = np.zeros(count, np.bool_)
    found[row[1:][(row[1:] == row[:-1]) & (stream[1:] == stream[:-1])]] = True
    return found


def _named(ask: Ask, name: str, schema: pa.Schema, wanted: pa.Array) -> pa.Table:
    """Those rows of a small table whose ids are ``wanted``."""
    table = ask(f"SELECT {', '.join(schema.names)} FROM {name}")
    return _fitted(table.filter(pc.is_in(table[name], value_set=wanted)), schema)


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Those columns of ``table`` that ``schema`` names, of its types."""
    columns = [
        _uuids(column) if kind == pa.uuid() and column.type != kind else column.cast(kind)
        for column, kind in zip(table.select(schema.names).columns, schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)


def _uuids(texts: pa.ChunkedArray) -> pa.Array:
    """UUIDs that DuckDB tells as texts."""
    digits = pc.replace_substring(texts, "-", "")
    bits = bytes.fromhex("".join(digits.to_pylist()))
    storage = pa.Array.from_buffers(pa.binary(16), len(texts), [None, pa.py_buffer(bits)])
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)
