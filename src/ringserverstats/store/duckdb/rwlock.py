"""Locks among threads of one process that use the same DuckDB file.

DuckDB's lock on the file excludes other processes only; the threads of one process share it.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ringserverstats.store.duckdb.file import busy


class FairReadWriteLock:
    """A lock for many readers or one writer, taken in order of request, so that none starves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._readers = 0
        self._writes = False
        self._own = threading.local()

    @contextmanager
    def open(self, *, write: bool, lock_timeout: float) -> Iterator[bool]:
        """Hold the lock; yields False if it could not be taken in ``lock_timeout`` seconds.

        A thread that holds it for reading may take it for reading again.
        """
        depth = getattr(self._own, "depth", 0)
        if depth and not write:
            yield True
            return
        if not self._enter(write, lock_timeout):
            yield False
            return
        self._own.depth = depth + 1
        try:
            yield True
        finally:
            self._own.depth = depth
            self._leave(write)

    def _enter(self, write: bool, lock_timeout: float) -> bool:
        turn = object()
        with self._changed:
            self._queue.append(turn)
            is_in = self._changed.wait_for(lambda: self._may_enter(turn, write), lock_timeout)
            self._queue.remove(turn)
            if is_in:
                self._writes = write
                self._readers += not write
            self._changed.notify_all()
            return is_in

    def _may_enter(self, turn: object, write: bool) -> bool:
        is_free = not self._writes and not (write and self._readers)
        return self._queue[0] is turn and is_free

    def _leave(self, write: bool) -> None:
        with self._changed:
            if write:
                self._writes = False
            else:
                self._readers -= 1
            self._changed.notify_all()


_locks: dict[Path, FairReadWriteLock] = {}
_adding = threading.Lock()


@contextmanager
def locked_among_threads(path: Path, *, write: bool, lock_timeout: float) -> Iterator[None]:
    """Hold the lock of the file ``path`` among the threads of this process.

    Raises:
        BusyError: other threads have used it for longer than ``lock_timeout`` seconds.
    """
    with _adding:
        lock = _locks.setdefault(path, FairReadWriteLock())
    with lock.open(write=write, lock_timeout=lock_timeout) as is_locked:
        if not is_locked:
            raise busy(path, lock_timeout)
        yield
