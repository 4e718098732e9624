"""What every store can do. Ingest, questions and commands know no more of a store than this."""

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
    """A ringserver. ``number`` is given once, so that a rename changes nothing else.

    ``timezone`` is empty where nobody told it; then its days are those of UTC. ``first_day`` and
    ``last_day``, where they are told, are those between which logs are expected.
    ``former_names`` are names that it had before: its logs may still bear them. ``paths`` are patterns
    of the files that are read when no others are named.
    """

    number: int
    name: str
    timezone: str
    former_names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None

    @property
    def zone(self) -> tzinfo:
        """Its time zone.

        Raises:
            StoreError: this system knows none of that name.
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
        """The zone in which its days end last: its own, or of all, where nobody told it."""
        return self.zone if self.timezone else timezone(timedelta(hours=-12))

    def is_called(self, name: str) -> bool:
        """Whether that is its name, or was."""
        return name == self.name or name in self.former_names


@dataclass(frozen=True)
class Identity:
    """Who a store is: the row of its table ``store``.

    ``key_check`` tells whether a secret is its own. ``generation`` is another one after each
    correction or restore, which ids that a process has looked up before may not outlive.
    ``last_server`` is the greatest number that a server ever had.
    """

    id: str
    key_check: str
    ipv6_prefix: int
    generation: str
    last_server: int


@dataclass(frozen=True)
class Opened:
    """What reading logs into a store needs of it: its keys, and all servers by name.

    ``rejected`` are the servers and files that have rejects, and whether any of these is of what
    could not be read; ``digests`` are all rejects, each with its server.
    """

    keys: Keys
    servers: list[Server]
    rejected: dict[tuple[int, str], bool] = field(default_factory=dict)
    digests: frozenset[tuple[int, bytes]] = frozenset()


@dataclass(frozen=True)
class Written:
    """What one batch did.

    ``known`` entries were there before, ``elsewhere`` ones are there under another server's name;
    the others count what is new. ``connections`` are the ids of the new entries' connections,
    ``resolved`` counts new entries that had been rejected before, ``misdated`` known ones that are
    in the store on another day, ``doubtful`` are the servers and days that these are of.
    ``imported`` were not counted, as their day's history came from elsewhere.
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
    doubtful: frozenset[tuple[int, date]] = frozenset()
    imported: int = 0


@dataclass(frozen=True)
class Removed:
    """What a correction takes out of a store, or, tried only, would."""

    days: int
    entries: int
    transfers: int
    bytes: int
    packets: int
    rejects: int


@dataclass(frozen=True)
class Pruned:
    """What was pruned, or, tried only, would be: months, clients in them, transfers."""

    months: int = 0
    clients: int = 0
    transfers: int = 0


@dataclass(frozen=True)
class FileRead:
    """A file that was read to its end, undamaged, ``size`` bytes of it (decompressed).

    ``digests`` are of what ``version`` rejects of it; None: nothing is known but that it could be
    read.
    """

    server: int
    file: str
    size: int
    digests: list[bytes] | None
    version: str


class Ask(Protocol):
    """A question to a store."""

    def __call__(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Run a SELECT with parameters ``$1``, ``$2``, ...

        Whole numbers come as int64, a column with one over 2^63-1 as decimal128(38, 0).
        """


@dataclass
class Reclassified:
    """What new rules change.

    ``clients`` of all are in each class now, ``moved`` of them from one class to another;
    ``institutions`` are clients whose institution is another; ``unmatched`` names rules by network
    or domain that hold of nobody, as far as what is kept tells.
    """

    clients: Counter[str] = field(default_factory=Counter)
    moved: Counter[tuple[str, str]] = field(default_factory=Counter)
    institutions: int = 0
    unmatched: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """Who may come into the web service; what is kept of a token is its digest alone.

    ``networks`` are those of which it reads alone; none: of all, unless it ``may_ingest``.
    """

    name: str
    digest: str
    may_ingest: bool
    networks: tuple[str, ...]
    created: date


@dataclass(frozen=True)
class PendingDay:
    """A day that an exporter has to be given.

    ``corrected``: something of it may have been taken away since it was given last.
    """

    day: date
    corrected: bool


class Readable(Protocol):
    """What questions need of a store, or of one state of it."""

    @property
    def label(self) -> str:
        """What messages call it, without any password."""

    @property
    def kept_since(self) -> date | None:
        """The first day whose transfers are kept for sure; None: all are. Sums are kept anyhow."""

    def reading(self, *, limited: bool = False) -> AbstractContextManager[Ask]:
        """Several questions to one state of the store, while others wait to write.

        Args:
            limited: stop one that takes longer than the setting ``query_timeout`` says.
        """

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """One question."""


class Store(Readable, Protocol):
    """A place where entries are counted once.

    All methods raise `ringserverstats.errors.StoreError` where the store cannot be used; then
    nothing of the call was stored.
    """

    @property
    def secret_place(self) -> str:
        """Where its secret lies."""

    def features(self) -> dict[str, str]:
        """What the store runs on, by name, for those who look into it."""

    def exists(self) -> bool:
        """Whether there is anything to ask."""

    def schema_version(self) -> int:
        """Return its schema number; 0 if it has no tables."""

    def migrate(self) -> int:
        """Create its tables or upgrade them, and return the schema number of before."""

    def open(self, *, create: bool) -> Opened:
        """Its keys and servers; ``create`` makes it where there is none, else keys for nothing."""

    def servers(self) -> list[Server]:
        """All servers by name."""

    def identity_and_servers(self) -> tuple[Identity, list[Server]]:
        """Who it is, for a copy of it."""

    def initialise_copy(self, original: Identity, servers: list[Server]) -> None:
        """Be a copy of the store ``original`` with its ``servers``, in which nothing is yet.

        May be repeated, also when the original has got more servers, or knows them better.

        Raises:
            StoreError: it is another store.
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
        """Give a server another name, time zone, patterns of its files, or days of service."""

    def remove_server(self, name: str) -> None:
        """Forget a server of which nothing was read.

        Raises:
            UsageError: something was.
        """

    def mark_incomplete(self, days: set[tuple[int, date]]) -> None:
        """Take the logs of these days, each of a server, for not read whole."""

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        """Make all entries of server ``name`` those of ``into``, all or nothing.

        Args:
            once: entries that both have count once from now on; else they are refused.

        Returns:
            The entries of ``name`` that ``into`` had too.
        """

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        """Forget all that was read of a server's days, all or nothing; logs can be read again."""

    def reclassify(self, rules: Rules, *, try_only: bool) -> Reclassified:
        """Let ``rules`` hold for all that is stored, as far as what is kept allows."""

    def set_registry(self, networks: Sequence[Network]) -> None:
        """Let ``networks`` be all that there are; codes of all that is stored stand for them."""

    def forget(self, pseudonym: str, *, try_only: bool) -> Removed:
        """Give a client a new pseudonym, which nobody can find again; its totals stay.

        Returns:
            What is under the new one; nothing where the store does not know the client.
        """

    def prunable(self, before: date) -> list[date]:
        """The months before the day ``before`` that `prune` would prune, in order."""

    def prune(
        self,
        before: date,
        *,
        try_only: bool,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Pruned:
        """Make months before the day ``before`` ones in which nobody can be followed.

        Their transfers go, sums and ledger stay. Each month is a step of its own.
        """

    def vacuum(self) -> None:
        """Leave nothing of what `prune` and `forget` took out in the files, as far as it can.

        What failed, or was stopped, is done by the next call.
        """

    def register_exporter(self, exporter: str, definition: str, *, all_due: bool) -> bool:
        """Let days that change from now on, or ``all_due``, be due to go on to ``exporter``.

        Args:
            exporter: where to.
            definition: what it is told of them; where that was another one, all are due.
            all_due: also those of before.

        Returns:
            Whether it is a new one.
        """

    def mark_exported(self, exporter: str, day: date, version: int) -> None:
        """Say that ``exporter`` was given a day, as it was at ``version``."""

    def mark_unexported(self, exporter: str, first: date, last: date) -> None:
        """Say that ``exporter`` may have nothing, or a part, of days from ``first`` to ``last``."""

    def mark_months_complete(self, exporter: str, month: date) -> None:
        """Say that the sums of ``month`` there are those of its days again."""

    def sending(self) -> AbstractContextManager[None]:
        """Be the only one who gives days to exporters; another one is waited for.

        Raises:
            BusyError: it took too long.
        """

    def settle_rejects(self, read: FileRead, *, try_only: bool) -> int:
        """Forget rejects that are none any more, as ``read`` tells.

        Returns:
            How many.
        """

    def write(self, rows: Rows) -> Written:
        """Count what is new of ``rows``, all or nothing."""

    def set_notes(self, rows: Rows) -> None:
        """Let what ``rows`` tell of logs be all that is known of logs, as in a copy."""

    def finish(self) -> None:
        """Do what need not be in the transactions of `write`; what they stored is safe before."""

    def compare(self, rows: Rows, earlier: pa.Table) -> Written:
        """What `write` would do after it had written the entries ``earlier``."""

    def tokens(self) -> list[Token]:
        """Who may come into the web service, by name."""

    def add_token(self, token: Token) -> None:
        """Let one more in.

        Raises:
            UsageError: its name is taken.
        """

    def remove_token(self, name: str) -> None:
        """Let one in no longer.

        Raises:
            UsageError: there is none of that name.
        """

    def backup(self, target: Path) -> None:
        """Write a copy of it, as of one moment, into the file ``target``."""

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:
        """Take the backup ``source`` in its place.

        Args:
            ask: gives the secret, where it is known neither from a setting nor from the file that
                it is called with, in which it is then kept. Without it that is an error.
        """

    def new_empty_like(self, path: Path) -> "Store":
        """An empty store in the file ``path`` that reads logs as this one does.

        It has the same secret and servers.
        """

    def size(self) -> int:
        """Bytes that it takes."""
