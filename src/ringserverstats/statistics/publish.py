"""Results by role. The public sees no single clients, embargoed networks or rows of few clients.

This is the one definition of public for pages, API, ``stats --public`` and public InfluxDB; EIDA's
results leave out more. Several queries of periods or networks that differ a little still reveal
their difference; see docs/privacy.md.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.errors import UsageError
from ringserverstats.statistics.bounds import AT_MOST, DISTINCT
from ringserverstats.statistics.dimensions import ADDITIVE, DIMENSIONS, PERSONAL
from ringserverstats.statistics.largest import with_largest
from ringserverstats.statistics.network_names import matching_networks, unseen_patterns
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_in
from ringserverstats.statistics.suppression import FEW, Suppression, suppress
from ringserverstats.store.base import Ask, Readable
from ringserverstats.store.integers import with_integers

_CLIENTS = "clients"
_LARGE = pa.decimal128(38, 0)
_GROUP = "group number"
_TOO_FEW = "the result is suppressed: it has fewer than {least} clients"
_COMBINED = (
    "<{least}: rows with fewer than {least} clients are combined with the smallest other rows."
    " Their figures are shown only if that reveals no row of few clients"
)
# Whatever the filter: a note for some codes only would name those under embargo.
_EMBARGO = "figures exclude embargoed networks"
_NO_IDENTIFIER = f"{_EMBARGO}, and streams without a source identifier, as they may be embargoed"
_ANY_NETWORK = {"network": ("*",)}  # that has a code
_MOST_ROWS = 100_000  # of a result

Row = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """What the public may not see.

    Args:
        embargoed: patterns of networks that count nowhere.
        min_clients: rows by city, institution, agent, ... need that many clients.
        limits_all: so do rows by country, network, day, ..., and totals.
    """

    embargoed: tuple[str, ...] = ()
    min_clients: int = 0
    limits_all: bool = False

    def is_limited(self, names: Iterable[str]) -> bool:
        """Return whether ``names``, dimensions or filters, may stand for few clients."""
        if self.min_clients <= 1:
            return False
        return self.limits_all or any(DIMENSIONS[name].is_identifying for name in names)


@dataclass(frozen=True)
class Result:
    """The result of a query.

    Args:
        rows: columns are those of the query.
        total: the measures over all rows; None: the query has no dimensions, or it is suppressed.
        suppressed: messages that say which rows or figures are suppressed.
        notes: messages that say what does not count.
    """

    rows: pa.Table
    total: Row | None
    suppressed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def is_empty(self, query: Query) -> bool:
        """Return True if the result of ``query`` has no rows. Suppressed rows count as rows."""
        if self.suppressed:
            return False
        rows = self.rows
        has_figures = query.dimensions or any(any(rows[name].to_pylist()) for name in query.shown)
        return not len(rows) or not has_figures


@dataclass(frozen=True)
class Role:
    """Who queries: the operator, the owner of ``networks``, or the public."""

    is_operator: bool = False
    networks: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueryContext:
    """One state of a store, and the role that queries it."""

    store: Readable
    role: Role
    policy: Policy

    @property
    def sees_all_networks(self) -> bool:
        """Whether results for the role are not limited to some networks."""
        return self.role.is_operator or not (self.role.networks or self.policy.embargoed)

    def result(self, query: Query) -> Result:
        """Return the result that the role may see."""
        return result_for(self.role, self.store, query, self.policy)

    def rows(self, query: Query) -> list[Row]:
        """Return the rows of that result."""
        rows: list[Row] = self.result(query).rows.to_pylist()
        return rows


def result_for(role: Role, store: Readable, query: Query, policy: Policy) -> Result:
    """Return the result for ``role``; owners see their networks only, also embargoed ones.

    Raises:
        UsageError: the query is of single clients, which only the operator sees.
    """
    if role.is_operator:
        return operator_result(store, query)
    if not role.networks:
        return public_result(store, query, policy)
    with store.reading(limited=True) as read:
        requested = query.filters.get("network", ())
        networks = matching_networks(read, role.networks, requested)
        hidden = unseen_patterns(read, role.networks, requested)
    limited = replace(query, filters={**query.filters, "network": networks})
    result = public_result(store, limited, replace(policy, embargoed=()))
    if not hidden:
        return result
    note = f"this token shows {', '.join(role.networks)}, not {', '.join(hidden)}"
    return replace(result, notes=[*result.notes, note])


def operator_result(store: Readable, query: Query) -> Result:
    """Return the result for the operator, with nothing suppressed."""
    with store.reading(limited=True) as read:
        rows = run_in(read, query)
        total = run_in(read, query.ungrouped()).to_pylist()[0] if query.dimensions else None
        return Result(rows, total)


def public_query(query: Query, policy: Policy) -> Query:
    """Return ``query`` without the traffic that counts in no public figure.

    That is also traffic of streams without a source identifier, as it may be embargoed.
    """
    if not policy.embargoed:
        return query
    return replace(query, filters={**_ANY_NETWORK, **query.filters})


def public_result(store: Readable, query: Query, policy: Policy) -> Result:
    """Return the result for the public.

    Raises:
        UsageError: the query is of single clients or needs single transfers that are deleted, or
            the result has too many rows.
    """
    personal = PERSONAL & {*query.dimensions, *query.filters}
    if personal:
        names = " and ".join(sorted(personal))
        raise UsageError(f"only the operator can query single clients. Leave out {names}")
    with store.reading(limited=True) as read:  # one snapshot for all that is compared
        return public_result_in(read, query, policy, most_rows=_MOST_ROWS)


def public_result_in(
    read: Ask,
    query: Query,
    policy: Policy,
    *,
    most_rows: int | None = None,
    total: pa.Table | None = None,
) -> Result:
    """Return the result for the public within one snapshot of a store.

    Args:
        read: reads the snapshot.
        query: the query, not of single clients.
        policy: what is withheld.
        most_rows: the largest number of rows; None: any.
        total: the total of all rows, if it is known.

    Raises:
        UsageError: the result has too many rows.
    """
    query = public_query(query, policy)
    counted = _with_clients(query, policy, most_rows)
    cells = run_in(read, counted, embargoed=policy.embargoed)
    if most_rows is not None and len(cells) > most_rows:
        raise UsageError(
            f"the result has more than {most_rows:,} rows. Use fewer dimensions or a shorter period"
        )
    if total is None:
        total = run_in(read, counted.ungrouped(), embargoed=policy.embargoed)
    result = Result(cells, total.to_pylist()[0] if query.dimensions else None)
    if policy.is_limited((*query.dimensions, *query.filters)):
        clients = _least_clients(read, counted, policy, cells)
        of_all = _least_clients(read, counted.ungrouped(), policy, total)[0].as_py()
        result = _without_small_counts(result, query, policy, clients, of_all)
    names = [*query.dimensions, *query.shown]
    if AT_MOST in cells.column_names and DISTINCT & set(query.shown):
        names.append(AT_MOST)
    rows = result.rows.select(names)
    if query.ranked:
        ranking = public_result_in(read, replace(query.ranking(), top=None), policy, total=total)
        largest = with_largest(query, rows.to_pylist(), ranking.rows.to_pylist())
        fields = (
            field.with_type(_LARGE) if field.name in ADDITIVE else field for field in rows.schema
        )
        rows = with_integers(pa.Table.from_pylist(largest, pa.schema(fields)))
    else:
        rows = rows.slice(0, query.top)
    has_filter = query.filters.get("network") != _ANY_NETWORK["network"]
    notes = [_EMBARGO if has_filter else _NO_IDENTIFIER] if policy.embargoed else []
    return replace(result, rows=rows, notes=notes)


def _with_clients(query: Query, policy: Policy, most_rows: int | None) -> Query:
    """Return ``query`` for all rows, with the number of clients if rows of few are suppressed."""
    measures = query.shown
    if policy.is_limited((*query.dimensions, *query.filters)) and _CLIENTS not in measures:
        measures = (*measures, _CLIENTS)
    limit = None if most_rows is None else most_rows + 1
    return replace(query, top=None, limit=limit, measures=measures)


def _least_clients(read: Ask, query: Query, policy: Policy, rows: pa.Table) -> pa.ChunkedArray:
    """Return how many clients each of ``rows``, the result of ``query``, has at least.

    Over pruned months a client counts once for each. The least number is that of one month.
    """
    if AT_MOST not in rows.column_names or not pc.any(rows[AT_MOST]).as_py():
        return rows[_CLIENTS]
    dimensions = tuple(dict.fromkeys((*query.dimensions, "month")))
    by_month = replace(query, dimensions=dimensions, measures=(_CLIENTS,), sort="", limit=None)
    largest: Counter[tuple[str | None, ...]] = Counter()
    for row in run_in(read, by_month, embargoed=policy.embargoed).to_pylist():
        cell = tuple(row[name] for name in query.dimensions)
        largest[cell] = max(largest[cell], 0 if row.get(AT_MOST) else row[_CLIENTS])
    counts = [
        largest[tuple(row[name] for name in query.dimensions)] if row[AT_MOST] else row[_CLIENTS]
        for row in rows.to_pylist()
    ]
    return pa.chunked_array([pa.array(counts, pa.int64())])


def _without_small_counts(
    result: Result, query: Query, policy: Policy, clients: pa.ChunkedArray, of_all: int
) -> Result:
    """Return ``result`` with one row for the suppressed ones with the same other labels.

    Args:
        result: a row for each cell.
        query: its query.
        policy: what is withheld.
        clients: number of clients of each cell, and ``of_all`` that of all cells.
    """
    cells, least = result.rows, policy.min_clients
    if policy.is_limited(query.filters) and of_all < least:
        return Result(cells.slice(0, 0), None, [_TOO_FEW.format(least=least)])
    dimensions = [name for name in DIMENSIONS if name in query.dimensions]
    combined = dimensions  # also those that are public otherwise, as all rows are of a part
    if not policy.is_limited(query.filters):
        combined = [name for name in dimensions if policy.is_limited((name,))]
    if not combined:
        return result
    suppression = suppress(cells.select(dimensions), clients, combined, least)
    if not suppression.cells.any():
        return result
    if combined == dimensions and suppression.cells.all() and len(cells) >= FEW:
        suppression.is_safe[:] = of_all >= least  # their sum is the total
    rows = _with_combined_rows(cells, suppression, combined, f"<{least}")
    # A total minus the other rows would reveal a row without figures.
    total = result.total if suppression.is_safe.all() else None
    return Result(rows, total, [_COMBINED.format(least=least)])


def _with_combined_rows(
    cells: pa.Table, suppression: Suppression, combined: Sequence[str], label: str
) -> pa.Table:
    """Return ``cells`` with one row for each group of suppressed ones, after all others.

    Args:
        cells: a row for each cell.
        suppression: what is suppressed of them.
        combined: the dimensions over which suppressed cells are combined.
        label: what stands in their columns.
    """
    for number, name in enumerate(cells.column_names):
        if name in ADDITIVE:
            cells = cells.set_column(number, name, cells[name].cast(_LARGE))
    suppressed = cells.filter(pa.array(suppression.cells))
    numbers = pa.array(suppression.group[suppression.cells])
    groups = suppressed.append_column(_GROUP, numbers).group_by(_GROUP)
    labels = [name for name in cells.column_names if name in DIMENSIONS and name not in combined]
    amounts = [name for name in cells.column_names if name in ADDITIVE]
    sums = groups.aggregate(
        [*((name, "min") for name in labels), *((name, "sum") for name in amounts)]
    ).sort_by(_GROUP)
    is_safe = pa.array(suppression.is_safe[sums[_GROUP].to_numpy()])
    columns = dict.fromkeys(combined, pa.array([label] * len(sums)))
    columns |= {name: sums[f"{name}_min"] for name in labels}
    columns |= {name: pc.if_else(is_safe, sums[f"{name}_sum"], None) for name in amounts}
    shown = cells.filter(pa.array(~suppression.cells))
    return with_integers(pa.concat_tables([shown, pa.table(columns)], promote_options="default"))
