"""What a store holds, in numbers."""

from dataclasses import dataclass

from ringserverstats.store.base import Store


@dataclass(frozen=True)
class ServerSummary:
    """One server; days are None before its first entry, the time zone where nobody told it."""

    name: str
    timezone: str | None
    first_day: str | None
    last_day: str | None
    entries: int
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True)
class Summary:
    """All of a store; ``size`` in bytes, ``features`` what it runs on.

    ``networks`` counts those of the registry; months before ``pruned_before`` are pruned.
    """

    store: str
    secret: str
    size: int
    schema: int
    entries: int
    transfers: int
    clients: int
    streams: int
    networks: int
    pruned_before: str | None
    servers: list[ServerSummary]
    features: dict[str, str]


_COUNTS = """
SELECT (SELECT max(number) FROM migration) AS schema,
       (SELECT count(*) FROM entry_ledger) AS entries,
       (SELECT coalesce(sum(transfers), 0) FROM entry_ledger) AS transfers,
       (SELECT count(*) FROM client) AS clients,
       (SELECT count(*) FROM stream) AS streams,
       (SELECT count(*) FROM registry) AS networks,
       (SELECT (max(month) + interval '1 month')::date::text FROM pruned_month) AS pruned_before
"""
_SERVERS = """
SELECT v.name, nullif(v.timezone, '') AS timezone,
       (SELECT min(day)::text FROM entry_ledger s WHERE s.server = v.server) AS first_day,
       (SELECT max(day)::text FROM entry_ledger s WHERE s.server = v.server) AS last_day,
       (SELECT count(*) FROM entry_ledger s WHERE s.server = v.server) AS entries,
       (SELECT coalesce(sum(bytes), 0) FROM by_month m
         WHERE m.server = v.server AND m.direction = 'TX') AS bytes_sent,
       (SELECT coalesce(sum(bytes), 0) FROM by_month m
         WHERE m.server = v.server AND m.direction = 'RX') AS bytes_received
  FROM server v ORDER BY v.name
"""


def summary(store: Store) -> Summary:
    """What ``store`` holds."""
    counts = store.ask(_COUNTS, []).to_pylist()[0]
    servers = [ServerSummary(**row) for row in store.ask(_SERVERS, []).to_pylist()]
    return Summary(
        store=store.label,
        secret=store.secret_place,
        size=store.size(),
        servers=servers,
        features=store.features(),
        **counts,
    )
