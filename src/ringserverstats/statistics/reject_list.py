"""What was rejected of the logs, for those who look into it."""

import pyarrow as pa

from ringserverstats.statistics.query import Query, conditions
from ringserverstats.store.base import Readable

_REJECTED = """
SELECT v.name AS server, f.direction::text AS direction, f.day::text AS day, f.file, f.line,
       f.lines, f.position, f.reason, f.version
  FROM reject f JOIN server v ON v.server = f.server
 WHERE {where} ORDER BY f.file, f.position, v.name
"""


def rejects(store: Readable, query: Query, filters: tuple[str, ...] = ("server",)) -> pa.Table:
    """What was rejected of the logs of the period of ``query``, by those of its ``filters``.

    Columns: server, direction, day, file, line, lines, position (bytes of the decompressed input
    before it), reason, version.
    """
    parameters: list[object] = []
    kept = {name: query.filters[name] for name in filters if name in query.filters}
    asked = Query(first=query.first, last=query.last, filters=kept)
    where = conditions(asked, "f.day", parameters)
    return store.ask(_REJECTED.format(where=" AND ".join(where) or "true"), parameters)
