"""The search tree of a database in MaxMind's format, searched for many addresses at once.

maxminddb decodes the whole entry of each address, with names in many languages. This module finds
which addresses have the same entry, so that each entry is decoded once.

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
_ABOVE_IPV4 = 96  # zero bits before IPv4 in a tree of IPv6
_NO_ENTRY = -1  # IPv6 in a tree of IPv4


class Tree:
    """The tree in the file with the descriptor ``file``.

    Raises:
        ValueError: the file is shorter than its tree.
    """

    def __init__(self, file: int, metadata: "Metadata") -> None:
        self._nodes, self._bits = metadata.node_count, metadata.record_size
        self._size = self._bits // 4
        self._file = mmap(file, 0, access=ACCESS_READ)
        self._bytes = np.frombuffer(self._file, np.uint8, self._nodes * self._size)
        self._roots = {4: 0}
        if metadata.ip_version == _IPV6:
            [ipv4] = self._descend(0, np.zeros((_ABOVE_IPV4, 1), np.uint8)).tolist()
            self._roots = {4: ipv4, _IPV6: 0}

    def entries(self, addresses: Sequence[Address]) -> list[int]:
        """Return a number for each address, equal for addresses with the same entry or none."""
        entries = np.full(len(addresses), _NO_ENTRY, np.int64)
        versions = np.array([address.version for address in addresses], np.int8)
        for version, root in self._roots.items():
            rows = np.flatnonzero(versions == version)
            if len(rows):
                packed = b"".join([addresses[row].packed for row in rows.tolist()])
                octets = np.frombuffer(packed, np.uint8).reshape(len(rows), -1)
                entries[rows] = self._descend(root, np.unpackbits(octets, axis=1).T)
        self._file.madvise(MADV_DONTNEED)  # 40 MB of memory with a large database, mapped twice
        numbers: list[int] = entries.tolist()
        return numbers

    def _descend(self, root: int, sides: npt.NDArray[np.uint8]) -> Int64s:
        """Return the nodes that ``sides`` (levels, addresses) lead to from ``root``."""
        node = np.full(sides.shape[1], root, np.int64)
        for side in sides:
            inner = np.flatnonzero(node < self._nodes)
            if not len(inner):
                break
            node[inner] = self._below(node[inner], side[inner])
        return node

    def _below(self, node: Int64s, side: npt.NDArray[np.uint8]) -> Int64s:
        """Return the child of each ``node`` on its left (0) or right (1) side."""
        whole = self._bits // 8
        start = node * self._size
        first = start + side * (self._size - whole)
        below = np.zeros(len(node), np.int64)
        for offset in range(whole):
            below = below << 8 | self._bytes[first + offset]
        if self._bits % 8:  # the middle byte has the highest bits of both, left first
            below |= (self._bytes[start + whole] >> 4 * (1 - side) & 15).astype(np.int64) << 24
        return below
