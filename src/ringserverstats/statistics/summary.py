"""Counts of a store: servers, entries, transfers, clients, streams, size."""

from dataclasses import dataclass

from ringserverstats.store.base import Store


@dataclass(frozen=True)
class ServerSummary:
    """A server. Days are None before its first entry, the time zone if it is not configured."""

    name: str
    timezone: str | None
    first_day: str | None
    last_day: str | None
    entries: int
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True)
class TokenSummary:
    """An access token, and in words the servers that it posts logs of and what it reads."""

    name: str
    posts: str
    reads: str


@dataclass(frozen=True)
class Summary:
    """A store.

    Args:
        store: its label.
        secret: where its secret key lies.
        size: bytes on disk.
        schema: version of its schema.
        entries: log entries, and ``transfers``, ``clients`` and ``streams`` likewise.
        networks: networks of the registry.
        pruned_before: months before this day are pruned; None: none is.
        servers: all servers, by name.
        features: by name, what the engine runs on.
        tokens: the access tokens of the web service, by name.
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
    tokens: list[TokenSummary]


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
    """Return the summary of ``store``."""
    counts = store.ask(_COUNTS, []).to_pylist()[0]
    servers = [ServerSummary(**row) for row in store.ask(_SERVERS, []).to_pylist()]
    return Summary(
        store=store.label,
        secret=store.secret_place,
        size=store.size(),
        servers=servers,
        features=store.features(),
        tokens=[TokenSummary(token.name, token.posts, token.reads) for token in store.tokens()],
        **counts,
    )
