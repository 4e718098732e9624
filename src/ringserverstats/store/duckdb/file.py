"""The file of a DuckDB store: opened with patience, copied whole, put into its place.

Beside it may lie a log, ``<file>.wal``, of a process that was killed. DuckDB takes over what is in
there, so none may lie beside a file that it does not belong to.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import duckdb

from ringserverstats.errors import BusyError, StoreError
from ringserverstats.store.duckdb.schema import check, migrate, schema_version

_Result = TypeVar("_Result")

_PAUSE = 0.01
_TELL_AFTER = 0.5
_LOCKED = "Could not set lock"
_FOLDING = "256MB"
_LEFT_OVER = 3600  # seconds after which an unfinished copy is one of a killed process


class _LockedError(Exception):
    """Another process has the file."""


def log_of(path: Path) -> Path:
    """The log that may lie beside the file ``path``."""
    return Path(f"{path}.wal")


def new_beside(path: Path) -> Path:
    """A name for what is to take the place of ``path`` when it is whole."""
    for old in path.parent.glob(f"{path.name}.new-*"):
        if time.time() - old.stat().st_mtime > _LEFT_OVER:
            _remove(old)
    return path.with_name(f"{path.name}.new-{uuid.uuid4()}")


def remove_new(new: Path) -> None:
    """Leave nothing of the unfinished file ``new``, where it is still there."""
    for path in (new, log_of(new), _spill(new)):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _spill(path: Path) -> Path:
    """Where what does not fit into memory lies meanwhile."""
    return Path(f"{path}.tmp")


def first_line(error: Exception) -> str:
    """What ``error`` says, without the program's own text that DuckDB adds below."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().split("\n")[0]


def open_file(
    path: Path, *, write: bool, memory: str, lock_timeout: float, tell: Callable[[str], None]
) -> duckdb.DuckDBPyConnection:
    """The open file ``path``; another process that has it is waited for.

    Raises:
        BusyError: it had it for longer than ``lock_timeout`` seconds.
        StoreError: it cannot be opened.
    """

    def attempt() -> duckdb.DuckDBPyConnection:
        try:
            before = _inode(path)
            connection = duckdb.connect(
                path,
                read_only=not write,
                config={
                    "memory_limit": memory,
                    "temp_directory": str(_spill(path)),
                    "preserve_insertion_order": "false",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                },
            )
            if _inode(path) != before:  # another file took its place meanwhile
                connection.close()
                raise _LockedError
            return connection
        except duckdb.Error as error:
            if _LOCKED in str(error) and isinstance(error, duckdb.IOException):
                raise _LockedError from None
            raise StoreError(
                f"{path} cannot be used as a store ({first_line(error)}); check the path and its "
                "permissions, or choose another with --database"
            ) from None

    return _patiently(attempt, path, lock_timeout=lock_timeout, tell=tell)


def _inode(path: Path) -> tuple[int, int] | None:
    """What tells the file that is at ``path`` now from others; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _patiently(
    attempt: Callable[[], _Result], path: Path, *, lock_timeout: float, tell: Callable[[str], None]
) -> _Result:
    begin = time.monotonic()
    told = False
    while True:
        try:
            return attempt()
        except _LockedError:
            waited = time.monotonic() - begin
        if waited > lock_timeout:
            raise busy(path, lock_timeout)
        if waited > _TELL_AFTER and not told:
            tell(f"waiting for another process that uses {path} ...")
            told = True
        time.sleep(_PAUSE)


def busy(path: Path, lock_timeout: float) -> BusyError:
    """What is told where others have used ``path`` for longer than ``lock_timeout`` seconds."""
    return BusyError(
        f"{path} has been in use by another process for {lock_timeout:g} s; try again, or raise "
        "RINGSERVERSTATS_LOCK_TIMEOUT"
    )


def copy_file(source: Path, target: Path) -> None:
    """Make ``target``, which is not there, a copy of the store ``source``.

    Nobody may write ``source`` meanwhile. What lies in the log beside it is taken over, and an
    older schema is brought up to date.

    Raises:
        StoreError: ``source`` is no store, or one of a newer program.
        OSError, duckdb.Error: it cannot be read, or ``target`` not be written.
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
    """Make ``target``, which is not there, a file with the rows of the store ``source`` alone.

    A copy would also have what was deleted from it, until others rows take its place.

    Raises:
        duckdb.Error: ``source`` cannot be read, or ``target`` not be written.
    """
    with (
        _private(),
        duckdb.connect(
            target, config={"memory_limit": memory, "temp_directory": str(_spill(target))}
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
    """What this process makes meanwhile is readable by its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _copy(files: dict[Path, Path]) -> None:
    """Copy those of ``files`` that are there.

    All are closed at the end only: to close a file ends every lock that this process has on it.
    """
    with ExitStack() as stack:
        for source, target in files.items():
            if source.exists():
                original = stack.enter_context(open(source, "rb"))
                made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                shutil.copyfileobj(original, stack.enter_context(open(made, "wb")), 1 << 20)


def put_first(new: Path, path: Path) -> None:
    """Let ``new`` become ``path`` where nothing is yet.

    Raises:
        FileExistsError: something is: another process was faster, or a log was left there.
        OSError: it cannot be.
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
    lock_timeout: float,
    tell: Callable[[str], None],
    since: os.stat_result | None = None,
) -> None:
    """Let ``new`` take the place of ``path``, when nobody uses that.

    What is there and is no store that can be read is kept beside, as ``<path>.replaced``.

    Args:
        since: as ``path`` was; it may not have been changed.

    Raises:
        BusyError: somebody has used it for longer than ``lock_timeout`` seconds, or changed it.
        OSError: it cannot be.
    """
    _sync(new)
    is_store = path.exists() and _is_store(path)
    if is_store and log_of(path).exists():  # whose transactions a kill here must not lose
        with open_file(
            path, write=True, memory=_FOLDING, lock_timeout=lock_timeout, tell=tell
        ) as connection:
            connection.execute("CHECKPOINT")
    with _held(path, lock_timeout, tell):
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


def _state(found: os.stat_result) -> tuple[int, ...]:
    """What a change of a file changes."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _is_store(path: Path) -> bool:
    """Whether ``path`` is a store, or one that somebody uses."""
    try:
        with duckdb.connect(path, read_only=True) as connection:
            return schema_version(connection) > 0
    except duckdb.Error as error:
        return _LOCKED in str(error)


def _free(name: str) -> str:
    """``name``, or where that is taken one with a number behind it."""
    number, found = 1, name
    while os.path.exists(found):
        number += 1
        found = f"{name}-{number}"
    return found


@contextmanager
def _held(path: Path, lock_timeout: float, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold ``path``, where it is there, as DuckDB does (a POSIX record lock)."""
    if not path.exists():
        yield
        return
    with _patiently(lambda: _locked(path), path, lock_timeout=lock_timeout, tell=tell):
        yield


@contextmanager
def alone(path: Path, *, lock_timeout: float, tell: Callable[[str], None]) -> Iterator[None]:
    """Be the only one inside, of all processes and their threads; ``path`` is a file for that.

    Raises:
        BusyError: another one was inside for longer than ``lock_timeout`` seconds.
    """

    def attempt() -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _LockedError from None

    with open(path, "ab") as file:
        _patiently(attempt, path, lock_timeout=lock_timeout, tell=tell)
        yield


def _locked(path: Path) -> BinaryIO:
    """The file ``path``, locked, and still the one of that name."""
    file = open(path, "r+b")  # noqa: SIM115 - for the caller to close
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(file.fileno())
        if (found.st_dev, found.st_ino) == _inode(path):
            return file
    except OSError:
        pass
    file.close()
    raise _LockedError


def _sync(path: Path) -> None:
    """Make sure that the file or folder ``path`` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
