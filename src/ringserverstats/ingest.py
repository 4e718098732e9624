"""The one way of logs into a store: batches in, a receipt out."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import chain

import numpy as np
import pyarrow as pa

from ringserverstats import __version__
from ringserverstats.enrich.geoip import GeoIP
from ringserverstats.enrich.log_status import covered, damage, plain_name, rejected
from ringserverstats.enrich.rows import ENTRIES, Enricher, Rows, join
from ringserverstats.enrich.rules import Rules
from ringserverstats.enrich.sanitize import clean
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import Batch, Reject
from ringserverstats.logs.days import days
from ringserverstats.logs.duplicates import Duplicates
from ringserverstats.logs.intervals import is_over
from ringserverstats.logs.reader import read
from ringserverstats.logs.source import Chunk, Source, chunks
from ringserverstats.store.base import FileRead, Server, Store, Written

#: Rows (transfers and entries) that are written at once, at most.
BATCH = 1_000_000
#: Rejects that a receipt tells one by one; more are counted.
MOST_REJECTS = 10_000
DEFAULT_SERVER = "default"
_TWO_DAYS = 2 * 86_400
_PROVISIONAL = 2**31 - 1  # and below: servers of a dry run that the store does not have


@dataclass
class ImportReport:
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
    rejected_before: int = 0
    resolved: int = 0
    days_guessed: int = 0
    misdated: int = 0
    imported: int = 0
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
    geoip: GeoIP | None = None,
    rules: Rules | None = None,
    dry_run: bool = False,
    retry_rejects: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> ImportReport:
    """Count each entry of ``sources`` that ``store`` does not know yet.

    Args:
        geography: tells places of clients, ``rules`` their classes; None: nothing does.
        dry_run: only tell what would be done.
        retry_rejects: what the store holds as rejected of these files is made what is rejected now.

    Raises:
        StoreError: the store cannot be used. Batches before this one are counted and stay so.
    """
    opened = store.open(create=not dry_run)
    servers = _Servers(store, opened.servers, dry_run=dry_run)
    report = ImportReport(files=len(sources))
    pipeline = _Pipeline(
        keys=opened.keys,
        enricher=Enricher(
            opened.keys,
            ipv6_prefix=ipv6_prefix,
            keep_hosts=keep_hosts,
            geoip=geoip,
            rules=rules,
        ),
        servers=servers,
        report=report,
        progress=progress,
        retry_rejects=retry_rejects,
        unsettled=opened.rejected,
        told=frozenset() if retry_rejects else opened.digests,
    )
    connections: list[np.ndarray] = []
    doubtful: set[tuple[int, date]] = set()

    def count(written: Written) -> None:
        report.known += written.known
        report.known_elsewhere += written.elsewhere
        report.entries += written.entries
        report.transfers += written.transfers
        report.bytes += written.bytes
        report.packets += written.packets
        report.resolved += written.resolved
        report.misdated += written.misdated
        report.imported += written.imported
        doubtful.update(written.doubtful)
        connections.append(written.connections)

    write = _Comparison(store) if dry_run else store.write
    writing: Future[Written] | None = None
    with ThreadPoolExecutor(1) as pool:  # the store writes one batch while the next is read
        for rows in _batches(pipeline.parts(sources), BATCH):
            if writing is not None:
                count(writing.result())
            writing = pool.submit(write, rows)
            del rows  # the writer has it, and lets go of it when it is written
        if writing is not None:
            count(writing.result())
    if doubtful:
        store.mark_incomplete(doubtful)
    for settled in pipeline.settled:
        report.resolved += store.settle_rejects(settled, try_only=dry_run)
    if not dry_run:
        store.finish()
    report.connections = len(np.unique(np.concatenate(connections))) if connections else 0
    report.notes += servers.notes()
    if geoip is not None:
        report.notes += geoip.problems
    if report.misdated:
        days = sorted(day for _, day in doubtful)
        report.notes.append(
            f"{report.misdated} entries are in the store on other days than these logs say: they "
            "were read before without their log's name, or in another time zone. These days are "
            "incomplete until they are deleted and read again: ringserverstats delete --server "
            f"NAME --from {days[0]} --to {days[-1]}"
        )
    if report.imported:
        report.notes.append(
            f"{report.imported} entries are of days whose history was imported from release 0.17, "
            "and were not counted again. To count their logs instead, delete these days first: "
            "ringserverstats delete --server NAME --from DAY --to DAY"
        )
    if report.known_elsewhere:
        report.notes.append(
            f"{report.known_elsewhere} entries are in the store under another server too, and "
            "count for each. If these are the logs of one server: ringserverstats server merge"
        )
    return report


def _batches(parts: Iterator[Rows], batch: int) -> Iterator[Rows]:
    """``parts`` joined to some ``batch`` rows each."""
    held: list[Rows] = []
    size = 0
    for part in parts:
        held.append(part)
        size += part.size
        if size >= batch:
            yield join(held)
            held, size = [], 0
    if held:
        yield join(held)


@dataclass
class _Pipeline:
    """Turns inputs into rows; ``report`` gets what is no entry.

    ``told`` are the rejects that the store has, by server and digest: they are counted apart.
    ``unsettled`` are the servers and files that have rejects; ``settled`` gets those that were read
    to their end now, where that may tell that rejects are none any more.
    """

    keys: Keys
    enricher: Enricher
    servers: "_Servers"
    report: ImportReport
    progress: Callable[[Progress], None]
    retry_rejects: bool
    unsettled: dict[tuple[int, str], bool]
    told: frozenset[tuple[int, bytes]]
    settled: list[FileRead] = field(default_factory=list)
    damaged: dict[tuple[int, str], list[str]] = field(default_factory=dict)
    done: int = 0
    lines: int = 0
    latest: int = field(default_factory=lambda: int(time.time()) + _TWO_DAYS)

    def __post_init__(self) -> None:
        for (server, file), is_damaged in self.unsettled.items():
            if is_damaged:
                self.damaged.setdefault((server, plain_name(file)), []).append(file)

    def parts(self, sources: list[Source]) -> Iterator[Rows]:
        """The rows of all ``sources``, in small parts."""
        for source in sources:
            yield from self._source(source)

    def _source(self, source: Source) -> Iterator[Rows]:
        name = source.server or clean(os.fsencode(source.name.prefix or "")) or DEFAULT_SERVER
        duplicates = Duplicates(self.keys.entries)
        now = datetime.now(UTC)  # what comes into the file from now on may not be read
        unfinished, good, bad, taken = False, False, False, 0
        digests: list[bytes] = []
        for chunk, batches in self._read(source):
            rejects: list[Reject] = []
            for batch in batches:
                self._count(batch)
                unfinished |= batch.incomplete > 0
                good |= len(batch) + batch.empty > 0
                rejects += batch.rejects
                if len(batch):
                    yield self._entries(source, name, batch, duplicates)
            if chunk.damage is not None:
                rejects.append(damage(chunk, source, key=self.keys.entries))
            if rejects:
                bad = True
                notes = self._rejects(source, name, chunk, rejects)
                if self.retry_rejects:
                    digests += [one.bytes for one in notes.rejects["digest"].to_pylist()]
                yield notes
            taken = chunk.read
            self.progress(Progress(read=self.done + taken, lines=self.lines))
        is_whole = chunk.damage is None and not unfinished and (good or not bad)
        yield from self._covered(source, name, is_whole=is_whole, now=now)
        if chunk.damage is None and source.has_place:
            self._settle(source, name, chunk.position + len(chunk.data), digests)
        self.done += taken

    def _read(self, source: Source) -> Iterator[tuple[Chunk, Iterator[Batch]]]:
        """The chunks of ``source`` and what is in them, the next of which is read meanwhile.

        Its first batch, that is, which mostly is all of it: one that mixes formats takes long.
        """
        with ThreadPoolExecutor(1) as pool:
            before: tuple[Chunk, Iterator[Batch], Future[Batch]] | None = None
            for chunk in chunks(source):  # here, as one that waits for input must be stoppable
                batches = read(chunk, key=self.keys.entries, latest=self.latest)
                now = chunk, batches, pool.submit(next, batches)
                if before is not None:
                    yield _whole(*before)
                before = now
            if before is not None:
                yield _whole(*before)

    def _settle(self, source: Source, name: str, size: int, digests: list[bytes]) -> None:
        number = self.servers.number(name)
        if self.retry_rejects and (number, source.place) in self.unsettled:
            self.settled.append(FileRead(number, source.place, size, digests, __version__))
        for file in self.damaged.get((number, plain_name(source.place)), ()):  # it, or a copy
            self.settled.append(FileRead(number, file, size, None, __version__))

    def _count(self, batch: Batch) -> None:
        self.report.empty += batch.empty
        self.report.incomplete += batch.incomplete
        self.report.access_lines += batch.access
        self.lines += batch.lines

    def _entries(self, source: Source, name: str, batch: Batch, duplicates: Duplicates) -> Rows:
        ids = duplicates.ids(batch.digest, batch.log_time)
        server = self.servers.get(name)
        dated = days(batch, source.name, server.zone)
        self.report.days_guessed += dated.guessed
        if dated.contradicts:
            self.servers.contradicted.setdefault(name, (server, source))
        return self.enricher.rows(batch, ids, dated, server=server.number)

    def _rejects(self, source: Source, name: str, chunk: Chunk, rejects: list[Reject]) -> Rows:
        server = self.servers.get(name).number
        new = [reject for reject in rejects if (server, reject.digest) not in self.told]
        self.report.rejected += len(new)
        self.report.rejected_before += len(rejects) - len(new)
        room = MOST_REJECTS - len(self.report.rejects)
        self.report.rejects += [(source.label, reject) for reject in new[:room]]
        key = self.keys.entries
        return Rows(
            rejects=rejected(rejects, chunk, source, server=server, key=key, version=__version__)
        )

    def _covered(
        self, source: Source, name: str, *, is_whole: bool, now: datetime
    ) -> Iterator[Rows]:
        """What the log covers, behind its last entries: never in the store before them."""
        if not source.name.start or source.name.kind == "access":
            return
        server = self.servers.get(name)
        is_whole &= is_over(source.name, server.latest_zone, now)
        yield Rows(log_intervals=covered(source.name, server=server.number, complete=is_whole))


def _whole(
    chunk: Chunk, batches: Iterator[Batch], first: Future[Batch]
) -> tuple[Chunk, Iterator[Batch]]:
    """``chunk`` with all that is in it; ``batches`` is what comes behind the ``first``."""
    return chunk, chain([first.result()], batches)


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
        self._known = {
            name: server for server in known for name in (server.name, *server.former_names)
        }
        #: By server the first input whose times and name contradict each other.
        self.contradicted: dict[str, tuple[Server, Source]] = {}

    def get(self, name: str) -> Server:
        if name not in self._known:
            self._known[name] = (
                Server(_PROVISIONAL - len(self._known), name, "")
                if self._dry_run
                else self._store.add_server(name, "")
            )
        return self._known[name]

    def number(self, name: str) -> int:
        """The number of a server, 0 where it is not known yet."""
        return self._known[name].number if name in self._known else 0

    def notes(self) -> list[str]:
        """What the user should know of the servers' time zones."""
        return [
            f"the log times of {source.label} do not fit the interval in its name, read as local "
            f"time of server {server.name!r} ({server.timezone or 'UTC, as none was told'}); the "
            f"name decides the day. If it is this log's own name, the time zone is wrong: "
            f"ringserverstats server timezone {server.name} Area/City"
            for server, source in self.contradicted.values()
        ]
