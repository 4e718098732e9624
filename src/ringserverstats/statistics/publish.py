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
from ringserverstats.statistics.dimensions import DIMENSIONS, OTHER
from ringserverstats.statistics.network_names import those_of
from ringserverstats.statistics.query import Query, check_kept, result_in, ungrouped
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
        min_clients: groups of fewer clients are not told by city, institution, agent, ...
    """

    embargoed: tuple[str, ...] = ()
    min_clients: int = 0


@dataclass(frozen=True)
class Result:
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


def result_for(reader: Reader, store: Readable, query: Query, policy: Policy) -> Result:
    """The answer for ``reader``: an owner's is of the own networks, also of embargoed ones.

    Raises:
        UsageError: it is of single clients, which the operator alone may know.
    """
    if reader.is_operator:
        return operator_result(store, query)
    if not reader.networks:
        if not policy.embargoed:
            return public_result(store, query, policy)
        # Totals without what no split tells: else a split less than its total would tell it.
        filters = {"network": ("*",), **query.filters}
        found = public_result(store, replace(query, filters=filters), policy)
        return replace(found, left_out=[*found.left_out, _IN_NONE])
    with store.reading(limited=True) as read:
        own = those_of(read, reader.networks, query.filters.get("network", ()))
    limited = replace(query, filters={**query.filters, "network": own})
    return public_result(store, limited, replace(policy, embargoed=()))


def operator_result(store: Readable, query: Query) -> Result:
    """The answer for the operator, who may know all."""
    check_kept(store, query)
    with store.reading(limited=True) as read:
        rows = result_in(read, query)
        whole = result_in(read, ungrouped(query)).to_pylist()[0] if query.dimensions else None
        near = query.network_names(read).nearest(read, query.first, query.last)
        return Result(rows, whole, nearest=near)


def public_result(store: Readable, query: Query, policy: Policy) -> Result:
    """The answer for everybody.

    Raises:
        UsageError: it is of single clients.
    """
    if "client" in (*query.dimensions, *query.filters):
        raise UsageError("single clients are for the operator alone; ask without them")
    check_kept(store, query)
    is_of_few = _is_identifying((*query.dimensions, *query.filters))
    measures = _with_clients(query) if is_of_few else query.shown
    asked = replace(query, top=_MOST_ROWS + 1, measures=measures)
    with store.reading(limited=True) as read:  # one state of the store for all that is compared
        table = result_in(read, asked, embargoed=policy.embargoed)
        total = result_in(read, ungrouped(asked), embargoed=policy.embargoed).to_pylist()[0]
        if len(table) > _MOST_ROWS:
            raise UsageError(
                f"the answer has more than {_MOST_ROWS:,} rows; ask with fewer groups, or for a "
                "shorter period"
            )
        rows = table.to_pylist()
        kept = _without_single(read, asked, policy, rows)
    whole, left_out = total if query.dimensions else None, list[str]()
    if len(kept) < len(rows):
        whole = None  # less the others it would be that one
        left_out.append("networks under embargo are left out")
    least = policy.min_clients
    if least > 1 and _is_identifying(query.filters) and total[_CLIENTS] < least:
        kept, whole, left_out = [], None, [_TOO_FEW.format(least=least)]
    elif least > 1 and is_of_few:
        kept, hidden = _without_few(asked, kept, least)
        left_out += [_TOGETHER.format(least=least)] if hidden else []
    bounds = AT_MOST in table.column_names and DISTINCT & set(query.shown)
    shown = [*query.dimensions, *query.shown, *([AT_MOST] if bounds else [])]
    found = pa.Table.from_pylist(kept[: query.top], table.schema).select(shown)
    return Result(found, whole, left_out)


def _with_clients(query: Query) -> tuple[str, ...]:
    return query.shown if _CLIENTS in query.shown else (*query.shown, _CLIENTS)


def _without_single(read: Ask, query: Query, policy: Policy, rows: list[Row]) -> list[Row]:
    """``rows`` without those of networks not named that are of one such network alone."""
    streams = [name for name in query.dimensions if DIMENSIONS[name].of_stream]
    others = [name for name in query.dimensions if not DIMENSIONS[name].of_stream]
    if not policy.embargoed or not streams:
        return rows
    named = replace(
        query,
        dimensions=(*others, "network"),
        filters={**query.filters, "network": policy.embargoed},
        measures=("transfers",),
        sort="",
    )
    networks: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in result_in(read, named).to_pylist():
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


def _is_identifying(names: Iterable[str]) -> bool:
    return any(DIMENSIONS[name].is_identifying for name in names)


def _without_few(query: Query, rows: list[Row], least: int) -> tuple[list[Row], bool]:
    """``rows`` without those of few clients, and those that would tell of them.

    Returns:
        The rows, in which those that are not told are one for each line of the other groups; and
        whether there are any such.
    """
    hidden = _hidden(rows, query.dimensions, least)
    few = [name for name in query.dimensions if DIMENSIONS[name].is_identifying]
    places: dict[int, Row] = {n: row for n, row in enumerate(rows) if n not in hidden}
    for line in _lines(rows, [name for name in query.dimensions if name not in few], hidden):
        together = [rows[n] for n in line]
        is_of_several = len(line) >= _AT_LEAST
        tells = is_of_several and max(row[_CLIENTS] for row in together) >= least
        if few and (tells or not _is_identifying(query.filters)):
            added = _ADDITIVE if tells else frozenset()
            places[max(line)] = _together(together, query, few, f"<{least}", added)
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
    rows: list[Row], query: Query, few: list[str], label: str, added: frozenset[str]
) -> Row:
    """``rows`` as one, whose groups ``few`` are called ``label``, with the measures ``added``."""
    told = {name: sum(row[name] for row in rows) for name in query.shown if name in added}
    return {
        **rows[0],
        **dict.fromkeys(few, label),
        **dict.fromkeys(query.shown),
        **told,
    }
