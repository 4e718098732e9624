"""The lines of a text log's blocks as columns: START lines, END lines, transfers between them.

Formats by release: see ``text``.
"""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from ringserverstats.logs.addresses import address
from ringserverstats.logs.batch import Int8s, Int32s, Int64s, Peer
from ringserverstats.logs.caching import cache_short
from ringserverstats.logs.constants import DIRECTIONS, PROTOCOLS
from ringserverstats.logs.line_columns import (
    Bools,
    Bytes,
    UInt64s,
    gather,
    matches,
    numbers,
    seconds,
    spans,
)
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
_TRANSFER = re.compile(rb"[^ ]+ [0-9]+ [0-9]+")  # of any size
_LARGEST_TOTAL = np.iinfo(np.uint64).max


@dataclass(frozen=True)
class Lines:
    """The lines of ``data``, which ends with a line end.

    ``bounds`` are the offsets of the lines and of the end. ``blanks`` are the offsets of all spaces
    and line ends, and ``final`` is the index there of the line end of each line.
    """

    data: bytes
    bounds: Int64s
    blanks: Int64s
    final: Int64s

    @property
    def leading(self) -> Bytes:
        """The first byte of each line."""
        return np.frombuffer(self.data, np.uint8)[self.bounds[:-1]]


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
    """END lines, one row each; ``total`` is in bytes.

    ``name`` is an index into ``names`` (host and address) and ``direction``, which have one row per
    unique line start.
    """

    names: list[bytes]
    direction: Int8s
    is_readable: Bools
    name: Int32s
    total: UInt64s


@dataclass(frozen=True)
class TransferLines:
    """Transfer lines, one row each; ``reasons`` are the invalid rows, which have zeros."""

    streams: tuple[bytes, ...]
    stream: Int32s
    bytes: UInt64s
    packets: UInt64s
    reasons: dict[int, str]


def find_lines(data: bytes) -> Lines:
    """Find the lines of ``data`` and the blanks in them."""
    values = np.frombuffer(data, np.uint8)
    blanks = np.flatnonzero(values <= ord(" "))
    kinds = values[blanks]
    is_blank = (kinds == ord("\n")) | (kinds == ord(" "))
    if not is_blank.all():  # other control characters
        blanks, kinds = blanks[is_blank], kinds[is_blank]
    final = np.flatnonzero(kinds == ord("\n"))
    bounds = np.concatenate([np.zeros(1, np.int64), blanks[final] + 1])
    return Lines(data, bounds, blanks, final)


def read_start_lines(lines: Lines, rows: Int64s, latest: int) -> StartLines:
    """Read the START lines in ``rows``; times after ``latest`` are invalid."""
    data, begins, ends = lines.data, lines.bounds[rows], lines.bounds[rows + 1] - 1
    count = len(rows)
    is_readable, is_dated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    log_time, connect_time = np.zeros(count, np.int64), np.zeros(count, np.int64)
    head_end = begins.copy()
    for tail in _START_TAILS:
        start = ends - len(tail) - len("TX")
        fits = np.flatnonzero(start >= begins + len(START))
        texts = gather(data, start[fits], len(tail))
        is_tail = matches(texts, tail)
        fits, texts = fits[is_tail], texts[is_tail]
        log, connect = tail.index(b"0000"), tail.rindex(b"0000")
        log_time[fits], is_log = seconds(texts[:, log : log + 19], latest=latest)
        # A clock that was not set when the client connected: the day of the entry is known.
        connect_time[fits], is_connect = seconds(texts[:, connect : connect + 19], latest=None)
        is_dated[fits] = is_log & is_connect
        is_readable[fits] = True
        head_end[fits] = start[fits]
    directions = gather(data, ends - 2, 2)
    is_readable &= np.isin(directions[:, 0], (ord("T"), ord("R"))) & (directions[:, 1] == ord("X"))
    heads = spans(data, begins, head_end).dictionary_encode()
    parsed = [_parse_start(head) for head in heads.dictionary.to_pylist()]
    peer = heads.indices.to_numpy()
    is_readable &= np.array([name != b"" for name, _ in parsed], np.bool_)[peer]
    return StartLines(
        peers=tuple(client for _, client in parsed),
        names=[name for name, _ in parsed],
        peer=peer,
        direction=(directions[:, 0] == ord("R")).astype(np.int8),
        log_time=log_time,
        connect_time=connect_time,
        is_readable=is_readable,
        is_dated=is_dated,
    )


@cache_short
def _parse_start(head: bytes) -> tuple[bytes, Peer | None]:
    """Return host and address as text, and the peer, from a START line up to its times.

    The text is empty if the line is invalid; the peer is None if the address is.
    """
    match = _START_HEAD.fullmatch(head)
    if match is None:
        return b"", None
    host, ip, mode, agent = match.groups()
    return b"%b %b" % (host, ip), _peer(host, ip, mode.decode("ascii", "replace"), agent)


def _peer(host: bytes, ip: bytes, mode: str, agent: bytes) -> Peer | None:
    try:
        client_address = address(ip)
    except ValueError:
        return None
    return Peer(
        address=client_address,
        host=host.decode("utf-8", "backslashreplace"),
        protocol=mode if mode in PROTOCOLS else PROTOCOLS[0],
        agent=agent,
    )


def read_end_lines(lines: Lines, rows: Int64s) -> EndLines:
    """Read the END lines in ``rows``."""
    data, begins, ends = lines.data, lines.bounds[rows], lines.bounds[rows + 1] - 1
    total_begins = lines.blanks[lines.final[rows] - 1] + 1
    total, is_readable = numbers(data, total_begins, ends)
    for row in np.flatnonzero(~is_readable).tolist():
        digits = data[total_begins[row] : ends[row]]
        is_readable[row] = not digits or digits.isdigit()
        total[row] = _LARGEST_TOTAL if digits else 0
    heads = spans(data, begins, total_begins).dictionary_encode()
    parsed = [_parse_end(head) for head in heads.dictionary.to_pylist()]
    name = heads.indices.to_numpy()
    is_readable &= np.array([text != b"" for text, _ in parsed], np.bool_)[name]
    return EndLines(
        names=[text for text, _ in parsed],
        direction=np.array([direction for _, direction in parsed], np.int8),
        is_readable=is_readable,
        name=name,
        total=total,
    )


@cache_short
def _parse_end(head: bytes) -> tuple[bytes, int]:
    """Return host and address as text, and the direction, from an END line up to its total.

    The text is empty if the line is invalid.
    """
    match = _END_HEAD.fullmatch(head)
    if match is None:
        return b"", -1
    host, ip, direction = match.groups()
    return b"%b %b" % (host, ip), DIRECTIONS.index(direction.decode())


def read_transfer_lines(lines: Lines, is_transfer: Bools) -> TransferLines:
    """Read the lines ``stream bytes packets`` that ``is_transfer`` selects."""
    data, blanks, final = lines.data, lines.blanks, lines.final[is_transfer]
    begins = lines.bounds[:-1][is_transfer]
    first, second, ends = blanks[final - 2], blanks[final - 1], blanks[final]
    amounts, is_amount = numbers(data, first + 1, second)
    packets, is_count = numbers(data, second + 1, ends)
    has_two_spaces = (np.diff(lines.final, prepend=-1) == 3)[is_transfer]
    is_valid = is_amount & is_count & has_two_spaces & (first > begins)
    invalid = np.flatnonzero(~is_valid)
    first[invalid] = begins[invalid]
    amounts[invalid] = packets[invalid] = 0
    streams = spans(data, begins, first).dictionary_encode()
    # A lone carriage return is escaped like any control character.
    names = pc.replace_substring(streams.dictionary, pattern=b"\r", replacement=b"\x0b")
    return TransferLines(
        streams=tuple(names.to_pylist()),
        stream=streams.indices.to_numpy(),
        bytes=amounts,
        packets=packets,
        reasons={
            row: LARGE if _TRANSFER.fullmatch(data, begins[row], ends[row]) else BAD_LINE
            for row in invalid.tolist()
        },
    )
