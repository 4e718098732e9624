"""Packets that were not logged: their sums are lower bounds.

ringserver v2012.125 to v2013.284 logged 0 packets for all that was sent by SeedLink, and release
0.17 stored no packets.
"""

from collections.abc import Sequence
from datetime import date

from ringserverstats.statistics.periods import days_of
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Readable

#: Measures that these days make lower bounds.
OF_PACKETS = frozenset({"packets", "packets-per-day"})
_DAYS = """
SELECT DISTINCT f.day FROM connection_by_day f
 WHERE f.packets = 0 AND f.bytes > 0 AND {where} ORDER BY f.day
"""


def days_without_packets(store: Readable, query: Query) -> list[date]:
    """Return the days, in order, on which connections have bytes but no packets.

    Args:
        store: the store.
        query: its period, servers, directions and protocols apply; nothing is read if it has no
            measure of packets.
    """
    if not OF_PACKETS & set(query.shown):
        return []
    parameters: list[object] = []
    where = conditions(query.only("server", "direction", "protocol"), "f.day", parameters)
    days: list[date] = store.ask(_DAYS.format(where=where), parameters)["day"].to_pylist()
    return days


def is_lower_bound(days: Sequence[date], times: Sequence[str]) -> bool:
    """Return True if one of ``days`` is within all of ``times``: labels of days, months, ..."""
    spans = [days_of(time) for time in times]
    return any(all(first <= day <= last for first, last in spans) for day in days)
