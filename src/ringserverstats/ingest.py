"""The ingest pipeline: reads logs in batches, writes them into a store, and reports the counts."""

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import chain

import numpy as np
import pyarrow as pa

from ringserverstats import __version__
from ringserverstats.enrich.log_status import (
    damage_reject,
    log_interval_rows,
    plain_name,
    reject_rows,
)
from ringserverstats.enrich.rows import ENTRIES, Enricher, EnrichOptions, Rows, join, load, save
from ringserverstats.import_report import NO_GEOIP, ImportReport, count_notes, time_zone_note
from ringserverstats.logs.batch import Batch, Int64s, Reject
from ringserverstats.logs.copies import IntervalCopies
from ringserverstats.logs.days import days
from ringserverstats.logs.duplicates import Duplicates
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.intervals import is_over
from ringserverstats.logs.reader import read
from ringserverstats.logs.source import Chunk, Source, chunks
from ringserverstats.store.base import CountedElsewhere, FileRead, Server, Store, Written

#: Rows (transfers and entries) of a batch, at most.
BATCH = 1_000_000
#: Rejects that a report lists; further ones are only counted.
MOST_REJECTS = 10_000
_TWO_DAYS = 2 * 86_400
_PROVISIONAL = 2**31 - 1  # and below: numbers of new servers in a dry run
_WORKERS = 2  # one writes, one parses


@dataclass(frozen=True)
class IngestOptions(EnrichOptions):
    """How logs are read.

    Args:
        dry_run: count, but store nothing.
        retry_rejects: replace the stored rejects of these files by those found now.
        refresh: build the rollups of the changed days at the end.
    """

    dry_run: bool = False
    retry_rejects: bool = False
    refresh: bool = True


@dataclass(frozen=True)
class Progress:
    """``read``: bytes of the inputs that were read so far, compressed or not, with ``lines``."""

    read: int
    lines: int


def ingest(
    sources: list[Source],
    store: Store,
    options: IngestOptions,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    confirm: Callable[[ImportReport], None] | None = None,
) -> ImportReport:
    """Count each entry of ``sources`` that is not in ``store`` yet.

    Args:
        sources: the logs.
        store: the store.
        options: how logs are read.
        progress: called while they are read.
        confirm: called with the counts before anything is stored. What it raises ends the ingest.

    Raises:
        StoreError: the store cannot be used. Earlier batches stay counted.
    """
    report = ImportReport(files=len(sources))
    with ThreadPoolExecutor(_WORKERS) as pool:
        copies = IntervalCopies(sources)
        pipeline = _Pipeline(store, options, pool, report, progress, copies)
        writer = _Writer(_Comparison(store) if options.dry_run else store.write, pool, report)
        batches = _batches(pipeline.parts(sources), BATCH)
        if confirm:
            batches = _confirmed(
                batches, _Writer(_Comparison(store), pool, ImportReport()), confirm
            )
        for rows in batches:
            writer.submit(rows)
            del rows  # so that its memory is freed once it is written
        writer.wait()
    if writer.misdated_days:
        store.mark_incomplete(writer.misdated_days)
    for file in pipeline.files_read:
        report.resolved += store.settle_rejects(file, try_only=options.dry_run)
    if options.refresh and not options.dry_run:
        store.refresh()
    report.connections = writer.count_connections()
    report.counted_elsewhere = writer.most_counted_elsewhere()
    report.notes += [
        time_zone_note(source.label, server) for server, source in pipeline.contradicted.values()
    ]
    report.notes += options.geoip.problems if options.geoip else []
    if pipeline.is_first and report.entries and not (options.geoip and options.geoip.databases):
        report.notes.append(NO_GEOIP)  # once: cron would mail it every time
    report.notes += count_notes(report, sorted(day for _, day in writer.misdated_days))
    return report


def _batches(parts: Iterator[Rows], size: int) -> Iterator[Rows]:
    """Join ``parts`` into batches of about ``size`` rows."""
    pending: list[Rows] = []
    rows = 0
    for part in parts:
        pending.append(part)
        rows += part.size
        if rows >= size:
            yield join(pending)
            pending, rows = [], 0
    if pending:
        yield join(pending)


def _confirmed(
    batches: Iterator[Rows], trial: "_Writer", confirm: Callable[[ImportReport], None]
) -> Iterator[Rows]:
    """Yield ``batches`` after ``confirm`` got their counts. They wait in a temporary file."""
    with tempfile.TemporaryFile() as file:
        count = 0
        for rows in batches:
            trial.submit(rows)
            save(rows, file)
            count += 1
        trial.wait()
        trial.report.counted_elsewhere = trial.most_counted_elsewhere()
        confirm(trial.report)
        file.seek(0)
        for _ in range(count):
            yield load(file)


@dataclass
class _Writer:
    """Writes one batch in ``pool`` while the next is read, and adds the counts to ``report``.

    ``misdated_days`` are the servers and days of entries that are in the store on another day.
    """

    write: Callable[[Rows], Written]
    pool: Executor
    report: ImportReport
    misdated_days: set[tuple[int, date]] = field(default_factory=set)
    _counted_elsewhere: dict[int, CountedElsewhere] = field(default_factory=dict)
    _connections: list[Int64s] = field(default_factory=list)
    _writing: Future[Written] | None = None

    def submit(self, rows: Rows) -> None:
        """Write ``rows`` after the previous batch."""
        self.wait()
        self._writing = self.pool.submit(self.write, rows)

    def wait(self) -> None:
        """Wait until the last batch is written."""
        if self._writing is None:
            return
        written, report = self._writing.result(), self.report
        report.known += written.known
        report.known_elsewhere += written.elsewhere
        report.entries += written.entries
        report.transfers += written.transfers
        report.bytes += written.bytes
        report.packets += written.packets
        report.resolved += written.resolved
        report.misdated += written.misdated
        report.imported += written.imported
        self.misdated_days |= written.misdated_days
        for found in written.counted_elsewhere:
            before = self._counted_elsewhere.get(found.server, replace(found, entries=0))
            total = before.entries + found.entries
            self._counted_elsewhere[found.server] = replace(before, entries=total)
        self._connections.append(written.connections)
        self._writing = None

    def count_connections(self) -> int:
        """Return the number of connections of new entries."""
        return len(np.unique(np.concatenate(self._connections))) if self._connections else 0

    def most_counted_elsewhere(self) -> CountedElsewhere | None:
        """Return the new entries that one other server has: the server that has most of them."""
        return max(self._counted_elsewhere.values(), key=lambda of: of.entries, default=None)


@dataclass
class _Log:
    """One input while it is read. ``reject_digests`` are those of its rejects, for a retry."""

    source: Source
    server: str
    duplicates: Duplicates
    opened: datetime
    has_entries: bool = False
    has_rejects: bool = False
    is_unfinished: bool = False
    reject_digests: list[bytes] = field(default_factory=list)


class _Pipeline:
    """Turns inputs into rows, and counts in ``report`` what is not an entry.

    ``is_first``: no log was read into the store before. ``files_read`` are the files with stored
    rejects that were read whole, so that some of these rejects may be resolved. ``contradicted``
    has for each server name the server and the first log with times outside the interval of its
    name.
    """

    def __init__(
        self,
        store: Store,
        options: IngestOptions,
        pool: Executor,
        report: ImportReport,
        progress: Callable[[Progress], None],
        copies: IntervalCopies,
    ) -> None:
        self._copies = copies
        self._opened = opened = store.open(create=not options.dry_run)
        self.is_first = opened.is_empty
        self._retry_rejects = options.retry_rejects
        self._pool = pool
        self._servers = _Servers(store, opened.servers, dry_run=options.dry_run)
        self._report = report
        self._progress = progress
        self._key = opened.keys.entries
        self._enricher = Enricher(opened.keys, options)
        self._parse_options = ParseOptions(self._key, int(time.time()) + _TWO_DAYS)
        self._damaged: dict[tuple[int, str], list[str]] = {}
        for (server, file), is_damaged in opened.rejected.items():
            if is_damaged:
                self._damaged.setdefault((server, plain_name(file)), []).append(file)
        self._bytes_read = 0
        self._lines = 0
        self.files_read: list[FileRead] = []
        self.contradicted: dict[str, tuple[Server, Source]] = {}

    def parts(self, sources: list[Source]) -> Iterator[Rows]:
        """Yield the rows of all ``sources`` in small parts."""
        for source in sources:
            yield from self._source(source)

    def _source(self, source: Source) -> Iterator[Rows]:
        # Taken before reading: what is appended later may be missed.
        log = _Log(source, source.server_name, Duplicates(self._key), datetime.now(UTC))
        for chunk, batches in self._read(source):
            yield from self._chunk(log, chunk, batches)
            self._progress(Progress(self._bytes_read + chunk.bytes_read, self._lines))
        self._copies.end(source)
        # After its entries, so that a log is never covered before they are stored.
        yield from self._log_interval(log, is_damaged=chunk.damage is not None)
        if chunk.damage is None and source.has_stored_name:
            self._add_file_read(log, chunk.position + len(chunk.data))
        self._bytes_read += chunk.bytes_read

    def _read(self, source: Source) -> Iterator[tuple[Chunk, Iterator[Batch]]]:
        """Yield each chunk with its batches, the first of them parsed in the background.

        That batch is usually the only one: few inputs mix formats.
        """
        pending: tuple[Chunk, Iterator[Batch], Future[Batch]] | None = None
        for chunk in chunks(source):  # in this thread, so that an interrupt ends a wait for input
            parsed = _parsed(*pending) if pending else None
            batches = read(chunk, self._parse_options)
            pending = chunk, batches, self._pool.submit(next, batches)
            if parsed:
                yield parsed
        if pending:
            yield _parsed(*pending)

    def _chunk(self, log: _Log, chunk: Chunk, batches: Iterator[Batch]) -> Iterator[Rows]:
        rejects: list[Reject] = []
        for batch in batches:
            self._report.empty += batch.empty
            self._report.incomplete += batch.incomplete
            self._report.access_lines += batch.access
            self._lines += batch.lines
            log.is_unfinished |= batch.incomplete > 0
            log.has_entries |= len(batch) + batch.empty > 0
            rejects += batch.rejects
            if len(batch):
                yield self._entries(log, batch)
        if chunk.damage is not None:
            rejects.append(damage_reject(chunk, log.source, key=self._key))
        if rejects:
            yield self._rejects(log, chunk, rejects)

    def _entries(self, log: _Log, batch: Batch) -> Rows:
        ids = log.duplicates.ids(batch.digest, batch.log_time)
        self._report.in_copies += self._copies.add(log.source, ids)
        server = self._servers.get(log.server)
        dated = days(batch, log.source.name, server.zone)
        self._report.days_guessed += dated.guessed
        if dated.contradicts:
            self.contradicted.setdefault(log.server, (server, log.source))
        return self._enricher.rows(batch, ids, dated, server=server.number)

    def _rejects(self, log: _Log, chunk: Chunk, rejects: list[Reject]) -> Rows:
        server, report = self._servers.get(log.server).number, self._report
        known = frozenset() if self._retry_rejects else self._opened.digests
        new = [reject for reject in rejects if (server, reject.digest) not in known]
        report.rejected += len(new)
        report.rejected_before += len(rejects) - len(new)
        room = MOST_REJECTS - len(report.rejects)
        report.rejects += [(log.source.label, reject) for reject in new[:room]]
        rows = reject_rows(rejects, chunk, log.source, server=server, key=self._key)
        log.has_rejects = True
        if self._retry_rejects:
            log.reject_digests += [digest.bytes for digest in rows["digest"].to_pylist()]
        return Rows(rejects=rows)

    def _log_interval(self, log: _Log, *, is_damaged: bool) -> Iterator[Rows]:
        """Yield the rows of the interval that the log covers, if its name has one."""
        name = log.source.name
        if not name.start or name.kind == "access":
            return
        server = self._servers.get(log.server)
        is_log = log.has_entries or not log.has_rejects
        is_read = is_log and not is_damaged and not log.is_unfinished
        is_whole = is_read and is_over(name, server.latest_zone, log.opened)
        yield Rows(
            log_intervals=log_interval_rows(
                name, server=server.number, zone=server.zone, complete=is_whole
            )
        )

    def _add_file_read(self, log: _Log, size: int) -> None:
        """Add the files with stored rejects that this log (``size`` bytes) resolves."""
        server, file = self._servers.number(log.server), log.source.stored_name
        if self._retry_rejects and (server, file) in self._opened.rejected:
            self.files_read.append(FileRead(server, file, size, log.reject_digests, __version__))
        for damaged in self._damaged.get((server, plain_name(file)), ()):  # it, or a copy of it
            self.files_read.append(FileRead(server, damaged, size, None, __version__))


def _parsed(
    chunk: Chunk, batches: Iterator[Batch], first: Future[Batch]
) -> tuple[Chunk, Iterator[Batch]]:
    """Return ``chunk`` with all its batches, of which ``batches`` are those after ``first``."""
    return chunk, chain([first.result()], batches)


class _Comparison:
    """Replaces `Store.write` in a dry run, and remembers the entries of earlier batches."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._earlier = ENTRIES.empty_table().select(["server", "entry"])

    def __call__(self, rows: Rows) -> Written:
        written = self._store.compare(rows, self._earlier)
        entries = rows.entries.select(["server", "entry"])
        self._earlier = pa.concat_tables([self._earlier, entries])
        return written


class _Servers:
    """The servers of the store by name; a server is added with its first entry."""

    def __init__(self, store: Store, servers: list[Server], *, dry_run: bool) -> None:
        self._store = store
        self._dry_run = dry_run
        self._by_name = {
            name: server for server in servers for name in (server.name, *server.former_names)
        }

    def get(self, name: str) -> Server:
        """Return the server ``name``, which is added if it is new."""
        if name not in self._by_name:
            self._by_name[name] = (
                Server(_PROVISIONAL - len(self._by_name), name, "")
                if self._dry_run
                else self._store.add_server(name, "")
            )
        return self._by_name[name]

    def number(self, name: str) -> int:
        """Return the number of a server; 0 if it does not exist."""
        return self._by_name[name].number if name in self._by_name else 0
