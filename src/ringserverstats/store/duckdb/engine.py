"""DuckDB instances without a file of their own, to which the files of stores are attached.

Starting DuckDB takes 20 ms and attaching a file 4 ms, so a process keeps the instances and attaches
a file only while it uses it: other processes can open it in between. A file has one instance,
because closing it once releases every lock that the process has on it.
"""

import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import duckdb

#: Of new files: every DuckDB since 1.2 can open them.
NEW_FILE: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": "v1.2.0"
}
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "preserve_insertion_order": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allocator_background_threads": "true",  # give memory back
}
_STORE = "store"
_MOST_IDLE = 4  # instances that a process keeps
_FATAL = (duckdb.FatalException, duckdb.InternalException)  # after which an instance is of no use

_engines: dict[str, "_Engine"] = {}
_lock = threading.Lock()


def spill(path: Path | str) -> Path:
    """Return the folder of what DuckDB has no memory for while it uses the file ``path``."""
    return Path(f"{path}.tmp")


class InUseError(Exception):
    """Another thread has attached the file in the other mode."""


@dataclass
class _Engine:
    path: str
    connection: duckdb.DuckDBPyConnection
    users: int = 0
    is_writing: bool = False


@dataclass(frozen=True)
class Attached:
    """A ``connection`` of ``engine`` that uses its file."""

    engine: _Engine
    connection: duckdb.DuckDBPyConnection


def attach(path: Path, *, write: bool, memory: str) -> Attached:
    """Attach the file ``path`` for a new connection, to be given to `detach` at the end.

    Args:
        write: for writing, alone.
        memory: memory limit of DuckDB, such as ``"400MB"``.

    Raises:
        InUseError: another thread uses it in the other mode.
        duckdb.Error: it cannot be opened.
    """
    real = os.path.realpath(path)
    with _lock:
        engine = _engines.pop(real, None) or _Engine(real, _start(real))
        _engines[real] = engine  # the last one used is the last one closed
        if engine.users and write != engine.is_writing:
            raise InUseError
        cursor = engine.connection.cursor()
        try:
            if not engine.users:
                cursor.execute(f"SET GLOBAL memory_limit = '{memory}'")
                quoted = real.replace("'", "''")
                mode = "TYPE duckdb" if write else "TYPE duckdb, READ_ONLY"
                cursor.execute(f"ATTACH '{quoted}' AS {_STORE} ({mode})")
            cursor.execute(f"USE {_STORE}")
        except BaseException as error:
            cursor.close()
            if isinstance(error, _FATAL):
                _close(engine)
            raise
        engine.users += 1
        engine.is_writing = write
        for idle in [one for one in _engines.values() if not one.users][:-_MOST_IDLE]:
            _close(idle)
        return Attached(engine, cursor)


def detach(attached: Attached) -> None:
    """Close the connection, which undoes its open transaction; the last user releases the file.

    What was committed is in the log of the file, if it cannot be moved into the file now.
    """
    with _lock:
        attached.connection.close()
        engine = attached.engine
        engine.users -= 1
        if not engine.users:
            try:
                engine.connection.execute(f"DETACH {_STORE}")
            except duckdb.Error:
                _close(engine)


def _start(real: str) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={**_CONFIG, "temp_directory": str(spill(real))})


def _close(engine: _Engine) -> None:
    if _engines.get(engine.path) is engine:
        del _engines[engine.path]
    with contextlib.suppress(duckdb.Error):
        engine.connection.close()
