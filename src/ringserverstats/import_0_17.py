"""The history of release 0.17, which kept a row for each stream of each block in PostgreSQL.

Such a row has the log time (UTC), bytes, the codes of the stream, the agent and the host name; no
packets, no address, no connect time. Rows of one time, agent and host are an entry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.log_status import LOG_INTERVALS
from ringserverstats.enrich.rows import IMPORTED, Enricher, EnrichOptions, Rows
from ringserverstats.enrich.rules import Rules
from ringserverstats.errors import UsageError
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import (
    LARGEST_NUMBER,
    PROTOCOLS,
    UNSPECIFIED,
    Batch,
    Ids,
    Int32s,
    Int64s,
    Peer,
)
from ringserverstats.logs.days import NO_HOUR, Days, local
from ringserverstats.store.base import Server, Store
from ringserverstats.store.batches import LOGGED

#: Where the table of 0.17 lies once the tables of this program are made.
TABLE = "ringserver_events_0_17"
#: Blocks that are logged so soon after midnight are of the day before.
MIDNIGHT = 10

_DAY = 86_400
_WHOLE_DAY = 1440
_ROWS = 200_000  # of the old table, that are read at once
_ONE_DAY = timedelta(days=1)
_EVENTS = f"""
SELECT extract(epoch FROM time::timestamptz)::bigint AS time, coalesce(client, '') AS client,
       coalesce(agent, '') AS agent, coalesce(network, '') AS network,
       coalesce(station, '') AS station, coalesce(location, '') AS location,
       coalesce(channel, '') AS channel, bytes::bigint AS bytes, count(*) AS copies
  FROM {TABLE} WHERE time >= $1::timestamp AND time < $2::timestamp
 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3
"""
_COUNTS = f"""
SELECT time::date AS day, count(*) AS rows FROM {TABLE} WHERE time IS NOT NULL GROUP BY 1 ORDER BY 1
"""
_UNDATED = f"SELECT count(*) AS rows FROM {TABLE} WHERE time IS NULL"
_TEMPORARY = "^([0-9XYZ][0-9A-Z])[0-9]{4}$"
_IDS = """
SELECT entry, sha256($1 || string_agg(told, chr(10) ORDER BY told)) AS id FROM rows
 GROUP BY entry ORDER BY entry
"""


@dataclass
class Imported017:
    """What one import did, or, tried only, would.

    ``known`` entries were imported before, ``repeated`` rows are of logs that were sent again,
    ``refused`` ones are of ``refused_days`` days of which logs were read, ``wrong`` ones have no
    time or number of bytes.
    """

    days: int = 0
    entries: int = 0
    transfers: int = 0
    bytes: int = 0
    known: int = 0
    repeated: int = 0
    refused: int = 0
    refused_days: int = 0
    wrong: int = 0


def import_0_17(
    store: Store,
    server: Server,
    *,
    ipv6_prefix: int,
    rules: Rules | None = None,
    until: date | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Imported017:
    """Bring the history of release 0.17 into ``store``, as that of ``server``.

    Days of which logs were read are left out; those that are brought in are covered from now on,
    and logs of them that are read later count nothing.

    Args:
        rules: tell classes and institutions by host names and agents; 0.17 kept no addresses.
        until: the last day.
        dry_run: only tell what would be done.
        progress: called with the rows done and to do.

    Raises:
        UsageError: there is no table of 0.17.
        StoreError: the store cannot be used. Days before these are in it, and stay so.
    """
    if not store.ask(f"SELECT to_regclass('{TABLE}')::text AS name", [])["name"][0].as_py():
        raise UsageError(
            f"there is no table {TABLE} in {store.label}: `ringserverstats migrate` keeps the "
            "table of release 0.17 under that name, in the database that it lies in"
        )
    opened = store.open(create=not dry_run)
    enricher = Enricher(opened.keys, EnrichOptions(ipv6_prefix, rules=rules))
    logged = set(_ask(store, LOGGED, [server.number])["day"].to_pylist())
    counts = {row["day"]: row["rows"] for row in _ask(store, _COUNTS).to_pylist()}
    found, refused, read = Imported017(), set[date](), 0
    found.wrong = _ask(store, _UNDATED)["rows"][0].as_py()
    for first, last, size in _pieces(counts, until):
        events = _events(store, server, first, last, found)
        day = pa.array(_days(events["time"].to_numpy(), server).astype("datetime64[D]"))
        closed = pc.is_in(day, value_set=pa.array(sorted(logged), pa.date32()))
        found.refused += pc.sum(closed).as_py() or 0
        refused |= set(pc.unique(day.filter(closed)).to_pylist())
        events = _without_large(events.filter(pc.invert(closed)), found)
        rows = _rows(events, enricher, opened.keys, server)
        if len(rows.entries):
            nothing = rows.entries.slice(0, 0)
            done = store.compare(rows, nothing) if dry_run else store.write(rows)
            found.days += len(rows.imported_days)
            found.entries += done.entries
            found.transfers += done.transfers
            found.bytes += done.bytes
            found.known += done.known
        read += size
        progress(read, sum(counts.values()))
    found.refused_days = len(refused)
    store.finish()
    return found


def _ask(store: Store, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
    """For as long as it takes: the old table may be large, and without an index."""
    with store.reading() as ask:
        return ask(sql, parameters)


def _pieces(counts: dict[date, int], until: date | None) -> Iterator[tuple[date, date, int]]:
    """Consecutive days of the server with some `_ROWS` rows, and how many these are.

    A day of the server may begin on the one before in UTC, or end on the next.
    """
    if not counts:
        return
    day, end = min(counts) - _ONE_DAY, max(counts) + _ONE_DAY
    end = min(end, until) if until else end
    first, size = day, 0
    while day <= end:
        size += counts.get(day, 0)
        if size >= _ROWS or day == end:
            yield first, day, size
            first, size = day + _ONE_DAY, 0
        day += _ONE_DAY


def _events(store: Store, server: Server, first: date, last: date, found: Imported017) -> pa.Table:
    """The rows of the old table of some days of the server, each once."""
    begin, end = (
        datetime.combine(day, time(second=MIDNIGHT), server.zone).astimezone(UTC)
        for day in (first, last + _ONE_DAY)
    )
    span = [moment.replace(tzinfo=None).isoformat() for moment in (begin, end)]
    events = _ask(store, _EVENTS, span)
    kept = _kept(events["time"].to_numpy(), events["copies"].to_numpy())
    found.repeated += (pc.sum(events["copies"]).as_py() or 0) - int(kept.sum())
    events = events.take(pa.array(np.repeat(np.arange(len(events)), kept)))
    right = pc.fill_null(pc.greater_equal(events["bytes"], 0), False)
    found.wrong += len(events) - (pc.sum(right).as_py() or 0)
    return events.filter(right)


def _kept(times: Int64s, copies: Int64s) -> Int64s:
    """How often each of the rows counts that stand there ``copies`` times.

    A log that was sent again repeats all rows of a log time. What stands there more often still is
    of connections that took the same in the same moment, and counts for each.
    """
    if not len(times):
        return copies
    first = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    sent = np.repeat(np.minimum.reduceat(copies, first), np.diff(np.r_[first, len(times)]))
    kept: Int64s = copies // sent
    return kept


def _days(times: Int64s, server: Server) -> Int64s:
    """The days of entries that were logged at ``times``."""
    return (local(times, server.zone) - MIDNIGHT) // _DAY


def _rows(events: pa.Table, enricher: Enricher, keys: Keys, server: Server) -> Rows:
    """Rows of the old table as those of a store, whole days of them."""
    if not len(events):
        return Rows()
    batch = _batch(events, keys)
    day = _days(batch.log_time, server)
    dated = Days(day, np.full(len(batch), NO_HOUR, np.int8), 0, contradicts=False)
    rows = enricher.rows(batch, batch.digest, dated, server=server.number)
    days = [
        {"server": server.number, "day": one} for one in pc.unique(rows.entries["day"]).to_pylist()
    ]
    covered = [
        {
            **one,
            "direction": "TX",
            "first_minute": 0,
            "last_minute": _WHOLE_DAY,
            "first_day": one["day"],
            "last_day": one["day"],
            "complete": True,
        }
        for one in days
    ]
    return replace(
        rows,
        log_intervals=pa.Table.from_pylist(covered, LOG_INTERVALS),
        imported_days=pa.Table.from_pylist(days, IMPORTED),
    )


def _batch(events: pa.Table, keys: Keys) -> Batch:
    """``events``, sorted by time, client and agent, as if they came from a log."""
    network = pc.replace_substring_regex(events["network"], _TEMPORARY, r"\1")
    codes = pc.binary_join_element_wise(
        network, events["station"], events["location"], events["channel"], "_"
    )
    streams = pc.binary_join_element_wise(codes, "MSEED", "/").combine_chunks().dictionary_encode()
    times = events["time"].to_numpy()
    peers = _peers(events)
    peer = peers.indices.to_numpy()
    first, entry = _entries(times, peer)
    amounts = events["bytes"].to_numpy()
    none = np.zeros(len(first), np.int64)
    return Batch(
        digest=_ids(events, streams, entry, keys),
        line=none,
        log_time=times[first],
        connect_time=times[first] // _DAY * _DAY,  # not told: one connection a day
        start_time=np.full(len(first), UNSPECIFIED),
        direction=np.zeros(len(first), np.int8),
        peer=peer[first].astype(np.int32),
        bytes=np.add.reduceat(amounts, first),
        packets=none,
        transfers=np.diff(np.r_[first, len(events)]).astype(np.int32),
        entry=entry,
        stream=streams.indices.to_numpy().astype(np.int32),
        stream_bytes=amounts,
        stream_packets=np.zeros(len(events), np.int64),
        peers=tuple(_peer(text) for text in peers.dictionary.to_pylist()),
        streams=tuple(text.encode() for text in streams.dictionary.to_pylist()),
    )


def _peers(events: pa.Table) -> pa.DictionaryArray:
    """Client and agent of each row."""
    who = pc.binary_join_element_wise(events["client"], events["agent"], "\0")
    return who.combine_chunks().dictionary_encode()


def _entries(times: Int64s, peer: Int32s) -> tuple[Int64s, Int32s]:
    """The first row of each entry, and the entry of each row."""
    begins = np.r_[True, (times[1:] != times[:-1]) | (peer[1:] != peer[:-1])]
    return np.flatnonzero(begins), (np.cumsum(begins) - 1).astype(np.int32)


def _without_large(events: pa.Table, found: Imported017) -> pa.Table:
    """Leave out entries that add up to more than an entry can have."""
    if not len(events):
        return events
    first, entry = _entries(events["time"].to_numpy(), _peers(events).indices.to_numpy())
    amounts = events["bytes"].to_numpy()
    # A sum that goes beyond 63 bits is negative, as long as it does not go beyond 64.
    rough = np.add.reduceat(amounts.astype(np.float64), first)
    kept = ((rough < 1.5 * LARGEST_NUMBER) & (np.add.reduceat(amounts, first) >= 0))[entry]
    found.wrong += int((~kept).sum())
    return events.filter(pa.array(kept))


def _peer(text: str) -> Peer:
    """Who a host name and an agent, as 0.17 kept them, stand for."""
    host, _, agent = text.partition("\0")
    protocol, bar, rest = agent.partition("|")
    if protocol not in PROTOCOLS or not bar:
        protocol, rest = PROTOCOLS[0], agent
    try:
        address = ip_address(host)
    except ValueError:
        return Peer(None, host, protocol, rest.encode())
    return Peer(address, host, protocol, rest.encode())


def _ids(events: pa.Table, streams: pa.DictionaryArray, entry: Int32s, keys: Keys) -> Ids:
    """Keyed digests of all that the rows of an entry tell."""
    told = pc.binary_join_element_wise(
        events["time"].cast(pa.string()),
        events["client"],
        events["agent"],
        streams.cast(pa.string()),
        events["bytes"].cast(pa.string()),
        "\0",
    )
    with duckdb.connect() as connection:
        connection.register("rows", pa.table({"entry": entry, "told": told}))
        found = connection.sql(_IDS, params=[keys.entries.hex()]).to_arrow_table()["id"]
    halves = pc.utf8_slice_codeunits(found, 0, 32).to_pylist()  # of 256 bits
    digits = bytes.fromhex("".join(halves))
    return np.frombuffer(digits, "V16")
