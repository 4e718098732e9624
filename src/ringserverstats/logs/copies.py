"""Identical entries in several files of one interval: copies of a log, or a log that was moved.

ringserver writes one log per interval, and begins a new file if the log was moved. Entries that end
within the second of the move may then be in both files, once each, and count once, because from the
files alone a moved log and a copy look alike.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np

from ringserverstats.logs.batch import Ids
from ringserverstats.logs.source import Source

_Key = tuple[object, ...]
_NONE: Ids = np.zeros(0, "V16")


class IntervalCopies:
    """The entries of the inputs that other inputs of the same server and interval may repeat."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._unread = Counter(key for source in sources if (key := _key(source)))
        self._several = {key for key, count in self._unread.items() if count > 1}
        self._earlier: dict[_Key, Ids] = {}
        self._current: list[Ids] = []

    def add(self, source: Source, ids: Ids) -> int:
        """Add entries of ``source`` and return how many of them an earlier input had."""
        key = _key(source)
        if key not in self._several:
            return 0
        self._current.append(ids)
        return int(np.isin(ids, self._earlier.get(key, _NONE)).sum())

    def end(self, source: Source) -> None:
        """Note that all entries of ``source`` were added."""
        key = _key(source)
        if key not in self._several:
            return
        ids = [self._earlier.pop(key, _NONE), *self._current]
        self._current = []
        self._unread[key] -= 1
        if self._unread[key]:
            self._earlier[key] = np.unique(np.concatenate(ids))


def _key(source: Source) -> _Key:
    """Return what names the interval of a server; empty if the name has none."""
    name = source.name
    return (source.server_name, name.kind, name.start, name.end) if name.start else ()
