"""The clients of a store, one by one, as far as they may be known."""

import pyarrow as pa

from ringserverstats.store.base import Store

_CLIENTS = """
SELECT c.pseudonym AS client, o.class, o.direction, o.domain, o.institution, o.country, o.city,
       a.name AS agent, nullif(o.matched, '') AS rules, sum(f.bytes) AS bytes,
       sum(f.packets) AS packets
  FROM connection_by_day f JOIN origin o ON o.origin = f.origin
  JOIN client c ON c.client = o.client JOIN agent a ON a.agent = o.agent
 GROUP BY c.pseudonym, o.class, o.direction, o.domain, o.institution, o.country, o.city, a.name,
       o.matched
 ORDER BY sum(f.bytes) DESC, c.pseudonym, a.name
"""


def clients(store: Store) -> pa.Table:
    """Who read or fed, with what the rules make of it; those of most bytes first."""
    return store.ask(_CLIENTS, [])
