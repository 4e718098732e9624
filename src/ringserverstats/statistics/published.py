"""Answers that may be told to everybody: no single client, no embargoed network, no small counts.

What remains possible: several questions, about periods or networks that differ a little, tell what
lies between them. docs/privacy.md says more.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.columns import GROUPS, OTHER
from ringserverstats.statistics.questions import Question, ask, totals
from ringserverstats.store.base import Store

_CLIENTS = "clients"
#: Measures of a group that are those of its parts together.
_ADDITIVE = frozenset({"bytes", "packets", "transfers"})
_AT_LEAST = 2  # networks, or groups, that are told together: of one alone that would tell it

Row = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """What is not told to everybody.

    Args:
        embargoed: patterns of networks that are not named.
        least_clients: groups of fewer clients are not told by city, institution, agent, ...
    """

    embargoed: tuple[str, ...] = ()
    least_clients: int = 0


@dataclass(frozen=True)
class Answer:
    """The rows, their total (None: there is none, or it may not be told), what to know of them."""

    rows: pa.Table
    whole: Row | None
    notes: list[str] = field(default_factory=list)


def answer_all(store: Store, question: Question) -> Answer:
    """The answer for the operator, who may know all."""
    return Answer(ask(store, question), totals(store, question) if question.by else None)


def answer_public(store: Store, question: Question, policy: Policy) -> Answer:
    """The answer for everybody.

    Raises:
        UsageError: it is of single clients.
    """
    if "client" in (*question.by, *question.filters):
        raise UsageError("single clients are for the operator alone; ask without them")
    asked = replace(question, top=None, measures=_with_clients(question))
    table = ask(store, asked, embargoed=policy.embargoed)
    whole = totals(store, asked, embargoed=policy.embargoed) if question.by else None
    rows, notes = table.to_pylist(), []
    kept = _without_single(store, asked, policy, rows)
    if len(kept) < len(rows):
        whole = None  # less the others it would be that one
        notes.append("a network under embargo is left out")
    if _tells_few(question) and policy.least_clients > 1:
        kept, whole, hidden = _without_few(asked, kept, whole, policy.least_clients)
        if hidden:
            notes.append(f"what fewer than {policy.least_clients} clients did is not told")
    shown = [*question.by, *question.shown, *([AT_MOST] if AT_MOST in table.column_names else [])]
    found = pa.Table.from_pylist(kept[: question.top], table.schema).select(shown)
    if whole is not None and "clients" not in question.shown:
        whole = {name: value for name, value in whole.items() if name != _CLIENTS}
    return Answer(found, whole, notes)


def _with_clients(question: Question) -> tuple[str, ...]:
    return question.shown if _CLIENTS in question.shown else (*question.shown, _CLIENTS)


def _without_single(store: Store, question: Question, policy: Policy, rows: list[Row]) -> list[Row]:
    """``rows`` without those of networks not named that are of one such network alone."""
    streams = [name for name in question.by if GROUPS[name].of_stream]
    others = [name for name in question.by if not GROUPS[name].of_stream]
    if not policy.embargoed or not streams:
        return rows
    named = replace(
        question,
        by=(*others, "network"),
        filters={**question.filters, "network": policy.embargoed},
        measures=("transfers",),
        sort="",
    )
    found = ask(store, named).to_pylist()
    counts = Counter(tuple(row[name] for name in others) for row in found)
    return [
        row
        for row in rows
        if any(row[name] != OTHER for name in streams)
        or counts[tuple(row[name] for name in others)] >= _AT_LEAST
    ]


def _tells_few(question: Question) -> bool:
    return any(name in GROUPS and GROUPS[name].of_few for name in (*question.by, *question.filters))


def _without_few(
    question: Question, rows: list[Row], whole: Row | None, least: int
) -> tuple[list[Row], Row | None, bool]:
    """``rows`` of which those of few clients, and those that would tell of them, are not told.

    Returns:
        The rows, the total, and whether anything is not told.
    """
    hidden = _hidden(rows, question.by, least)
    few = [name for name in question.by if GROUPS[name].of_few]
    places: dict[int, Row] = {n: row for n, row in enumerate(rows) if n not in hidden}
    for lines in _lines(rows, [name for name in question.by if name not in few], hidden):
        places[max(lines)] = _together([rows[n] for n in lines], question, few, least)
    is_of_few = any(GROUPS[name].of_few for name in question.filters if name in GROUPS)
    if whole and is_of_few and whole[_CLIENTS] < least:
        whole = None
    return [places[n] for n in sorted(places)], whole, bool(hidden)


def _hidden(rows: list[Row], by: tuple[str, ...], least: int) -> set[int]:
    """Which ``rows`` are not told.

    Those of few clients; and, where it would be had from a sum over one group, the smallest other
    one. Sums over one group are what a question with one group less is answered by.
    """
    hidden = {n for n, row in enumerate(rows) if row[_CLIENTS] < least}
    before = -1
    while len(hidden) != before:
        before = len(hidden)
        for group in by:
            rest = [name for name in by if name != group]
            for line in _lines(rows, rest, range(len(rows))):
                own = [n for n in line if n in hidden]
                shown = [n for n in line if n not in hidden]
                if (
                    own
                    and shown
                    and (len(own) < _AT_LEAST or sum(rows[n][_CLIENTS] for n in own) < least)
                ):
                    hidden.add(min(shown, key=lambda n: (rows[n][_CLIENTS], n)))
    return hidden


def _lines(rows: list[Row], same: list[str], numbers: Any) -> Iterator[list[int]]:
    """``numbers`` of rows, in lines that have the ``same`` groups."""
    lines: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in sorted(numbers):
        lines[tuple(rows[number][name] for name in same)].append(number)
    yield from lines.values()


def _together(rows: list[Row], question: Question, few: list[str], least: int) -> Row:
    """``rows`` that are not told as one; its amounts only where they are those of several."""
    made: Row = {**rows[0], **dict.fromkeys(few, f"<{least}")}
    may_tell = bool(few) and len(rows) >= _AT_LEAST and sum(row[_CLIENTS] for row in rows) >= least
    for name in question.shown:
        made[name] = sum(row[name] for row in rows) if may_tell and name in _ADDITIVE else None
    return made
