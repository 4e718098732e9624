"""Ids of identical entries of one input, each of which counts.

Two connections of one client that start and end within the same seconds and read the same streams
leave identical blocks, not always adjacent ones. An entry's ordinal is the number of identical
entries before it, if all entries between them were logged within `WINDOW` seconds. A log that is
repeated in one input therefore counts once, and ids do not depend on how the input is cut into
batches.
"""

from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from ringserverstats.logs.batch import Ids, Int64s

WINDOW = 60  # seconds


@dataclass
class Duplicates:
    """The entries of one input that a later entry may still duplicate."""

    key: bytes
    _digest: Ids = field(default_factory=lambda: np.zeros(0, "V16"))
    _time: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    _ordinal: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))

    def ids(self, digest: Ids, time: Int64s) -> Ids:
        """Return the ids of the next entries of the input, from their digests and log times."""
        remembered = len(self._digest)
        digest = np.concatenate([self._digest, digest])
        time = np.concatenate([self._time, time])
        ordinal = np.concatenate([self._ordinal, np.zeros(len(time) - remembered, np.int64)])
        result = digest.copy()
        earlier, later = _pairs(digest)
        is_new = (later >= remembered) & _are_near(time, earlier, later)
        for before, row in zip(earlier[is_new].tolist(), later[is_new].tolist(), strict=True):
            ordinal[row] = ordinal[before] + 1
            result[row] = self._id(digest[row].tobytes(), int(ordinal[row]))
        self._remember(digest, time, ordinal)
        return result[remembered:]

    def _id(self, digest: bytes, ordinal: int) -> np.void:
        return np.void(
            blake2b(
                digest + ordinal.to_bytes(8, "big"), key=self.key, digest_size=16, person=b"twin"
            ).digest()
        )

    def _remember(self, digest: Ids, time: Int64s, ordinal: Int64s) -> None:
        """Keep the last entry of each digest, unless a later entry is outside its window."""
        latest = np.maximum.accumulate(time[::-1])[::-1]
        earliest = np.minimum.accumulate(time[::-1])[::-1]
        keep = (latest <= time + WINDOW) & (earliest >= time - WINDOW)
        _, last = np.unique(digest[keep][::-1], return_index=True)
        rows = np.flatnonzero(keep)[::-1][last]
        rows.sort()
        self._digest, self._time, self._ordinal = digest[rows], time[rows], ordinal[rows]


def _are_near(time: Int64s, earlier: Int64s, later: Int64s) -> npt.NDArray[np.bool_]:
    """Return which pairs of rows have only rows logged within `WINDOW` seconds between them.

    The extreme times of a range are those of two ranges, with a power of two of rows, that cover
    it, so the cost does not grow with the distance of the pairs.
    """
    near = np.ones(len(later), np.bool_)
    length = later - earlier - 1
    least, greatest, width = time, time, 1
    while (length >= width).any():
        rows = np.flatnonzero((length >= width) & (length < 2 * width))
        first, last = earlier[rows] + 1, later[rows] - width
        low = np.minimum(least[first], least[last])
        high = np.maximum(greatest[first], greatest[last])
        logged = time[later[rows]]
        near[rows] = (low >= logged - WINDOW) & (high <= logged + WINDOW)
        least = np.minimum(least[:-width], least[width:])
        greatest = np.maximum(greatest[:-width], greatest[width:])
        width *= 2
    return near


def _pairs(digest: Ids) -> tuple[Int64s, Int64s]:
    """Return the rows of consecutive identical entries, as (earlier, later), in row order."""
    _, group = np.unique(digest, return_inverse=True)
    order = np.argsort(group, kind="stable")
    same = np.flatnonzero(group[order][1:] == group[order][:-1])
    earlier, later = order[same], order[same + 1]
    by_row = np.argsort(later)
    return earlier[by_row], later[by_row]
