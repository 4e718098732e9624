"""The interface of a store. Ingest, statistics and commands use nothing else of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.enrich.networks import Network
from ringserverstats.enrich.rows import Rows
from ringserverstats.enrich.rules import Rules
from ringserverstats.errors import StoreError
from ringserverstats.keys import Keys


@dataclass(frozen=True)
class Server:
    """A ringserver.

    Args:
        number: its permanent number. Renaming a server changes nothing else.
        timezone: the IANA name of its time zone. If empty, its days are in UTC.
        former_names: earlier names, which its logs may still carry.
        paths: patterns of the files to read when the command names none.
        first_day: the first day for which logs are expected, if configured.
        last_day: the last day for which logs are expected, if configured.
        generation: a text that changes with each correction of the server. What an ingest
            looked up before is then no longer valid.
    """

    number: int
    name: str
    timezone: str
    former_names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    generation: str = ""

    @property
    def zone(self) -> tzinfo:
        """The time zone, or UTC if none is configured.

        Raises:
            StoreError: this system has no time zone of that name.
        """
        try:
            return ZoneInfo(self.timezone or "UTC")
        except (KeyError, ValueError, OSError):
            raise StoreError(
                f"the time zone of server {self.name!r} is not known here; set it with: "
                f"ringserverstats server timezone {self.name} Area/City"
            ) from None

    @property
    def latest_zone(self) -> tzinfo:
        """The time zone, or if none is configured the one in which days end last (UTC-12)."""
        return self.zone if self.timezone else timezone(timedelta(hours=-12))

    def is_called(self, name: str) -> bool:
        """Return True if ``name`` is its name or a former one."""
        return name == self.name or name in self.former_names


@dataclass(frozen=True)
class Identity:
    """The identity of a store: the row of its table ``store``.

    Args:
        id: a UUID.
        key_check: a digest to check whether a secret is the store's.
        ipv6_prefix: the prefix length of the IPv6 networks that pseudonyms are made of.
        generation: a UUID that changes with each correction or restore, for caches.
        last_server: the highest number that a server ever had.
    """

    id: str
    key_check: str
    ipv6_prefix: int
    generation: str
    last_server: int


@dataclass(frozen=True)
class Opened:
    """The parts of a store that reading logs needs.

    Args:
        keys: the keys derived from its secret.
        servers: all servers, by name.
        rejected: the servers and files with rejects, each with whether a part of the file could not
            be read.
        digests: the server and digest of each reject.
        is_empty: no log was read into it.
    """

    keys: Keys
    servers: list[Server]
    rejected: dict[tuple[int, str], bool] = field(default_factory=dict)
    digests: frozenset[tuple[int, bytes]] = frozenset()
    is_empty: bool = True


@dataclass(frozen=True)
class CountedElsewhere:
    """New entries of a batch that another server has.

    Args:
        server: the number of that server.
        entries: their number.
        entry: the id of a new entry that no server has, if there is one; else of one of them.
    """

    server: int
    entries: int
    entry: bytes


@dataclass(frozen=True)
class Written:
    """The result of writing one batch. Counts are of new entries unless noted.

    Args:
        known: entries that the store already had.
        elsewhere: entries that the store has for another server.
        connections: the ids of the connections.
        resolved: entries that had been rejected before.
        misdated: known entries that the store has on another day.
        misdated_days: the servers and days of misdated entries.
        imported: entries that were not counted because their day was imported.
        counted_elsewhere: new entries that another server has, by that server.
        stale: the number of transfers of all days without rollups.
    """

    known: int
    elsewhere: int
    entries: int
    transfers: int
    bytes: int
    packets: int
    connections: npt.NDArray[np.int64]
    resolved: int = 0
    misdated: int = 0
    misdated_days: frozenset[tuple[int, date]] = frozenset()
    imported: int = 0
    counted_elsewhere: tuple[CountedElsewhere, ...] = ()
    stale: int = 0


@dataclass(frozen=True)
class Removed:
    """The amounts that a correction removes, or would remove in a dry run."""

    days: int
    entries: int
    transfers: int
    bytes: int
    packets: int
    rejects: int


@dataclass(frozen=True)
class Pruned:
    """The amounts that were pruned, or would be in a dry run."""

    months: int = 0
    clients: int = 0
    transfers: int = 0


@dataclass(frozen=True)
class FileRead:
    """A file that was read to its end without damage.

    Args:
        size: its bytes, decompressed.
        digests: the digests of its rejects. None: only that the file could be read is known.
        version: the version of the program that read it.
    """

    server: int
    file: str
    size: int
    digests: list[bytes] | None
    version: str


class Ask(Protocol):
    """A function that queries a store."""

    def __call__(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Run a SELECT and return its result.

        Args:
            parameters: the values of ``$1``, ``$2``, ...

        Returns:
            Integers as int64, or as decimal128(38, 0) if a value of the column exceeds 2^63-1.
        """


@dataclass
class Reclassified:
    """The changes that new rules make.

    Args:
        clients: the number of clients in each class, now.
        moved: the number of clients that changed from one class to another.
        institutions: the number of clients with another institution.
        unmatched: names of rules by network or domain that match no client in the store.
    """

    clients: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    institutions: int = 0
    unmatched: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """An access token of the web service. The store holds only its digest.

    Args:
        networks: the networks that it may query. If empty: all, unless it ``may_ingest``.
        servers: the servers that it may post logs of. If empty: all.
    """

    name: str
    digest: str
    may_ingest: bool
    networks: tuple[str, ...]
    created: date
    servers: tuple[str, ...] = ()

    @property
    def posts(self) -> str:
        """The logs that it may post, in words."""
        return ", ".join(self.servers) or ("all servers" if self.may_ingest else "nothing")

    @property
    def reads(self) -> str:
        """The networks that it may read, in words."""
        return ", ".join(self.networks) or ("what is public" if self.may_ingest else "all")

    def may_post(self, server: Server) -> bool:
        """Return True if it may post logs of ``server``, under any of its names."""
        return not self.servers or any(server.is_called(name) for name in self.servers)


@dataclass(frozen=True)
class DayState:
    """The versions of ``day``: the current one, and the one that an exporter exported (0: none)."""

    day: date
    version: int
    exported: int


@dataclass(frozen=True)
class PendingDay:
    """A day that is to be exported.

    Args:
        corrected: True if something may have been removed from it since its last export.
    """

    day: date
    corrected: bool


class Readable(Protocol):
    """A store, or one state of it, that can be queried."""

    @property
    def label(self) -> str:
        """The name of the store in messages, without any password."""

    @property
    def kept_since(self) -> date | None:
        """The first day from which on all transfers are kept. None: all are. Rollups are kept."""

    def reading(self, *, limited: bool = False) -> AbstractContextManager[Ask]:
        """Open one state of the store for several queries. Others wait to write.

        Args:
            limited: stop queries that take longer than the setting ``query_timeout``.
        """

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Run one query with the setting ``query_timeout``, as `Ask` does."""


class Store(Readable, Protocol):
    """A store, which counts each entry once.

    All methods raise `ringserverstats.errors.StoreError` if the store cannot be used. Then they
    have changed nothing. With ``try_only`` they return what they would do and change nothing.
    """

    @property
    def secret_place(self) -> str:
        """The file or setting that holds the secret."""

    def features(self) -> dict[str, str]:
        """Return the database engine and its version, and optional features in use."""

    def exists(self) -> bool:
        """Return True if the store has been created."""

    def schema_version(self) -> int:
        """Return its schema number; 0 if it has no tables."""

    def migrate(self) -> int:
        """Create its tables or upgrade them, and return the previous schema number."""

    def open(self, *, create: bool) -> Opened:
        """Return what reading logs needs.

        Args:
            create: create the store if it does not exist. Otherwise the result of a store that does
                not exist has keys that belong to no store.

        Raises:
            StoreError: the secret or the setting ``ipv6_prefix`` is not the store's.
        """

    def servers(self) -> list[Server]:
        """Return all servers, by name."""

    def identity_and_servers(self) -> tuple[Identity, list[Server]]:
        """Return what `initialise_copy` needs."""

    def initialise_copy(self, original: Identity, servers: list[Server]) -> None:
        """Make this store an empty copy of the store ``original``, or update the servers of one.

        Raises:
            StoreError: this store exists and is not a copy of ``original``.
        """

    def add_server(self, name: str, timezone: str) -> Server:
        """Add a server, or return the one that has or had this name."""

    def change_server(
        self,
        name: str,
        *,
        rename: str | None = None,
        timezone: str | None = None,
        paths: tuple[str, ...] | None = None,
        service: tuple[date | None, date | None] | None = None,
    ) -> None:
        """Change the name, time zone, file patterns or days of service of the server ``name``."""

    def remove_server(self, name: str) -> None:
        """Remove a server without data.

        Raises:
            UsageError: logs of the server have been read.
        """

    def mark_incomplete(self, days: set[tuple[int, date]]) -> None:
        """Mark the logs of these servers and days as incomplete."""

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        """Move all entries of the server ``name`` to the server ``into``.

        Args:
            once: count entries that both servers have once.

        Returns:
            The entries that both servers had.

        Raises:
            UsageError: both servers have some entries, and ``once`` is False.
        """

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        """Delete the data of a server from ``first`` to ``last``. Its logs can be read again."""

    def reclassify(self, rules: Rules, *, try_only: bool) -> Reclassified:
        """Apply ``rules`` to all clients in the store and return the changes."""

    def set_registry(self, networks: Sequence[Network]) -> None:
        """Replace the network registry and resolve all network codes in the store by it."""

    def forget(self, pseudonym: str, *, try_only: bool) -> Removed:
        """Replace the pseudonym of a client by a random one. Its totals stay.

        Returns:
            The amounts of the client, all 0 if it is unknown.
        """

    def prunable(self, before: date) -> list[date]:
        """Return the months before the day ``before`` that `prune` would prune, in order."""

    def prune(
        self,
        before: date,
        *,
        try_only: bool,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Pruned:
        """Anonymise months: delete their transfers and give their clients random pseudonyms.

        Rollups and ledger stay. Each month has a transaction of its own.

        Args:
            before: the day before which the months end.
            progress: called with the number of months done and in total.
        """

    def delete_transfers(self, before: date, *, try_only: bool) -> int:
        """Delete the transfers of all days before ``before``, and return their number.

        Rollups and ledger stay. Each month has a transaction of its own.
        """

    def vacuum(self) -> None:
        """Remove what `prune` and `forget` deleted from the database files, as far as possible.

        If it fails or is stopped, the next call completes it.
        """

    def register_exporter(self, exporter: str, definition: str, *, all_due: bool) -> bool:
        """Track for ``exporter`` which days have changed.

        Args:
            definition: the settings of its export. If they have changed, all days are due.
            all_due: also export the days that are already in the store.

        Returns:
            True if the exporter is new.
        """

    def mark_exported(self, exporter: str, state: DayState) -> bool:
        """Record that ``exporter`` has exported a day in ``state``.

        Returns:
            True if it still has that state. If not, it stays pending.
        """

    def mark_unexported(self, exporter: str, first: date, last: date) -> None:
        """Record that exported days from ``first`` to ``last`` may be missing or incomplete."""

    def mark_months_complete(self, exporter: str, month: date) -> None:
        """Record that the exported totals of ``month`` equal those of its days again."""

    def sending(self) -> AbstractContextManager[None]:
        """Hold the lock that lets only one process export. No transaction is open meanwhile.

        Through a pooler of PostgreSQL there is no such lock. `mark_exported` notices other exports.

        Raises:
            BusyError: another process held it longer than the setting ``lock_timeout``.
        """

    def settle_rejects(self, read: FileRead, *, try_only: bool) -> int:
        """Delete rejects that the last reading of a file did not have, and return their number."""

    def write(self, rows: Rows) -> Written:
        """Count the new entries of ``rows``, in one transaction."""

    def set_log_status(self, rows: Rows) -> None:
        """Replace all log intervals, imported days and rejects by those of ``rows``."""

    def refresh(self, *, idle: timedelta = timedelta()) -> None:
        """Build the rollups of stale days, and of months that are over. No result changes.

        Args:
            idle: leave out days that changed within this time.

        Raises:
            StoreError: the transfers of a day are not those of its ledger.
        """

    def compare(self, rows: Rows, earlier: pa.Table) -> Written:
        """Return what `write` would return, without writing.

        Args:
            earlier: entries to treat as written.
        """

    def tokens(self) -> list[Token]:
        """Return the access tokens of the web service, by name."""

    def add_token(self, token: Token) -> None:
        """Add an access token.

        Raises:
            UsageError: a token of that name exists.
        """

    def remove_token(self, name: str) -> None:
        """Remove an access token.

        Raises:
            UsageError: no token has that name.
        """

    def backup(self, target: Path) -> None:
        """Write a consistent copy of the store to the file ``target``."""

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:
        """Replace the store with the backup ``source``.

        Args:
            ask: returns the secret if neither the setting nor the secret's file has it. Called with
                the path of that file, to which the secret is then written. None: that is an error.
        """

    def new_empty_like(self, path: Path) -> "Store":
        """Create an empty store in the file ``path`` with the same secret and servers."""

    def size(self) -> int:
        """Return its size on disk in bytes."""
