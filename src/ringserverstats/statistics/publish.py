"""Results by role. The public sees no single clients, embargoed networks or rows of few clients.

Several queries of periods or networks that differ a little still reveal their difference; see
docs/privacy.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ringserverstats.enrich.networks import short_of
from ringserverstats.errors import UsageError
from ringserverstats.statistics.bounds import AT_MOST, DISTINCT
from ringserverstats.statistics.dimensions import ADDITIVE, DIMENSIONS, OTHER
from ringserverstats.statistics.largest import with_largest
from ringserverstats.statistics.network_names import matching_networks
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import check_retention, network_names_for, run_in
from ringserverstats.store.base import Ask, Readable

_CLIENTS = "clients"
_TOO_FEW = "the result is suppressed: it has fewer than {least} clients"
_COMBINED = (
    "<{least}: rows with fewer than {least} clients are combined with the smallest other rows."
    " Their figures are shown only if that reveals no row of few clients"
)
_EMBARGOED_ROWS = "rows of embargoed networks are suppressed"
_EMBARGOED_FIGURES = "figures exclude embargoed networks"
_MOST_ROWS = 100_000  # that are compared with one another
_AT_LEAST = 2  # networks, or rows, that are combined: one alone would be revealed

Row = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """What the public may not see.

    Args:
        embargoed: patterns of networks that are not named.
        min_clients: rows by city, institution, agent, ... need that many clients.
    """

    embargoed: tuple[str, ...] = ()
    min_clients: int = 0


@dataclass(frozen=True)
class Result:
    """The result of a query.

    Args:
        rows: columns are those of the query.
        total: the measures over all rows; None: the query has no dimensions, or it is suppressed.
        suppressed: messages that say what is suppressed.
        nearest: networks that count for days on which they did not operate, for the operator.
    """

    rows: pa.Table
    total: Row | None
    suppressed: list[str] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Role:
    """Who queries: the operator, the owner of ``networks``, or the public."""

    is_operator: bool = False
    networks: tuple[str, ...] = ()


def result_for(role: Role, store: Readable, query: Query, policy: Policy) -> Result:
    """Return the result for ``role``; owners see their networks only, also embargoed ones.

    Raises:
        UsageError: the query is of single clients, which only the operator sees.
    """
    if role.is_operator:
        return operator_result(store, query)
    if not role.networks:
        if not policy.embargoed:
            return public_result(store, query, policy)
        # A total with embargoed networks, minus the rows, would reveal them.
        filters = {"network": ("*",), **query.filters}
        result = public_result(store, replace(query, filters=filters), policy)
        return replace(result, suppressed=[*result.suppressed, _EMBARGOED_FIGURES])
    with store.reading(limited=True) as read:
        requested = query.filters.get("network", ())
        networks = matching_networks(read, role.networks, requested)
    limited = replace(query, filters={**query.filters, "network": networks})
    return public_result(store, limited, replace(policy, embargoed=()))


def operator_result(store: Readable, query: Query) -> Result:
    """Return the result for the operator, with nothing suppressed."""
    check_retention(store, query)
    with store.reading(limited=True) as read:
        rows = run_in(read, query)
        total = run_in(read, query.ungrouped()).to_pylist()[0] if query.dimensions else None
        nearest = network_names_for(read, query).nearest(read, query.first, query.last)
        return Result(rows, total, nearest=nearest)


def public_result(store: Readable, query: Query, policy: Policy) -> Result:
    """Return the result for the public.

    Raises:
        UsageError: the query is of single clients, or the result has too many rows.
    """
    if "client" in (*query.dimensions, *query.filters):
        raise UsageError("only the operator can query single clients. Leave out client")
    check_retention(store, query)
    counted = _with_clients(query)
    with store.reading(limited=True) as read:  # one snapshot for all that is compared
        table = run_in(read, counted, embargoed=policy.embargoed)
        total = run_in(read, counted.ungrouped(), embargoed=policy.embargoed).to_pylist()[0]
        if len(table) > _MOST_ROWS:
            raise UsageError(
                f"the result has more than {_MOST_ROWS:,} rows. Use fewer dimensions or a shorter "
                "period"
            )
        rows = _without_single_networks(read, counted, policy, table.to_pylist())
    suppressed = [_EMBARGOED_ROWS] if len(rows) < len(table) else []
    # A total minus the other rows would reveal a suppressed one.
    safe_total = total if query.dimensions and not suppressed else None
    least = policy.min_clients
    if least > 1 and _is_identifying(query.filters) and total[_CLIENTS] < least:
        rows, safe_total, suppressed = [], None, [_TOO_FEW.format(least=least)]
    elif least > 1 and _has_identifying_columns(query):
        rows, is_combined = _without_few_clients(counted, rows, least)
        suppressed += [_COMBINED.format(least=least)] if is_combined else []
    names = [*query.dimensions, *query.shown]
    if AT_MOST in table.column_names and DISTINCT & set(query.shown):
        names.append(AT_MOST)
    if query.ranked:
        ranking = public_result(store, replace(query.ranking(), top=None), policy)
        rows = with_largest(query, rows, ranking.rows.to_pylist())
    else:
        rows = rows[: query.top]
    shown = pa.Table.from_pylist(rows, table.schema).select(names)
    return Result(shown, safe_total, suppressed)


def _with_clients(query: Query) -> Query:
    """Return ``query`` for all rows, with the number of clients if rows of few are suppressed."""
    measures = query.shown
    if _has_identifying_columns(query) and _CLIENTS not in measures:
        measures = (*measures, _CLIENTS)
    return replace(query, top=None, limit=_MOST_ROWS + 1, measures=measures)


def _without_single_networks(read: Ask, query: Query, policy: Policy, rows: list[Row]) -> list[Row]:
    """Return ``rows`` without those that combine fewer than two embargoed networks."""
    streams = [name for name in query.dimensions if DIMENSIONS[name].of_stream]
    others = [name for name in query.dimensions if name not in streams]
    if not policy.embargoed or not streams:
        return rows
    embargoed = replace(
        query,
        dimensions=(*others, "network"),
        filters={**query.filters, "network": policy.embargoed},
        measures=("transfers",),
        sort="",
    )
    networks: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for row in run_in(read, embargoed).to_pylist():
        networks[_values(row, others)].add(row["network"])
    return [
        row
        for row in rows
        if _values(row, streams) != (OTHER,) * len(streams)
        or _network_count(networks[_values(row, others)]) >= _AT_LEAST
    ]


def _values(row: Row, names: list[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def _network_count(networks: set[str]) -> int:
    """Return how many networks these are at least: XP may be the same as XP2014."""
    shorts = {short_of(network) for network in networks}
    return len([network for network in networks if network not in shorts])


def _is_identifying(names: Iterable[str]) -> bool:
    return any(DIMENSIONS[name].is_identifying for name in names)


def _has_identifying_columns(query: Query) -> bool:
    return _is_identifying((*query.dimensions, *query.filters))


def _without_few_clients(query: Query, rows: list[Row], least: int) -> tuple[list[Row], bool]:
    """Return ``rows`` with the suppressed ones combined, and whether there are any.

    One row stands for all suppressed rows with the same values of the other dimensions.
    """
    suppressed = suppressed_rows(rows, query.dimensions, least)
    others = [name for name in query.dimensions if not DIMENSIONS[name].is_identifying]
    by_position = {n: row for n, row in enumerate(rows) if n not in suppressed}
    for numbers in _same(rows, others, suppressed):
        row = _combined(query, [rows[n] for n in numbers], least)
        if row:
            by_position[max(numbers)] = row
    return [by_position[n] for n in sorted(by_position)], bool(suppressed)


def _combined(query: Query, rows: list[Row], least: int) -> Row | None:
    """Return suppressed ``rows`` as one; None if even that reveals few clients."""
    identifying = [name for name in query.dimensions if DIMENSIONS[name].is_identifying]
    has_figures = not _is_revealed(rows, least)
    if not identifying or (_is_identifying(query.filters) and not has_figures):
        return None
    figures: Row = dict.fromkeys(query.shown)
    if has_figures:
        figures |= {
            name: sum(row[name] for row in rows) for name in query.shown if name in ADDITIVE
        }
    return {**rows[0], **dict.fromkeys(identifying, f"<{least}"), **figures}


def suppressed_rows(rows: list[Row], dimensions: tuple[str, ...], least: int) -> set[int]:
    """Return the positions of ``rows`` that are suppressed.

    These are rows with fewer than ``least`` clients, and as many of the smallest other rows as it
    takes that no suppressed row can be computed from the others and from the total over one
    dimension, which a query with one dimension less returns.
    """
    suppressed = {n for n, row in enumerate(rows) if row[_CLIENTS] < least}
    before = -1
    while len(suppressed) != before:
        before = len(suppressed)
        for dimension in dimensions:
            others = [name for name in dimensions if name != dimension]
            for numbers in _same(rows, others, range(len(rows))):
                _suppress_revealing(rows, numbers, suppressed, least)
    return suppressed


def _suppress_revealing(
    rows: list[Row], numbers: list[int], suppressed: set[int], least: int
) -> None:
    """Add the smallest of the rows ``numbers`` to ``suppressed`` if their total reveals one."""
    hidden = [rows[n] for n in numbers if n in suppressed]
    shown = [n for n in numbers if n not in suppressed]
    if hidden and shown and _is_revealed(hidden, least):
        suppressed.add(min(shown, key=lambda n: (rows[n][_CLIENTS], n)))


def _is_revealed(hidden: list[Row], least: int) -> bool:
    """Return True if the sum of ``hidden`` rows reveals one of them, or may be of few clients."""
    return len(hidden) < _AT_LEAST or max(row[_CLIENTS] for row in hidden) < least


def _same(rows: list[Row], names: list[str], numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield the positions ``numbers`` of rows, those with the same values of ``names`` together."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in sorted(numbers):
        groups[_values(rows[number], names)].append(number)
    yield from groups.values()
