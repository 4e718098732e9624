"""DuckDB instances without a file of their own, to which the files of stores are attached.

Starting DuckDB takes 20 ms and attaching a file 4 ms, so a process keeps the instances and attaches
a file only while it uses it: other processes can open it in between.
"""

import os
import threading
from collections import OrderedDict
from pathlib import Path

import duckdb

_STORE = "store"
_MOST = 4  # instances that a process keeps

_engines: OrderedDict[tuple[Path, str], "Engine"] = OrderedDict()
_engines_lock = threading.Lock()


def spill(path: Path) -> Path:
    """Return the folder of what DuckDB has no memory for while it uses the file ``path``."""
    return Path(f"{path}.tmp")


class InUseError(Exception):
    """Another thread has attached the file in the other mode."""


class Engine:
    """The DuckDB instance for the file ``path``, with the limit ``memory``, such as ``"400MB"``."""

    def __init__(self, path: Path, memory: str) -> None:
        self._path = path
        self._connection = duckdb.connect(
            config={
                "memory_limit": memory,
                "temp_directory": str(spill(path)),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            }
        )
        self._lock = threading.Lock()
        self._users = 0
        self._is_writing = False

    @property
    def is_idle(self) -> bool:
        return not self._users

    def attach(self, *, write: bool) -> duckdb.DuckDBPyConnection:
        """Return a new connection that uses the file, to be given to `detach` at the end.

        Raises:
            InUseError: another thread uses it in the other mode.
            duckdb.Error: it cannot be opened.
        """
        with self._lock:
            if self._users and write != self._is_writing:
                raise InUseError
            cursor = self._connection.cursor()
            try:
                if not self._users:
                    quoted = os.path.abspath(self._path).replace("'", "''")
                    mode = "TYPE duckdb" if write else "TYPE duckdb, READ_ONLY"
                    cursor.execute(f"ATTACH '{quoted}' AS {_STORE} ({mode})")
                cursor.execute(f"USE {_STORE}")
            except BaseException:
                cursor.close()
                raise
            self._users += 1
            self._is_writing = write
            return cursor

    def detach(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Close ``cursor``, which undoes its open transaction; the last user releases the file."""
        cursor.close()
        with self._lock:
            self._users -= 1
            if not self._users:
                self._connection.execute(f"DETACH {_STORE}")

    def close(self) -> None:
        self._connection.close()


def engine(path: Path, memory: str) -> Engine:
    """Return the instance for the file ``path``."""
    with _engines_lock:
        kept = _engines.get((path, memory)) or Engine(path, memory)
        _engines[path, memory] = kept
        _engines.move_to_end((path, memory))
        for key in [key for key in _engines if _engines[key].is_idle][:-_MOST]:
            _engines.pop(key).close()
        return kept


def discard(path: Path, memory: str) -> None:
    """Forget the instance for the file ``path``, as DuckDB uses none again after a fatal error."""
    with _engines_lock:
        _engines.pop((path, memory), None)
