"""Whole copies of a DuckDB file, and the way of one into the place of a store."""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from ringserverstats.errors import BusyError, StoreError
from ringserverstats.store.schema import check

_PAUSE = 0.05


def copy_file(source: Path, target: Path) -> None:
    """Make ``target`` a copy of the store ``source``, which nobody writes meanwhile.

    What a killed process left in the log beside it is copied too, and taken over.

    Raises:
        StoreError: it cannot be written, or is no store.
    """
    new = target.with_name(f"{target.name}.new-{uuid.uuid4()}")
    log = Path(f"{new}.wal")
    try:
        try:
            _copy({source: new, Path(f"{source}.wal"): log})
            with duckdb.connect(new) as connection:
                check(connection, source, write=True)
                connection.execute("CHECKPOINT")
            _sync(new)
            new.replace(target)
        finally:
            new.unlink(missing_ok=True)
            log.unlink(missing_ok=True)
    except (OSError, duckdb.Error) as error:
        reason = str(error).strip().split("\n")[0]
        raise StoreError(f"{source} cannot be copied to {target} ({reason})") from None


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


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def put_in_place(new: Path, path: Path, *, wait: float) -> None:
    """Let ``new`` take the place of the store ``path`` when nobody uses that.

    Raises:
        BusyError: somebody does, for longer than ``wait`` seconds.
    """
    if not os.path.exists(path):
        new.rename(path)
        return
    with _locked(path, wait):
        log = Path(f"{path}.wal")
        if log.exists():  # of a killed process: it belongs to the store that goes
            log.replace(f"{path}.wal.replaced")
        new.replace(path)


@contextmanager
def _locked(path: Path, wait: float) -> Iterator[None]:
    """Hold ``path`` as DuckDB does (a POSIX record lock), also where it is no DuckDB file."""
    begin = time.monotonic()
    with open(path, "r+b") as file:
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() - begin > wait:
                    raise BusyError(
                        f"{path} has been in use by another process for {wait:g} s; try again, or "
                        "raise RINGSERVERSTATS_WAIT"
                    ) from None
                time.sleep(_PAUSE)
        yield
