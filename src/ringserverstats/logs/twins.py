"""Identical entries of one input: each counts, so each needs an id of its own.

Two connections of one client that start and end within the same seconds and read the same streams
leave identical blocks, not always side by side. An entry's ordinal is the number of identical ones
before it, where between two of them all entries are logged within `WINDOW` seconds of them: so a
log that stands twice in one input still counts once, and the result does not depend on how the
input is cut into batches.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from ringserverstats.logs.batch import Ids, Int64s

WINDOW = 60


@dataclass
class Twins:
    """The entries of one input that a later one may still be a twin of."""

    key: bytes
    _digest: Ids = field(default_factory=lambda: np.zeros(0, "V16"))
    _time: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    _ordinal: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))

    def ids(self, digest: Ids, time: Int64s) -> Ids:
        """The ids of the next entries of the input, from their digests and log times."""
        known = len(self._digest)
        digest = np.concatenate([self._digest, digest])
        time = np.concatenate([self._time, time])
        ordinal = np.concatenate([self._ordinal, np.zeros(len(time) - known, np.int64)])
        result = digest.copy()
        for row, earlier in _pairs(digest):
            if row >= known and _are_near(time[earlier + 1 : row], int(time[row])):
                ordinal[row] = ordinal[earlier] + 1
                result[row] = self._id(digest[row].tobytes(), int(ordinal[row]))
        self._remember(digest, time, ordinal)
        return result[known:]

    def _id(self, digest: bytes, ordinal: int) -> np.void:
        return np.void(
            blake2b(
                digest + ordinal.to_bytes(8, "big"), key=self.key, digest_size=16, person=b"twin"
            ).digest()
        )

    def _remember(self, digest: Ids, time: Int64s, ordinal: Int64s) -> None:
        """Keep each digest's last entry, unless one outside of its window came after it."""
        latest = np.maximum.accumulate(time[::-1])[::-1]
        earliest = np.minimum.accumulate(time[::-1])[::-1]
        keep = (latest <= time + WINDOW) & (earliest >= time - WINDOW)
        _, last = np.unique(digest[keep][::-1], return_index=True)
        rows = np.flatnonzero(keep)[::-1][last]
        rows.sort()
        self._digest, self._time, self._ordinal = digest[rows], time[rows], ordinal[rows]


def _are_near(between: Int64s, time: int) -> bool:
    return not len(between) or bool(np.abs(between - time).max() <= WINDOW)


def _pairs(digest: Ids) -> list[tuple[int, int]]:
    """Each row that an identical one precedes, with the last such row, in row order."""
    _, group = np.unique(digest, return_inverse=True)
    order = np.argsort(group, kind="stable")
    same = np.flatnonzero(group[order][1:] == group[order][:-1])
    return sorted(zip(order[same + 1].tolist(), order[same].tolist(), strict=True))
