"""The answer to a question as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ringserverstats.cli.terminal import show, table, width
from ringserverstats.errors import StoreError
from ringserverstats.statistics.bounds import AT_MOST, DISTINCT
from ringserverstats.statistics.coverage import Gaps, gaps
from ringserverstats.statistics.dimensions import DIMENSIONS, MEASURES
from ringserverstats.statistics.footnotes import client_footnotes, log_footnotes, network_footnotes
from ringserverstats.statistics.publish import Result, Row
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.store.base import Store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_BAR = 16
_NONE = "–"
_MARK = " *"
_NO_LOG = "no log"
_BOUND = "≤ "
_AT_MOST_NOTE = (
    f"{_BOUND}at most: of pruned months it is not known who was in several of them, or came again"
)


def print_result(store: Store, query: Query, answer: Result, on: Console) -> None:
    """Print ``answer`` with its total, and marks where logs are not all in."""
    holes = gaps(store, query)
    if _is_empty(query, answer):
        on.print(_empty(store, query))
        said = _notes(store, query, holes)
    else:
        rows = _rows(query, answer.rows, {} if answer.suppressed else holes)
        made = _table(query, rows, answer.total, holes, bars=bool(query.dimensions))
        if width(made, on) > on.width:
            made = _table(query, rows, answer.total, holes, bars=False)
        show(made, on)
        said = [_caption(query, is_whole=answer.total is not None)]
        said += _notes(store, query, holes)
        if any(_is_marked(query, row, holes) for row in rows):
            said[1] = f"{_MARK.strip()} {said[1]}"
        if any(row.get(AT_MOST) for row in (*rows, answer.total or {})):
            said.append(_AT_MOST_NOTE)
    for line in [*said, *_of_result(answer)]:
        on.print(line, soft_wrap=True)


def _is_empty(query: Query, answer: Result) -> bool:
    """Whether there is nothing; what may not be told is something."""
    if answer.suppressed:
        return False
    rows = answer.rows
    return not len(rows) or (not query.dimensions and not any(rows.to_pylist()[0].values()))


def notes(store: Store, query: Query, answer: Result) -> list[str]:
    """What the reader of ``answer`` should know of it, and of logs that are not in."""
    return [*_notes(store, query, gaps(store, query)), *_of_result(answer)]


def _of_result(answer: Result) -> list[str]:
    return [*map(str, network_footnotes(answer.nearest)), *answer.suppressed]


def _rows(query: Query, answer: pa.Table, holes: dict[str | None, Gaps]) -> list[dict[str, Any]]:
    """The rows of ``answer``; where they are by one time alone, also those that it has none of."""
    rows: list[dict[str, Any]] = answer.to_pylist()
    if len(query.dimensions) == 1 and DIMENSIONS[query.dimensions[0]].is_time and query.top is None:
        name = query.dimensions[0]
        known = {row[name] for row in rows}
        rows += [{name: time} for time in holes if time not in known]
        if query.sort in ("", name):
            rows.sort(key=lambda row: row[name])
    return rows


def _table(
    query: Query,
    rows: list[dict[str, Any]],
    whole: Row | None,
    holes: dict[str | None, Gaps],
    *,
    bars: bool,
) -> Table:
    """The answer with sizes for people, ``bars`` of the measure that it is sorted by, a total."""
    barred = query.sort if query.sort in query.shown else query.shown[0]
    made = table(
        [
            *((name, False) for name in query.dimensions),
            *((name, True) for name in query.shown),
            *([(barred, False)] if bars else []),
        ]
    )
    most = max((row.get(barred) or 0 for row in rows), default=0) or 1
    for row in rows:
        hole = _hole(query, row, holes)
        groups = [_group(name, row[name]) for name in query.dimensions]
        if _is_marked(query, row, holes):
            groups[0] += _MARK
        if barred not in row and hole and hole.missing == hole.days:
            made.add_row(*groups, _NO_LOG)
            continue
        numbers = [_told(name, row) for name in query.shown]
        bar = ["█" * round(_BAR * (row.get(barred) or 0) / most) or "▏"] if bars else []
        made.add_row(*groups, *numbers, *bar)
    if whole:
        labels = ["total", *[""] * (len(query.dimensions) - 1)]
        made.add_section()
        made.add_row(*labels, *(_told(name, whole) for name in query.shown))
    return made


def _hole(query: Query, row: dict[str, Any], holes: dict[str | None, Gaps]) -> Gaps | None:
    """What is not covered of the time of ``row``; None where it has none."""
    times = (name for name in query.dimensions if DIMENSIONS[name].is_time)
    return next((holes[row[name]] for name in times if row[name] in holes), None)


def _is_marked(query: Query, row: dict[str, Any], holes: dict[str | None, Gaps]) -> bool:
    hole = _hole(query, row, holes)
    return hole is not None and hole.incomplete + hole.missing > 0


def _group(name: str, value: str | None) -> str:
    if name == "location" and value == "":
        return "--"
    return _NONE if value is None else value


def _told(name: str, row: Row) -> str:
    """A measure of ``row``, with a sign where it is only known that it is not more."""
    is_bound = name in DISTINCT and row.get(AT_MOST) and row.get(name) is not None
    return f"{_BOUND if is_bound else ''}{_number(name, row.get(name, 0))}"


def _number(name: str, count: int | None) -> str:
    if count is None:
        return _NONE
    return human_bytes(count) if MEASURES[name].unit == "B" else f"{count:,}"


def _caption(query: Query, *, is_whole: bool = True) -> str:
    directions = query.filters.get("direction", ())
    way: dict[tuple[str, ...], str] = {
        ("TX",): "sent to clients (TX)",
        ("RX",): "received from clients (RX)",
    }
    parts = [way.get(directions, "sent and received")]
    if query.first or query.last:
        parts.append(f"{query.first or 'the beginning'} to {query.last or 'today'}")
    if query.top is not None:
        total = ", and the total of all" if is_whole else ""
        parts.append(f"the first {query.top}{total}")
    if query.first or query.last or any(DIMENSIONS[name].is_time for name in query.dimensions):
        parts.append("day: the server's local date")
    return "; ".join(parts)


def _notes(store: Store, query: Query, holes: dict[str | None, Gaps]) -> list[str]:
    found = [
        *log_footnotes(store, query, holes, with_rejects=True),
        *client_footnotes(store, query),
    ]
    return [str(note) for note in found]


def _empty(store: Store, query: Query) -> str:
    held = run_query(store, Query(dimensions=("day",), measures=("transfers",)))
    days = held["day"].to_pylist()
    if not days:
        raise StoreError(
            f"there is nothing in {store.label} yet; read logs with: ringserverstats FILE..."
        )
    return (
        f"No entries for this question: {_caption(query)}. The store holds {days[0]} to {days[-1]}."
    )
