"""Rejected log entries."""

import pyarrow as pa

from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Readable

_REJECTED = """
SELECT v.name AS server, f.direction::text AS direction, f.day::text AS day, f.entries,
       f.file, f.line, f.lines, f.position, f.reason, f.version
  FROM reject f JOIN server v ON v.server = f.server
 WHERE {where} ORDER BY f.file, f.position, v.name
"""


def rejects(store: Readable, query: Query, filters: tuple[str, ...] = ("server",)) -> pa.Table:
    """Return the log entries that were rejected in the period of ``query``.

    Args:
        store: the store.
        query: its period and filters.
        filters: the filters of ``query`` that apply.

    Returns:
        Columns server, direction, day, entries, file, line, lines, position (offset in bytes of
        the decompressed input), reason, version.
    """
    parameters: list[object] = []
    where = conditions(query.only(*filters), "f.day", parameters)
    return store.ask(_REJECTED.format(where=where), parameters)
