"""Caches values until the data that they were computed from change."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
# Seconds for which others get an outdated value while one thread computes the next one.
_MAX_STALENESS = 10.0


@dataclass
class _Entry(Generic[_Value]):
    """A cached value.

    Args:
        value: the value.
        version: version of the data that it was computed from.
        started: when its computation started, in monotonic seconds.
        valid_at: when it was last current, in monotonic seconds.
    """

    value: _Value
    version: str
    started: float
    valid_at: float


@dataclass
class _Computation:
    """The lock of a key, and the number of threads that hold it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0


class Cache(Generic[_Value]):
    """The ``size`` most recently used values.

    One thread at a time computes a value. Meanwhile, others get the previous value if it was
    current a moment ago, so that readers do not wait for each new log; otherwise they wait.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[object, _Entry[_Value]] = OrderedDict()
        self._computations: dict[object, _Computation] = {}

    def get(self, key: object, version: str, compute: Callable[[], _Value]) -> _Value:
        """Return the value of ``key``; call ``compute`` if none of ``version`` is cached."""
        requested = time.monotonic()
        entry = self._find(key, version, requested)
        if entry is not None:
            return entry.value
        with self._lock:
            computation = self._computations.setdefault(key, _Computation())
            computation.threads += 1
            previous = self._entries.get(key)
        try:
            is_recent = previous is not None and requested - previous.valid_at < _MAX_STALENESS
            if previous is not None and is_recent and computation.lock.locked():
                return previous.value
            with computation.lock:
                entry = self._find(key, version, requested)  # another thread may have computed it
                if entry is None:
                    started = time.monotonic()
                    entry = _Entry(compute(), version, started, started)
                    self._add(key, entry)
                return entry.value
        finally:
            with self._lock:
                computation.threads -= 1
                if not computation.threads:
                    del self._computations[key]

    def _find(self, key: object, version: str, requested: float) -> _Entry[_Value] | None:
        """Return the entry if it has ``version``, or a later one: computed since the request."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or (entry.version != version and entry.started < requested):
                return None
            if entry.version == version:
                entry.valid_at = requested
            self._entries.move_to_end(key)
            return entry

    def _add(self, key: object, entry: _Entry[_Value]) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
