"""The embedded store: one DuckDB file.

No process keeps the file. Each opens it for a batch or a question, and waits for another that has
it. A batch is one transaction, so that a process killed at any moment has counted it whole or not.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from ringserverstats.enrich.rows import Rows
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.keys import derive, load_secret, make_secret, write_secret
from ringserverstats.store.base import Ask, FileRead, Opened, Removed, Server, Written
from ringserverstats.store.batches import (
    doubt,
    find_misdated,
    find_new,
    first_seen,
    insert,
    insert_notes,
    known_rejects,
    servers_of,
    settle_rejects,
    written,
)
from ringserverstats.store.corrections import delete, merge
from ringserverstats.store.file import (
    copy_file,
    first_line,
    new_beside,
    open_file,
    put_first,
    put_in_place,
)
from ringserverstats.store.schema import check, migrate
from ringserverstats.store.servers import (
    Identity,
    add_server,
    all_servers,
    change_server,
    copy_servers,
    identity,
    named,
    new_generation,
    remove_server,
)

_BREATH = 0.03  # between two batches, a few times what others pause before they try again


class DuckDBStore:
    """The store in the file ``path``.

    Args:
        secret: the store's secret, where it does not lie in ``secrets``.
        secrets: the folder of the secrets, one file a store, named by its id.
        ipv6_prefix: shapes clients' ids; a store keeps the one that it was made with.
        wait: seconds to wait for another process.
        memory: what DuckDB may use, as ``"400MB"``.
        tell: called with a message for the user, such as that another process is waited for.
    """

    def __init__(
        self,
        path: Path,
        *,
        secret: bytes | None,
        secrets: Path,
        ipv6_prefix: int,
        wait: float,
        memory: str,
        tell: Callable[[str], None],
    ) -> None:
        self._path = path
        self._secret = secret
        self._secrets = secrets
        self._ipv6_prefix = ipv6_prefix
        self._wait = wait
        self._memory = memory
        self._tell = tell
        self._generation: str | None = None
        self._written = 0.0

    @property
    def label(self) -> str:
        return str(self._path)

    @property
    def secret_place(self) -> str:
        if self._secret is not None:
            return "setting RINGSERVERSTATS_SECRET"
        with self._session() as connection:
            return str(self._secret_path(identity(connection).id))

    def exists(self) -> bool:
        return os.path.exists(self._path)

    def size(self) -> int:
        log = Path(f"{self._path}.wal")
        return sum(path.stat().st_size for path in (self._path, log) if path.exists())

    def open(self, *, create: bool) -> Opened:
        if not self.exists():
            if not create:
                return Opened(derive(self._secret or os.urandom(32)), [])
            self._create()
        with self._session(write=create) as connection:
            known = identity(connection)
            servers = all_servers(connection)
            rejected, digests = known_rejects(connection)
        keys = derive(self._known_secret(known.id))
        if keys.check != known.key_check:
            raise StoreError(
                f"{self._path} was made with another secret; restore "
                f"{self._secret_path(known.id)} or set RINGSERVERSTATS_SECRET to the right one"
            )
        if known.ipv6_prefix != self._ipv6_prefix:
            raise StoreError(
                f"{self._path} was made with ipv6_prefix = {known.ipv6_prefix}, which its clients' "
                f"pseudonyms depend on; set it so, or use another store"
            )
        self._generation = known.generation
        return Opened(keys, servers, rejected, digests)

    def servers(self) -> list[Server]:
        if not self.exists():
            return []
        with self._session() as connection:
            return all_servers(connection)

    def add_server(self, name: str, timezone: str) -> Server:
        with self._session(write=True) as connection:
            self._check_generation(connection)
            return add_server(connection, name, timezone)

    def change_server(
        self,
        name: str,
        *,
        rename: str | None = None,
        timezone: str | None = None,
        paths: tuple[str, ...] | None = None,
        service: tuple[date | None, date | None] | None = None,
    ) -> None:
        with self._session(write=True) as connection:
            change_server(
                connection, name, rename=rename, timezone=timezone, paths=paths, service=service
            )

    def remove_server(self, name: str) -> None:
        with self._session(write=True) as connection:
            remove_server(connection, name)

    def doubt(self, days: set[tuple[int, date]]) -> None:
        with self._session(write=True) as connection:
            self._check_generation(connection)
            doubt(connection, days)

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as connection:
            source, target = named(connection, name), named(connection, into)
            if source == target:
                raise UsageError(f"{name!r} is one server; name the two that are to become one")
            self._changed(connection)
            return merge(connection, source, target, once=once or try_only)

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as connection:
            gone = delete(connection, named(connection, server), first, last)
            if gone.entries or gone.rejects:
                self._changed(connection)
            return gone

    def settle_rejects(self, read: FileRead, *, try_only: bool) -> int:
        with self._session(write=True, undo=try_only) as connection:
            self._check_generation(connection)
            return settle_rejects(connection, read)

    def compare(self, rows: Rows, earlier: pa.Table) -> Written:
        if not self.exists():
            return written(rows, *first_seen(rows.entries, earlier))
        with self._session() as connection:
            return written(rows, *find_new(connection, rows.entries, earlier))

    def write(self, rows: Rows) -> Written:
        # One batch right behind another would leave no moment for others who wait for the file.
        time.sleep(max(0.0, self._written + _BREATH - time.monotonic()))
        try:
            return self._write(rows)
        finally:
            self._written = time.monotonic()

    def _write(self, rows: Rows) -> Written:
        with self._session(write=True) as connection:
            self._check_generation(connection)
            if not servers_of(rows) <= {one.number for one in all_servers(connection)}:
                raise self._was_changed()
            new, elsewhere = find_new(connection, rows.entries, rows.entries.slice(0, 0))
            done = written(rows, new, elsewhere)
            misdated, doubtful = find_misdated(connection, rows.entries, new)
            if done.entries:
                insert(connection, rows, new)
            resolved = insert_notes(connection, rows, new)
            return replace(done, resolved=resolved, misdated=misdated, doubtful=doubtful)

    @contextmanager
    def reading(self) -> Iterator[Ask]:
        with self._session() as connection:
            yield lambda sql, parameters=(): _with_integers(
                connection.sql(sql, params=list(parameters)).to_arrow_table()
            )

    def backup(self, target: Path) -> None:
        target = Path(os.path.realpath(target))
        new = new_beside(target)
        try:
            with self._session():  # others may read, and wait to write
                copy_file(self._path, new)
            put_in_place(new, target, wait=self._wait, tell=self._tell)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"{target} cannot be written ({first_line(error)})") from None
        finally:
            new.unlink(missing_ok=True)

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:
        path = Path(os.path.realpath(self._path))
        new = new_beside(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open_file(
                source, write=False, memory=self._memory, wait=self._wait, tell=self._tell
            ):  # nobody writes it meanwhile
                copy_file(source, new)
            with duckdb.connect(new) as connection:
                known = identity(connection)
                new_generation(connection)
            self._restore_secret(known, ask)
            put_in_place(new, path, wait=self._wait, tell=self._tell)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"{source} cannot be restored ({first_line(error)})") from None
        finally:
            new.unlink(missing_ok=True)

    def _restore_secret(self, known: Identity, ask: Callable[[Path], bytes] | None) -> None:
        """Make sure that the secret is there; one that had to be asked for is kept."""
        path = self._secret_path(known.id)
        asked = ask(path) if ask and not self._secret and not path.exists() else None
        secret = asked or self._known_secret(known.id)
        if derive(secret).check != known.key_check:
            raise StoreError(
                f"this is not the secret of the store that is to be restored; put the right one "
                f"into {path} or set RINGSERVERSTATS_SECRET"
            )
        if asked:
            write_secret(path, asked.hex())

    def scratch(self, path: Path) -> "DuckDBStore":
        servers = self.open(create=False).servers
        with self._session() as connection:
            secret = self._known_secret(identity(connection).id)
        made = DuckDBStore(
            path,
            secret=secret,
            secrets=path.parent,
            ipv6_prefix=self._ipv6_prefix,
            wait=self._wait,
            memory=self._memory,
            tell=self._tell,
        )
        made.open(create=True)
        with made._session(write=True) as connection:
            copy_servers(connection, servers)
        return made

    def ask(self, sql: str, parameters: Sequence[object]) -> pa.Table:
        with self.reading() as ask:
            return ask(sql, parameters)

    def _create(self) -> None:
        """Make the file whole under another name first: a killed process leaves none or all."""
        store_id = str(uuid.uuid4())
        new = new_beside(self._path)
        secret, secret_path = self._secret, None
        if secret is None:
            secret_path = self._secret_path(store_id)
            secret = make_secret(secret_path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._write_new(new, store_id, secret)
                put_first(new, self._path)
            finally:
                new.unlink(missing_ok=True)
        except (OSError, duckdb.Error) as error:
            if secret_path:
                secret_path.unlink(missing_ok=True)
            if self.exists():  # another process was faster
                return
            raise StoreError(
                f"the store {self._path} cannot be made ({first_line(error)}); choose another "
                "with --database or DATABASE_URI"
            ) from None
        if secret_path:
            self._tell(f"made a new store {self._path} and its secret {secret_path}: back up both")

    def _write_new(self, new: Path, store_id: str, secret: bytes) -> None:
        """A store with all tables and nothing in them."""
        with duckdb.connect(new) as connection:
            migrate(connection)
            connection.execute(
                "INSERT INTO store (id, key_check, ipv6_prefix) VALUES ($1, $2, $3)",
                [store_id, derive(secret).check, self._ipv6_prefix],
            )
            new_generation(connection)
        new.chmod(0o600)

    def _check_generation(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make sure that ids which were looked up when the store was opened still hold."""
        if self._generation not in (None, identity(connection).generation):
            raise self._was_changed()

    def _was_changed(self) -> StoreError:
        return StoreError(
            f"{self._path} was corrected or restored by another process meanwhile; nothing of "
            "this step was stored: run the same again"
        )

    def _changed(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let what this and other processes have looked up hold no longer."""
        new_generation(connection)
        self._generation = None

    def _known_secret(self, store_id: str) -> bytes:
        return self._secret or load_secret(self._secret_path(store_id))

    def _secret_path(self, store_id: str) -> Path:
        return self._secrets / f"{store_id}.secret"

    @contextmanager
    def _session(
        self, *, write: bool = False, undo: bool = False
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The open file, for one transaction; ``undo``: nothing of it is kept."""
        if not self.exists():
            raise StoreError(
                f"there is no store {self._path} yet; read logs into it with: "
                "ringserverstats ingest FILE..."
            )
        connection = self._open(write=write)
        try:
            check(connection, self._path, write=write)
            connection.execute("BEGIN")
            yield connection
            connection.execute("ROLLBACK" if undo else "COMMIT")
        except duckdb.Error as error:
            undone = "; nothing of this step was stored" if write else ""
            raise StoreError(f"{self._path}: {first_line(error)}{undone}") from None
        finally:
            connection.close()  # what is not committed is undone

    def _open(self, *, write: bool) -> duckdb.DuckDBPyConnection:
        return open_file(
            self._path, write=write, memory=self._memory, wait=self._wait, tell=self._tell
        )


def _with_integers(answer: pa.Table) -> pa.Table:
    """Sums come with 128 bits, as decimals; as 64-bit integers where all of a column fit."""
    for number, column in enumerate(answer.columns):
        if pa.types.is_decimal(column.type):
            try:
                integers = column.cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            answer = answer.set_column(number, answer.schema.field(number).name, integers)
    return answer
