"""Packets that were not logged: their sums are lower bounds.

ringserver v2012.125 to v2013.284 logged 0 packets for all that was sent by SeedLink, and release
0.17 stored no packets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from ringserverstats.statistics.largest import stands_for_several
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.publish import QueryContext
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions

#: Measures that these days make lower bounds.
OF_PACKETS = frozenset({"packets", "packets-per-day"})
_COLUMNS = ("day", "server", "direction", "protocol")
_DAYS = """
SELECT DISTINCT f.day::text AS day, v.name AS server, f.direction::text AS direction,
       f.protocol::text AS protocol
  FROM connection_by_day f JOIN server v ON v.server = f.server
 WHERE f.packets = 0 AND f.bytes > 0 AND {where}
"""


@dataclass(frozen=True, eq=False)
class PacketlessDays:
    """Days of servers, directions and protocols on which connections have bytes but no packets.

    Args:
        query: the query of a result.
        rows: the days of its period, each with the columns `_COLUMNS`.
    """

    query: Query
    rows: Sequence[Mapping[str, str]] = field(default_factory=list)
    _labels: dict[tuple[str, ...], set[tuple[str, ...]]] = field(default_factory=dict, init=False)

    @property
    def days(self) -> list[str]:
        """The days, in order."""
        return sorted({row["day"] for row in self.rows})

    def concern(self, row: Mapping[str, Any]) -> bool:
        """Return True if packets of ``row``, a row or the total, are a lower bound."""
        names = tuple(
            name
            for name in self.query.dimensions
            if name in (*_COLUMNS, *self.query.times) and name in row  # a total has none
            if not stands_for_several(self.query, name, row[name])
        )
        if names not in self._labels:
            self._labels[names] = {tuple(_label(day, name) for name in names) for day in self.rows}
        return tuple(row[name] for name in names) in self._labels[names]


def packetless_days(context: QueryContext, query: Query) -> PacketlessDays:
    """Return the days without packets of a result; none if ``query`` has no measure of packets."""
    if not OF_PACKETS & set(query.shown):
        return PacketlessDays(query)
    parameters: list[object] = []
    where = conditions(query.of_entries(), "f.day", parameters)
    rows = context.store.ask(_DAYS.format(where=where), parameters).to_pylist()
    if rows and not (context.role.is_operator and query.of_entries().filters == query.filters):
        days = sorted(date.fromisoformat(row["day"]) for row in rows)
        by_day = replace(
            query,
            dimensions=_COLUMNS,
            measures=("bytes",),
            first=days[0],
            last=days[-1],
            sort="",
            top=None,
        )
        sent = {_key(row) for row in context.rows(by_day) if row["bytes"]}
        rows = [row for row in rows if _key(row) in sent]
    return PacketlessDays(query, rows)


def _key(row: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in _COLUMNS)


def _label(row: Mapping[str, str], name: str) -> str:
    return row[name] if name in _COLUMNS else label_of(date.fromisoformat(row["day"]), name)
