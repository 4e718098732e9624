"""The embedded store: one DuckDB file.

No process keeps the file. Each opens it for a batch or a question, and waits for another that has
it. A batch is one transaction, so that a process killed at any moment has counted it whole or not.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from ringserverstats.errors import StoreError
from ringserverstats.keys import derive, write_secret
from ringserverstats.store.base import Ask, Identity
from ringserverstats.store.duckdb.engine import NEW_FILE
from ringserverstats.store.duckdb.file import (
    LockWait,
    alone,
    copy_file,
    first_line,
    new_beside,
    open_file,
    put_first,
    put_in_place,
    remove_new,
    write_anew,
)
from ringserverstats.store.duckdb.rwlock import locked_among_threads
from ringserverstats.store.duckdb.schema import check, migrate, schema_version
from ringserverstats.store.duckdb.session import DuckDBSession
from ringserverstats.store.servers import INSERT_IDENTITY, identity, new_generation
from ringserverstats.store.session import Session
from ringserverstats.store.sql_store import Options, SQLStore
from ringserverstats.store.versions import days_of, raise_versions

_PAUSE = 0.03  # seconds between two steps, a few times what others pause before they try again


class DuckDBStore(SQLStore):
    """The store in the file ``path``."""

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(options)
        self._label = str(path)
        self._path = Path(os.path.realpath(path))  # DuckDB's log lies beside the real file
        self._last_step = 0.0

    @property
    def label(self) -> str:
        return self._label

    def exists(self) -> bool:
        return os.path.exists(self._path)

    def features(self) -> dict[str, str]:
        return {"engine": f"DuckDB {duckdb.__version__}"}

    def size(self) -> int:
        log = Path(f"{self._path}.wal")
        return sum(path.stat().st_size for path in (self._path, log) if path.exists())

    def schema_version(self) -> int:
        if not self.exists():
            return 0
        with self._open(self._path, write=False) as connection:
            return schema_version(connection)

    def migrate(self) -> int:
        before = self.schema_version()
        if not self.exists():
            self._create()
        with self._session(write=True):
            return before

    @contextmanager
    def _step(self, servers: set[int]) -> Iterator[Session]:
        # Without a pause between two steps, others that wait for the file would never find it free.
        time.sleep(max(0.0, self._last_step + _PAUSE - time.monotonic()))
        try:
            with super()._step(servers) as session:
                yield session
        finally:
            self._last_step = time.monotonic()

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[Ask]:
        query_timeout = self.options.query_timeout if limited else 0
        with self._session() as session:
            try:
                yield _limited(session, query_timeout) if query_timeout else session.table
            except duckdb.InterruptException:
                raise StoreError(
                    f"{self.label}: the query took longer than {query_timeout:g} s. Query a "
                    "shorter period, or raise RINGSERVERSTATS_QUERY_TIMEOUT."
                ) from None

    def backup(self, target: Path) -> None:
        target = Path(os.path.realpath(target))
        new = new_beside(target)
        try:
            with self._session():  # others may read, and wait to write
                copy_file(self._path, new)
            put_in_place(new, target, wait=self._wait)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"{target} cannot be written ({first_line(error)})") from None
        finally:
            new.unlink(missing_ok=True)

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:
        path, real = self._path, Path(os.path.realpath(source))
        new = new_beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._open(source, write=False):  # no process writes it meanwhile
                copy_file(real, new)
            with duckdb.connect(new) as connection:
                session = DuckDBSession(connection)
                known = identity(session)
                new_generation(session)
                raise_versions(session, days_of(session), corrects=True)
            self._restore_secret(known, ask)
            put_in_place(new, path, wait=self._wait)
        except (OSError, duckdb.Error) as error:
            raise StoreError(f"{source} cannot be restored ({first_line(error)})") from None
        finally:
            new.unlink(missing_ok=True)

    @contextmanager
    def sending(self) -> Iterator[None]:
        path = Path(f"{self._path}.sending")
        with alone(path, self._wait):
            yield

    def _before_deletion(self, before: date) -> None:
        """Nothing has to be prepared."""

    def _vacuum(self) -> None:
        path = self._path
        new = new_beside(path)
        try:
            with self._session(write=True):  # whatever lies in a log comes into the file
                pass
            with self._session():
                before = path.stat()
                write_anew(path, new, memory=self.options.memory)
            new.chmod(before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(new, before.st_uid, before.st_gid)
            put_in_place(new, path, wait=self._wait, since=before)
        except (OSError, duckdb.Error) as error:
            raise StoreError(
                f"{path} cannot be rewritten ({first_line(error)}), so what was taken out may "
                "still lie in its free places; make room, and run the same again"
            ) from None
        finally:
            remove_new(new)

    def _restore_secret(self, known: Identity, ask: Callable[[Path], bytes] | None) -> None:
        """Make sure that the secret is there; one that had to be asked for is kept."""
        path = self._secret_path(known.id)
        asked = ask(path) if ask and not self.options.secret and not path.exists() else None
        secret = asked or self._known_secret(known.id)
        if derive(secret).check != known.key_check:
            raise StoreError(
                f"this is not the secret of the store that is to be restored; put the right one "
                f"into {path} or set RINGSERVERSTATS_SECRET"
            )
        if asked:
            write_secret(path, asked.hex())

    def new_empty_like(self, path: Path) -> "DuckDBStore":
        return DuckDBStore.made_like(self, path)

    @classmethod
    def made_like(cls, other: SQLStore, path: Path) -> "DuckDBStore":
        """An empty store in the file ``path`` with the secret and servers of ``other``."""
        original, servers = other.identity_and_servers()
        made = cls(path, replace(other.options, secret=other.secret(), secrets=path.parent))
        made.initialise_copy(original, servers)
        return made

    def _create(self, original: Identity | None = None) -> None:
        """Make the file whole under another name first: a killed process leaves none or all."""
        new = new_beside(self._path)
        known, secret_path = self._new_identity(original)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._write_new(new, known)
                put_first(new, self._path)
            finally:
                new.unlink(missing_ok=True)
        except (OSError, duckdb.Error) as error:
            if secret_path:
                secret_path.unlink(missing_ok=True)
            if self.exists():  # another process was faster
                return
            raise StoreError(
                f"the store {self._label} cannot be made ({first_line(error)}); choose another "
                "with --database or DATABASE_URI"
            ) from None
        if secret_path:
            self.options.notify(
                f"made a new store {self._label} and its secret {secret_path}: back up both"
            )

    def _write_new(self, new: Path, known: Identity) -> None:
        """Write a store with all tables and without rows."""
        with duckdb.connect(new, config=NEW_FILE) as connection:
            migrate(connection)
            connection.execute(INSERT_IDENTITY, list(vars(known).values()))
        new.chmod(0o600)

    @contextmanager
    def _session(
        self,
        *,
        write: bool = False,
        undo: bool = False,
        servers: set[int] | None = None,  # noqa: ARG002 - one process has the whole file
    ) -> Iterator[DuckDBSession]:
        if not self.exists():
            raise StoreError(
                f"there is no store {self._label} yet; read logs into it with: "
                "ringserverstats ingest FILE..."
            )
        with locked_among_threads(self._path, write=write, lock_timeout=self.options.lock_timeout):
            try:
                with self._open(self._path, write=write) as connection:
                    check(connection, self._path, write=write)
                    connection.execute("BEGIN")
                    yield DuckDBSession(connection)
                    connection.execute("ROLLBACK" if undo else "COMMIT")
            except duckdb.Error as error:
                undone = "; nothing of this step was stored" if write else ""
                raise StoreError(f"{self._label}: {first_line(error)}{undone}") from None

    def _open(
        self, path: Path, *, write: bool
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        return open_file(path, write=write, memory=self.options.memory, wait=self._wait)

    @property
    def _wait(self) -> LockWait:
        return LockWait(self.options.lock_timeout, self.options.notify)


def _limited(session: DuckDBSession, query_timeout: float) -> Ask:
    """What asks, and is stopped after ``query_timeout`` seconds."""

    def ask(sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        timer = threading.Timer(query_timeout, session.interrupt)
        timer.start()
        try:
            return session.table(sql, parameters)
        finally:
            timer.cancel()

    return ask
