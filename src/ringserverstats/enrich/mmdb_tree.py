"""The search tree of a database of MaxMind's format, gone through for many addresses at once.

maxminddb decodes the whole entry of each address, with names in many languages. This only tells
which addresses have the same entry, so that each needs to be decoded but once.

Source: MaxMind DB File Format Specification 2.0, "Binary Search Tree Section".
"""

from collections.abc import Sequence
from mmap import ACCESS_READ, MADV_DONTNEED, mmap
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ringserverstats.enrich.pseudonyms import Address
from ringserverstats.logs.batch import Int64s

if TYPE_CHECKING:
    from maxminddb.reader import Metadata

_IPV6 = 6
_ABOVE_IPV4 = 96  # zeros, below which a tree of IPv6 has IPv4
_NOT_TOLD = -1  # of IPv6 in a tree of IPv4


class Tree:
    """The tree in the file of that descriptor, of which ``told`` are the metadata.

    Raises:
        ValueError: the file is shorter than its tree.
    """

    def __init__(self, file: int, told: "Metadata") -> None:
        self._nodes, self._bits = told.node_count, told.record_size
        self._size = self._bits // 4
        self._file = mmap(file, 0, access=ACCESS_READ)
        self._bytes = np.frombuffer(self._file, np.uint8, self._nodes * self._size)
        self._roots = {4: 0}
        if told.ip_version == _IPV6:
            [below] = self._descend(0, np.zeros((_ABOVE_IPV4, 1), np.uint8)).tolist()
            self._roots = {4: below, _IPV6: 0}

    def entries(self, addresses: Sequence[Address]) -> list[int]:
        """Numbers that are the same for addresses of the same entry, and of those without one."""
        found = np.full(len(addresses), _NOT_TOLD, np.int64)
        versions = np.array([one.version for one in addresses], np.int8)
        for version, root in self._roots.items():
            places = np.flatnonzero(versions == version)
            if len(places):
                packed = b"".join([addresses[place].packed for place in places.tolist()])
                rows = np.frombuffer(packed, np.uint8).reshape(len(places), -1)
                found[places] = self._descend(root, np.unpackbits(rows, axis=1).T)
        self._file.madvise(MADV_DONTNEED)  # 40 MB of memory with a large database, mapped twice
        numbers: list[int] = found.tolist()
        return numbers

    def _descend(self, root: int, sides: npt.NDArray[np.uint8]) -> Int64s:
        """Where the columns of ``sides`` lead from ``root``, a row a level."""
        node = np.full(sides.shape[1], root, np.int64)
        for side in sides:
            inner = np.flatnonzero(node < self._nodes)
            if not len(inner):
                break
            node[inner] = self._below(node[inner], side[inner])
        return node

    def _below(self, node: Int64s, side: npt.NDArray[np.uint8]) -> Int64s:
        """What each ``node`` has on its left (0) or right (1) side."""
        whole = self._bits // 8
        start = node * self._size
        first = start + side * (self._size - whole)
        below = np.zeros(len(node), np.int64)
        for place in range(whole):
            below = below << 8 | self._bytes[first + place]
        if self._bits % 8:  # the byte in the middle has the highest bits of both, first the left
            below |= (self._bytes[start + whole] >> 4 * (1 - side) & 15).astype(np.int64) << 24
        return below
