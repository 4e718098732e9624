"""The networks of the registry, and codes that it does not have."""

import pyarrow as pa

from ringserverstats.enrich.networks import Network
from ringserverstats.store.base import Readable

_REGISTRY = """
SELECT code, first_day, last_day, name, doi,
       code IN (SELECT DISTINCT network FROM stream) AS here
  FROM registry ORDER BY code, first_day, name
"""
# Of both directions: a network may only be received.
_UNKNOWN = """
SELECT f.network AS code, w.network, w.is_nearest, min(f.day)::text AS first_day,
       max(f.day)::text AS last_day, sum(f.bytes) AS bytes
  FROM (SELECT day, network, sum(bytes) AS bytes FROM network_by_day
         WHERE network IS NOT NULL GROUP BY day, network) f
  LEFT JOIN network_period w
    ON w.code = f.network AND f.day BETWEEN w.first_day AND w.last_day
 WHERE w.is_nearest IS DISTINCT FROM false
 GROUP BY f.network, w.network, w.is_nearest ORDER BY f.network, min(f.day)
"""
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("network", "first_day", "last_day", "name", "doi")),
        ("code", pa.string()),
        ("here", pa.bool_()),
    ]
)


def registry(store: Readable) -> pa.Table:
    """Return all networks of the registry.

    Returns:
        Columns network (extended code), first_day, last_day, name, doi, code, and here: the store
        has streams with the code.
    """
    rows = []
    for row in store.ask(_REGISTRY).to_pylist():
        here = row.pop("here")
        network = Network(**row)
        rows.append(
            {
                "network": network.extended,
                "first_day": network.first_day.isoformat(),
                "last_day": network.last_day.isoformat() if network.last_day else None,
                "name": network.name,
                "doi": network.doi,
                "code": network.code,
                "here": here,
            }
        )
    return pa.Table.from_pylist(rows, _SCHEMA)


def unknown_codes(store: Readable) -> pa.Table:
    """Return codes on days on which no network of the registry had them.

    Returns:
        Columns code, network (the nearest in time, which counts for these days; None: only the code
        is known), first_day, last_day, bytes.
    """
    return store.ask(_UNKNOWN).drop_columns(["is_nearest"])
