"""A whole store into another one, by the one way that entries are written.

What the target knows already is counted once, as when a log is read again, so that a copy which was
stopped goes on where it was, and one that is made again brings what came since.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.notes import COVERED, REJECTS
from ringserverstats.enrich.rows import (
    AGENTS,
    CLIENTS,
    ENTRIES,
    ORIGINS,
    STREAMS,
    TRANSFERS,
    Rows,
    repeating,
)
from ringserverstats.errors import StoreError
from ringserverstats.store.base import Ask, Store

_DAYS = """
SELECT server, day, sum(transfers) AS transfers FROM seen GROUP BY server, day ORDER BY server, day
"""
_ENTRIES = """
SELECT server, log_day, log_time, entry, day, bytes, packets, transfers,
       entry_number(server, entry) AS number
  FROM seen WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_TRANSFERS = """
SELECT entry AS number, hour, direction::text AS direction, protocol::text AS protocol, origin,
       connection, stream, bytes, packets
  FROM transfer WHERE server = $1 AND day BETWEEN $2::date AND $3::date
"""
_COVERED = """
SELECT server, direction::text AS direction, day, first_minute, last_minute, first_day, last_day,
       whole FROM covered
"""
_REJECTS = """
SELECT server, digest, direction::text AS direction, day, file, position, line, lines, reason,
       version FROM reject
"""
_TOTALS = """
SELECT v.name AS server, count(s.server) AS entries, coalesce(sum(s.transfers), 0) AS transfers,
       coalesce(sum(s.bytes), 0) AS bytes, coalesce(sum(s.packets), 0) AS packets
  FROM server v LEFT JOIN seen s ON s.server = v.server GROUP BY v.name ORDER BY v.name
"""
_NOTES = (
    "SELECT (SELECT count(*) FROM covered) AS covered, (SELECT count(*) FROM reject) AS rejects"
)


@dataclass
class Copied:
    """What one copy did: ``entries`` and ``bytes`` that are new in the target, ``known`` before."""

    entries: int = 0
    transfers: int = 0
    bytes: int = 0
    known: int = 0


@dataclass(frozen=True)
class Names:
    """The small tables of a store, which fit into memory."""

    streams: pa.Table
    agents: pa.Table
    clients: pa.Table
    origins: pa.Table

    def of(self, streams: Sequence[int], origins: Sequence[int]) -> "Names":
        """Those that these streams and origins need."""
        own = _those(self.origins, "origin", origins)
        return Names(
            _those(self.streams, "stream", streams),
            _those(self.agents, "agent", own["agent"]),
            _those(self.clients, "client", own["client"]),
            own,
        )


def copy(
    source: Store, target: Store, *, progress: Callable[[int, int], None] = lambda *_: None
) -> Copied:
    """Count in ``target`` all that ``source`` holds and it does not.

    Args:
        progress: called with the transfers done and to do.

    Raises:
        StoreError: ``target`` is another store, or one of the two cannot be used. What was copied
            before stays, and the same again goes on.
    """
    target.become(*source.self_portrait())
    target.open(create=True)
    copied = Copied()
    with source.reading() as ask:
        days = ask(_DAYS).to_pylist()
        names = _names(ask)
        size, done = sum(row["transfers"] for row in days), 0
        for server, first, last, count in _pieces(days, target.batch):
            written = target.write(_rows(ask, names, server, first, last))
            copied.entries += written.entries
            copied.transfers += written.transfers
            copied.bytes += written.bytes
            copied.known += written.known
            done += count
            progress(done, size)
        target.write(
            Rows(
                covered=_fitted(ask(_COVERED), COVERED),
                rejects=_fitted(ask(_REJECTS), REJECTS),
            )
        )
    target.finish()
    return copied


def differences(source: Store, target: Store) -> list[str]:
    """What the two stores do not tell alike, in words; nothing where one is a copy of the other."""
    found = []
    for sql in (_TOTALS, _NOTES):
        both = [store.ask(sql, []).to_pylist() for store in (source, target)]
        found += [f"{here} here, {there} there" for here, there in _unlike(*both)]
    return found


def _unlike(
    here: list[dict[str, object]], there: list[dict[str, object]]
) -> Iterator[tuple[str, str]]:
    for one, other in zip(here, there, strict=False):
        if one != other:
            yield str(one), str(other)
    if len(here) != len(there):
        yield f"{len(here)} servers", str(len(there))


def _pieces(days: list[dict[str, object]], batch: int) -> Iterator[tuple[int, date, date, int]]:
    """Consecutive days of a server with some ``batch`` transfers, and how many these are."""
    held: list[dict[str, object]] = []
    for row in [*days, None]:
        count = sum(one["transfers"] for one in held)
        if held and (row is None or row["server"] != held[0]["server"] or count >= batch):
            yield held[0]["server"], held[0]["day"], held[-1]["day"], count
            held = []
        if row is not None:
            held.append(row)


def _rows(ask: Ask, names: Names, server: int, first: date, last: date) -> Rows:
    """What was read of a server's days, as it was when it was written."""
    span = [server, first.isoformat(), last.isoformat()]
    entries = ask(_ENTRIES, span).sort_by("number")
    transfers = ask(_TRANSFERS, span)
    numbers = entries["number"].to_numpy()
    row = np.searchsorted(numbers, transfers["number"].to_numpy())
    order = np.argsort(row, kind="stable")
    row = row[order]
    transfers = transfers.take(pa.array(order))
    begin = np.searchsorted(row, np.arange(len(entries)))
    if len(entries) and (
        begin[-1] == len(row)
        or np.any(row[np.minimum(begin, len(row) - 1)] != np.arange(len(entries)))
    ):
        raise StoreError("ledger")
    own = transfers.take(pa.array(begin))
    for name in ("hour", "direction", "protocol", "origin", "connection"):
        entries = entries.append_column(name, own[name])
    streams = transfers["stream"].to_numpy()
    entries = entries.append_column("repeats", pa.array(repeating(row, streams, len(entries))))
    needed = names.of(pc.unique(transfers["stream"]), pc.unique(entries["origin"]))
    return Rows(
        _fitted(entries, ENTRIES),
        _fitted(transfers.append_column("row", pa.array(row)), TRANSFERS),
        needed.streams,
        needed.agents,
        needed.clients,
        needed.origins,
    )


def _names(ask: Ask) -> Names:
    tables = (("stream", STREAMS), ("agent", AGENTS), ("client", CLIENTS), ("origin", ORIGINS))
    return Names(
        *(
            _fitted(ask(f"SELECT {', '.join(kind.names)} FROM {name}"), kind)
            for name, kind in tables
        )
    )


def _those(table: pa.Table, key: str, wanted: object) -> pa.Table:
    return table.filter(pc.is_in(table[key], value_set=pa.array(wanted)))


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Those columns of ``table`` that ``schema`` names, of its types."""
    return table.select(schema.names).cast(schema)
