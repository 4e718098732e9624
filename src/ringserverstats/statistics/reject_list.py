"""Rejected log entries."""

import pyarrow as pa

from ringserverstats.statistics.dimensions import COVERAGE_FILTERS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Readable

_REJECTED = """
SELECT v.name AS server, f.direction::text AS direction, f.day::text AS day, f.entries,
       f.file, f.line, f.lines, f.position, f.reason, f.version
  FROM reject f JOIN server v ON v.server = f.server
 WHERE {where} ORDER BY f.file, f.position, v.name
"""


def rejects(store: Readable, query: Query) -> pa.Table:
    """Return the log entries that were rejected.

    Args:
        store: the store.
        query: its period and `COVERAGE_FILTERS` apply. Rejects without a day or direction match
            none.

    Returns:
        Columns server, direction, day, entries, file, line, lines, position (offset in bytes of
        the decompressed input), reason, version.
    """
    parameters: list[object] = []
    where = conditions(query.only(*COVERAGE_FILTERS), "f.day", parameters)
    return store.ask(_REJECTED.format(where=where), parameters)
