"""Print the result of a query as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ringserverstats.cli.terminal import show, table, width
from ringserverstats.errors import StoreError
from ringserverstats.statistics.bounds import AT_MOST, DISTINCT
from ringserverstats.statistics.dimensions import DIMENSIONS, MEASURES, OTHER
from ringserverstats.statistics.footnotes import (
    GAPS,
    REJECTED,
    log_footnotes,
    result_footnotes,
    running_footnotes,
)
from ringserverstats.statistics.gaps import (
    Gaps,
    GroupGaps,
    gaps_of_rows,
    marked_dimension,
    running_time,
)
from ringserverstats.statistics.packets import (
    OF_PACKETS,
    PacketlessDays,
    packetless_days,
)
from ringserverstats.statistics.publish import QueryContext, Result, Row
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.store.base import Readable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_BAR_WIDTH = 16
_UNKNOWN = "–"
_MARK = " *"
_RUNNING = " (running)"
_REJECTS_MARK = " †"
_NO_LOG = "no log"
_BOUND = "≤ "
_LOWER_BOUND = "≥ "
_BOUND_NOTE = (
    f"{_BOUND}upper bound: pruned months no longer show which clients were in several of them"
)
_DIRECTIONS: dict[tuple[str, ...], str] = {
    ("TX",): "sent to clients (TX)",
    ("RX",): "received from clients (RX)",
}


def print_result(
    context: QueryContext,
    query: Query,
    result: Result,
    groups: GroupGaps,
    on: Console,
    hints: Sequence[str],
) -> None:
    """Print ``result`` with its total, marks at incomplete days, footnotes and ``hints``."""
    view = _View(context, query, result, groups)
    if result.is_empty(query) and not view.packetless.rows:
        lines = [_no_entries(context.store, query), *hints, *view.footnotes()]
    else:
        grid = view.table(has_bars=bool(query.dimensions))
        if width(grid, on) > on.width:
            grid = view.table(has_bars=False)
        show(grid, on)
        lines = [_caption(query, has_total=result.total is not None), *view.footnotes()]
        marks = {mark for gap in view.gaps for mark in view.marks(gap)}
        lines[1:] = [_with_mark(line, marks) for line in lines[1:]]
        if any(row.get(AT_MOST) for row in (*view.rows, result.total or {})):
            lines.append(_BOUND_NOTE)
    for line in [*lines, *result.notes, *result.suppressed]:
        on.print(line, soft_wrap=True)


def notes(context: QueryContext, query: Query, result: Result, groups: GroupGaps) -> list[str]:
    """Return the footnotes of ``result``: incomplete days, rejected entries, suppressed rows."""
    view = _View(context, query, result, groups)
    running = map(str, running_footnotes(query, result.rows, date.today()))
    return [*running, *view.footnotes(), *result.notes, *result.suppressed]


def _with_mark(footnote: str, marks: set[str]) -> str:
    """Return ``footnote`` with the mark of the rows that it explains."""
    mark = {GAPS: _MARK, REJECTED: _REJECTS_MARK}.get(footnote.split(":")[0], "")
    return f"{mark.strip()} {footnote}" if mark in marks else footnote


@dataclass(frozen=True)
class _View:
    """A result with the gaps of its groups."""

    context: QueryContext
    query: Query
    result: Result
    groups: GroupGaps

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the result."""
        rows: list[dict[str, Any]] = self.result.rows.to_pylist()
        return rows

    @cached_property
    def gaps(self) -> list[Gaps]:
        """The gaps of each row."""
        return gaps_of_rows(self.query, self.groups, self.rows)

    @cached_property
    def packetless(self) -> PacketlessDays:
        """The days without packets."""
        return packetless_days(self.context, self.query)

    def footnotes(self) -> list[str]:
        """Return footnotes about logs and rows."""
        context, query = self.context, self.query
        logs = log_footnotes(context, query, self.groups)
        rows = result_footnotes(context, query, self.result, self.packetless)
        return list(map(str, (*logs, *rows)))

    def table(self, *, has_bars: bool) -> Table:
        """Return the rows and their total; ``has_bars`` adds bars of the measure sorted by."""
        query, rows, total = self.query, self.rows, self.result.total
        barred = query.sort if query.sort in query.shown else query.shown[0]
        grid = table(
            [
                *((name, False) for name in query.dimensions),
                *((name, True) for name in query.shown),
                *([(barred, False)] if has_bars else []),
            ]
        )
        largest = max((row.get(barred) or 0 for row in rows), default=0) or 1
        for row, gap in zip(rows, self.gaps, strict=True):
            labels = self._labels(row, gap)
            if row[barred] is None and self._marked and not gap.has_logs:
                grid.add_row(*labels, _NO_LOG)
                continue
            size = round(_BAR_WIDTH * (row.get(barred) or 0) / largest)
            bar = ["█" * size or "▏"] if has_bars else []
            grid.add_row(*labels, *self._numbers(row), *bar)
        if total:
            grid.add_section()
            labels = ["total", *[""] * (len(query.dimensions) - 1)]
            grid.add_row(*labels, *self._numbers(total))
        return grid

    def marks(self, gap: Gaps) -> list[str]:
        """Return the marks of a row: days incomplete or missing, entries rejected."""
        if not self._marked:
            return []
        has_rejects = gap.rejects and self.context.role.is_operator
        return [_MARK] * bool(gap) + [_REJECTS_MARK] * bool(has_rejects)

    @cached_property
    def running(self) -> str:
        """The label of the time that is not over; empty without one."""
        return running_time(self.query, self.result.rows, date.today())

    @cached_property
    def _marked(self) -> str:
        """The dimension of the marks; empty without one."""
        return marked_dimension(self.query)

    def _labels(self, row: dict[str, Any], gap: Gaps) -> list[str]:
        labels = {name: _label(name, row[name]) for name in self.query.dimensions}
        if self.running and row[self._marked] == self.running:
            labels[self._marked] += _RUNNING
        if self._marked:
            labels[self._marked] += "".join(self.marks(gap))
        return list(labels.values())

    def _numbers(self, row: Row) -> list[str]:
        sign = _LOWER_BOUND if self.packetless.concern(row) else ""
        return [
            (sign if name in OF_PACKETS else "") + _number(name, row) for name in self.query.shown
        ]


def _label(name: str, value: str | None) -> str:
    if name == "location" and value == "":
        return "--"
    return _UNKNOWN if value is None else value


def _number(name: str, row: Row) -> str:
    """Return a measure of ``row``, with a sign if it is an upper bound."""
    count = row.get(name, 0)
    if count is None:
        return _UNKNOWN
    sign = _BOUND if name in DISTINCT and row.get(AT_MOST) else ""
    return sign + (human_bytes(count) if MEASURES[name].unit == "B" else f"{count:,}")


def _caption(query: Query, *, has_total: bool = True) -> str:
    parts = [_DIRECTIONS.get(query.filters.get("direction", ()), "sent and received")]
    if query.first or query.last:
        parts.append(f"{query.first or 'the beginning'} to {query.last or 'today'}")
    if query.ranked:
        parts.append(f"the {query.top} largest, all others as {OTHER}")
    elif query.top is not None:
        parts.append(f"the first {query.top}{', and the total of all' if has_total else ''}")
    if query.first or query.last or any(DIMENSIONS[name].is_time for name in query.dimensions):
        parts.append("day: the server's local date")
    return "; ".join(parts)


def _no_entries(store: Readable, query: Query) -> str:
    """Return a message for an empty result.

    Raises:
        StoreError: the store is empty.
    """
    days = run_query(store, Query(dimensions=("day",), measures=("transfers",)))["day"].to_pylist()
    if not days:
        raise StoreError(
            f"there is nothing in {store.label} yet; read logs with: ringserverstats FILE..."
        )
    return f"No entries match: {_caption(query)}. The store holds {days[0]} to {days[-1]}."
