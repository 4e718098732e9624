"""Batches as the rows that a store keeps: ids instead of texts, days instead of times."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.enrich.agents import Agent, parse_agent
from ringserverstats.enrich.geoip import GeoIP, Location, locations_of
from ringserverstats.enrich.log_status import LOG_INTERVALS, REJECTS
from ringserverstats.enrich.pseudonyms import alias_of, number, pseudonym
from ringserverstats.enrich.rules import Kept, Rules, domain_of
from ringserverstats.enrich.sanitize import clean
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import DIRECTIONS, PROTOCOLS, Batch, Ids, Int32s, Int64s, Peer
from ringserverstats.logs.days import NO_HOUR, Days

_DAY = 86_400
_MOST_REMEMBERED = 50_000
_MOST_BYTES = 1 << 24  # of names of streams, which may be as long as a line
_MOST_CELLS = 1 << 25
_ROWS_OF_ENTRY = 10  # so that 200,000 clients fit into the 96 MB that DuckDB reads with
_GAMMA, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = pa.dictionary(pa.int8(), pa.string())

ENTRIES = pa.schema(
    [
        ("server", pa.int32()),
        ("log_day", pa.date32()),
        ("log_time", pa.timestamp("s")),
        ("entry", pa.uuid()),
        ("day", pa.date32()),
        ("hour", pa.int8()),
        ("direction", _WORD),
        ("protocol", _WORD),
        ("client_profile", pa.int64()),
        ("connection", pa.int64()),
        ("bytes", pa.int64()),
        ("packets", pa.int64()),
        ("transfers", pa.int32()),
        ("repeats", pa.bool_()),  # names a stream twice, as where two spellings of it are one
    ]
)
TRANSFERS = pa.schema(
    [("row", pa.int32()), ("stream", pa.int64()), ("bytes", pa.int64()), ("packets", pa.int64())]
)
STREAMS = pa.schema(
    [
        ("stream", pa.int64()),
        *(
            (name, pa.string())
            for name in ("name", "network", "station", "location", "channel", "type")
        ),
    ]
)
AGENTS = pa.schema([("agent", pa.int64()), ("name", pa.string()), ("family", pa.string())])
CLIENTS = pa.schema(
    [
        ("client", pa.int64()),
        ("pseudonym", pa.string()),
        ("address", pa.string()),
        ("host", pa.string()),
    ]
)
#: What is as true when it was read comes first; what the rules decide follows.
CLIENT_PROFILES = pa.schema(
    [
        ("client_profile", pa.int64()),
        ("client", pa.int64()),
        ("agent", pa.int64()),
        ("auth_user", pa.string()),
        ("direction", pa.string()),
        ("country", pa.string()),
        ("country_name", pa.string()),
        ("city", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("geohash", pa.string()),
        ("asn", pa.int64()),
        ("organisation", pa.string()),
        ("location_source", pa.string()),
        ("domain", pa.string()),
        ("matched_rules", pa.string()),
        ("class", pa.string()),
        ("institution", pa.string()),
        ("institution_source", pa.string()),
        ("month", pa.date32()),  # the only one that it is of, once that is pruned
    ]
)
#: Server and client of a connection, or of several.
Ends: TypeAlias = tuple[int | Int32s, int | Int64s]

#: The columns that an client_profile's id is made of.
AS_READ = tuple(CLIENT_PROFILES.names[1 : CLIENT_PROFILES.names.index("class")])

IMPORTED = pa.schema([("server", pa.int32()), ("day", pa.date32())])


@dataclass(frozen=True)
class Rows:
    """Tables of the schemas above. ``transfers.row`` is the row of its entry in ``entries``.

    ``log_intervals`` and ``rejects`` (schemas in ``notes``) tell of logs, not of the entries;
    ``imported_days`` are days whose entries are the history of another program: no others count then.
    """

    entries: pa.Table = field(default_factory=ENTRIES.empty_table)
    transfers: pa.Table = field(default_factory=TRANSFERS.empty_table)
    streams: pa.Table = field(default_factory=STREAMS.empty_table)
    agents: pa.Table = field(default_factory=AGENTS.empty_table)
    clients: pa.Table = field(default_factory=CLIENTS.empty_table)
    client_profiles: pa.Table = field(default_factory=CLIENT_PROFILES.empty_table)
    log_intervals: pa.Table = field(default_factory=LOG_INTERVALS.empty_table)
    rejects: pa.Table = field(default_factory=REJECTS.empty_table)
    imported_days: pa.Table = field(default_factory=IMPORTED.empty_table)

    @property
    def size(self) -> int:
        """How many rows a batch counts it as: one of many clients takes more memory to write."""
        return _ROWS_OF_ENTRY * len(self.entries) + len(self.transfers) + len(self.rejects)


def join(parts: list[Rows]) -> Rows:
    """All rows of ``parts``, which are not empty, in their order."""
    first = np.cumsum([0, *(len(part.entries) for part in parts)])
    transfers = [
        part.transfers.set_column(
            0,
            TRANSFERS.field(0),
            pa.array(part.transfers["row"].to_numpy() + int(start), pa.int32()),
        )
        for part, start in zip(parts, first.tolist(), strict=False)
    ]
    return Rows(
        pa.concat_tables([part.entries for part in parts]),
        pa.concat_tables(transfers),
        *(
            pa.concat_tables([getattr(part, name) for part in parts])
            for name in (
                *(
                    "streams",
                    "agents",
                    "clients",
                    "client_profiles",
                    "log_intervals",
                    "rejects",
                    "imported_days",
                ),
            )
        ),
    )


@dataclass(frozen=True)
class _Profile:
    """What is kept of one `Peer`: the rows of the tables of these names."""

    client_profile: tuple[Any, ...]
    client: tuple[Any, ...]
    agent: tuple[Any, ...]


class Enricher:
    """Looks up each unique client, agent and stream once.

    Args:
        keys: the store's keys.
        ipv6_prefix: how many bits of an IPv6 address tell a client.
        keep_hosts: also keep addresses and host names in clear.
        geography: tells places; None: there are none.
        rules: tell classes and institutions.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        ipv6_prefix: int,
        keep_hosts: bool,
        geoip: GeoIP | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._keys = keys
        self._ipv6_prefix = ipv6_prefix
        self._keep_hosts = keep_hosts
        self._geography = geoip
        self._rules = (rules or Rules()).in_pseudonyms(keys.users)
        self._agent = lru_cache(_MOST_REMEMBERED)(self._new_agent)
        self._streams = STREAMS.empty_table()
        self._row_of: dict[bytes, int] = {}  # in `_streams`
        self._profiles: dict[tuple[Peer, str], _Profile] = {}

    def rows(self, batch: Batch, ids: Ids, days: Days, *, server: int) -> Rows:
        """The rows of ``batch``, of which ``ids`` and ``days`` tell each entry's id and day."""
        # Empty and rejected blocks tell of clients and streams too: they count nowhere.
        used = np.flatnonzero(_used(batch.stream, batch.streams))
        streams = self._streams_of([batch.streams[index] for index in used.tolist()])
        stream_ids = np.zeros(len(batch.streams), np.int64)
        stream_ids[used] = streams["stream"].to_numpy()
        ways = [(peer, direction) for peer in batch.peers for direction in DIRECTIONS]
        way = batch.peer * np.int32(len(DIRECTIONS)) + batch.direction
        client_profiles = self._profiles_of(
            [
                (peer, direction) if peer and used else None
                for (peer, direction), used in zip(ways, _used(way, ways), strict=True)
            ]
        )
        told = np.array(
            [(one.client_profile[0], one.client[0]) if one else (0, 0) for one in client_profiles],
            np.int64,
        ).reshape(-1, 2)[way]
        protocols = np.array(
            [PROTOCOLS.index(peer.protocol) if peer else 0 for peer in batch.peers], np.int8
        )
        unique = {one.client_profile[0]: one for one in client_profiles if one}.values()
        entries = pa.table(
            [
                np.full(len(batch), server, np.int32),
                pa.array((batch.log_time // _DAY).astype(np.int32)).cast(pa.date32()),
                pa.array(batch.log_time).cast(pa.timestamp("s")),
                _uuids(ids),
                pa.array(days.day.astype(np.int32)).cast(pa.date32()),
                pa.array(days.hour, mask=days.hour == NO_HOUR),
                pa.DictionaryArray.from_arrays(batch.direction, list(DIRECTIONS)),
                pa.DictionaryArray.from_arrays(protocols[batch.peer], list(PROTOCOLS)),
                told[:, 0],
                _connections(server, told[:, 1], batch.connect_time),
                batch.bytes,
                batch.packets,
                batch.transfers,
                _repeats(batch, stream_ids),
            ],
            schema=ENTRIES,
        )
        transfers = pa.table(
            [batch.entry, stream_ids[batch.stream], batch.stream_bytes, batch.stream_packets],
            schema=TRANSFERS,
        )
        return Rows(
            entries,
            transfers,
            streams,
            _table([one.agent for one in unique], AGENTS),
            _table([one.client for one in unique], CLIENTS),
            _table([one.client_profile for one in unique], CLIENT_PROFILES),
        )

    def _streams_of(self, raws: Sequence[bytes]) -> pa.Table:
        """The rows of the streams ``raws``, each of which is read once."""
        if len(self._streams) > _MOST_REMEMBERED or self._streams.nbytes > _MOST_BYTES:
            self._row_of.clear()
            self._streams = STREAMS.empty_table()
        new = [raw for raw in raws if raw not in self._row_of]
        if new:
            rows = _table([self._new_stream(raw) for raw in new], STREAMS)
            self._row_of |= {raw: row for row, raw in enumerate(new, len(self._streams))}
            self._streams = pa.concat_tables([self._streams, rows]).combine_chunks()
        return self._streams.take(pa.array([self._row_of[raw] for raw in raws], pa.int64()))

    def _profiles_of(self, ways: Sequence[tuple[Peer, str] | None]) -> list[_Profile | None]:
        """Of each way who reads so; places of all that are new are looked up at once."""
        if len(self._profiles) > _MOST_REMEMBERED:
            self._profiles.clear()
        new = [way for way in ways if way and way not in self._profiles]
        places = locations_of([peer.address for peer, _ in new], self._geography)
        for way, place in zip(new, places, strict=True):
            self._profiles[way] = self._new_profile(*way, place)
        return [self._profiles[way] if way else None for way in ways]

    def _new_profile(self, peer: Peer, direction: str, place: Location) -> _Profile:
        keys = self._keys
        who = peer.host if peer.address is None else peer.address
        alias = alias_of(who, keys.clients, ipv6_prefix=self._ipv6_prefix)
        client = number(alias)
        agent_number, agent = self._agent(peer.agent)
        user = None if peer.user is None else pseudonym(keys.users, peer.user)
        matched_rules = self._rules.matched_rules(peer.address, peer.host)
        domain = domain_of(peer.host, peer.address)
        kept = Kept(matched_rules, domain, agent.text, user, direction, place.organisation)
        as_read = (client, agent_number, user, direction, *place, domain, matched_rules)
        client_profile = client_profile_id(keys, as_read)
        address = str(peer.address) if self._keep_hosts and peer.address else None
        host = clean(peer.host.encode("utf-8", "replace")) if self._keep_hosts else None
        decided = (self._rules.class_of(kept), *self._rules.institution_of(kept))
        return _Profile(
            client_profile=(client_profile, *as_read, *decided, None),
            client=(client, alias, address, host),
            agent=(agent_number, agent.text, agent.family),
        )

    def _new_agent(self, raw: bytes) -> tuple[int, Agent]:
        agent = parse_agent(raw)
        return agent_id(self._keys, agent.text), agent

    def _new_stream(self, raw: bytes) -> tuple[object, ...]:
        stream = parse_stream(raw)
        codes = (stream.network, stream.station, stream.location, stream.channel)
        return stream_id(self._keys, stream.name), stream.name, *codes, stream.type


def _used(index: Int32s, values: Sequence[object]) -> npt.NDArray[np.bool_]:
    """Which of ``values`` stand in ``index``."""
    found: npt.NDArray[np.bool_] = np.bincount(index, minlength=len(values)) > 0
    return found


def _repeats(batch: Batch, stream_ids: Int64s) -> npt.NDArray[np.bool_]:
    """Which entries of ``batch`` name a stream twice."""
    unique, code = np.unique(stream_ids, return_inverse=True)
    repeats = np.zeros(len(batch), np.bool_)
    cells = len(batch) * len(unique)
    pairs = batch.entry * np.int64(len(unique)) + code[batch.stream]
    if cells <= _MOST_CELLS:  # ten times as fast as to sort
        told = np.zeros(cells, np.bool_)
        told[pairs] = True
        if np.count_nonzero(told) == len(pairs):
            return repeats
    pairs.sort()
    repeats[pairs[1:][pairs[1:] == pairs[:-1]] // len(unique)] = True
    return repeats


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)],
        schema=schema,
    )


def _uuids(ids: Ids) -> pa.Array:
    storage = pa.Array.from_buffers(
        pa.binary(16), len(ids), [None, pa.py_buffer(np.ascontiguousarray(ids))]
    )
    return pa.ExtensionArray.from_storage(pa.uuid(), storage)


def stream_id(keys: Keys, name: str) -> int:
    """The id of the stream called ``name``."""
    return _id(keys.names, b"stream", name)


def agent_id(keys: Keys, name: str) -> int:
    """The id of the agent called ``name``."""
    return _id(keys.names, b"agent", name)


def client_profile_id(keys: Keys, as_read: Sequence[object]) -> int:
    """The id of who reads: of the values of `AS_READ`.

    An client_profile that was read by a release that knew no places has neither these nor a direction.
    """
    client, agent, user, direction, *rest = as_read
    parts = struct.pack("<qq", client, agent).hex() + str(user or "")
    if direction is not None:
        parts += "\n".join(["", *["" if one is None else str(one) for one in (direction, *rest)]])
    return _id(keys.names, b"client_profile", parts)


def _id(key: bytes, kind: bytes, text: str) -> int:
    digest = blake2b(
        text.encode("utf-8", "backslashreplace"), key=key, digest_size=8, person=kind
    ).digest()
    return int.from_bytes(digest, "big", signed=True)


def _connections(server: int | Int32s, client: int | Int64s, connect_time: Int64s) -> Int64s:
    """Ids of (server, client, connect time): two rounds of the SplitMix64 finaliser.

    A client's id is 64 bits that nobody can choose, so nothing stronger is needed.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(_bits(client) + _bits(server))
        return _mix(mixed + connect_time.astype(np.uint64)).view(np.int64)


def moved_connections(connection: Int64s, before: Ends, after: Ends) -> Int64s:
    """What ids of connections between the ends ``before`` would be, had they been ``after``.

    The mixing can be undone, which gives the connect time that is kept nowhere else.
    """
    server, client = before
    with np.errstate(over="ignore"):
        started = _unmix(connection.view(np.uint64)) - _mix(_bits(client) + _bits(server))
        return _connections(*after, started.view(np.int64))


def _bits(numbers: int | Int32s | Int64s) -> npt.NDArray[np.uint64]:
    return np.atleast_1d(np.asarray(numbers, np.int64)).view(np.uint64)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = value + _GAMMA
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    return value ^ (value >> np.uint64(31))


def _unmix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """What `_mix` was given: its steps undone, the last one first."""
    value = value ^ (value >> np.uint64(31)) ^ (value >> np.uint64(62))
    value = value * np.uint64(pow(_SECOND, -1, 1 << 64))
    value = value ^ (value >> np.uint64(27)) ^ (value >> np.uint64(54))
    value = value * np.uint64(pow(_FIRST, -1, 1 << 64))
    value = value ^ (value >> np.uint64(30)) ^ (value >> np.uint64(60))
    return value - _GAMMA
