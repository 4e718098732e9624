"""Answers that may be told to everybody: no single client, no embargoed network, no small counts.

What remains possible: several questions, about periods or networks that differ a little, tell what
lies between them. docs/privacy.md says more.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ringserverstats.enrich.networks import short_of
from ringserverstats.errors import UsageError
from ringserverstats.statistics.bounds import AT_MOST, DISTINCT
from ringserverstats.statistics.columns import GROUPS, OTHER
from ringserverstats.statistics.networks import those_of
from ringserverstats.statistics.questions import Question, answer_in, check_kept, ungrouped
from ringserverstats.store.base import Ask, Readable

_CLIENTS = "clients"
#: Measures of a group that are those of its parts together.
_ADDITIVE = frozenset({"bytes", "packets", "transfers"})
_TOO_FEW = "fewer than {least} clients: nothing is told of them"
_TOGETHER = (
    "<{least}: groups of fewer than {least} clients each, together with the smallest others; their"
    " figures only where that tells of no few"
)
_IN_NONE = "networks under embargo are in no figure"
_MOST_ROWS = 100_000  # which have to be compared with one another
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
    """The rows, and their total (None: there is none, or it may not be told).

    ``left_out`` says what is not told; ``nearest`` are networks as which days count on which they
    were not operating, for the operator alone.
    """

    rows: pa.Table
    whole: Row | None
    left_out: list[str] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """Who asks: an operator, who may know all; the owner of ``networks``; or everybody."""

    is_operator: bool = False
    networks: tuple[str, ...] = ()


def answer_for(reader: Reader, store: Readable, question: Question, policy: Policy) -> Answer:
    """The answer for ``reader``: an owner's is of the own networks, also of embargoed ones.

    Raises:
        UsageError: it is of single clients, which the operator alone may know.
    """
    if reader.is_operator:
        return answer_all(store, question)
    if not reader.networks:
        if not policy.embargoed:
            return answer_public(store, question, policy)
        # Totals without what no split tells: else a split less than its total would tell it.
        filters = {"network": ("*",), **question.filters}
        found = answer_public(store, replace(question, filters=filters), policy)
        return replace(found, left_out=[*found.left_out, _IN_NONE])
    with store.reading(limited=True) as read:
        own = those_of(read, reader.networks, question.filters.get("network", ()))
    limited = replace(question, filters={**question.filters, "network": own})
    return answer_public(store, limited, replace(policy, embargoed=()))


def answer_all(store: Readable, question: Question) -> Answer:
    """The answer for the operator, who may know all."""
    check_kept(store, question)
    with store.reading(limited=True) as read:
        rows = answer_in(read, question)
        whole = answer_in(read, ungrouped(question)).to_pylist()[0] if question.by else None
        near = question.naming(read).nearest(read, question.first, question.last)
        return Answer(rows, whole, nearest=near)


def answer_public(store: Readable, question: Question, policy: Policy) -> Answer:
    """The answer for everybody.

    Raises:
        UsageError: it is of single clients.
    """
    if "client" in (*question.by, *question.filters):
        raise UsageError("single clients are for the operator alone; ask without them")
    check_kept(store, question)
    is_of_few = _is_of_few((*question.by, *question.filters))
    measures = _with_clients(question) if is_of_few else question.shown
    asked = replace(question, top=_MOST_ROWS + 1, measures=measures)
    with store.reading(limited=True) as read:  # one state of the store for all that is compared
        table = answer_in(read, asked, embargoed=policy.embargoed)
        total = answer_in(read, ungrouped(asked), embargoed=policy.embargoed).to_pylist()[0]
        if len(table) > _MOST_ROWS:
            raise UsageError(
                f"the answer has more than {_MOST_ROWS:,} rows; ask with fewer groups, or for a "
                "shorter period"
            )
        rows = table.to_pylist()
        kept = _without_single(read, asked, policy, rows)
    whole, left_out = total if question.by else None, list[str]()
    if len(kept) < len(rows):
        whole = None  # less the others it would be that one
        left_out.append("networks under embargo are left out")
    least = policy.least_clients
    if least > 1 and _is_of_few(question.filters) and total[_CLIENTS] < least:
        kept, whole, left_out = [], None, [_TOO_FEW.format(least=least)]
    elif least > 1 and is_of_few:
        kept, hidden = _without_few(asked, kept, least)
        left_out += [_TOGETHER.format(least=least)] if hidden else []
    bounds = AT_MOST in table.column_names and DISTINCT & set(question.shown)
    shown = [*question.by, *question.shown, *([AT_MOST] if bounds else [])]
    found = pa.Table.from_pylist(kept[: question.top], table.schema).select(shown)
    return Answer(found, whole, left_out)


def _with_clients(question: Question) -> tuple[str, ...]:
    return question.shown if _CLIENTS in question.shown else (*question.shown, _CLIENTS)


def _without_single(read: Ask, question: Question, policy: Policy, rows: list[Row]) -> list[Row]:
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
    networks: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in answer_in(read, named).to_pylist():
        networks[tuple(row[name] for name in others)].add(row["network"])
    return [
        row
        for row in rows
        if any(row[name] != OTHER for name in streams)
        or _least_count(networks[tuple(row[name] for name in others)]) >= _AT_LEAST
    ]


def _least_count(networks: set[str]) -> int:
    """How many networks these are at least: a short code may be one that has its year as well."""
    shorts = {short_of(network) for network in networks}
    return len([network for network in networks if network not in shorts])


def _is_of_few(names: Iterable[str]) -> bool:
    return any(GROUPS[name].of_few for name in names)


def _without_few(question: Question, rows: list[Row], least: int) -> tuple[list[Row], bool]:
    """``rows`` without those of few clients, and those that would tell of them.

    Returns:
        The rows, in which those that are not told are one for each line of the other groups; and
        whether there are any such.
    """
    hidden = _hidden(rows, question.by, least)
    few = [name for name in question.by if GROUPS[name].of_few]
    places: dict[int, Row] = {n: row for n, row in enumerate(rows) if n not in hidden}
    for line in _lines(rows, [name for name in question.by if name not in few], hidden):
        together = [rows[n] for n in line]
        is_of_several = len(line) >= _AT_LEAST
        tells = is_of_several and max(row[_CLIENTS] for row in together) >= least
        if few and (tells or not _is_of_few(question.filters)):
            added = _ADDITIVE if tells else frozenset()
            places[max(line)] = _together(together, question, few, f"<{least}", added)
    return [places[n] for n in sorted(places)], bool(hidden)


def _hidden(rows: list[Row], by: tuple[str, ...], least: int) -> set[int]:
    """Which ``rows`` are not told.

    Those of few clients; and the smallest other one, where it would be had from a sum over one
    group, or all of them together may be the same few clients. Sums over one group are what a
    question with one group less is answered by.
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
                    and (len(own) < _AT_LEAST or max(rows[n][_CLIENTS] for n in own) < least)
                ):
                    hidden.add(min(shown, key=lambda n: (rows[n][_CLIENTS], n)))
    return hidden


def _lines(rows: list[Row], same: list[str], numbers: Any) -> Iterator[list[int]]:
    """``numbers`` of rows, in lines that have the ``same`` groups."""
    lines: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in sorted(numbers):
        lines[tuple(rows[number][name] for name in same)].append(number)
    yield from lines.values()


def _together(
    rows: list[Row], question: Question, few: list[str], label: str, added: frozenset[str]
) -> Row:
    """``rows`` as one, whose groups ``few`` are called ``label``, with the measures ``added``."""
    told = {name: sum(row[name] for row in rows) for name in question.shown if name in added}
    return {
        **rows[0],
        **dict.fromkeys(few, label),
        **dict.fromkeys(question.shown),
        **told,
    }
