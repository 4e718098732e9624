"""The lines of a text log's blocks as columns: START lines, END lines, transfers between them.

Formats by release: see ``text``.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ringserverstats.logs.addresses import address
from ringserverstats.logs.batch import Int8s, Int32s, Int64s, Peer
from ringserverstats.logs.constants import DIRECTIONS, PROTOCOLS
from ringserverstats.logs.line_columns import Bools, gather, line_ends, matches, seconds, spans
from ringserverstats.logs.reasons import BAD_LINE, LARGE

START = b"START CLIENT "
END = b"END CLIENT "
# ) @ 2018-03-30 07:00:05 (connected 2018-03-29 10:00:00) TX
# ) @ 2026-11-24T09:36:50Z (connected 2026-11-24T09:36:48Z) TX
_START_TAILS = (
    b") @ 0000-00-00 00:00:00 (connected 0000-00-00 00:00:00) ",
    b") @ 0000-00-00T00:00:00Z (connected 0000-00-00T00:00:00Z) ",
)
# START CLIENT host [2001:218::1] (DataLink|client id
_START_HEAD = re.compile(rb"START CLIENT (\S*) \[([^\]\s]+)\] \((\w*)\|?(.*)", re.DOTALL)
# END CLIENT host [2001:218::1] total TX bytes: 45568
_END_HEAD = re.compile(rb"END CLIENT (\S*) \[([^\]\s]+)\] total (TX|RX) bytes: ", re.DOTALL)
# FDSN:FR_CIEL_00_H_H_Z/MSEED 45568 89
_TRANSFER = r"^(?P<stream>[^ ]+) 0*(?P<bytes>[0-9]{1,19}) 0*(?P<packets>[0-9]{1,19})\n$"
_TRANSFER_OF_ANY_SIZE = re.compile(rb"[^ ]+ [0-9]+ [0-9]+\n")


@dataclass(frozen=True)
class StartLines:
    """START lines, one row each.

    ``peer`` is an index into ``peers`` and into ``names`` (host and address), which are unique.
    ``is_readable`` and ``is_dated`` are the lines with the expected form and with valid times.
    """

    peers: tuple[Peer | None, ...]
    names: list[bytes]
    peer: Int32s
    direction: Int8s
    log_time: Int64s
    connect_time: Int64s
    is_readable: Bools
    is_dated: Bools


@dataclass(frozen=True)
class EndLines:
    """END lines: ``name`` and ``total`` (bytes), one row each.

    ``name`` is an index into ``names`` (host and address), ``direction`` and ``is_readable``, which
    have one row per unique line start.
    """

    names: list[bytes]
    direction: Int8s
    is_readable: Bools
    name: Int32s
    total: npt.NDArray[np.uint64]


@dataclass(frozen=True)
class TransferLines:
    """Transfer lines, one row each; ``reasons`` are the invalid rows."""

    streams: tuple[bytes, ...]
    stream: Int32s
    bytes: npt.NDArray[np.uint64]
    packets: npt.NDArray[np.uint64]
    reasons: dict[int, str]


def read_start_lines(data: bytes, begins: Int64s, ends: Int64s, latest: int) -> StartLines:
    """Read the START lines ``data[begin:end]``; times after ``latest`` are invalid."""
    count = len(begins)
    is_readable, is_dated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    log_time, connect_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
    head_end = begins.copy()
    for tail in _START_TAILS:
        start = ends - len(tail) - len("TX")
        rows = np.flatnonzero(start >= begins + len(START))
        rows = rows[matches(gather(data, start[rows], len(tail)), tail)]
        log, connect = tail.index(b"0000"), tail.rindex(b"0000")
        log_time[rows], is_log = seconds(gather(data, start[rows] + log, 19), latest=latest)
        # A clock that was not set when the client connected: the day of the entry is known.
        connect_time[rows], is_connect = seconds(
            gather(data, start[rows] + connect, 19), latest=None
        )
        is_dated[rows] = is_log & is_connect
        is_readable[rows] = True
        head_end[rows] = start[rows]
    directions = gather(data, ends - 2, 2)
    is_readable &= np.isin(directions[:, 0], (ord("T"), ord("R"))) & (directions[:, 1] == ord("X"))
    heads = spans(data, begins, head_end).dictionary_encode()
    matched = [_START_HEAD.fullmatch(head) for head in heads.dictionary.to_pylist()]
    peer = heads.indices.to_numpy().astype(np.int32)
    is_readable &= np.array([match is not None for match in matched], np.bool_)[peer]
    return StartLines(
        peers=tuple(match and _peer(match) for match in matched),
        names=[match[1] + b" " + match[2] if match else b"" for match in matched],
        peer=peer,
        direction=(directions[:, 0] == ord("R")).astype(np.int8),
        log_time=log_time,
        connect_time=connect_time,
        is_readable=is_readable,
        is_dated=is_dated,
    )


def _peer(match: re.Match[bytes]) -> Peer | None:
    try:
        client_address = address(match[2])
    except ValueError:
        return None
    mode = match[3].decode("ascii", "replace")
    return Peer(
        address=client_address,
        host=match[1].decode("utf-8", "backslashreplace"),
        protocol=mode if mode in PROTOCOLS else PROTOCOLS[0],
        agent=match[4],
    )


def read_end_lines(data: bytes, begins: Int64s, ends: Int64s) -> EndLines:
    """Read the END lines ``data[begin:end]``."""
    width = 20  # digits of 2^64
    digits = gather(data, ends - width, width) - np.uint8(ord("0"))
    digits = digits[:, ::-1]
    is_digit = np.logical_and.accumulate(digits < 10, axis=1)
    total = np.zeros(len(begins), np.uint64)
    for power in range(width - 1):
        total += np.where(is_digit[:, power], digits[:, power], 0) * np.uint64(10**power)
    total[is_digit[:, -1]] = np.iinfo(np.uint64).max
    heads = spans(data, begins, ends - is_digit.sum(axis=1)).dictionary_encode()
    matched = [_END_HEAD.fullmatch(head) for head in heads.dictionary.to_pylist()]
    return EndLines(
        names=[match[1] + b" " + match[2] if match else b"" for match in matched],
        direction=np.array(
            [DIRECTIONS.index(match[3].decode()) if match else -1 for match in matched], np.int8
        ),
        is_readable=np.array([match is not None for match in matched], np.bool_),
        name=heads.indices.to_numpy().astype(np.int32),
        total=total,
    )


def read_transfer_lines(
    data: bytes, begins: Int64s, ends: Int64s, rows: int, *, is_plain: bool
) -> TransferLines:
    """Read the lines ``stream bytes packets`` in ``data[begin:end]``, ``rows`` in all.

    Args:
        is_plain: the fast reader misreads nothing in ``data``.
    """
    if not rows:
        none = np.zeros(0, np.uint64)
        return TransferLines((), np.zeros(0, np.int32), none, none, {})
    text = spans(data, begins, ends).buffers()[2]
    row_reasons: dict[int, str] = {}
    table = _read_csv(text) if is_plain else None
    if table is None or len(table) != rows:
        # A lone carriage return is escaped like any control character.
        table, row_reasons = _read_lines(text.to_pybytes().replace(b"\r", b"\x0b"))
    streams = table["stream"].combine_chunks()
    if not pa.types.is_dictionary(streams.type):
        streams = streams.dictionary_encode()
    return TransferLines(
        streams=tuple(streams.dictionary.to_pylist()),
        stream=streams.indices.to_numpy(),
        bytes=table["bytes"].to_numpy(),
        packets=table["packets"].to_numpy(),
        reasons=row_reasons,
    )


def _read_csv(text: pa.Buffer) -> pa.Table | None:
    """Read transfer lines fast; None if any of them is invalid."""
    try:
        return pa_csv.read_csv(
            pa.BufferReader(text),
            read_options=pa_csv.ReadOptions(
                column_names=["stream", "bytes", "packets"], block_size=1 << 20
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=" ", quote_char=False, ignore_empty_lines=False
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
    """Read transfer lines of which some are invalid: these become zeros.

    Returns:
        The table, and the reasons of the invalid rows.
    """
    ends = line_ends(text)
    lines = spans(text, np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]), ends + 1)
    fields = pc.extract_regex(lines, _TRANSFER)
    invalid = np.flatnonzero(np.asarray(pc.is_null(fields), np.bool_))
    row_reasons = {
        row: LARGE if _TRANSFER_OF_ANY_SIZE.fullmatch(lines[row].as_py()) else BAD_LINE
        for row in invalid.tolist()
    }
    columns = {"stream": pc.fill_null(pc.struct_field(fields, "stream"), b"")}
    for name in ("bytes", "packets"):
        digits = pc.fill_null(pc.struct_field(fields, name), b"0")
        columns[name] = digits.cast(pa.string()).cast(pa.uint64())
    return pa.table(columns), row_reasons
