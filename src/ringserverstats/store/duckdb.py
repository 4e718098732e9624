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
from ringserverstats.errors import BusyError, StoreError, UsageError
from ringserverstats.keys import derive, load_secret, make_secret, write_secret
from ringserverstats.store.backup import copy_file, put_in_place
from ringserverstats.store.base import Ask, Opened, Removed, Server, Written
from ringserverstats.store.batches import find_new, first_seen, insert, insert_notes, written
from ringserverstats.store.corrections import delete, merge
from ringserverstats.store.schema import check, migrate

_PAUSE = 0.05
_TELL_AFTER = 0.5
_LOCKED = "Could not set lock"


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

    @property
    def label(self) -> str:
        return str(self._path)

    @property
    def secret_place(self) -> str:
        if self._secret is not None:
            return "setting RINGSERVERSTATS_SECRET"
        with self._session() as connection:
            return str(self._secret_path(_store_row(connection)[0]))

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
            store_id, check, ipv6_prefix = _store_row(connection)
            servers = _servers(connection)
        keys = derive(self._known_secret(store_id))
        if keys.check != check:
            raise StoreError(
                f"{self._path} was made with another secret; restore "
                f"{self._secret_path(store_id)} or set RINGSERVERSTATS_SECRET to the right one"
            )
        if ipv6_prefix != self._ipv6_prefix:
            raise StoreError(
                f"{self._path} was made with ipv6_prefix = {ipv6_prefix}, which its clients' "
                f"pseudonyms depend on; set it so, or use another store"
            )
        return Opened(keys, servers)

    def servers(self) -> list[Server]:
        if not self.exists():
            return []
        with self._session() as connection:
            return _servers(connection)

    def add_server(self, name: str, timezone: str) -> Server:
        with self._session(write=True) as connection:
            servers = _servers(connection)
            for server in servers:
                if server.is_called(name):
                    return server
            number = max((server.number for server in servers), default=0) + 1
            connection.execute(
                "INSERT INTO server VALUES ($1, $2, $3, [], [])", [number, name, timezone]
            )
            return Server(number, name, timezone)

    def change_server(
        self,
        name: str,
        *,
        rename: str | None = None,
        timezone: str | None = None,
        paths: tuple[str, ...] | None = None,
    ) -> None:
        with self._session(write=True) as connection:
            servers = _servers(connection)
            found = _named(servers, name)
            if paths is not None:
                connection.execute(
                    "UPDATE server SET paths = $2 WHERE server = $1", [found.number, list(paths)]
                )
            if timezone:
                connection.execute(
                    "UPDATE server SET timezone = $2 WHERE server = $1", [found.number, timezone]
                )
            if rename and rename != name:
                others = [server for server in servers if server is not found]
                if any(server.is_called(rename) for server in others):
                    raise UsageError(
                        f"there is a server that is or was called {rename!r}; take another name"
                    )
                former = [*(old for old in found.former if old != rename), name]
                connection.execute(
                    "UPDATE server SET name = $2, former = $3 WHERE server = $1",
                    [found.number, rename, former],
                )

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as connection:
            servers = _servers(connection)
            source, target = _named(servers, name), _named(servers, into)
            if source == target:
                raise UsageError(f"{name!r} is one server; name the two that are to become one")
            return merge(connection, source, target, once=once or try_only)

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        with self._session(write=True, undo=try_only) as connection:
            return delete(connection, _named(_servers(connection), server), first, last)

    def keep_rejects(self, server: int, file: str, digests: list[bytes], version: str) -> int:
        kept = [server, file, [str(uuid.UUID(bytes=one)) for one in digests]]
        with self._session(write=True) as connection:
            gone = connection.execute(
                "DELETE FROM reject WHERE server = $1 AND file = $2"
                " AND NOT list_contains($3::UUID[], digest)",
                kept,
            ).fetchall()
            connection.execute(
                "UPDATE reject SET version = $4 WHERE server = $1 AND file = $2"
                " AND list_contains($3::UUID[], digest)",
                [*kept, version],
            )
            return int(gone[0][0])

    def compare(self, rows: Rows, earlier: pa.Table) -> Written:
        if not self.exists():
            return written(rows, *first_seen(rows.entries, earlier))
        with self._session() as connection:
            return written(rows, *find_new(connection, rows.entries, earlier))

    def write(self, rows: Rows) -> Written:
        with self._session(write=True) as connection:
            new, elsewhere = find_new(connection, rows.entries, rows.entries.slice(0, 0))
            done = written(rows, new, elsewhere)
            if done.entries:
                insert(connection, rows, new)
            return replace(done, resolved=insert_notes(connection, rows, new))

    @contextmanager
    def reading(self) -> Iterator[Ask]:
        with self._session() as connection:
            yield lambda sql, parameters=(): _with_integers(
                connection.sql(sql, params=list(parameters)).to_arrow_table()
            )

    def backup(self, target: Path) -> None:
        with self._session():  # others may read, and wait to write
            copy_file(self._path, target)

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._path.with_name(f"{self._path.name}.new-{uuid.uuid4()}")
        try:
            with duckdb.connect(source, read_only=True):  # nobody writes it meanwhile
                copy_file(source, new)
            with duckdb.connect(new, read_only=True) as connection:
                store_id, check, _ = _store_row(connection)
            self._restore_secret(store_id, check, ask)
            put_in_place(new, self._path, wait=self._wait)
        except duckdb.Error as error:
            raise StoreError(f"{source} cannot be restored ({_first_line(error)})") from None
        finally:
            new.unlink(missing_ok=True)

    def _restore_secret(
        self, store_id: str, check: str, ask: Callable[[Path], bytes] | None
    ) -> None:
        """Make sure that the secret is known; one that had to be asked for is kept."""
        path = self._secret_path(store_id)
        asked = not self._secret and not path.exists() and ask is not None
        secret = ask(path) if asked and ask else self._known_secret(store_id)
        if derive(secret).check != check:
            raise StoreError(
                f"this is not the secret of the store that is to be restored; put the right one "
                f"into {path} or set RINGSERVERSTATS_SECRET"
            )
        if asked:
            write_secret(path, secret.hex())

    def scratch(self, path: Path) -> "DuckDBStore":
        servers = self.open(create=False).servers
        with self._session() as connection:
            secret = self._known_secret(_store_row(connection)[0])
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
            for one in servers:
                connection.execute(
                    "INSERT INTO server VALUES ($1, $2, $3, $4, [])",
                    [one.number, one.name, one.timezone, list(one.former)],
                )
        return made

    def ask(self, sql: str, parameters: Sequence[object]) -> pa.Table:
        with self.reading() as ask:
            return ask(sql, parameters)

    def _create(self) -> None:
        """Make the file whole under another name first: a killed process leaves none or all."""
        store_id = str(uuid.uuid4())
        new = self._path.with_name(f"{self._path.name}.new-{store_id}")
        secret, secret_path = self._secret, None
        if secret is None:
            secret_path = self._secret_path(store_id)
            secret = make_secret(secret_path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                self._write_new(new, store_id, secret)
                _put_in_place(new, self._path)
            finally:
                new.unlink(missing_ok=True)
        except (OSError, duckdb.Error) as error:
            if secret_path:
                secret_path.unlink(missing_ok=True)
            if self.exists():  # another process was faster
                return
            raise StoreError(
                f"the store {self._path} cannot be made ({_first_line(error)}); choose another "
                "with --database or DATABASE_URI"
            ) from None
        if secret_path:
            self._tell(f"made a new store {self._path} and its secret {secret_path}: back up both")

    def _write_new(self, new: Path, store_id: str, secret: bytes) -> None:
        """A store with all tables and nothing in them."""
        with duckdb.connect(new) as connection:
            migrate(connection)
            connection.execute(
                "INSERT INTO store VALUES ($1, $2, $3)",
                [store_id, derive(secret).check, self._ipv6_prefix],
            )
        new.chmod(0o600)

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
            raise StoreError(f"{self._path}: {_first_line(error)}{undone}") from None
        finally:
            connection.close()  # what is not committed is undone

    def _open(self, *, write: bool) -> duckdb.DuckDBPyConnection:
        begin = time.monotonic()
        told = False
        while True:
            try:
                return duckdb.connect(
                    self._path,
                    read_only=not write,
                    config={
                        "memory_limit": self._memory,
                        "temp_directory": f"{self._path}.tmp",
                        "preserve_insertion_order": "false",
                        "autoinstall_known_extensions": "false",
                        "autoload_known_extensions": "false",
                    },
                )
            except duckdb.Error as error:
                waited = time.monotonic() - begin
                if _LOCKED not in str(error) or not isinstance(error, duckdb.IOException):
                    raise StoreError(
                        f"{self._path} cannot be used as a store ({_first_line(error)}); check "
                        "the path and its permissions, or choose another with --database"
                    ) from None
                if waited > self._wait:
                    raise BusyError(
                        f"{self._path} has been in use by another process for {self._wait:g} s; "
                        "try again, or raise RINGSERVERSTATS_WAIT"
                    ) from None
            if waited > _TELL_AFTER and not told:
                self._tell(f"waiting for another process that uses {self._path} ...")
                told = True
            time.sleep(_PAUSE)


def _put_in_place(new: Path, path: Path) -> None:
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        new.rename(path)


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


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _store_row(connection: duckdb.DuckDBPyConnection) -> tuple[str, str, int]:
    """The store's id, the check value of its secret, and its IPv6 prefix."""
    rows = connection.execute("SELECT id, key_check, ipv6_prefix FROM store").fetchall()
    if len(rows) != 1:
        raise StoreError(
            "the store is damaged: its table `store` has not one row; restore a backup with: "
            "ringserverstats restore FILE"
        )
    store_id, check, ipv6_prefix = rows[0]
    return str(store_id), str(check), int(ipv6_prefix)


def _servers(connection: duckdb.DuckDBPyConnection) -> list[Server]:
    rows = connection.execute(
        "SELECT server, name, timezone, former, paths FROM server ORDER BY name"
    )
    return [
        Server(number, name, timezone, tuple(former), tuple(paths))
        for number, name, timezone, former, paths in rows.fetchall()
    ]


def _named(servers: list[Server], name: str) -> Server:
    found = next((server for server in servers if server.name == name), None)
    if found is None:
        known = ", ".join(server.name for server in servers) or "none"
        raise UsageError(f"there is no server {name!r} (known: {known})")
    return found
