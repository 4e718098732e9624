"""What was worked out once is told again, as long as the days it is of have not changed."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
# Seconds for which a value is told on while somebody waits for the next one.
_LENIENT = 10.0


@dataclass
class _Known(Generic[_Value]):
    """A value, when its making began, and when it was last known to hold."""

    value: _Value
    version: str
    begun: float
    held: float


@dataclass
class _Making:
    """Whoever makes a value, or waits for it, has its lock in hand."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    askers: int = 0


class Cache(Generic[_Value]):
    """The last ``size`` values.

    One thread at a time makes a value anew. Others are told what held until just now, so that who
    reads does not wait for each log that comes; where nothing did, they wait for it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: OrderedDict[object, _Known[_Value]] = OrderedDict()
        self._making: dict[object, _Making] = {}

    def get(self, key: object, version: str, make: Callable[[], _Value]) -> _Value:
        """The value of ``key``, made by ``make`` where that of ``version`` is not known."""
        asked = time.monotonic()
        found = self._find(key, version, asked)
        if found is not None:
            return found.value
        with self._lock:
            own = self._making.setdefault(key, _Making())
            own.askers += 1
            known = self._known.get(key)
        try:
            if known is not None and asked - known.held < _LENIENT and own.lock.locked():
                return known.value
            with own.lock:
                return self._made(key, version, asked, make)
        finally:
            with self._lock:
                own.askers -= 1
                if not own.askers:  # nobody else has it, or comes to have it
                    del self._making[key]

    def _made(self, key: object, version: str, asked: float, make: Callable[[], _Value]) -> _Value:
        """The value, made unless another thread did so meanwhile."""
        found = self._find(key, version, asked)
        if found is not None:
            return found.value
        begun = time.monotonic()
        value = make()
        self._keep(key, _Known(value, version, begun, begun))
        return value

    def _find(self, key: object, version: str, asked: float) -> _Known[_Value] | None:
        """What is of ``version``, or was made since it was ``asked`` for, and so of a later one."""
        with self._lock:
            known = self._known.get(key)
            if known is None or (known.version != version and known.begun < asked):
                return None
            if known.version == version:
                known.held = asked
            self._known.move_to_end(key)
            return known

    def _keep(self, key: object, known: _Known[_Value]) -> None:
        with self._lock:
            self._known[key] = known
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
