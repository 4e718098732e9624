"""What was worked out once is told again, as long as the days it is of have not changed."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Cache(Generic[_Value]):
    """The last ``size`` values; who asks for one that is being made waits for it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._known: OrderedDict[object, tuple[str, _Value]] = OrderedDict()
        self._making: dict[object, threading.Lock] = {}

    def get(self, key: object, version: str, make: Callable[[], _Value]) -> _Value:
        """The value of ``key``, made by ``make`` where that of ``version`` is not known."""
        found = self._find(key, version)
        if found is not None:
            return found[0]
        with self._lock:
            own = self._making.setdefault(key, threading.Lock())
        with own:
            found = self._find(key, version)
            if found is not None:
                return found[0]
            try:
                value = make()
                self._keep(key, version, value)
                return value
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _find(self, key: object, version: str) -> tuple[_Value] | None:
        with self._lock:
            known = self._known.get(key)
            if known is None or known[0] != version:
                return None
            self._known.move_to_end(key)
            return (known[1],)

    def _keep(self, key: object, version: str, value: _Value) -> None:
        with self._lock:
            self._known[key] = version, value
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
