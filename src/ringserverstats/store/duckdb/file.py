"""The file of a DuckDB store: open it, copy it, replace it.

A killed process may leave a log, ``<file>.wal``, beside the file. DuckDB applies it at the next
opening, so the log of one file must never be beside another one.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import duckdb

from ringserverstats.errors import BusyError, StoreError
from ringserverstats.store.duckdb.engine import (
    NEW_FILE,
    Attached,
    InUseError,
    attach,
    detach,
    spill,
)
from ringserverstats.store.duckdb.schema import check, migrate, schema_version

_Result = TypeVar("_Result")

_PAUSE = 0.01
_NOTIFY_AFTER = 0.5
_LOCKED = "Could not set lock"
_DAMAGED_LOG = "replaying WAL"
_FOLDING = "256MB"
_LEFT_OVER = 3600  # seconds after which an unfinished copy is one of a killed process


@dataclass(frozen=True)
class LockWait:
    """How to wait for another process: for ``timeout`` seconds, after a call of ``notify``."""

    timeout: float
    notify: Callable[[str], None]


class _LockedError(Exception):
    """Another process uses the file."""


def log_of(path: Path) -> Path:
    """Return the path of the log that may be beside the file ``path``."""
    return Path(f"{path}.wal")


def new_beside(path: Path) -> Path:
    """Return the path of a temporary file that is to replace ``path``."""
    for old in path.parent.glob(f"{path.name}.new-*"):
        if time.time() - old.stat().st_mtime > _LEFT_OVER:
            _remove(old)
    return path.with_name(f"{path.name}.new-{uuid.uuid4()}")


def remove_new(new: Path) -> None:
    """Delete the temporary file ``new`` and what belongs to it, if they exist."""
    for path in (new, log_of(new), spill(new)):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """Return the message of ``error`` without the SQL that DuckDB appends."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0]


@contextmanager
def open_file(
    path: Path, *, write: bool, memory: str, wait: LockWait
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a connection to the file ``path``.

    Args:
        write: open it for writing, alone.
        memory: memory limit of DuckDB, such as ``"400MB"``.
        wait: how to wait for another process that uses it.

    Raises:
        BusyError: another process still uses it.
        StoreError: it cannot be opened.
    """

    def attempt() -> Attached:
        try:
            before = _inode(path)
            attached = attach(path, write=write, memory=memory)
        except InUseError:
            raise _LockedError from None
        except duckdb.Error as error:
            if _LOCKED in str(error) and isinstance(error, duckdb.IOException):
                raise _LockedError from None
            if _DAMAGED_LOG in str(error):
                raise StoreError(
                    f"the write-ahead log {log_of(path)} is damaged ({first_line(error)}). Restore "
                    "a backup. Or move that log away, without which the last batches are missing, "
                    "and read their logs again."
                ) from None
            raise StoreError(
                f"{path} cannot be used as a store ({first_line(error)}); check the path and its "
                "permissions, or choose another with --database"
            ) from None
        if _inode(path) != before:  # it was replaced meanwhile
            detach(attached)
            raise _LockedError
        return attached

    attached = _retry(attempt, path, wait)
    try:
        yield attached.connection
    finally:
        detach(attached)


def _inode(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of the file ``path``; None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _retry(attempt: Callable[[], _Result], path: Path, wait: LockWait) -> _Result:
    """Return the result of ``attempt``, repeated until it raises no `_LockedError`."""
    begin = time.monotonic()
    is_notified = False
    while True:
        try:
            return attempt()
        except _LockedError:
            waited = time.monotonic() - begin
        if waited > wait.timeout:
            raise busy(path, wait.timeout)
        if waited > _NOTIFY_AFTER and not is_notified:
            wait.notify(f"waiting for another process that uses {path} ...")
            is_notified = True
        time.sleep(_PAUSE)


def busy(path: Path, lock_timeout: float) -> BusyError:
    """Return the error that others have used ``path`` for longer than ``lock_timeout`` seconds."""
    return BusyError(
        f"{path} has been in use by another process for {lock_timeout:g} s; try again, or raise "
        "RINGSERVERSTATS_LOCK_TIMEOUT"
    )


def copy_file(source: Path, target: Path) -> None:
    """Copy the store ``source``, with what is in its log, to ``target``, and upgrade the copy.

    Args:
        source: no process may write to it meanwhile.
        target: a file that does not exist.

    Raises:
        StoreError: ``source`` is no store, or its schema cannot be upgraded.
        OSError, duckdb.Error: reading or writing failed.
    """
    try:
        _copy({source: target, log_of(source): log_of(target)})
        with duckdb.connect(target) as connection:
            check(connection, source, write=True)
            connection.execute("CHECKPOINT")
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        log_of(target).unlink(missing_ok=True)


def write_anew(source: Path, target: Path, *, memory: str) -> None:
    """Write the rows of the store ``source`` to the new file ``target``.

    Unlike a copy, the file has no remains of deleted rows.

    Raises:
        duckdb.Error: reading or writing failed.
    """
    with (
        _private(),
        duckdb.connect(
            target,
            config={"memory_limit": memory, "temp_directory": str(spill(target)), **NEW_FILE},
        ) as connection,
    ):
        migrate(connection)
        quoted = str(source).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS source (READ_ONLY)")
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
            " ORDER BY table_name"
        ).fetchall()
        for (table,) in tables:
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM source.{table}")
        connection.execute("DETACH source")
        connection.execute("UPDATE store SET vacuum_pending = false")
        connection.execute("CHECKPOINT")


@contextmanager
def _private() -> Iterator[None]:
    """Make files that this process creates meanwhile readable by their owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _copy(files: dict[Path, Path]) -> None:
    """Copy those of ``files`` that exist.

    All are closed at the end: closing a file releases every lock that this process has on it.
    """
    with ExitStack() as stack:
        for source, target in files.items():
            if source.exists():
                original = stack.enter_context(open(source, "rb"))
                descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                shutil.copyfileobj(original, stack.enter_context(open(descriptor, "wb")), 1 << 20)


def put_first(new: Path, path: Path) -> None:
    """Rename ``new`` to ``path``, which must not exist.

    Raises:
        FileExistsError: another process created it, or the log of an earlier file remains.
        OSError: the rename failed.
    """
    if log_of(path).exists() and not path.exists():
        raise FileExistsError(
            f"the log of a store that is gone lies there, {log_of(path)}: move it away"
        )
    try:
        os.link(new, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        new.rename(path)


def put_in_place(
    new: Path,
    path: Path,
    *,
    wait: LockWait,
    since: os.stat_result | None = None,
) -> None:
    """Replace ``path`` by ``new``, when no process uses it.

    A file that is no readable store is kept as ``<path>.replaced``.

    Args:
        wait: how to wait for other processes that use it.
        since: the status of ``path`` before; it must not have changed.

    Raises:
        BusyError: another process still uses it, or changed it.
        OSError: replacing it failed.
    """
    _sync(new)
    is_store = path.exists() and _is_store(path)
    if is_store and log_of(path).exists():  # a kill here must not lose its transactions
        with open_file(path, write=True, memory=_FOLDING, wait=wait) as connection:
            connection.execute("CHECKPOINT")
    with _held(path, wait):
        if since and _state(path.stat()) != _state(since):
            raise BusyError(f"{path} was changed just now; try again")
        if log_of(path).exists():
            if is_store:
                raise BusyError(f"{path} was changed just now; try again")
            log_of(path).replace(_free(f"{log_of(path)}.replaced"))
        if path.exists() and not is_store:
            shutil.copy2(path, _free(f"{path}.replaced"))
        new.replace(path)
    _sync(path.parent)


def _state(status: os.stat_result) -> tuple[int, ...]:
    """Return the properties that change with a file."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_store(path: Path) -> bool:
    """Return whether ``path`` is a store, or a file that another process uses."""
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return schema_version(connection) > 0
    except duckdb.Error as error:
        return _LOCKED in str(error)


def _free(name: str) -> str:
    """Return ``name``, with a number appended if it exists."""
    number, path = 1, name
    while os.path.exists(path):
        number += 1
        path = f"{name}-{number}"
    return path


@contextmanager
def _held(path: Path, wait: LockWait) -> Iterator[None]:
    """Lock ``path``, if it exists, as DuckDB does (a POSIX record lock)."""
    if not path.exists():
        yield
        return
    with _retry(lambda: _locked(path), path, wait):
        yield


@contextmanager
def alone(path: Path, wait: LockWait) -> Iterator[None]:
    """Exclude all other processes and threads by a lock on the file ``path``.

    Raises:
        BusyError: another one still holds the lock.
    """

    def attempt() -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _LockedError from None

    with open(path, "ab") as file:
        _retry(attempt, path, wait)
        yield


def _locked(path: Path) -> BinaryIO:
    """Open and lock the file ``path``, and make sure that it was not replaced."""
    file = open(path, "r+b")  # noqa: SIM115 - for the caller to close
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) == _inode(path):
            return file
    except OSError:
        pass
    file.close()
    raise _LockedError


def _sync(path: Path) -> None:
    """Write the file or folder ``path`` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
