"""Transfer logs as text: what every release from v2012.125 on writes.

    START CLIENT host [2001:218::1] (DataLink|client id) @ <log time> (connected <connect time>) TX
    FDSN:FR_CIEL_00_H_H_Z/MSEED 45568 89
    END CLIENT host [2001:218::1] total TX bytes: 45568

Times are UTC, ``2018-03-30 07:00:05`` before v4.0.0 and ``2026-11-24T09:36:50Z`` since. A client
id is whatever the client sent, copies of the rest of the line included, so a header is read from
its end, which has a fixed length, and from its start; the id is what remains.
"""

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_address

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ringserverstats.logs.batch import (
    DIRECTIONS,
    LARGEST_NUMBER,
    MOST_STREAMS,
    NOT_TOLD,
    PROTOCOLS,
    Batch,
    Int8s,
    Int32s,
    Int64s,
    Peer,
    Reject,
)
from ringserverstats.logs.columns import (
    Bools,
    Bytes,
    fingerprints,
    gather,
    line_ends,
    matches,
    overflows,
    seconds,
    spans,
    sums,
)

LONGEST_LINE = 1 << 20

_START = b"START CLIENT "
_END = b"END CLIENT "
_TAILS = (
    b") @ 0000-00-00 00:00:00 (connected 0000-00-00 00:00:00) ",
    b") @ 0000-00-00T00:00:00Z (connected 0000-00-00T00:00:00Z) ",
)
_HEAD = re.compile(rb"START CLIENT (\S*) \[([^\]\s]+)\] \((\w*)\|?(.*)", re.DOTALL)
_FOOT = re.compile(rb"END CLIENT (\S*) \[([^\]\s]+)\] total (TX|RX) bytes: ", re.DOTALL)
_STREAM_LINE = r"^(?P<stream>[^ ]+) 0*(?P<bytes>[0-9]{1,19}) 0*(?P<packets>[0-9]{1,19})\n$"
_LARGE_NUMBERS = re.compile(rb"[^ ]+ [0-9]+ [0-9]+\n")
# What the CSV reader would take for a number, a line end or a blank although it is none. Bytes that
# do not stand in the text are found so much faster that they are looked for first.
_MISREAD = ((b"\t", b"\t"), (b"x", b" 0x"), (b"X", b" 0X"), (b"\r", b"\r"))

NO_END = "block with no END before the next START"
NO_START = "line outside of a block"
BAD_LINE = "line inside a block that is no `stream bytes packets`"
LARGE = "number over 2^63-1"
BAD_HEAD = "START line that cannot be read"
BAD_FOOT = "END line that cannot be read"
OTHER_FOOT = "END line of another client or direction than its START"
BAD_TIME = "time that is no date between 2000 and the day after tomorrow"
BAD_ADDRESS = "address that is no IP address"
TOO_LONG = "line over 1 MiB"
TOO_MANY = f"entry of over {MOST_STREAMS} streams"


def total_reason(total: int, found: int) -> str:
    """Why an entry whose checksum fails is left out."""
    return f"total is {total} but the lines add up to {found} (entry rejected, none of it counted)"


@dataclass(frozen=True)
class _Heads:
    """START lines: ``peer`` is each one's index into ``peers`` and ``names`` (host and address)."""

    peers: tuple[Peer | None, ...]
    names: list[bytes]
    peer: Int32s
    direction: Int8s
    log_time: Int64s
    connect_time: Int64s
    readable: Bools
    dated: Bools


@dataclass(frozen=True)
class _Feet:
    """END lines: ``name`` is each one's index into ``names``, ``readable``, ``direction``."""

    names: list[bytes]
    name: Int32s
    readable: Bools
    direction: Int8s
    total: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class _Bodies:
    """Transfer lines; ``bad`` tells the rows that could not be read, with the reason."""

    streams: tuple[bytes, ...]
    stream: Int32s
    bytes: npt.NDArray[np.uint64]
    packets: npt.NDArray[np.uint64]
    bad: dict[int, str]


def parse(data: bytes, *, line: int, last: bool, key: bytes, latest: int) -> Batch:
    """Read the blocks of ``data``, whose first line has the number ``line``.

    Args:
        last: the input ends here, so that an unfinished block is incomplete, not broken.
        key: the key of the digests.
        latest: the last second that a time may have.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    batch = _parse(data, line=line, last=last, key=key, latest=latest)
    cuts, rows = _glued(data) if batch.rejects else ([], [])
    if not cuts:
        return batch
    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(data)])]
    apart = _parse(b"\n".join(pieces), line=line, last=last, key=key, latest=latest)
    # The n-th line break was put in behind n others.
    return _as_glued(apart, np.array([line + row + n for n, row in enumerate(rows)]), line)


def _glued(data: bytes) -> tuple[list[int], list[int]]:
    """Where a START stands behind a line that a full disk or a crash cut short.

    Returns:
        The offset of each, and the row of its line.
    """
    starts = np.array([match.start() for match in re.finditer(_START, data)], np.int64)
    ends = line_ends(data)
    rows, first = np.unique(np.searchsorted(ends, starts), return_index=True)
    is_behind = starts[first] > np.concatenate([np.zeros(1, np.int64), ends + 1])[rows]
    return starts[first][is_behind].tolist(), rows[is_behind].tolist()


def _as_glued(batch: Batch, breaks: Int64s, line: int) -> Batch:
    """``batch`` with the line numbers that hold without the line breaks behind ``breaks``."""

    def number(found: int) -> int:
        return found - int(np.searchsorted(breaks, found))

    rejects = []
    for reject in batch.rejects:
        first, final = number(reject.line), number(reject.line + reject.lines - 1)
        rejects.append(Reject(first, final - first + 1, reject.reason))
    lines = number(line + batch.lines) - line
    return replace(
        batch,
        line=batch.line - np.searchsorted(breaks, batch.line),
        rejects=rejects,
        lines=lines,
        incomplete_lines=batch.lines + batch.incomplete_lines - len(breaks) - lines,
    )


def _parse(data: bytes, *, line: int, last: bool, key: bytes, latest: int) -> Batch:
    unfinished = b""
    if last:
        cut = _finished(data, key=key, latest=latest)
        data, unfinished = data[:cut], data[cut:]
    if data and not data.endswith(b"\n"):
        data = data.removesuffix(b"\r") + b"\n"
    ends = line_ends(data)
    bounds = np.concatenate([np.zeros(1, np.int64), ends + 1])
    leading = np.frombuffer(data, np.uint8)[bounds[:-1]]
    first, final = _blocks(data, bounds, leading)
    is_plain = not (leading == ord(" ")).any() and not any(
        byte in data and sign in data for byte, sign in _MISREAD
    )
    with ThreadPoolExecutor(1) as pool:  # hashing lets go of the interpreter
        digests = pool.submit(fingerprints, data, bounds[first], bounds[final + 1], key)
        heads = _heads(data, bounds[first], ends[first], latest)
        feet = _feet(data, bounds[final], ends[final])
        counts = final - first - 1
        bodies = _bodies(data, bounds[first + 1], bounds[final], counts.sum(), is_plain=is_plain)
        digest = digests.result()

    found = sums(bodies.bytes, counts)
    packets = sums(bodies.packets, counts)
    refused = _refused(heads, feet, bodies, counts, found)
    long_lines = np.flatnonzero(np.diff(bounds) > LONGEST_LINE)
    owners = np.searchsorted(first, long_lines, side="right") - 1
    for row, block in zip(long_lines.tolist(), owners.tolist(), strict=True):
        if block >= 0 and row <= final[block]:
            refused[block] = TOO_LONG
    good = np.ones(len(first), np.bool_)
    good[list(refused)] = False
    rejects, blank = _strays(bounds, first, final, data, line)
    rejects += [
        Reject(line + int(first[block]), int(counts[block]) + 2, reason)
        for block, reason in refused.items()
    ]
    keep = good & (counts > 0)
    rows = np.repeat(keep, counts)
    number_of_entry = np.cumsum(keep) - 1
    return Batch(
        digest=digest[keep],
        line=line + first[keep],
        log_time=heads.log_time[keep],
        connect_time=heads.connect_time[keep],
        start_time=np.full(int(keep.sum()), NOT_TOLD),
        direction=heads.direction[keep],
        peer=heads.peer[keep],
        bytes=found[keep].astype(np.int64),
        packets=packets[keep].astype(np.int64),
        transfers=counts[keep].astype(np.int32),
        entry=np.repeat(number_of_entry, counts)[rows].astype(np.int32),
        stream=bodies.stream[rows],
        stream_bytes=bodies.bytes[rows].astype(np.int64),
        stream_packets=bodies.packets[rows].astype(np.int64),
        peers=heads.peers,
        streams=bodies.streams,
        rejects=sorted(rejects, key=lambda reject: reject.line),
        empty=int((good & (counts == 0)).sum()),
        incomplete=1 if unfinished else 0,
        incomplete_lines=unfinished.count(b"\n") + (unfinished[-1:] not in (b"", b"\n")),
        blank=blank,
        lines=len(ends),
    )


def _finished(data: bytes, *, key: bytes, latest: int) -> int:
    """How far the end of an input is whole; what follows may still be written."""
    tail = data[data.rfind(b"\n") + 1 :]
    block = data.rfind(b"\n" + _START) + 1
    is_block = data.startswith(_START, block)
    end = data.find(b"\n" + _END, block)
    if is_block and end < 0:
        return block
    if tail and _START.startswith(tail):
        return len(data) - len(tail)
    if is_block and data.find(b"\n", end + 1) < 0:
        # END without a line end: the total tells whether its last digits are there.
        trial = _parse(data[block:] + b"\n", line=1, last=False, key=key, latest=latest)
        return block if trial.rejects else len(data)
    return len(data)


def _blocks(data: bytes, bounds: Int64s, leading: Bytes) -> tuple[Int64s, Int64s]:
    """The line numbers of each START that an END follows before another START, and of that END.

    ``leading`` is the first byte of each line.
    """
    candidates = np.flatnonzero((leading == ord("S")) | (leading == ord("E")))
    texts = spans(data, bounds[candidates], bounds[candidates + 1])
    is_start = np.asarray(pc.starts_with(texts, _START), np.bool_)
    marker = is_start | np.asarray(pc.starts_with(texts, _END), np.bool_)
    lines, is_start = candidates[marker], is_start[marker]
    whole = np.flatnonzero(is_start[:-1] & ~is_start[1:])
    return lines[whole], lines[whole + 1]


def _strays(
    bounds: Int64s, first: Int64s, final: Int64s, data: bytes, line: int
) -> tuple[list[Reject], int]:
    """Rejects for the lines between blocks, and the number of blank lines there."""
    lengths = np.diff(bounds)
    begins = np.concatenate([np.zeros(1, np.int64), final + 1])
    ends = np.concatenate([first, np.array([len(lengths)])])
    blanks = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths == 1)])
    blank_lines = blanks[ends] - blanks[begins]
    rejects: list[Reject] = []
    for begin, end in zip(
        begins[ends - begins > blank_lines].tolist(),
        ends[ends - begins > blank_lines].tolist(),
        strict=True,
    ):
        opening = {
            number for number in range(begin, end) if data.startswith(_START, bounds[number])
        }
        cuts = sorted({begin, *opening, end})
        for low, high in itertools.pairwise(cuts):
            reason = NO_END if low in opening else NO_START
            if (lengths[low:high] > LONGEST_LINE).any():
                reason = TOO_LONG
            rejects.append(Reject(line + low, high - low, reason))
    return rejects, int(blank_lines[ends - begins == blank_lines].sum())


def _heads(data: bytes, begins: Int64s, ends: Int64s, latest: int) -> _Heads:
    """Read the START lines from ``begins`` to ``ends``."""
    count = len(begins)
    readable, dated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    log_time, connect_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
    peer_end = begins.copy()
    for tail in _TAILS:
        start = ends - len(tail) - 2
        rows = np.flatnonzero(start >= begins + len(_START))
        rows = rows[matches(gather(data, start[rows], len(tail)), tail)]
        for times, position in (
            (log_time, tail.index(b"0000")),
            (connect_time, tail.rindex(b"0000")),
        ):
            times[rows], real = seconds(gather(data, start[rows] + position, 19), latest=latest)
            dated[rows] = real if times is log_time else dated[rows] & real
        readable[rows] = True
        peer_end[rows] = start[rows]
    ways = gather(data, ends - 2, 2)
    readable &= np.isin(ways[:, 0], (ord("T"), ord("R"))) & (ways[:, 1] == ord("X"))
    texts = spans(data, begins, peer_end).dictionary_encode()
    matched = [_HEAD.fullmatch(text) for text in texts.dictionary.to_pylist()]
    peer = texts.indices.to_numpy().astype(np.int32)
    readable &= np.array([match is not None for match in matched], np.bool_)[peer]
    return _Heads(
        peers=tuple(match and _peer(match) for match in matched),
        names=[match[1] + b" " + match[2] if match else b"" for match in matched],
        peer=peer,
        direction=(ways[:, 0] == ord("R")).astype(np.int8),
        log_time=log_time,
        connect_time=connect_time,
        readable=readable,
        dated=dated,
    )


def _peer(match: re.Match[bytes]) -> Peer | None:
    try:
        address = ip_address(match[2].decode("ascii", "replace"))
    except ValueError:
        return None
    mode = match[3].decode("ascii", "replace")
    return Peer(
        address=address,
        host=match[1].decode("utf-8", "backslashreplace"),
        protocol=mode if mode in PROTOCOLS else PROTOCOLS[0],
        agent=match[4],
    )


def _feet(data: bytes, begins: Int64s, ends: Int64s) -> _Feet:
    """Read the END lines from ``begins`` to ``ends``."""
    width = 20  # digits of 2^64
    digits = gather(data, ends - width, width) - np.uint8(ord("0"))
    digits = digits[:, ::-1]
    trailing = np.logical_and.accumulate(digits < 10, axis=1)
    total = np.zeros(len(begins), np.uint64)
    for place in range(width - 1):
        total += np.where(trailing[:, place], digits[:, place], 0) * np.uint64(10**place)
    total[trailing[:, -1]] = np.iinfo(np.uint64).max
    texts = spans(data, begins, ends - trailing.sum(axis=1)).dictionary_encode()
    matched = [_FOOT.fullmatch(text) for text in texts.dictionary.to_pylist()]
    return _Feet(
        names=[match[1] + b" " + match[2] if match else b"" for match in matched],
        name=texts.indices.to_numpy().astype(np.int32),
        readable=np.array([match is not None for match in matched], np.bool_),
        direction=np.array(
            [DIRECTIONS.index(match[3].decode()) if match else -1 for match in matched], np.int8
        ),
        total=total,
    )


def _bodies(data: bytes, begins: Int64s, ends: Int64s, rows: int, *, is_plain: bool) -> _Bodies:
    """Read the lines ``stream bytes packets`` between ``begins`` and ``ends``.

    ``is_plain``: nothing in there is such that the fast reader would take it for something else.
    """
    if not rows:
        none = np.zeros(0, np.uint64)
        return _Bodies((), np.zeros(0, np.int32), none, none, {})
    text = spans(data, begins, ends).buffers()[2]
    bad: dict[int, str] = {}
    table = _read_csv(text) if is_plain else None
    if table is None or len(table) != rows:
        # A lone carriage return is shown escaped like any control character.
        table, bad = _read_lines(text.to_pybytes().replace(b"\r", b"\x0b"))
    streams = table["stream"].combine_chunks()
    if not pa.types.is_dictionary(streams.type):
        streams = streams.dictionary_encode()
    return _Bodies(
        streams=tuple(streams.dictionary.to_pylist()),
        stream=streams.indices.to_numpy(),
        bytes=table["bytes"].to_numpy(),
        packets=table["packets"].to_numpy(),
        bad=bad,
    )


def _read_csv(text: pa.Buffer) -> pa.Table | None:
    """The fast way, which takes only text in which every line is as it should be."""
    try:
        return pa_csv.read_csv(
            pa.BufferReader(text),
            read_options=pa_csv.ReadOptions(
                column_names=["stream", "bytes", "packets"], block_size=4 << 20
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=" ",
                quote_char=False,
                ignore_empty_lines=False,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types={
                    "stream": pa.dictionary(pa.int32(), pa.binary()),
                    "bytes": pa.uint64(),
                    "packets": pa.uint64(),
                },
                null_values=[],
                check_utf8=False,
            ),
        ).unify_dictionaries()
    except pa.ArrowInvalid:
        return None


def _read_lines(text: bytes) -> tuple[pa.Table, dict[int, str]]:
    """The careful way: bad lines become zeros, told with their reason by row."""
    ends = line_ends(text)
    lines = spans(text, np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]), ends + 1)
    fields = pc.extract_regex(lines, _STREAM_LINE)
    wrong = np.asarray(pc.is_null(fields), np.bool_)
    bad = {
        row: LARGE if _LARGE_NUMBERS.fullmatch(lines[row].as_py()) else BAD_LINE
        for row in np.flatnonzero(wrong).tolist()
    }
    columns = {"stream": pc.fill_null(pc.struct_field(fields, "stream"), b"")}
    for name in ("bytes", "packets"):
        digits = pc.fill_null(pc.struct_field(fields, name), b"0")
        columns[name] = digits.cast(pa.string()).cast(pa.uint64())
    return pa.table(columns), bad


def _refused(
    heads: _Heads, feet: _Feet, bodies: _Bodies, counts: Int64s, found: npt.NDArray[np.uint64]
) -> dict[int, str]:
    """Which blocks are rejected, with the first reason that fits."""
    unaddressed = np.array([peer is None for peer in heads.peers], np.bool_)
    codes = {name: code for code, name in enumerate(heads.names)}
    foot_codes = np.array([codes.get(name, -1) for name in feet.names], np.int64)
    head_codes = np.array([codes[name] for name in heads.names], np.int64)
    differs = foot_codes[feet.name] != head_codes[heads.peer]
    differs |= feet.direction[feet.name] != heads.direction
    large = overflows(bodies.bytes, counts) | overflows(bodies.packets, counts)
    if len(bodies.bytes):
        over = (bodies.bytes > LARGEST_NUMBER) | (bodies.packets > LARGEST_NUMBER)
        large |= sums(over.astype(np.uint64), counts) > 0
    reasons = dict[int, str]()
    last_rows = np.cumsum(counts)
    for row, reason in bodies.bad.items():
        block = int(np.searchsorted(last_rows, row, side="right"))
        reasons.setdefault(block, reason)
    for flags, reason in (
        (~heads.readable, BAD_HEAD),
        (unaddressed[heads.peer], BAD_ADDRESS),
        (~heads.dated, BAD_TIME),
        (~feet.readable[feet.name], BAD_FOOT),
        (differs, OTHER_FOOT),
        (large | (feet.total > LARGEST_NUMBER), LARGE),
        (counts > MOST_STREAMS, TOO_MANY),
    ):
        for block in np.flatnonzero(flags).tolist():
            reasons.setdefault(block, reason)
    for block in np.flatnonzero(found != feet.total).tolist():
        reasons.setdefault(block, total_reason(int(feet.total[block]), int(found[block])))
    return reasons
