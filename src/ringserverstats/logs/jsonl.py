"""Transfer and access logs as JSON Lines: one object a line.

    {"log_time":"2026-11-24T09:37:35Z","log_start_time":"...","connect_time":"...",
     "client":{"ip":"...","hostname":"...","user_agent":"..."},"transfer_protocol":{"name":"..."},
     "transfer_direction":"TX","streams":[{"stream_id":"...","bytes":1,"packets":1}],
     "transfer_bytes":1}

Transfer logs since v4.3.0 (``UsageLogJSONLines``), access logs since v4.4.0 (``UsageLogAccess``).
Keys that are not needed are ignored, so that later releases may add some.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from ringserverstats.logs import reasons
from ringserverstats.logs.addresses import address
from ringserverstats.logs.batch import (
    DIRECTIONS,
    LARGEST_NUMBER,
    MOST_STREAMS,
    PROTOCOLS,
    Batch,
    Ids,
    Int32s,
    Int64s,
    Peer,
    Reject,
)
from ringserverstats.logs.line_columns import (
    Bools,
    Bytes,
    fingerprints,
    line_ends,
    matches,
    overflows,
    seconds,
    sums,
    unique_rows,
)

#: A line is a whole entry, and 100,000 streams of 100 bytes are 10 MB.
LONGEST_LINE = 16 << 20

BROKEN = "line that is no JSON object"
TOO_LONG = "line over 16 MiB"

_TIMES = ("log_time", "log_start_time", "connect_time")
_TIME = b"0000-00-00T00:00:00Z"
_STREAM = pa.struct([("stream_id", pa.binary()), ("bytes", pa.uint64()), ("packets", pa.uint64())])
_CLIENT = pa.struct([("ip", pa.binary()), ("hostname", pa.binary()), ("user_agent", pa.binary())])
_SCHEMA = pa.schema(
    [
        *((name, pa.binary()) for name in _TIMES),
        ("client", _CLIENT),
        ("auth", pa.struct([("username", pa.binary())])),
        ("transfer_protocol", pa.struct([("name", pa.binary())])),
        ("transfer_direction", pa.binary()),
        ("event", pa.binary()),
        ("streams", pa.list_(_STREAM)),
        ("transfer_bytes", pa.uint64()),
    ]
)
_NEEDED = (*_TIMES, "client", "transfer_direction", "streams", "transfer_bytes")


def parse(data: bytes, *, line: int, last: bool, key: bytes, latest: int) -> Batch:
    """Read the lines of ``data``; arguments as those of `text.parse`."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    unfinished = b""
    if last and data and not data.endswith(b"\n"):
        cut = data.rfind(b"\n") + 1
        if _loads(data[cut:]) is None:  # it may still be written
            data, unfinished = data[:cut], data[cut:]
        else:
            data = data.removesuffix(b"\r")
    if data and not data.endswith(b"\n"):
        data += b"\n"
    ends = line_ends(data)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])[:-1]
    filled = np.flatnonzero(ends > begins)
    with ThreadPoolExecutor(1) as pool:  # hashing lets go of the interpreter
        digests = pool.submit(fingerprints, data, begins, ends, key)
        table = _read(data, begins[filled], ends[filled])
        digest = digests.result()
    rejects: list[Reject] = []
    if table is None:
        filled, table, bad = _read_one_by_one(data, begins, ends, filled)
        rejects = [
            Reject(line + number, 1, reason, digest[number].tobytes())
            for number, reason in bad.items()
        ]
    is_access = _is_access(table)
    numbers = filled[~is_access]
    batch = _batch(_entries(table), digest[numbers], line + numbers, latest)
    return Batch(
        **{
            **vars(batch),
            "rejects": sorted(rejects + batch.rejects, key=lambda reject: reject.line),
            "incomplete": 1 if unfinished else 0,
            "incomplete_lines": 1 if unfinished else 0,
            "access": int(is_access.sum()),
            "blank": int((ends == begins).sum()),
            "lines": len(ends),
        }
    )


def _read(data: bytes, begins: Int64s, ends: Int64s) -> pa.Table | None:
    """The fast way, which takes only data in which every line is as it should be."""
    values = np.frombuffer(data, np.uint8)
    if not len(begins):
        return _SCHEMA.empty_table()
    longest = int((ends - begins).max())
    whole = (values[begins] == ord("{")) & (values[ends - 1] == ord("}"))
    if longest > LONGEST_LINE or not whole.all():
        return None
    try:
        table = pa_json.read_json(
            pa.BufferReader(data),
            read_options=pa_json.ReadOptions(block_size=max(1 << 20, longest + 2)),
            parse_options=pa_json.ParseOptions(
                explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None
    if len(table) != len(begins):
        return None
    table = table.combine_chunks()
    return table if _is_complete(_entries(table)) else None


def _entries(table: pa.Table) -> pa.Table:
    """The rows of ``table`` that are no access log's."""
    is_access = _is_access(table)
    return table.filter(pa.array(~is_access)).combine_chunks() if is_access.any() else table


def _is_access(table: pa.Table) -> Bools:
    events = pc.and_(pc.is_valid(table["event"]), pc.is_null(table["transfer_direction"]))
    return np.asarray(events, np.bool_)


def _is_complete(table: pa.Table) -> bool:
    client = table["client"].combine_chunks()
    streams = table["streams"].combine_chunks().flatten()
    return not (
        any(table[name].null_count for name in _NEEDED)
        or any(client.field(name).null_count for name in ("ip", "hostname"))
        or streams.null_count
        or any(streams.field(name).null_count for name in ("stream_id", "bytes", "packets"))
    )


def _read_one_by_one(
    data: bytes, begins: Int64s, ends: Int64s, filled: Int64s
) -> tuple[Int64s, pa.Table, dict[int, str]]:
    """The careful way, for data with at least one bad line, which is told with its reason."""
    rows: list[dict[str, Any]] = []
    good: list[int] = []
    bad: dict[int, str] = {}
    for number in filled.tolist():
        try:
            rows.append(_row(data[begins[number] : ends[number]]))
            good.append(number)
        except ValueError as error:
            bad[number] = str(error)
    return np.array(good, np.int64), pa.Table.from_pylist(rows, _SCHEMA), bad


def _row(raw: bytes) -> dict[str, Any]:
    """One line as a row of `_SCHEMA`.

    Raises:
        ValueError: it is none; the message is the reason, without any of its text.
    """
    if len(raw) > LONGEST_LINE:
        raise ValueError(TOO_LONG)
    found = _loads(raw)
    if not isinstance(found, dict):
        raise ValueError(BROKEN)
    if isinstance(found.get("event"), str) and "transfer_direction" not in found:
        return {"event": _bytes(found["event"])}
    client = _needed(found, "client", dict)
    return {
        **{name: _bytes(_needed(found, name, str)) for name in _TIMES},
        "client": {
            "ip": _bytes(_needed(client, "ip", str)),
            "hostname": _bytes(_needed(client, "hostname", str)),
            "user_agent": _optional(client, "user_agent"),
        },
        "auth": {"username": _optional(found.get("auth"), "username")},
        "transfer_protocol": {"name": _optional(found.get("transfer_protocol"), "name")},
        "transfer_direction": _bytes(_needed(found, "transfer_direction", str)),
        "streams": [
            {
                "stream_id": _bytes(_needed(stream, "stream_id", str)),
                "bytes": _number(stream, "bytes"),
                "packets": _number(stream, "packets"),
            }
            for stream in _needed(found, "streams", list)
        ],
        "transfer_bytes": _number(found, "transfer_bytes"),
    }


def _loads(raw: bytes) -> Any:
    """What ``raw`` says in JSON; None where it is none."""
    try:
        return json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _needed(found: object, name: str, kind: type) -> Any:
    value = found.get(name) if isinstance(found, dict) else None
    if type(value) is not kind:
        raise ValueError(f"JSON object without a proper `{name}`")
    return value


def _optional(found: object, name: str) -> bytes | None:
    value = found.get(name) if isinstance(found, dict) else None
    return _bytes(value) if isinstance(value, str) else None


def _number(found: object, name: str) -> int:
    value: int = _needed(found, name, int)
    if value < 0:
        raise ValueError(f"JSON object without a proper `{name}`")
    if value > LARGEST_NUMBER:
        raise ValueError(reasons.LARGE)
    return value


def _bytes(value: str) -> bytes:
    # An unpaired surrogate escape (\ud800) is no UTF-8: kept readable.
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")


def _batch(table: pa.Table, digest: Ids, lines: Int64s, latest: int) -> Batch:
    """Check the rows of ``table`` and turn them into columns."""
    streams = table["streams"].combine_chunks()
    flat = streams.flatten()
    counts = np.asarray(pc.list_value_length(streams), np.int64)
    stream_bytes = flat.field("bytes").to_numpy()
    stream_packets = flat.field("packets").to_numpy()
    total = table["transfer_bytes"].to_numpy()
    found, packets = sums(stream_bytes, counts), sums(stream_packets, counts)
    times = {name: _seconds(table[name].combine_chunks(), latest) for name in _TIMES}
    dated = times["log_time"][1] & times["log_start_time"][1] & times["connect_time"][1]
    peers, peer = _peers(table)
    ways = table["transfer_direction"].combine_chunks().dictionary_encode()
    directions = [
        DIRECTIONS.index(way.decode("ascii", "replace"))
        if way.decode("ascii", "replace") in DIRECTIONS
        else -1
        for way in ways.dictionary.to_pylist()
    ]
    direction = np.array(directions, np.int8)[ways.indices.to_numpy()]
    large = overflows(stream_bytes, counts) | overflows(stream_packets, counts)
    large |= total > LARGEST_NUMBER
    if len(stream_bytes):
        over = (stream_bytes > LARGEST_NUMBER) | (stream_packets > LARGEST_NUMBER)
        large |= sums(over.astype(np.uint64), counts) > 0
    refused: dict[int, str] = {}
    for flags, reason in (
        (np.array([one is None for one in peers], np.bool_)[peer], reasons.BAD_ADDRESS),
        (direction < 0, "JSON object without a proper `transfer_direction`"),
        (~dated, reasons.BAD_TIME),
        (large, reasons.LARGE),
        (counts > MOST_STREAMS, reasons.TOO_MANY),
    ):
        for row in np.flatnonzero(flags).tolist():
            refused.setdefault(row, reason)
    for row in np.flatnonzero(found != total).tolist():
        refused.setdefault(row, reasons.total_reason(int(total[row]), int(found[row])))
    good = np.ones(len(table), np.bool_)
    good[list(refused)] = False
    keep = good & (counts > 0)
    rows = np.repeat(keep, counts)
    names = flat.field("stream_id").dictionary_encode()
    return Batch(
        digest=digest[keep],
        line=lines[keep],
        log_time=times["log_time"][0][keep],
        connect_time=times["connect_time"][0][keep],
        start_time=times["log_start_time"][0][keep],
        direction=direction[keep],
        peer=peer[keep],
        bytes=found[keep].astype(np.int64),
        packets=packets[keep].astype(np.int64),
        transfers=counts[keep].astype(np.int32),
        entry=np.repeat(np.cumsum(keep) - 1, counts)[rows].astype(np.int32),
        stream=names.indices.to_numpy()[rows],
        stream_bytes=stream_bytes[rows].astype(np.int64),
        stream_packets=stream_packets[rows].astype(np.int64),
        peers=peers,
        streams=tuple(names.dictionary.to_pylist()),
        rejects=[
            Reject(int(lines[row]), 1, reason, digest[row].tobytes())
            for row, reason in refused.items()
        ],
        empty=int((good & (counts == 0)).sum()),
    )


def _seconds(column: pa.BinaryArray, latest: int) -> tuple[Int64s, Bools]:
    """Times written as ``2026-11-24T09:37:35Z``, and which of them are dates."""
    fits = np.asarray(pc.equal(pc.binary_length(column), len(_TIME)), np.bool_)
    buffer = column.filter(pa.array(fits)).buffers()[2]
    written: Bytes = np.frombuffer(buffer, np.uint8) if buffer else np.zeros(0, np.uint8)
    written = written[: int(fits.sum()) * len(_TIME)].reshape(-1, len(_TIME))
    values, real = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    values[fits], dates = seconds(written[:, :19], latest=latest)
    real[fits] = dates & matches(written, _TIME)
    return values, real


def _peers(table: pa.Table) -> tuple[tuple[Peer | None, ...], Int32s]:
    """The unique clients of ``table``, and each row's index into them."""
    client = table["client"].combine_chunks()
    columns = [
        client.field("ip"),
        client.field("hostname"),
        client.field("user_agent"),
        table["auth"].combine_chunks().field("username"),
        table["transfer_protocol"].combine_chunks().field("name"),
    ]
    told = pa.table(columns, names=[str(number) for number in range(len(columns))])
    first, index = unique_rows(
        [
            column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
            for column in told.columns
        ]
    )
    unique = told.take(pa.array(first)).to_pydict()
    return tuple(map(_peer, *unique.values())), index


def _peer(
    ip: bytes, host: bytes, agent: bytes | None, user: bytes | None, protocol: bytes | None
) -> Peer | None:
    try:
        read = address(ip)
    except ValueError:
        return None
    name = (protocol or b"").decode("ascii", "replace")
    return Peer(
        address=read,
        host=host.decode("utf-8", "backslashreplace"),
        protocol=name if name in PROTOCOLS else PROTOCOLS[0],
        agent=agent or b"",
        user=None if user is None else user.decode("utf-8", "backslashreplace"),
    )
