"""The clients of a store, as far as they may be known."""

from dataclasses import dataclass

import pyarrow as pa

from ringserverstats.store.base import Readable

_CLIENTS = """
SELECT c.pseudonym AS client, o.class, o.direction, o.domain, o.institution, o.country, o.city,
       a.name AS agent, nullif(o.matched_rules, '') AS rules, sum(f.bytes) AS bytes,
       sum(f.packets) AS packets
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
  JOIN client c ON c.client = o.client JOIN agent a ON a.agent = o.agent
 GROUP BY c.pseudonym, o.class, o.direction, o.domain, o.institution, o.country, o.city, a.name,
       o.matched_rules
 ORDER BY sum(f.bytes) DESC, c.pseudonym, a.name
"""


@dataclass(frozen=True)
class Known:
    """Which classes of clients a store holds, and the kinds of databases that told their places."""

    classes: list[str]
    location_sources: list[str]


def known(store: Readable) -> Known:
    """What is known of the clients of ``store``."""
    rows = store.ask("SELECT DISTINCT class, location_source FROM client_profile", []).to_pylist()
    classes, sources = (
        sorted({row[name] for row in rows if row[name]}) for name in ("class", "location_source")
    )
    return Known(classes, sources)


def clients(store: Readable) -> pa.Table:
    """Who read or fed, with what the rules make of it; those of most bytes first."""
    return store.ask(_CLIENTS, [])
