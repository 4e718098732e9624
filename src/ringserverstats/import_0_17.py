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
from ringserverstats.logs.batch import LARGEST_NUMBER, UNSPECIFIED, Batch, Ids, Int32s, Int64s, Peer
from ringserverstats.logs.constants import PROTOCOLS
from ringserverstats.logs.days import NO_HOUR, Days, local
from ringserverstats.store.base import Server, Store
from ringserverstats.store.imported_days import LOGGED

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
SELECT entry, sha256($1 || string_agg(text, chr(10) ORDER BY text)) AS id FROM rows
 GROUP BY entry ORDER BY entry
"""


@dataclass
class Imported017:
    """The result of an import, or what a dry run would import.

    Args:
        days: imported days.
        entries: imported entries.
        transfers: imported transfers.
        bytes: total of the imported transfers.
        known: entries that were imported before.
        repeated: rows of logs that release 0.17 was sent more than once.
        refused: rows of days of which logs were read.
        refused_days: number of these days.
        wrong: rows without a time or number of bytes.
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
    """Import the history of release 0.17 as that of ``server``.

    Days of which logs were read are left out. Imported days are complete, and entries of logs that
    are read later are not counted for them.

    Args:
        store: the store, in the database that has the table of 0.17.
        server: the server that wrote the logs.
        ipv6_prefix: bits of an IPv6 address that identify a client.
        rules: classify clients by host name and agent, as 0.17 kept no addresses.
        until: the last day to import.
        dry_run: change nothing.
        progress: called with the number of rows that are done, and of all.

    Raises:
        UsageError: the table of 0.17 does not exist.
        StoreError: the store cannot be used. Days that were imported before remain.
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
    result, refused, read = Imported017(), set[date](), 0
    result.wrong = _ask(store, _UNDATED)["rows"][0].as_py()
    for first, last, size in _pieces(counts, until):
        events = _events(store, server, first, last, result)
        day = pa.array(_days(events["time"].to_numpy(), server).astype("datetime64[D]"))
        closed = pc.is_in(day, value_set=pa.array(sorted(logged), pa.date32()))
        result.refused += pc.sum(closed).as_py() or 0
        refused |= set(pc.unique(day.filter(closed)).to_pylist())
        events = _without_large(events.filter(pc.invert(closed)), result)
        rows = _rows(events, enricher, opened.keys, server)
        if len(rows.entries):
            nothing = rows.entries.slice(0, 0)
            written = store.compare(rows, nothing) if dry_run else store.write(rows)
            result.days += len(rows.imported_days)
            result.entries += written.entries
            result.transfers += written.transfers
            result.bytes += written.bytes
            result.known += written.known
        read += size
        progress(read, sum(counts.values()))
    result.refused_days = len(refused)
    if not dry_run:
        store.refresh()
    return result


def _ask(store: Store, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
    """Run a query without time limit: the old table may be large, and without an index."""
    with store.reading() as ask:
        return ask(sql, parameters)


def _pieces(counts: dict[date, int], until: date | None) -> Iterator[tuple[date, date, int]]:
    """Yield consecutive days of the server with about `_ROWS` rows: first, last, number of rows.

    A day of the server may begin on the UTC day before, or end on the next one.
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


def _events(store: Store, server: Server, first: date, last: date, result: Imported017) -> pa.Table:
    """Return the rows of the old table of some days of the server, without repetitions."""
    begin, end = (
        datetime.combine(day, time(second=MIDNIGHT), server.zone).astimezone(UTC)
        for day in (first, last + _ONE_DAY)
    )
    span = [moment.replace(tzinfo=None).isoformat() for moment in (begin, end)]
    events = _ask(store, _EVENTS, span)
    counts = _counts(events["time"].to_numpy(), events["copies"].to_numpy())
    result.repeated += (pc.sum(events["copies"]).as_py() or 0) - int(counts.sum())
    events = events.take(pa.array(np.repeat(np.arange(len(events)), counts)))
    is_valid = pc.fill_null(pc.greater_equal(events["bytes"], 0), False)
    result.wrong += len(events) - (pc.sum(is_valid).as_py() or 0)
    return events.filter(is_valid)


def _counts(times: Int64s, copies: Int64s) -> Int64s:
    """Return how often each row counts that the table has ``copies`` times.

    A log that was sent again repeats all rows of a log time. Rows with still more copies are of
    several connections that took the same at the same time, and count for each.
    """
    if not len(times):
        return copies
    first = np.flatnonzero(np.r_[True, times[1:] != times[:-1]])
    sent = np.repeat(np.minimum.reduceat(copies, first), np.diff(np.r_[first, len(times)]))
    counts: Int64s = copies // sent
    return counts


def _days(times: Int64s, server: Server) -> Int64s:
    """Return the days of entries with the log times ``times``."""
    return (local(times, server.zone) - MIDNIGHT) // _DAY


def _rows(events: pa.Table, enricher: Enricher, keys: Keys, server: Server) -> Rows:
    """Return rows of the old table, of complete days, as rows of a store."""
    if not len(events):
        return Rows()
    batch = _batch(events, keys)
    day = _days(batch.log_time, server)
    dated = Days(day, np.full(len(batch), NO_HOUR, np.int8), 0, contradicts=False)
    rows = enricher.rows(batch, batch.digest, dated, server=server.number)
    days = [
        {"server": server.number, "day": day} for day in pc.unique(rows.entries["day"]).to_pylist()
    ]
    intervals = [
        {
            **key,
            "direction": "TX",
            "first_minute": 0,
            "last_minute": _WHOLE_DAY,
            "first_day": key["day"],
            "last_day": key["day"],
            "complete": True,
        }
        for key in days
    ]
    return replace(
        rows,
        log_intervals=pa.Table.from_pylist(intervals, LOG_INTERVALS),
        imported_days=pa.Table.from_pylist(days, IMPORTED),
    )


def _batch(events: pa.Table, keys: Keys) -> Batch:
    """Return ``events``, sorted by time, client and agent, as a batch of a log."""
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
        connect_time=times[first] // _DAY * _DAY,  # unknown: one connection a day
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
    """Return the client and agent of each row."""
    who = pc.binary_join_element_wise(events["client"], events["agent"], "\0")
    return who.combine_chunks().dictionary_encode()


def _entries(times: Int64s, peer: Int32s) -> tuple[Int64s, Int32s]:
    """Return the first row of each entry, and the entry of each row."""
    begins = np.r_[True, (times[1:] != times[:-1]) | (peer[1:] != peer[:-1])]
    return np.flatnonzero(begins), (np.cumsum(begins) - 1).astype(np.int32)


def _without_large(events: pa.Table, result: Imported017) -> pa.Table:
    """Remove entries whose total exceeds 63 bits."""
    if not len(events):
        return events
    first, entry = _entries(events["time"].to_numpy(), _peers(events).indices.to_numpy())
    amounts = events["bytes"].to_numpy()
    # A sum that goes beyond 63 bits is negative, as long as it does not go beyond 64.
    rough = np.add.reduceat(amounts.astype(np.float64), first)
    fits = ((rough < 1.5 * LARGEST_NUMBER) & (np.add.reduceat(amounts, first) >= 0))[entry]
    result.wrong += int((~fits).sum())
    return events.filter(pa.array(fits))


def _peer(text: str) -> Peer:
    """Return the peer of a host name and agent as 0.17 kept them."""
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
    """Return keyed digests of the rows of each entry."""
    texts = pc.binary_join_element_wise(
        events["time"].cast(pa.string()),
        events["client"],
        events["agent"],
        streams.cast(pa.string()),
        events["bytes"].cast(pa.string()),
        "\0",
    )
    with duckdb.connect() as connection:
        connection.register("rows", pa.table({"entry": entry, "text": texts}))
        digests = connection.sql(_IDS, params=[keys.entries.hex()]).to_arrow_table()["id"]
    halves = pc.utf8_slice_codeunits(digests, 0, 32).to_pylist()  # of 256 bits
    digits = bytes.fromhex("".join(halves))
    return np.frombuffer(digits, "V16")
