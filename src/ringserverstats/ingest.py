"""The one way of logs into a store: batches in, a receipt out."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from ringserverstats.enrich.clean import clean
from ringserverstats.enrich.rows import ENTRIES, Enricher, Rows, join
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import Batch, Reject
from ringserverstats.logs.days import days
from ringserverstats.logs.reader import damage, read
from ringserverstats.logs.source import Source, chunks
from ringserverstats.logs.twins import Twins
from ringserverstats.store.base import Server, Store, Written

#: Rows (transfers and entries) that are written at once.
BATCH = 1_000_000
#: Rejects that a receipt tells one by one; more are counted.
MOST_REJECTS = 10_000
DEFAULT_SERVER = "default"
DEFAULT_TIMEZONE = "UTC"
_TWO_DAYS = 2 * 86_400
_PROVISIONAL = 2**31 - 1  # and below: servers of a dry run that the store does not have


@dataclass
class Receipt:
    """What one ingest did. Bytes and packets are those of new entries."""

    files: int = 0
    entries: int = 0
    connections: int = 0
    transfers: int = 0
    bytes: int = 0
    packets: int = 0
    known: int = 0
    known_elsewhere: int = 0
    empty: int = 0
    incomplete: int = 0
    rejected: int = 0
    days_guessed: int = 0
    access_lines: int = 0
    other_files: int = 0
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Progress:
    """``read`` of the ``size`` bytes of the inputs, and ``lines`` so far."""

    read: int
    lines: int


def ingest(
    sources: list[Source],
    store: Store,
    *,
    ipv6_prefix: int,
    keep_hosts: bool = False,
    server: str | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Receipt:
    """Count each entry of ``sources`` that ``store`` does not know yet.

    Args:
        server: the name of the server that wrote them; else the prefix of each file's name.
        dry_run: only tell what would be done.

    Raises:
        StoreError: the store cannot be used. Batches before this one are counted and stay so.
    """
    opened = store.open(create=not dry_run)
    keys = opened.keys
    enricher = Enricher(keys, ipv6_prefix=ipv6_prefix, keep_hosts=keep_hosts)
    servers = _Servers(store, opened.servers, dry_run=dry_run)
    receipt = Receipt(files=len(sources))
    connections: list[np.ndarray] = []

    def count(written: Written) -> None:
        receipt.known += written.known
        receipt.known_elsewhere += written.elsewhere
        receipt.entries += written.entries
        receipt.transfers += written.transfers
        receipt.bytes += written.bytes
        receipt.packets += written.packets
        connections.append(written.connections)

    write = _Comparison(store) if dry_run else store.write
    writing: Future[Written] | None = None
    with ThreadPoolExecutor(1) as pool:  # the store writes one batch while the next is read
        for rows in _batches(sources, keys, enricher, servers, server, receipt, progress):
            if writing is not None:
                count(writing.result())
            writing = pool.submit(write, rows)
            del rows  # the writer has it, and lets go of it when it is written
        if writing is not None:
            count(writing.result())
    receipt.connections = len(np.unique(np.concatenate(connections))) if connections else 0
    receipt.notes += servers.notes()
    if receipt.known_elsewhere:
        receipt.notes.append(
            f"{receipt.known_elsewhere} entries are in the store under another server too, and "
            "count for each. If these are the logs of one server: make the store anew and read "
            "them with the right --as"
        )
    return receipt


def _batches(
    sources: list[Source],
    keys: Keys,
    enricher: Enricher,
    servers: "_Servers",
    server: str | None,
    receipt: Receipt,
    progress: Callable[[Progress], None],
) -> Iterator[Rows]:
    """Rows of all ``sources``, some `BATCH` at a time; ``receipt`` gets what is no entry."""
    parts: list[Rows] = []
    size = lines = done = 0
    latest = int(time.time()) + _TWO_DAYS
    for source in sources:
        name = server or clean(os.fsencode(source.name.prefix or "")) or DEFAULT_SERVER
        twins = Twins(keys.entries)
        taken = 0
        for chunk in chunks(source):
            for batch in read(chunk, key=keys.entries, latest=latest):
                _count_others(receipt, source, batch)
                lines += batch.lines
                if not len(batch):
                    continue
                ids = twins.ids(batch.digest, batch.log_time)
                one = servers.get(name)
                dated = days(batch, source.name, ZoneInfo(one.timezone))
                receipt.days_guessed += dated.guessed
                if dated.contradicts:
                    servers.contradicted.setdefault(name, (one, source))
                parts.append(enricher.rows(batch, ids, dated, server=one.number))
                size += len(batch) + len(batch.entry)
            _reject(receipt, source, damage(chunk))
            taken = chunk.read
            progress(Progress(read=done + taken, lines=lines))
            if size >= BATCH:
                yield join(parts)
                parts, size = [], 0
        done += taken
    if parts:
        yield join(parts)


def _count_others(receipt: Receipt, source: Source, batch: Batch) -> None:
    receipt.empty += batch.empty
    receipt.incomplete += batch.incomplete
    receipt.access_lines += batch.access
    _reject(receipt, source, batch.rejects)


def _reject(receipt: Receipt, source: Source, rejects: list[Reject]) -> None:
    receipt.rejected += len(rejects)
    room = MOST_REJECTS - len(receipt.rejects)
    receipt.rejects += [(source.label, reject) for reject in rejects[:room]]


class _Comparison:
    """Stands for `Store.write` in a dry run: remembers which entries would be there by now."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._earlier = ENTRIES.empty_table().select(["server", "entry"])

    def __call__(self, rows: Rows) -> Written:
        written = self._store.compare(rows, self._earlier)
        entries = rows.entries.select(["server", "entry"])
        self._earlier = pa.concat_tables([self._earlier, entries])
        return written


class _Servers:
    """The servers of the store by name; a new one is made when its first entry comes."""

    def __init__(self, store: Store, known: list[Server], *, dry_run: bool) -> None:
        self._store = store
        self._dry_run = dry_run
        self._known = {name: server for server in known for name in (server.name, *server.former)}
        #: By server the first input whose times and name contradict each other.
        self.contradicted: dict[str, tuple[Server, Source]] = {}

    def get(self, name: str) -> Server:
        if name not in self._known:
            self._known[name] = (
                Server(_PROVISIONAL - len(self._known), name, DEFAULT_TIMEZONE)
                if self._dry_run
                else self._store.add_server(name, DEFAULT_TIMEZONE)
            )
        return self._known[name]

    def notes(self) -> list[str]:
        """What the user should know of the servers' time zones."""
        return [
            f"the log times of {source.label} do not fit the interval in its name, read as local "
            f"time of server {server.name!r} ({server.timezone}); the name decides the day. If "
            f"it is this log's own name, the time zone is wrong: ringserverstats server timezone "
            f"{server.name} Area/City"
            for server, source in self.contradicted.values()
        ]
