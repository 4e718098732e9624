"""The answer to a question as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ringserverstats.cli.common import human_bytes, show, table, width
from ringserverstats.errors import StoreError
from ringserverstats.statistics.columns import GROUPS
from ringserverstats.statistics.coverage import Gaps, gaps
from ringserverstats.statistics.questions import Question, ask, totals
from ringserverstats.store.base import Store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_BAR = 16
_NONE = "–"
_MARK = " *"
_NO_LOG = "no log"


def print_answer(store: Store, question: Question, answer: pa.Table, on: Console) -> None:
    """Print ``answer`` with a total, and marks where logs are not all in."""
    holes = gaps(store, question)
    if not len(answer) or (not question.by and not any(answer.to_pylist()[0].values())):
        on.print(_empty(store, question), *_notes(holes), sep="\n")
        return
    whole = totals(store, question) if question.by else None
    rows = _rows(question, answer, holes)
    made = _table(question, rows, whole, holes, bars=bool(question.by))
    if width(made, on) > on.width:
        made = _table(question, rows, whole, holes, bars=False)
    show(made, on)


def _rows(
    question: Question, answer: pa.Table, holes: dict[str | None, Gaps]
) -> list[dict[str, Any]]:
    """The rows of ``answer``; where they are by one time alone, also those that it has none of."""
    rows: list[dict[str, Any]] = answer.to_pylist()
    if len(question.by) == 1 and GROUPS[question.by[0]].is_time and question.top is None:
        name = question.by[0]
        known = {row[name] for row in rows}
        rows += [{name: time} for time in holes if time not in known]
        if question.sort in ("", name):
            rows.sort(key=lambda row: row[name])
    return rows


def _table(
    question: Question,
    rows: list[dict[str, Any]],
    whole: dict[str, int] | None,
    holes: dict[str | None, Gaps],
    *,
    bars: bool,
) -> Table:
    """The answer with sizes for people, ``bars`` of the measure that it is sorted by, a total."""
    barred = question.sort if question.sort in question.shown else question.shown[0]
    made = table(
        [
            *((name, False) for name in question.by),
            *((name, True) for name in question.shown),
            *([(barred, False)] if bars else []),
        ]
    )
    most = max((row.get(barred) or 0 for row in rows), default=0) or 1
    marked = False
    for row in rows:
        hole = next((holes[row[name]] for name in question.by if row[name] in holes), None)
        groups = [_group(name, row[name]) for name in question.by]
        if hole and hole.incomplete + hole.missing:
            groups[0] += _MARK
            marked = True
        if barred not in row and hole and hole.missing == hole.days:
            made.add_row(*groups, _NO_LOG)
            continue
        numbers = [_number(name, row.get(name, 0)) for name in question.shown]
        bar = ["█" * round(_BAR * (row.get(barred) or 0) / most) or "▏"] if bars else []
        made.add_row(*groups, *numbers, *bar)
    if whole:
        labels = ["total", *[""] * (len(question.by) - 1)]
        made.add_section()
        made.add_row(*labels, *(_number(name, whole[name]) for name in question.shown))
    made.caption = "\n".join([_caption(question), *_notes(holes, marked=marked)])
    made.caption_justify = "left"
    return made


def _group(name: str, value: str | None) -> str:
    if name == "location" and value == "":
        return "--"
    return _NONE if value is None else value


def _number(name: str, count: int | None) -> str:
    if count is None:
        return _NONE
    return human_bytes(count) if name.startswith("bytes") else f"{count:,}"


def _caption(question: Question) -> str:
    directions = question.filters.get("direction", ())
    way: dict[tuple[str, ...], str] = {
        ("TX",): "sent to clients (TX)",
        ("RX",): "received from clients (RX)",
    }
    parts = [way.get(directions, "sent and received")]
    if question.first or question.last:
        parts.append(f"{question.first or 'the beginning'} to {question.last or 'today'}")
    if question.top is not None:
        parts.append(f"the first {question.top}, and the total of all")
    if question.first or question.last or any(GROUPS[name].is_time for name in question.by):
        parts.append("day: the server's local date")
    return "; ".join(parts)


def _notes(holes: dict[str | None, Gaps], *, marked: bool = False) -> list[str]:
    """What the reader should know of logs that are not in."""
    incomplete = sum(one.incomplete for one in holes.values())
    missing = sum(one.missing for one in holes.values())
    if not incomplete + missing:
        return []
    days = sum(one.days for one in holes.values())
    states = ((incomplete, "incomplete"), (missing, "missing"))
    told = ", ".join(f"{count} {state}" for count, state in states if count)
    mark = f"{_MARK.strip()} " if marked else ""
    return [f"{mark}of {days} server days {told}: ringserverstats coverage"]


def _empty(store: Store, question: Question) -> str:
    held = ask(store, Question(by=("day",), measures=("transfers",)))
    days = held["day"].to_pylist()
    if not days:
        raise StoreError(
            f"there is nothing in {store.label} yet; read logs with: ringserverstats FILE..."
        )
    return (
        f"No entries for this question: {_caption(question)}. "
        f"The store holds {days[0]} to {days[-1]}."
    )
