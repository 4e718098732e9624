"""The clients of a store, by pseudonym."""

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
_VALUES = "SELECT DISTINCT class, location_source FROM client_profile"


@dataclass(frozen=True)
class ProfileValues:
    """The classes of clients in a store, and the types of GeoIP databases that located them."""

    classes: list[str]
    location_sources: list[str]


def profile_values(store: Readable) -> ProfileValues:
    """Return the values that client profiles of ``store`` have."""
    rows = store.ask(_VALUES, []).to_pylist()
    classes, sources = (
        sorted({row[name] for row in rows if row[name]}) for name in ("class", "location_source")
    )
    return ProfileValues(classes, sources)


def clients(store: Readable) -> pa.Table:
    """Return one row for each client, profile and agent, with the most bytes first."""
    return store.ask(_CLIENTS, [])
