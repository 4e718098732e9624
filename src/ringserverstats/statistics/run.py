"""Running queries: from a store and a query to a table."""

from dataclasses import replace
from datetime import date
from functools import partial

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.statistics.bounds import DISTINCT, Period, with_bounds
from ringserverstats.statistics.built import load_built
from ringserverstats.statistics.dimensions import NETWORK_DIMENSIONS
from ringserverstats.statistics.network_names import NetworkNames, load_network_names
from ringserverstats.statistics.plan import measures_by_kind, needs_transfers, plan_query
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions, select_sql
from ringserverstats.store.base import Ask, Readable

_DATA_DAYS = """
SELECT min(f.day) AS first, max(f.day) AS last FROM connection_by_day f WHERE {where}
"""


def run_query(store: Readable, query: Query) -> pa.Table:
    """Return the result of ``query``.

    Returns:
        A column for each dimension, then one for each measure. If the period has pruned months, the
        column `bounds.AT_MOST` is true where clients and connections are upper bounds.

    Raises:
        UsageError: it needs single transfers that are deleted.
    """
    with store.reading(limited=True) as read:
        return run_in(read, query)


def run_in(read: Ask, query: Query, *, embargoed: tuple[str, ...] = ()) -> pa.Table:
    """Return the result of ``query`` within one snapshot of a store.

    Args:
        read: reads the snapshot.
        query: the query.
        embargoed: patterns of networks that do not count, if the query has a filter of streams.

    Raises:
        UsageError: the query needs single transfers that are deleted.
    """
    _check_retention(read, query)
    result = read(*select_for(read, query, embargoed))
    if not DISTINCT & set(query.shown):
        return result
    data_days = partial(_data_days, read, query)
    return with_bounds(read, result, query.times, (query.first, query.last), data_days)


def _data_days(read: Ask, query: Query, first: date, last: date) -> Period:
    """Return the first and last day with data that match the filters of ``query`` on entries."""
    parameters: list[object] = []
    of_period = replace(query.of_entries(), first=first, last=last)
    rows = read(_DATA_DAYS.format(where=conditions(of_period, "f.day", parameters)), parameters)
    return rows["first"][0].as_py(), rows["last"][0].as_py()


def select_for(
    read: Ask, query: Query, embargoed: tuple[str, ...] = ()
) -> tuple[str, list[object]]:
    """Return the SELECT of ``query`` and its parameters; arguments as those of `run_in`."""
    names = network_names_for(read, query, embargoed)
    return select_sql(plan_query(query, names, load_built(read)))


def network_names_for(read: Ask, query: Query, embargoed: tuple[str, ...] = ()) -> NetworkNames:
    """Return what codes resolve to, as far as ``query`` needs it."""
    uses_networks = NETWORK_DIMENSIONS & {*query.dimensions, *query.filters}
    if not uses_networks and not embargoed:
        return NetworkNames()
    names = bool(NETWORK_DIMENSIONS & set(query.dimensions) - {"network"})
    patterns = () if embargoed else query.filters.get("network", ())
    return load_network_names(read, names=names, patterns=patterns, embargoed=embargoed)


def _check_retention(read: Ask, query: Query) -> None:
    if not needs_transfers(query):
        return
    since = read("SELECT max(kept_since) AS day FROM store", [])["day"][0].as_py()
    if since is None or (query.first is not None and query.first >= since):
        return
    first = read("SELECT min(day) AS day FROM connection_by_day", [])["day"][0].as_py()
    if first is not None and max(first, query.first or first) < since:
        measures = measures_by_kind(query).get("transfers")
        what = f"{' and '.join(measures)} by stream" if measures else "figures by hour"
        raise UsageError(
            f"{what} need single transfers, which are kept since {since}. Query from that day on"
        )
