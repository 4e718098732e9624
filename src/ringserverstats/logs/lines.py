"""The lines of a text log's blocks as columns: START lines, END lines, transfers between them."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ringserverstats.logs.addresses import address
from ringserverstats.logs.batch import (
    DIRECTIONS,
    PROTOCOLS,
    Int8s,
    Int32s,
    Int64s,
    Peer,
)
from ringserverstats.logs.line_columns import (
    Bools,
    gather,
    line_ends,
    matches,
    seconds,
    spans,
)
from ringserverstats.logs.reasons import BAD_LINE, LARGE

START = b"START CLIENT "
END = b"END CLIENT "
_TAILS = (
    b") @ 0000-00-00 00:00:00 (connected 0000-00-00 00:00:00) ",
    b") @ 0000-00-00T00:00:00Z (connected 0000-00-00T00:00:00Z) ",
)
_HEAD = re.compile(rb"START CLIENT (\S*) \[([^\]\s]+)\] \((\w*)\|?(.*)", re.DOTALL)
_FOOT = re.compile(rb"END CLIENT (\S*) \[([^\]\s]+)\] total (TX|RX) bytes: ", re.DOTALL)
_STREAM_LINE = r"^(?P<stream>[^ ]+) 0*(?P<bytes>[0-9]{1,19}) 0*(?P<packets>[0-9]{1,19})\n$"
_LARGE_NUMBERS = re.compile(rb"[^ ]+ [0-9]+ [0-9]+\n")


@dataclass(frozen=True)
class StartLines:
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
class EndLines:
    """END lines: ``name`` is each one's index into ``names``, ``readable``, ``direction``."""

    names: list[bytes]
    name: Int32s
    readable: Bools
    direction: Int8s
    total: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class TransferLines:
    """Transfer lines; ``bad`` tells the rows that could not be read, with the reason."""

    streams: tuple[bytes, ...]
    stream: Int32s
    bytes: npt.NDArray[np.uint64]
    packets: npt.NDArray[np.uint64]
    bad: dict[int, str]


def read_start_lines(data: bytes, begins: Int64s, ends: Int64s, latest: int) -> StartLines:
    """Read the START lines from ``begins`` to ``ends``."""
    count = len(begins)
    readable, dated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    log_time, connect_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
    peer_end = begins.copy()
    for tail in _TAILS:
        start = ends - len(tail) - 2
        rows = np.flatnonzero(start >= begins + len(START))
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
    return StartLines(
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
        read = address(match[2])
    except ValueError:
        return None
    mode = match[3].decode("ascii", "replace")
    return Peer(
        address=read,
        host=match[1].decode("utf-8", "backslashreplace"),
        protocol=mode if mode in PROTOCOLS else PROTOCOLS[0],
        agent=match[4],
    )


def read_end_lines(data: bytes, begins: Int64s, ends: Int64s) -> EndLines:
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
    return EndLines(
        names=[match[1] + b" " + match[2] if match else b"" for match in matched],
        name=texts.indices.to_numpy().astype(np.int32),
        readable=np.array([match is not None for match in matched], np.bool_),
        direction=np.array(
            [DIRECTIONS.index(match[3].decode()) if match else -1 for match in matched], np.int8
        ),
        total=total,
    )


def read_transfer_lines(
    data: bytes, begins: Int64s, ends: Int64s, rows: int, *, is_plain: bool
) -> TransferLines:
    """Read the lines ``stream bytes packets`` between ``begins`` and ``ends``.

    ``is_plain``: nothing in there is such that the fast reader would take it for something else.
    """
    if not rows:
        none = np.zeros(0, np.uint64)
        return TransferLines((), np.zeros(0, np.int32), none, none, {})
    text = spans(data, begins, ends).buffers()[2]
    bad: dict[int, str] = {}
    table = _read_csv(text) if is_plain else None
    if table is None or len(table) != rows:
        # A lone carriage return is shown escaped like any control character.
        table, bad = _read_lines(text.to_pybytes().replace(b"\r", b"\x0b"))
    streams = table["stream"].combine_chunks()
    if not pa.types.is_dictionary(streams.type):
        streams = streams.dictionary_encode()
    return TransferLines(
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
                column_names=["stream", "bytes", "packets"], block_size=1 << 20
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
