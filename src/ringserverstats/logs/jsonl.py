"""Transfer and access logs as JSON Lines: one object a line.

    {"log_time":"2026-11-24T09:37:35Z","log_start_time":"...","connect_time":"...",
     "client":{"ip":"...","hostname":"...","user_agent":"..."},"transfer_protocol":{"name":"..."},
     "transfer_direction":"TX","streams":[{"stream_id":"...","bytes":1,"packets":1}],
     "transfer_bytes":1}

Transfer logs since v4.3.0 (``UsageLogJSONLines``), access logs since v4.4.0 (``UsageLogAccess``).
Other keys are ignored, so later releases may add some.
"""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json

from ringserverstats.logs import reasons
from ringserverstats.logs.addresses import address
from ringserverstats.logs.batch import LARGEST_NUMBER, Batch, Ids, Int32s, Int64s, Peer, Reject
from ringserverstats.logs.constants import DIRECTIONS, PROTOCOLS
from ringserverstats.logs.entries import (
    ParsedEntries,
    ParseOptions,
    add_reasons,
    build_batch,
    unknown_peers,
)
from ringserverstats.logs.line_columns import (
    Bools,
    Bytes,
    fingerprints,
    line_ends,
    matches,
    seconds,
    unique_rows,
)

#: A line is a whole entry, and 100,000 streams of 100 bytes are 10 MB.
LONGEST_LINE = 16 << 20

#: How every object begins. In a text it would be escaped, so within a line it begins another one.
OBJECT = b'{"log_time":"'
_INNER_OBJECT = re.compile(rb"(?<=[^\n])" + re.escape(OBJECT))
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
_REQUIRED = (*_TIMES, "client", "transfer_direction", "streams", "transfer_bytes")


def parse(data: bytes, options: ParseOptions, *, line: int, last: bool) -> Batch:
    """Parse the lines of ``data``; arguments as in `formats.Parser`."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    data, is_unfinished = _whole_lines(data, last=last)
    line_begins, begins, ends = _records(data)
    numbers = line + np.searchsorted(line_begins, begins, side="right") - 1
    filled = np.flatnonzero(ends > begins)
    digest = fingerprints(data, begins, ends, options.key)
    table = _read(data, begins[filled], ends[filled])
    rejects: list[Reject] = []
    if table is None:
        filled, table, line_reasons = _read_one_by_one(data, begins, ends, filled)
        rejects = [
            Reject(int(numbers[number]), 1, reason, digest[number].tobytes())
            for number, reason in line_reasons.items()
        ]
    is_access = _is_access(table)
    rows = filled[~is_access]
    entries = _entries(_transfer_logs(table), digest[rows], numbers[rows], options.latest)
    batch = build_batch(entries)
    return replace(
        batch,
        rejects=sorted(rejects + batch.rejects, key=lambda reject: reject.line),
        incomplete=int(is_unfinished),
        incomplete_lines=int(is_unfinished),
        access=int(is_access.sum()),
        blank=int((ends == begins).sum()),
        lines=len(line_begins),
    )


def _records(data: bytes) -> tuple[Int64s, Int64s, Int64s]:
    """Return where the lines of ``data`` begin, and where its records begin and end.

    A full disk or a power cut leaves a part of an object, or NUL bytes, before the next object on
    the same line. The part and the object are two records.
    """
    ends = line_ends(data)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])[:-1]
    if data.count(OBJECT) == data.count(b"\n" + OBJECT) + data.startswith(OBJECT):
        return begins, begins, ends
    objects = np.array([match.start() for match in _INNER_OBJECT.finditer(data)], np.int64)
    return begins, np.sort(np.append(begins, objects)), np.sort(np.append(ends, objects))


def _whole_lines(data: bytes, *, last: bool) -> tuple[bytes, bool]:
    """Return ``data`` ending with a line end, and whether an unfinished last line was removed."""
    if not data or data.endswith(b"\n"):
        return data, False
    if last:
        begin = data.rfind(b"\n") + 1
        if _loads(data[begin:]) is None and b"\0" not in data[begin:]:  # it may still be written
            return data[:begin], True
        data = data.removesuffix(b"\r")
    return data + b"\n", False


def _read(data: bytes, begins: Int64s, ends: Int64s) -> pa.Table | None:
    """Return the lines as a table of `_SCHEMA`; None if any line is invalid. The fast way."""
    values = np.frombuffer(data, np.uint8)
    if not len(begins):
        return _SCHEMA.empty_table()
    longest = int((ends - begins).max())
    is_object = (values[begins] == ord("{")) & (values[ends - 1] == ord("}"))
    if longest > LONGEST_LINE or not is_object.all():
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
    return table if _is_complete(_transfer_logs(table)) else None


def _transfer_logs(table: pa.Table) -> pa.Table:
    """Return the rows of ``table`` that are not of an access log."""
    is_access = _is_access(table)
    return table.filter(pa.array(~is_access)).combine_chunks() if is_access.any() else table


def _is_access(table: pa.Table) -> Bools:
    events = pc.and_(pc.is_valid(table["event"]), pc.is_null(table["transfer_direction"]))
    return np.asarray(events, np.bool_)


def _is_complete(table: pa.Table) -> bool:
    client = table["client"].combine_chunks()
    streams = table["streams"].combine_chunks().flatten()
    return not (
        any(table[name].null_count for name in _REQUIRED)
        or any(client.field(name).null_count for name in ("ip", "hostname"))
        or streams.null_count
        or any(streams.field(name).null_count for name in ("stream_id", "bytes", "packets"))
    )


def _read_one_by_one(
    data: bytes, begins: Int64s, ends: Int64s, filled: Int64s
) -> tuple[Int64s, pa.Table, dict[int, str]]:
    """Read data that holds at least one invalid line.

    Returns:
        The numbers of the valid lines, these as a table, and the reasons by invalid line.
    """
    rows: list[dict[str, Any]] = []
    valid: list[int] = []
    line_reasons: dict[int, str] = {}
    for number in filled.tolist():
        try:
            rows.append(_row(data[begins[number] : ends[number]]))
            valid.append(number)
        except ValueError as error:
            line_reasons[number] = str(error)
    return np.array(valid, np.int64), pa.Table.from_pylist(rows, _SCHEMA), line_reasons


def _row(raw: bytes) -> dict[str, Any]:
    """Return one line as a row of `_SCHEMA`.

    Raises:
        ValueError: the line is invalid; the message is the reason, without any of its text.
    """
    if len(raw) > LONGEST_LINE:
        raise ValueError(reasons.LONG_OBJECT)
    entry = _loads(raw)
    if not isinstance(entry, dict):
        raise ValueError(reasons.NO_OBJECT)
    if isinstance(entry.get("event"), str) and "transfer_direction" not in entry:
        return {"event": _bytes(entry["event"])}
    client = _required(entry, "client", dict)
    return {
        **{name: _bytes(_required(entry, name, str)) for name in _TIMES},
        "client": {
            "ip": _bytes(_required(client, "ip", str)),
            "hostname": _bytes(_required(client, "hostname", str)),
            "user_agent": _optional(client, "user_agent"),
        },
        "auth": {"username": _optional(entry.get("auth"), "username")},
        "transfer_protocol": {"name": _optional(entry.get("transfer_protocol"), "name")},
        "transfer_direction": _bytes(_required(entry, "transfer_direction", str)),
        "streams": [
            {
                "stream_id": _bytes(_required(stream, "stream_id", str)),
                "bytes": _amount(stream, "bytes"),
                "packets": _amount(stream, "packets"),
            }
            for stream in _required(entry, "streams", list)
        ],
        "transfer_bytes": _amount(entry, "transfer_bytes"),
    }


def _loads(raw: bytes) -> Any:
    """Return the JSON value of ``raw``; None if it is not JSON."""
    try:
        return json.loads(raw.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None


def _required(value: object, name: str, kind: type) -> Any:
    member = value.get(name) if isinstance(value, dict) else None
    if type(member) is not kind:
        raise ValueError(reasons.field_reason(name))
    return member


def _optional(value: object, name: str) -> bytes | None:
    member = value.get(name) if isinstance(value, dict) else None
    return _bytes(member) if isinstance(member, str) else None


def _amount(value: object, name: str) -> int:
    amount: int = _required(value, name, int)
    if amount < 0:
        raise ValueError(reasons.field_reason(name))
    if amount > LARGEST_NUMBER:
        raise ValueError(reasons.LARGE)
    return amount


def _bytes(value: str) -> bytes:
    # An unpaired surrogate escape (\ud800) is not UTF-8: it is kept readable.
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")


def _entries(table: pa.Table, digest: Ids, lines: Int64s, latest: int) -> ParsedEntries:
    """Return the rows of ``table`` as entries with their reasons of rejection."""
    lists = table["streams"].combine_chunks()
    streams = lists.flatten()
    names = streams.field("stream_id").dictionary_encode()
    peers, peer = _peers(table)
    directions = table["transfer_direction"].combine_chunks().dictionary_encode()
    codes = {name.encode(): code for code, name in enumerate(DIRECTIONS)}
    code_of = np.array([codes.get(raw, -1) for raw in directions.dictionary.to_pylist()], np.int8)
    direction = code_of[directions.indices.to_numpy()]
    times = {
        # A clock that was not set when the client connected: the day of the entry is known.
        name: _seconds(table[name].combine_chunks(), None if name == "connect_time" else latest)
        for name in _TIMES
    }
    is_dated = np.logical_and.reduce([is_valid for _, is_valid in times.values()])
    row_reasons: dict[int, str] = {}
    add_reasons(
        row_reasons,
        (unknown_peers(peers, peer), reasons.BAD_ADDRESS),
        (direction < 0, reasons.field_reason("transfer_direction")),
        (~is_dated, reasons.BAD_TIME),
    )
    return ParsedEntries(
        digest=digest,
        line=lines,
        lines=np.ones(len(table), np.int64),
        log_time=times["log_time"][0],
        connect_time=times["connect_time"][0],
        start_time=times["log_start_time"][0],
        direction=direction,
        peer=peer,
        transfers=np.asarray(pc.list_value_length(lists), np.int64),
        total=table["transfer_bytes"].to_numpy(),
        stream=names.indices.to_numpy(),
        bytes=streams.field("bytes").to_numpy(),
        packets=streams.field("packets").to_numpy(),
        peers=peers,
        streams=tuple(names.dictionary.to_pylist()),
        reasons=row_reasons,
    )


def _seconds(column: pa.BinaryArray, latest: int | None) -> tuple[Int64s, Bools]:
    """Return times like ``2026-11-24T09:37:35Z`` as seconds since 1970, and which are valid."""
    fits = np.asarray(pc.equal(pc.binary_length(column), len(_TIME)), np.bool_)
    buffer = column.filter(pa.array(fits)).buffers()[2]
    characters: Bytes = np.frombuffer(buffer, np.uint8) if buffer else np.zeros(0, np.uint8)
    characters = characters[: int(fits.sum()) * len(_TIME)].reshape(-1, len(_TIME))
    values, is_valid = np.zeros(len(column), np.int64), np.zeros(len(column), np.bool_)
    values[fits], is_date = seconds(characters[:, :19], latest=latest)
    is_valid[fits] = is_date & matches(characters, _TIME)
    return values, is_valid


def _peers(table: pa.Table) -> tuple[tuple[Peer | None, ...], Int32s]:
    """Return the unique clients of ``table``, and each row's index into them."""
    client = table["client"].combine_chunks()
    columns = [
        client.field("ip"),
        client.field("hostname"),
        client.field("user_agent"),
        table["auth"].combine_chunks().field("username"),
        table["transfer_protocol"].combine_chunks().field("name"),
    ]
    clients = pa.table(columns, names=[str(number) for number in range(len(columns))])
    first, index = unique_rows(
        [
            column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy()
            for column in clients.columns
        ]
    )
    unique = clients.take(pa.array(first)).to_pydict()
    return tuple(map(_peer, *unique.values())), index


def _peer(
    ip: bytes, host: bytes, agent: bytes | None, user: bytes | None, protocol: bytes | None
) -> Peer | None:
    try:
        client_address = address(ip)
    except ValueError:
        return None
    name = (protocol or b"").decode("ascii", "replace")
    return Peer(
        address=client_address,
        host=host.decode("utf-8", "backslashreplace"),
        protocol=name if name in PROTOCOLS else PROTOCOLS[0],
        agent=agent or b"",
        user=None if user is None else user.decode("utf-8", "backslashreplace"),
    )
