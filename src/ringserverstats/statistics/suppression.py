"""Cell suppression: rows of few clients, and the rows that would reveal them, lose their figures.

The words are those of statistical disclosure control (Hundepool et al., 2012, chapter 4). A cell is
a row of a result. Primary suppression is of cells with fewer clients than the limit. Their figures
are sums minus the other cells, so secondary suppression adds larger cells: each sum has no
suppressed cell, or at least two, one of them large. Sums are those that the result shows (rows that
stand for suppressed cells) and those that queries with one dimension less return. Several sums
together may still determine a cell.

What is suppressed depends on labels and on numbers of clients only, never on the order of rows or
columns, nor on measures. The time is that of sorting.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_Numbers = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]
#: The least number of suppressed cells in a sum; one alone would be the sum.
FEW = 2


@dataclass(frozen=True)
class Suppression:
    """What is suppressed of a table.

    Args:
        cells: for each cell whether it is suppressed.
        group: for each cell the number of the group in which it is combined with others.
        is_safe: for each group whether the sum of its suppressed cells can be shown.
    """

    cells: _Mask
    group: _Numbers
    is_safe: _Mask


def is_combined(label: str | None) -> bool:
    """Return whether ``label`` stands for suppressed cells, such as ``<5``."""
    return label is not None and label[:1] == "<" and label[1:].isdigit()


def suppress(
    labels: pa.Table, clients: pa.ChunkedArray, combined: Sequence[str], least: int
) -> Suppression:
    """Return which cells are suppressed.

    Args:
        labels: a column of texts for each dimension, in the order of `DIMENSIONS`; a row per cell.
        clients: number of clients of each cell; null is unknown, which counts as none.
        combined: the dimensions over which suppressed cells are combined.
        least: cells with fewer clients are suppressed.
    """
    counts = np.asarray(clients.fill_null(0), np.int64)
    ranks = {name: _ranks(labels[name]) for name in labels.column_names}
    smallest_first = np.lexsort((*reversed(ranks.values()), counts))
    sums = [
        _Sums(_numbers([rank for name, rank in ranks.items() if name not in over], len(counts)))
        for over in dict.fromkeys([tuple(combined), *((name,) for name in ranks)])
    ]
    cells = counts < least
    todo = [(one, number) for one in sums for number in one.prepare(cells, smallest_first)]
    _suppress_secondary(cells, sums, deque(todo))
    groups = sums[0]
    return Suppression(cells, groups.of, groups.are_safe())


def _ranks(labels: pa.ChunkedArray) -> _Numbers:
    """Return the position of each label in the order of labels; equal labels have the same."""
    ranks = pc.rank(labels.cast(pa.string()), tiebreaker="dense")
    return np.asarray(ranks, np.int64)


def _numbers(ranks: Sequence[_Numbers], size: int) -> _Numbers:
    """Return a number for each cell, which is the same for cells with the same ``ranks``."""
    numbers = np.zeros(size, np.int64)
    for rank in ranks:
        numbers = np.unique(numbers * (size + 1) + rank, return_inverse=True)[1]
    return numbers


class _Sums:
    """Sums over cells; ``of`` is the number of the sum that a cell belongs to."""

    def __init__(self, of: _Numbers) -> None:
        self.of = of

    def prepare(self, cells: _Mask, smallest_first: _Numbers) -> list[int]:
        """Count primary suppressed ``cells``, and sort the others; return which are not safe."""
        size = int(self.of.max(initial=-1)) + 1
        shown = smallest_first[~cells[smallest_first]]
        primary = np.bincount(self.of[cells], minlength=size)
        others = np.bincount(self.of[shown], minlength=size)
        self.number = self.of.tolist()
        self.primary, self.secondary = primary.tolist(), [0] * size
        self.cells = shown[np.argsort(self.of[shown], kind="stable")].tolist()
        self.ends = np.cumsum(others).tolist()
        self.next = [0, *self.ends[:-1]]
        return list(map(int, np.flatnonzero((primary > 0) & (others > 0))))

    def is_safe(self, number: int) -> bool:
        """Return whether a sum with suppressed cells has several of them, one of them large."""
        secondary = self.secondary[number]
        return secondary > 0 and self.primary[number] + secondary >= FEW

    def are_safe(self) -> _Mask:
        """Return which sums have no suppressed cells, or are safe."""
        numbers = range(len(self.primary))
        return np.array(
            [not self.primary[n] + self.secondary[n] or self.is_safe(n) for n in numbers], np.bool_
        )

    def smallest(self, number: int, cells: _Mask) -> int | None:
        """Return the smallest cell of a sum that is not suppressed, if any."""
        position, end = self.next[number], self.ends[number]
        while position < end and cells[self.cells[position]]:
            position += 1
        self.next[number] = position
        return self.cells[position] if position < end else None


def _suppress_secondary(
    cells: _Mask, sums: Sequence[_Sums], todo: deque[tuple[_Sums, int]]
) -> None:
    """Add to the suppressed ``cells`` until all ``sums`` are safe, or have no other cell.

    Args:
        cells: which are suppressed.
        sums: all that are published.
        todo: those that are not safe.
    """
    while todo:
        one, number = todo.popleft()
        cell = None if one.is_safe(number) else one.smallest(number, cells)
        if cell is None:
            continue
        cells[cell] = True
        for other in sums:
            changed = other.number[cell]
            other.secondary[changed] += 1
            if not other.is_safe(changed):
                todo.append((other, changed))
