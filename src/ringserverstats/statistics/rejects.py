"""What was rejected of the logs, for those who look into it."""

import pyarrow as pa

from ringserverstats.statistics.questions import Question, conditions
from ringserverstats.store.base import Store

_REJECTED = """
SELECT v.name AS server, f.direction::text AS direction, f.day::text AS day, f.file, f.line,
       f.lines, f.position, f.reason, f.version
  FROM reject f JOIN server v ON v.server = f.server
 WHERE {where} ORDER BY f.file, f.position, v.name
"""


def rejects(store: Store, question: Question) -> pa.Table:
    """What was rejected of the logs of the period and servers of ``question``.

    Columns: server, direction, day, file, line, lines, position (bytes of the decompressed input
    before it), reason, version.
    """
    parameters: list[object] = []
    where = conditions(question, "f.day", parameters)
    return store.ask(_REJECTED.format(where=" AND ".join(where) or "true"), parameters)
