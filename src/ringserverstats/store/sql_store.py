"""The store over SQL that DuckDB and PostgreSQL both support. Each engine is a subclass."""

import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from ringserverstats.enrich.networks import Network
from ringserverstats.enrich.pseudonyms import number
from ringserverstats.enrich.rows import Rows
from ringserverstats.enrich.rules import Rules
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.keys import Keys, derive, load_secret, make_secret
from ringserverstats.store.base import (
    Ask,
    DayState,
    FileRead,
    Identity,
    Opened,
    Pruned,
    Reclassified,
    Removed,
    Server,
    Token,
    Written,
)
from ringserverstats.store.batches import (
    find_misdated,
    find_new,
    first_seen,
    insert,
    insert_log_status,
    mark_incomplete,
    servers_of,
    write_summary,
)
from ringserverstats.store.corrections import delete, merge
from ringserverstats.store.erasure import forget
from ringserverstats.store.export_queue import (
    mark_exported,
    mark_months_complete,
    mark_unexported,
    register_exporter,
)
from ringserverstats.store.imported_days import (
    check_not_logged,
    imported_days,
    in_imported_days,
)
from ringserverstats.store.pruning import (
    coarse_rows,
    days_to_seal,
    end,
    months_to_prune,
    prune,
    seal,
)
from ringserverstats.store.reclassify import reclassify
from ringserverstats.store.refresh import (
    ServerDay,
    build_days,
    build_months,
    months_to_build,
    stale_days,
    stale_transfers,
    unlike_ledger,
)
from ringserverstats.store.registry import set_registry
from ringserverstats.store.rejects import known_rejects, settle_rejects
from ringserverstats.store.rollups import month_of
from ringserverstats.store.servers import (
    ServerChanges,
    add_server,
    all_servers,
    change_server,
    copy_servers,
    identity,
    named,
    new_generation,
    remove_server,
)
from ringserverstats.store.session import Session
from ringserverstats.store.tokens import add_token, all_tokens, remove_token
from ringserverstats.store.versions import days_of, raise_versions

_MOST_STALE = 5_000_000  # transfers that are read for queries instead of rollups, at most
_ONE_DAY = timedelta(days=1)


def _servers(days: Iterable[ServerDay]) -> set[int]:
    return {server for server, _ in days}


@dataclass(frozen=True)
class Options:
    """The settings of a store.

    Args:
        secret: the store's secret, if it is not in a file of the folder ``secrets``.
        secrets: the folder with one file for the secret of each store, named by its id.
        ipv6_prefix: the prefix length for pseudonyms. A store keeps the one it was made with.
        lock_timeout: seconds to wait for another process.
        memory: the memory limit of DuckDB, such as ``"400MB"``.
        notify: called with a message for the user, such as that another process is waited for.
        query_timeout: the maximum duration of a query in seconds. 0: no limit.
        timescaledb: whether to use TimescaleDB: auto (if it is available), yes, no.
    """

    secret: bytes | None
    secrets: Path
    ipv6_prefix: int
    lock_timeout: float
    memory: str
    notify: Callable[[str], None]
    query_timeout: float = 0
    timescaledb: str = "auto"


class SQLStore(ABC):
    """The part of a store that both engines share."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._store_id: str | None = None
        self._generations: dict[int, str] = {}  # by server, when this process looked it up

    @property
    @abstractmethod
    def label(self) -> str: ...

    @abstractmethod
    def exists(self) -> bool: ...

    @abstractmethod
    def _create(self, original: Identity | None = None) -> None:
        """Create the store if it does not exist. Another process may do so first.

        Args:
            original: the identity of the store of which it is a copy.
        """

    @abstractmethod
    def _session(
        self, *, write: bool = False, undo: bool = False, servers: set[int] | None = None
    ) -> AbstractContextManager[Session]:
        """Open a transaction.

        Args:
            undo: roll it back at the end.
            servers: the servers to which it adds entries. Other processes can add to other servers
                in the meantime. None: lock all.
        """

    def _step(self, servers: set[int]) -> AbstractContextManager[Session]:
        """Open a transaction that is one of many in a row, and writes data of ``servers``."""
        return self._session(write=True, servers=servers)

    @abstractmethod
    def reading(self, *, limited: bool = False) -> AbstractContextManager[Ask]: ...

    @property
    def kept_since(self) -> date | None:
        if not self.exists():
            return None
        with self._session() as session:
            first: date | None = session.rows("SELECT max(kept_since) FROM store")[0][0]
            return first

    @property
    def secret_place(self) -> str:
        if self.options.secret is not None:
            return "setting RINGSERVERSTATS_SECRET"
        with self._session() as session:
            return str(self._secret_path(identity(session).id))

    def open(self, *, create: bool) -> Opened:
        if not self.exists():
            if not create:
                return Opened(derive(self.options.secret or os.urandom(32)), [])
            self._create()
        with self._session(write=create, servers=set()) as session:
            store = identity(session)
            servers = all_servers(session)
            rejected, digests = known_rejects(session)
            is_empty = not session.rows("SELECT 1 FROM client_profile LIMIT 1")
        keys = derive(self._known_secret(store.id))
        if keys.check != store.key_check:
            raise StoreError(
                f"{self.label} was made with another secret; restore "
                f"{self._secret_path(store.id)} or set RINGSERVERSTATS_SECRET to the right one"
            )
        if store.ipv6_prefix != self.options.ipv6_prefix:
            raise StoreError(
                f"{self.label} was made with ipv6_prefix = {store.ipv6_prefix}, which its clients' "
                f"pseudonyms depend on; set it so, or use another store"
            )
        self._store_id = store.id
        self._generations = {server.number: server.generation for server in servers}
        return Opened(keys, servers, rejected, digests, is_empty)

    def identity_and_servers(self) -> tuple[Identity, list[Server]]:
        servers = self.open(create=False).servers
        with self._session() as session:
            return identity(session), servers

    def initialise_copy(self, original: Identity, servers: list[Server]) -> None:
        if not self.exists():
            self._create(original)
        with self._session(write=True) as session:
            if identity(session).id != original.id:
                raise StoreError(
                    f"{self.label} is another store, not a copy of this one; choose an empty one"
                )
            copy_servers(session, original, servers)

    def tokens(self) -> list[Token]:
        with self._session() as session:
            return all_tokens(session.table)

    def add_token(self, token: Token) -> None:
        with self._session(write=True, servers=set()) as session:
            add_token(session, token)

    def remove_token(self, name: str) -> None:
        with self._session(write=True, servers=set()) as session:
            remove_token(session, name)

    def secret(self) -> bytes:
        """Return the secret, for a store that reads logs with the same keys."""
        with self._session() as session:
            return self._known_secret(identity(session).id)

    def servers(self) -> list[Server]:
        if not self.exists():
            return []
        with self._session() as session:
            return all_servers(session)

    def add_server(self, name: str, timezone: str) -> Server:
        with self._session(write=True) as session:
            self._check_unchanged(session, set())
            server = add_server(session, name, timezone)
            self._generations.setdefault(server.number, server.generation)
            raise_versions(session)
            return server

    def change_server(
        self,
        name: str,
        *,
        rename: str | None = None,
        timezone: str | None = None,
        paths: tuple[str, ...] | None = None,
        service: tuple[date | None, date | None] | None = None,
    ) -> None:
        with self._session(write=True) as session:
            server = named(session, name)
            change_server(session, name, ServerChanges(rename, timezone, paths, service))
            days = days_of(session, "f.server = $1", [server.number]) if rename else ()
            raise_versions(session, {None, *days}, corrects=True)

    def remove_server(self, name: str) -> None:
        with self._session(write=True) as session:
            remove_server(session, name)
            raise_versions(session)

    def mark_incomplete(self, days: set[tuple[int, date]]) -> None:
        servers = {server for server, _ in days}
        with self._session(write=True, servers=servers) as session:
            self._check_unchanged(session, servers)
            mark_incomplete(session, days)
            raise_versions(session, {day for _, day in days})

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as session:
            source, target = named(session, name), named(session, into)
            if source == target:
                raise UsageError(f"{name!r} is one server; name the two that are to become one")
            self._invalidate_lookups(session, target.number)
            days = days_of(session, "f.server = $1", [source.number])
            removed = merge(session, source, target, once=once or try_only)
            raise_versions(session, days, corrects=True)
        if not try_only:
            self.refresh()
        return removed

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as session:
            source = named(session, server)
            span = [source.number, first, last]
            days = days_of(session, "f.server = $1 AND f.day BETWEEN $2 AND $3", span)
            removed = delete(session, source, first, last)
            if removed.entries or removed.rejects:
                self._invalidate_lookups(session, source.number)
            # None: also days that only logs without entries covered.
            raise_versions(session, {None, *days}, corrects=True)
        if not try_only:
            self.refresh()
        return removed

    def reclassify(self, rules: Rules, *, try_only: bool) -> Reclassified:
        keys = self.open(create=False).keys
        with self._session(write=True, undo=try_only) as session:
            changes = reclassify(session, rules, keys)
            raise_versions(session)
            return changes

    def set_registry(self, networks: Sequence[Network]) -> None:
        with self._session(write=True) as session:
            set_registry(session, networks)
            raise_versions(session)

    def forget(self, pseudonym: str, *, try_only: bool) -> Removed:
        keys = self.open(create=False).keys
        with self._session(write=True, undo=try_only) as session:
            self._invalidate_lookups(session)
            days = days_of(session, "o.client = $1", [number(pseudonym)])
            removed = forget(session, pseudonym, keys)
            raise_versions(session, days, corrects=True)
            return removed

    def prunable(self, before: date) -> list[date]:
        with self._session() as session:
            return months_to_prune(session, before)

    def prune(
        self,
        before: date,
        *,
        try_only: bool,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Pruned:
        keys = self.open(create=False).keys
        months = self.prunable(before)
        if months and not try_only:
            self._before_deletion(before)
        pruned = list[Pruned]()
        while months:
            for done, month in enumerate(months):
                progress(done, len(months))
                with self._session(write=True, undo=try_only) as session:
                    pruned.append(prune(session, month, keys))
                    days = days_of(session, "f.day BETWEEN $1 AND $2", list(month_of(month)))
                    raise_versions(session, {None, *days}, corrects=True)
            progress(len(months), len(months))
            with self._session(write=True, undo=try_only) as session:
                # Logs of these months may have come meanwhile.
                months = [] if try_only else months_to_prune(session, before)
                if not months:
                    end(session, before)
        if pruned and not try_only:
            self.refresh()
        return Pruned(
            months=len(pruned),
            clients=sum(result.clients for result in pruned),
            transfers=sum(result.transfers for result in pruned),
        )

    def delete_transfers(self, before: date, *, try_only: bool) -> int:
        with self._session() as session:
            days = days_to_seal(session, before)
        if days and not try_only:
            self._before_deletion(before)
        deleted = 0
        for day in days[-1:] if try_only else days:  # what one undoes, the next one would count
            with self._session(write=True, undo=try_only) as session:
                deleted += seal(session, day)
                raise_versions(session)
        if deleted and not try_only:
            self.refresh()
        return deleted

    @abstractmethod
    def _before_deletion(self, before: date) -> None:
        """Prepare to delete the transfers of days before ``before``."""

    def vacuum(self) -> None:
        with self._session() as session:
            vacuum_pending = session.rows("SELECT bool_or(vacuum_pending) FROM store")[0][0]
        if vacuum_pending:
            self._vacuum()

    @abstractmethod
    def _vacuum(self) -> None:
        """Remove deleted data from the database files, and record that in table ``store``."""

    def register_exporter(self, exporter: str, definition: str, *, all_due: bool) -> bool:
        with self._session(write=True, servers=set()) as session:
            return register_exporter(session, exporter, definition, all_due=all_due)

    def mark_exported(self, exporter: str, state: DayState) -> bool:
        with self._session(write=True, servers=set()) as session:
            return mark_exported(session, exporter, state)

    def mark_unexported(self, exporter: str, first: date, last: date) -> None:
        with self._session(write=True, servers=set()) as session:
            mark_unexported(session, exporter, first, last)

    def mark_months_complete(self, exporter: str, month: date) -> None:
        with self._session(write=True, servers=set()) as session:
            mark_months_complete(session, exporter, month)

    @abstractmethod
    def sending(self) -> AbstractContextManager[None]: ...

    def settle_rejects(self, read: FileRead, *, try_only: bool) -> int:
        with self._session(write=True, undo=try_only, servers={read.server}) as session:
            self._check_unchanged(session, {read.server})
            settled = settle_rejects(session, read)
            if settled:
                raise_versions(session)
            return settled

    def compare(self, rows: Rows, earlier: pa.Table) -> Written:
        if not self.exists():
            return write_summary(rows, *first_seen(rows.entries, earlier))
        with self._session() as session:
            new, elsewhere, others = find_new(session, rows.entries, earlier)
            imported = new & in_imported_days(rows, imported_days(session))
            return write_summary(
                rows, new & ~imported, elsewhere, others, imported=int(imported.sum())
            )

    def write(self, rows: Rows) -> Written:
        written = self._write(rows)
        if written.stale > _MOST_STALE:
            self.refresh()
        return written

    def _write(self, rows: Rows) -> Written:
        """Write ``rows`` in one transaction."""
        servers = servers_of(rows)
        with self._step(servers) as session:
            self._check_unchanged(session, servers)
            days = imported_days(session)
            check_not_logged(session, rows)
            new, elsewhere, others = find_new(session, rows.entries, rows.entries.slice(0, 0))
            misdated, misdated_days = find_misdated(session, rows.entries, new)
            imported = new & in_imported_days(rows, days)
            new &= ~imported
            summary = write_summary(rows, new, elsewhere, others, imported=int(imported.sum()))
            if summary.entries:
                coarse = coarse_rows(session, rows, new, partial(self._keys, session))
                insert(session, coarse, new)
            resolved, changed = insert_log_status(session, rows, new)
            raise_versions(session, changed)
            return replace(
                summary,
                resolved=resolved,
                misdated=misdated,
                misdated_days=misdated_days,
                stale=stale_transfers(session) if summary.entries else 0,
            )

    def refresh(self, *, idle: timedelta = timedelta()) -> None:
        now = datetime.now(UTC)
        yesterday = now.date() - _ONE_DAY  # a month is over everywhere a day later
        bad: list[ServerDay] = []
        with self._session() as session:
            days = stale_days(session, now - idle)
            months = [] if days else months_to_build(session, yesterday)
        for part in days:
            with self._step(_servers(part)) as session:
                bad += build_days(session, part)
                if part is days[-1]:
                    months = months_to_build(session, yesterday)
                    if months and _servers(months[0]) <= _servers(part):
                        build_months(session, months.pop(0))  # which spares an open of the store
        for part in months:
            with self._step(_servers(part)) as session:
                build_months(session, part)
        if bad:  # after all others
            with self._session() as session:
                raise unlike_ledger(session, bad)

    def set_log_status(self, rows: Rows) -> None:
        with self._session(write=True) as session:
            for table in ("log_interval", "reject", "imported_day"):
                session.execute(f"DELETE FROM {table}")
            insert_log_status(session, rows, np.zeros(0, np.bool_))
            raise_versions(session)

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        with self.reading(limited=True) as ask:
            return ask(sql, parameters)

    def _check_unchanged(self, session: Session, servers: set[int]) -> None:
        """Raise an error if one of ``servers`` was corrected since this process looked it up."""
        current = {server.number: server.generation for server in all_servers(session)}
        is_known = servers <= current.keys()
        are_same = all(
            self._generations.get(number, generation) == generation
            for number, generation in current.items()
            if number in servers
        )
        if not is_known or not are_same or self._store_id not in (None, identity(session).id):
            raise StoreError(
                f"{self.label} was corrected or restored by another process meanwhile; nothing of "
                "this step was stored: run the same again"
            )

    def _invalidate_lookups(self, session: Session, server: int | None = None) -> None:
        """Outdate what this and other processes looked up for ``server`` (None: for all)."""
        new_generation(session, server)
        self._store_id, self._generations = None, {}

    def _new_identity(self, original: Identity | None) -> tuple[Identity, Path | None]:
        """Return the identity of a new store, and the path of its secret if that is new."""
        if original:
            return original, None
        store_id = str(uuid.uuid4())
        secret, path = self.options.secret, None
        if secret is None:
            path = self._secret_path(store_id)
            secret = make_secret(path)
        check, prefix = derive(secret).check, self.options.ipv6_prefix
        return Identity(store_id, check, prefix, str(uuid.uuid4()), 0), path

    def _keys(self, session: Session) -> Keys:
        return derive(self._known_secret(identity(session).id))

    def _known_secret(self, store_id: str) -> bytes:
        return self.options.secret or load_secret(self._secret_path(store_id))

    def _secret_path(self, store_id: str) -> Path:
        return self.options.secrets / f"{store_id}.secret"
