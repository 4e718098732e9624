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
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from ringserverstats.logs import reasons
from ringserverstats.logs.batch import (
    LARGEST_NUMBER,
    MOST_STREAMS,
    UNSPECIFIED,
    Batch,
    Int64s,
    Reject,
)
from ringserverstats.logs.line_columns import (
    BYTE_ORDER_MARK,
    Bytes,
    fingerprints,
    line_ends,
    overflows,
    spans,
    sums,
)
from ringserverstats.logs.lines import (
    END,
    START,
    EndLines,
    StartLines,
    TransferLines,
    read_end_lines,
    read_start_lines,
    read_transfer_lines,
)

LONGEST_LINE = 1 << 20
_LOWER = 0x20  # the bit that makes a letter of ASCII small


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
    if not batch.rejects:
        return batch
    cuts, rows = _glued(data, [reject.line - line for reject in batch.rejects])
    if not cuts:
        return batch
    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(data)])]
    apart = _parse(b"\n".join(pieces), line=line, last=last, key=key, latest=latest)
    # The n-th line break was put in behind n others.
    return _as_glued(apart, np.array([line + row + n for n, row in enumerate(rows)]), line)


def _glued(data: bytes, refused: list[int]) -> tuple[list[int], list[int]]:
    """Where a START stands behind a line that a full disk or a crash cut short.

    Within a START line it may as well stand in a client id, so only that of a block that was
    refused is taken for one: ``refused`` are the first rows of all that was.

    Returns:
        The offset of each, and the row of its line.
    """
    starts = np.array([match.start() for match in re.finditer(START, data)], np.int64)
    ends = line_ends(data)
    rows = np.searchsorted(ends, starts)
    is_behind = starts > np.concatenate([np.zeros(1, np.int64), ends + 1])[rows]
    behind, first = np.unique(rows[is_behind], return_index=True)
    keep = ~np.isin(behind, rows[~is_behind]) | np.isin(behind, refused)
    return starts[is_behind][first][keep].tolist(), behind[keep].tolist()


def _as_glued(batch: Batch, breaks: Int64s, line: int) -> Batch:
    """``batch`` with the line numbers that hold without the line breaks behind ``breaks``."""

    def number(found: int) -> int:
        return found - int(np.searchsorted(breaks, found))

    rejects = []
    for reject in batch.rejects:
        first, final = number(reject.line), number(reject.line + reject.lines - 1)
        rejects.append(replace(reject, line=first, lines=final - first + 1))
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
    values = np.frombuffer(data, np.uint8)
    leading = values[bounds[:-1]]
    first, final = _blocks(data, bounds, leading)
    is_plain = not (leading == ord(" ")).any() and not _is_misread(data, values)
    with ThreadPoolExecutor(1) as pool:  # hashing lets go of the interpreter
        digests = pool.submit(fingerprints, data, bounds[first], bounds[final + 1], key)
        heads = read_start_lines(data, bounds[first], ends[first], latest)
        feet = read_end_lines(data, bounds[final], ends[final])
        counts = final - first - 1
        bodies = read_transfer_lines(
            data, bounds[first + 1], bounds[final], counts.sum(), is_plain=is_plain
        )
        digest = digests.result()

    found = sums(bodies.bytes, counts)
    packets = sums(bodies.packets, counts)
    refused = _refused(heads, feet, bodies, counts, found)
    long_lines = np.flatnonzero(np.diff(bounds) > LONGEST_LINE)
    owners = np.searchsorted(first, long_lines, side="right") - 1
    for row, block in zip(long_lines.tolist(), owners.tolist(), strict=True):
        if block >= 0 and row <= final[block]:
            refused[block] = reasons.TOO_LONG
    good = np.ones(len(first), np.bool_)
    good[list(refused)] = False
    strays, blank = _strays(bounds, first, final, data)
    told = fingerprints(
        data,
        bounds[[low for low, _, _ in strays]],
        bounds[[high for _, high, _ in strays]],
        key,
    )
    rejects = [
        Reject(line + low, high - low, reason, one.tobytes())
        for (low, high, reason), one in zip(strays, told, strict=True)
    ]
    rejects += [
        Reject(line + int(first[block]), int(counts[block]) + 2, reason, digest[block].tobytes())
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
        start_time=np.full(int(keep.sum()), UNSPECIFIED),
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
    block = data.rfind(b"\n" + START) + 1
    is_block = data.startswith(START, block)
    end = data.find(b"\n" + END, block)
    if is_block and end < 0:
        return block
    if tail and START.startswith(tail):
        return len(data) - len(tail)
    if is_block and data.find(b"\n", end + 1) < 0:
        # END without a line end: the total tells whether its last digits are there.
        trial = _parse(
            data[block:].removesuffix(b"\r") + b"\n", line=1, last=False, key=key, latest=latest
        )
        return block if trial.rejects else len(data)
    return len(data)


def _is_misread(data: bytes, values: Bytes) -> bool:
    """Whether the CSV reader would take something for a number, line end or blank that is none."""
    if b"\t" in data or b"\r" in data:
        return True
    # A byte that is not there is found out much faster than three.
    if BYTE_ORDER_MARK[:1] in data and BYTE_ORDER_MARK in data:
        return True
    letters = np.flatnonzero(values | _LOWER == ord("x"))
    hexadecimal = (values[letters - 1] == ord("0")) & (values[letters - 2] == ord(" "))
    return bool(hexadecimal.any())


def _blocks(data: bytes, bounds: Int64s, leading: Bytes) -> tuple[Int64s, Int64s]:
    """The line numbers of each START that an END follows before another START, and of that END.

    ``leading`` is the first byte of each line.
    """
    candidates = np.flatnonzero((leading == ord("S")) | (leading == ord("E")))
    texts = spans(data, bounds[candidates], bounds[candidates + 1])
    is_start = np.asarray(pc.starts_with(texts, START), np.bool_)
    marker = is_start | np.asarray(pc.starts_with(texts, END), np.bool_)
    lines, is_start = candidates[marker], is_start[marker]
    whole = np.flatnonzero(is_start[:-1] & ~is_start[1:])
    return lines[whole], lines[whole + 1]


def _strays(
    bounds: Int64s, first: Int64s, final: Int64s, data: bytes
) -> tuple[list[tuple[int, int, str]], int]:
    """The lines between blocks that are not blank: first row, row behind, why they are rejected.

    Returns:
        These, and the number of blank lines.
    """
    lengths = np.diff(bounds)
    begins = np.concatenate([np.zeros(1, np.int64), final + 1])
    ends = np.concatenate([first, np.array([len(lengths)])])
    blanks = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths == 1)])
    blank_lines = blanks[ends] - blanks[begins]
    strays: list[tuple[int, int, str]] = []
    for begin, end in zip(
        begins[ends - begins > blank_lines].tolist(),
        ends[ends - begins > blank_lines].tolist(),
        strict=True,
    ):
        opening = {number for number in range(begin, end) if data.startswith(START, bounds[number])}
        cuts = sorted({begin, *opening, end})
        for low, high in itertools.pairwise(cuts):
            reason = reasons.NO_END if low in opening else reasons.NO_START
            if (lengths[low:high] > LONGEST_LINE).any():
                reason = reasons.TOO_LONG
            strays.append((low, high, reason))
    return strays, int(blank_lines[ends - begins == blank_lines].sum())


def _refused(
    heads: StartLines,
    feet: EndLines,
    bodies: TransferLines,
    counts: Int64s,
    found: npt.NDArray[np.uint64],
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
    refused = dict[int, str]()
    last_rows = np.cumsum(counts)
    for row, reason in bodies.bad.items():
        block = int(np.searchsorted(last_rows, row, side="right"))
        refused.setdefault(block, reason)
    for flags, reason in (
        (~heads.readable, reasons.BAD_START),
        (unaddressed[heads.peer], reasons.BAD_ADDRESS),
        (~heads.dated, reasons.BAD_TIME),
        (~feet.readable[feet.name], reasons.BAD_END),
        (differs, reasons.OTHER_END),
        (large | (feet.total > LARGEST_NUMBER), reasons.LARGE),
        (counts > MOST_STREAMS, reasons.TOO_MANY),
    ):
        for block in np.flatnonzero(flags).tolist():
            refused.setdefault(block, reason)
    for block in np.flatnonzero(found != feet.total).tolist():
        refused.setdefault(block, reasons.total_reason(int(feet.total[block]), int(found[block])))
    return refused
