"""Data sent to clients of resolved networks, as EIDA's statistics count it.

A request is one stream sent to one connection, counted once a month; the number of log entries
would depend on how often a server writes its log. Only reading counts, and only networks with a
known extended code. Modules `payload` and `statistics_service` both use these definitions.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.labels import EXTERNAL
from ringserverstats.enrich.networks import is_temporary
from ringserverstats.exports.eida.sketches import hash_clients, merge_registers, registers
from ringserverstats.statistics.network_names import matches_network
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Ask

#: Protocols for reading; a connection with none of them read nothing.
PROTOCOLS = ("SeedLink", "DataLink", "HTTP")
#: Reasons for leaving streams out.
NO_CODES = "streams without a source identifier"
UNRESOLVED = "temporary networks that are not in the registry"
EMBARGOED = "networks under embargo"

#: SQL of the network of a stream's code on the day of ``f``, and its joins.
NETWORK = "coalesce(n.network, s.network)"
CODES = """
JOIN stream s ON s.stream = f.stream
LEFT JOIN network_period n ON n.code = s.network AND f.day BETWEEN n.first_day AND n.last_day
"""
#: SQL: the start of a SELECT from ``served``, with a row per request of the networks
#: ``{networks}``. Transfers are aggregated by numbers first, 2× faster on PostgreSQL than by texts.
#: A country has two letters or is empty; labels for unknown countries are longer.
SERVED = f"""
WITH sent AS (
    SELECT date_trunc('month', f.day)::date AS month, f.stream, f.connection, f.client_profile,
           n.network AS meant, sum(f.bytes) AS bytes
      FROM transfer f {CODES}
     WHERE {{where}} AND {NETWORK} IN ({{networks}}) GROUP BY 1, 2, 3, 4, 5
), served AS (
    SELECT f.month, coalesce(f.meant, s.network) AS network, f.stream, f.connection, o.client,
           CASE WHEN length(o.country) = 2 THEN o.country ELSE '' END AS country,
           sum(f.bytes) AS bytes
      FROM sent f JOIN stream s ON s.stream = f.stream
      JOIN client_profile o ON o.client_profile = f.client_profile
     GROUP BY 1, 2, 3, 4, 5, 6
)
"""


def reader_query(
    first: date | None, last: date | None, classes: Sequence[str] = (EXTERNAL,)
) -> Query:
    """Return a query with the period and the filters of readers of these ``classes``."""
    filters = {"direction": ("TX",), "protocol": PROTOCOLS, "class": tuple(classes)}
    return Query(first=first, last=last, filters=filters)


def query_served(ask: Ask, sql: str, query: Query, **lists: Sequence[str]) -> pa.Table:
    """Return the result of ``sql``.

    Args:
        ask: queries the store.
        sql: has a field ``{where}``, and one for each of ``lists``.
        query: its period and filters become ``{where}``.
        lists: texts for fields of these names.
    """
    parameters: list[object] = []
    where = conditions(query, "f.day", parameters)
    fields = {}
    for name, texts in lists.items():
        numbers = range(len(parameters) + 1, len(parameters) + len(texts) + 1)
        fields[name] = ", ".join(f"${number}::text" for number in numbers) or "NULL"
        parameters += texts
    return ask(sql.format(where=where, **fields), parameters)


def exclusion_reason(code: str | None, network: str | None, leave_out: Sequence[str]) -> str | None:
    """Return why streams are left out; None if they are not.

    Args:
        code: their network code; small letters do not bypass an embargo.
        network: the network that it stands for.
        leave_out: patterns of networks.
    """
    if code is None or network is None:
        return NO_CODES
    if matches_network(code.upper(), network.upper(), leave_out):
        return EMBARGOED
    return UNRESOLVED if is_temporary(network.upper()) else None


def with_registers(rows: pa.Table, key: bytes) -> pa.Table:
    """Return ``rows`` with the column ``registers`` instead of ``members``.

    Args:
        rows: ``members`` are lists of clients, as texts because stores return no arrays of numbers.
        key: key of sketches.
    """
    lists = rows["members"].combine_chunks()
    row_numbers = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    ids = pc.list_flatten(lists).cast(pa.int64()).to_numpy()
    clients, indices = np.unique(ids, return_inverse=True)
    client_footnotes = registers(hash_clients(clients, key))
    merged = merge_registers(row_numbers, client_footnotes[indices], len(rows))
    return rows.drop_columns(["members"]).append_column("registers", merged)
