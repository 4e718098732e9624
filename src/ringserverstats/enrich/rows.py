"""Batches as rows of the store's tables: ids instead of texts, days instead of times."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from hashlib import blake2b
from typing import IO, Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.enrich.agents import UNSPECIFIED, Agent, parse_agent
from ringserverstats.enrich.geoip import GeoIP, Location, locations_of
from ringserverstats.enrich.log_status import LOG_INTERVALS, REJECTS
from ringserverstats.enrich.pseudonyms import client_pseudonym, number, pseudonym
from ringserverstats.enrich.rules import RuleInput, Rules, domain_of
from ringserverstats.enrich.sanitize import clean
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import Batch, Ids, Int32s, Int64s, Peer
from ringserverstats.logs.constants import DIRECTIONS, PROTOCOLS
from ringserverstats.logs.days import NO_HOUR, Days

_DAY = 86_400
_MOST_CACHED = 50_000
_MOST_BYTES = 1 << 24  # of stream names, which may be as long as a line
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
#: What held when the log was read comes first; what the rules decide follows.
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
        ("month", pa.date32()),  # of a pruned month: the only month with this profile
    ]
)
#: Server and client of one connection or of several.
Ends: TypeAlias = tuple[int | Int32s, int | Int64s]

#: The columns that the id of a client profile is computed from.
AS_READ = tuple(CLIENT_PROFILES.names[1 : CLIENT_PROFILES.names.index("class")])

IMPORTED = pa.schema([("server", pa.int32()), ("day", pa.date32())])


@dataclass(frozen=True)
class Rows:
    """Tables of the schemas above. ``transfers.row`` is the row of its entry in ``entries``.

    ``log_intervals`` and ``rejects`` (schemas in ``log_status``) describe logs, not entries.
    ``imported_days`` are days with the history of another program: no other entries count there.
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
        """Rows for the size of a batch; entries count more, as clients take memory to write."""
        return _ROWS_OF_ENTRY * len(self.entries) + len(self.transfers) + len(self.rejects)


def join(parts: list[Rows]) -> Rows:
    """Return all rows of ``parts``, which are not empty, in their order."""
    first = np.cumsum([0, *(len(part.entries) for part in parts)])
    transfers = [
        part.transfers.set_column(
            0,
            TRANSFERS.field(0),
            pa.array(part.transfers["row"].to_numpy() + int(start), pa.int32()),
        )
        for part, start in zip(parts, first.tolist(), strict=False)
    ]
    tables = {
        table.name: pa.concat_tables([getattr(part, table.name) for part in parts])
        for table in fields(Rows)
        if table.name != "transfers"
    }
    return Rows(transfers=pa.concat_tables(transfers), **tables)


def save(rows: Rows, file: IO[bytes]) -> None:
    """Write ``rows`` into ``file``, for `load`."""
    for field_ in fields(Rows):
        table = getattr(rows, field_.name)
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)


def load(file: IO[bytes]) -> Rows:
    """Return the rows that `save` wrote at the position of ``file``."""
    return Rows(**{field_.name: pa.ipc.open_stream(file).read_all() for field_ in fields(Rows)})


@dataclass(frozen=True)
class _Profile:
    """Rows of one client profile, in the tables of these names."""

    client_profile: tuple[Any, ...]
    client: tuple[Any, ...]
    agent: tuple[Any, ...]


@dataclass(frozen=True)
class EnrichOptions:
    """How clients are identified and described.

    Args:
        ipv6_prefix: bits of an IPv6 address that identify a client.
        keep_hosts: also store addresses and host names in clear text.
        geoip: looks up locations; None: they are unknown.
        rules: classify clients; None: all are external.
    """

    ipv6_prefix: int
    keep_hosts: bool = False
    geoip: GeoIP | None = None
    rules: Rules | None = None


class Enricher:
    """Turns batches into rows. Looks up each unique client, agent and stream once.

    Args:
        keys: the keys of the store.
        options: how clients are identified and described.
    """

    def __init__(self, keys: Keys, options: EnrichOptions) -> None:
        self._keys = keys
        self._options = options
        self._rules = (options.rules or Rules()).in_pseudonyms(keys.users)
        self._agent = lru_cache(_MOST_CACHED)(self._new_agent)
        self._streams = STREAMS.empty_table()
        self._row_of: dict[bytes, int] = {}  # in `_streams`
        self._profiles: dict[tuple[Peer, str], _Profile] = {}

    def rows(self, batch: Batch, ids: Ids, days: Days, *, server: int) -> Rows:
        """Return the rows of ``batch`` with the id and the day of each entry."""
        streams, stream_ids = self._streams_of(batch)
        profiles, profile = self._profiles_of(batch)
        profile_ids = np.array([row.client_profile[0] for row in profiles], np.int64)[profile]
        client_ids = np.array([row.client[0] for row in profiles], np.int64)[profile]
        protocols = [PROTOCOLS.index(peer.protocol) if peer else 0 for peer in batch.peers]
        protocol = np.array(protocols, np.int8)[batch.peer]
        entries = pa.table(
            [
                np.full(len(batch), server, np.int32),
                pa.array((batch.log_time // _DAY).astype(np.int32)).cast(pa.date32()),
                pa.array(batch.log_time).cast(pa.timestamp("s")),
                _uuids(ids),
                pa.array(days.day.astype(np.int32)).cast(pa.date32()),
                pa.array(days.hour, mask=days.hour == NO_HOUR),
                pa.DictionaryArray.from_arrays(batch.direction, list(DIRECTIONS)),
                pa.DictionaryArray.from_arrays(protocol, list(PROTOCOLS)),
                profile_ids,
                _connections(server, client_ids, batch.connect_time),
                batch.bytes,
                batch.packets,
                batch.transfers,
            ],
            schema=ENTRIES,
        )
        transfers = pa.table(
            [batch.entry, stream_ids, batch.stream_bytes, batch.stream_packets], schema=TRANSFERS
        )
        unique = {row.client_profile[0]: row for row in profiles}.values()
        return Rows(
            entries,
            transfers,
            streams,
            _table([row.agent for row in unique], AGENTS),
            _table([row.client for row in unique], CLIENTS),
            _table([row.client_profile for row in unique], CLIENT_PROFILES),
        )

    def _streams_of(self, batch: Batch) -> tuple[pa.Table, Int64s]:
        """Return the rows of the streams of ``batch``, and the stream id of each transfer."""
        # Streams of empty and rejected blocks only are left out.
        used = np.flatnonzero(np.bincount(batch.stream, minlength=len(batch.streams)))
        streams = self._stream_rows([batch.streams[index] for index in used.tolist()])
        ids = np.zeros(len(batch.streams), np.int64)
        ids[used] = streams["stream"].to_numpy()
        return streams, ids[batch.stream]

    def _stream_rows(self, raws: Sequence[bytes]) -> pa.Table:
        """Return the rows of the streams ``raws``, which are parsed once and cached."""
        if len(self._streams) > _MOST_CACHED or self._streams.nbytes > _MOST_BYTES:
            self._row_of.clear()
            self._streams = STREAMS.empty_table()
        new = [raw for raw in raws if raw not in self._row_of]
        if new:
            rows = _table([self._new_stream(raw) for raw in new], STREAMS)
            self._row_of |= {raw: row for row, raw in enumerate(new, len(self._streams))}
            self._streams = pa.concat_tables([self._streams, rows]).combine_chunks()
        return self._streams.take(pa.array([self._row_of[raw] for raw in raws], pa.int64()))

    def _profiles_of(self, batch: Batch) -> tuple[list[_Profile], Int64s]:
        """Return the client profiles of ``batch``, and each entry's index into them.

        There is a profile for each peer and direction that entries have; some may be equal.
        """
        code = batch.peer * np.int64(len(DIRECTIONS)) + batch.direction
        used = np.flatnonzero(np.bincount(code, minlength=0))
        numbers = [divmod(pair, len(DIRECTIONS)) for pair in used.tolist()]
        # An entry without a valid peer is rejected.
        pairs = [(cast(Peer, batch.peers[peer]), DIRECTIONS[way]) for peer, way in numbers]
        if len(self._profiles) > _MOST_CACHED:
            self._profiles.clear()
        new = [pair for pair in pairs if pair not in self._profiles]
        locations = locations_of([peer.address for peer, _ in new], self._options.geoip)
        for (peer, direction), location in zip(new, locations, strict=True):
            self._profiles[peer, direction] = self._new_profile(peer, direction, location)
        return [self._profiles[pair] for pair in pairs], np.searchsorted(used, code)

    def _new_profile(self, peer: Peer, direction: str, location: Location) -> _Profile:
        keys, keep_hosts = self._keys, self._options.keep_hosts
        client_text = client_pseudonym(
            peer.host if peer.address is None else peer.address,
            keys.clients,
            ipv6_prefix=self._options.ipv6_prefix,
        )
        client = number(client_text)
        agent_number, agent = self._agent(peer.agent)
        user = None if peer.user is None else pseudonym(keys.users, peer.user)
        matched_rules = self._rules.matched_rules(peer.address, peer.host)
        domain = domain_of(peer.host, peer.address)
        rule_input = RuleInput(
            matched_rules, domain, agent.text, user, direction, location.organisation
        )
        as_read = (client, agent_number, user, direction, *location, domain, matched_rules)
        decided = (self._rules.class_of(rule_input), *self._rules.institution_of(rule_input))
        address = str(peer.address) if keep_hosts and peer.address else None
        host = clean(peer.host.encode("utf-8", "replace")) if keep_hosts else None
        return _Profile(
            client_profile=(client_profile_id(keys, as_read), *as_read, *decided, None),
            client=(client, client_text, address, host),
            agent=(agent_number, agent.text, agent.family),
        )

    def _new_agent(self, raw: bytes) -> tuple[int, Agent]:
        agent = parse_agent(raw)
        return agent_id(self._keys, agent.text), agent

    def _new_stream(self, raw: bytes) -> tuple[object, ...]:
        stream = parse_stream(raw)
        codes = (stream.network, stream.station, stream.location, stream.channel)
        return stream_id(self._keys, stream.name), stream.name, *codes, stream.type


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
    """Return the id of the stream ``name``."""
    return _id(keys.names, b"stream", name)


def agent_id(keys: Keys, name: str) -> int:
    """Return the id of the agent ``name``."""
    # Its name when the first ids were made.
    return _id(keys.names, b"agent", "not told" if name == UNSPECIFIED else name)


def client_profile_id(keys: Keys, as_read: Sequence[object]) -> int:
    """Return the id of a client profile with the values of `AS_READ`.

    A profile from a release without locations has neither these nor a direction.
    """
    client, agent, user, direction, *rest = as_read
    parts = struct.pack("<qq", client, agent).hex() + str(user or "")
    if direction is not None:
        texts = ["" if value is None else str(value) for value in (direction, *rest)]
        parts += "\n".join(["", *texts])
    return _id(keys.names, b"origin", parts)  # its name when the first ids were made


def _id(key: bytes, kind: bytes, text: str) -> int:
    digest = blake2b(
        text.encode("utf-8", "backslashreplace"), key=key, digest_size=8, person=kind
    ).digest()
    return int.from_bytes(digest, "big", signed=True)


def _connections(server: int | Int32s, client: int | Int64s, connect_time: Int64s) -> Int64s:
    """Return ids of (server, client, connect time): two rounds of the SplitMix64 finaliser.

    Nothing stronger is needed, as a client's id is 64 bits that a client cannot choose.
    """
    with np.errstate(over="ignore"):
        mixed = _mix(_bits(client) + _bits(server))
        return _mix(mixed + connect_time.astype(np.uint64)).view(np.int64)


def moved_connections(connection: Int64s, before: Ends, after: Ends) -> Int64s:
    """Return the ids of connections whose server and client change from ``before`` to ``after``.

    Inverting the hash gives the connect time, which is stored nowhere else.
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
    """Invert `_mix`."""
    value = value ^ (value >> np.uint64(31)) ^ (value >> np.uint64(62))
    value = value * np.uint64(pow(_SECOND, -1, 1 << 64))
    value = value ^ (value >> np.uint64(27)) ^ (value >> np.uint64(54))
    value = value * np.uint64(pow(_FIRST, -1, 1 << 64))
    value = value ^ (value >> np.uint64(30)) ^ (value >> np.uint64(60))
    return value - _GAMMA
