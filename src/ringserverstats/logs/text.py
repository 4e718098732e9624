"""Transfer logs as text, which every release from v2012.125 on writes.

    START CLIENT host [2001:218::1] (DataLink|client id) @ <log time> (connected <connect time>) TX
    FDSN:FR_CIEL_00_H_H_Z/MSEED 45568 89
    END CLIENT host [2001:218::1] total TX bytes: 45568

Times are UTC, ``2018-03-30 07:00:05`` before v4.0.0 and ``2026-11-24T09:36:50Z`` since. A client
id is whatever the client sent, including copies of the rest of the line, so a START line is read
from its end, which has a fixed length, and from its start; the id is what remains.
"""

import itertools
import re
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from ringserverstats.logs import reasons
from ringserverstats.logs.batch import UNSPECIFIED, Batch, Int64s, Reject
from ringserverstats.logs.entries import (
    ParsedEntries,
    ParseOptions,
    add_reasons,
    build_batch,
    unknown_peers,
)
from ringserverstats.logs.line_columns import Bools, fingerprints, line_ends, spans
from ringserverstats.logs.lines import (
    END,
    START,
    EndLines,
    Lines,
    StartLines,
    find_lines,
    read_end_lines,
    read_start_lines,
    read_transfer_lines,
)

LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class _Blocks:
    """The blocks in ``lines``: ``first`` and ``final`` are the rows of their START and END lines.

    ``lengths`` are those of all lines, with their line ends.
    """

    lines: Lines
    first: Int64s
    final: Int64s
    lengths: Int64s

    @property
    def transfers(self) -> Int64s:
        """Number of transfer lines of each block."""
        return self.final - self.first - 1

    @property
    def is_transfer(self) -> Bools:
        """Which lines are transfer lines of a block."""
        change = np.zeros(len(self.lengths) + 1, np.int8)
        change[self.first + 1] = 1
        change[self.final] -= 1
        return np.cumsum(change[:-1], dtype=np.int8).view(np.bool_)


@dataclass(frozen=True)
class _Outside:
    """Consecutive lines outside of blocks, rows ``first`` to before ``end``, and their reason."""

    first: int
    end: int
    reason: str


def parse(data: bytes, options: ParseOptions, *, line: int, last: bool) -> Batch:
    """Parse the blocks of ``data``; arguments as in `formats.Parser`."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    batch = _parse(data, options, line=line, last=last)
    if not batch.rejects:
        return batch
    cuts, rows = _joined_starts(data, [reject.line - line for reject in batch.rejects])
    if not cuts:
        return batch
    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(data)])]
    separated = _parse(b"\n".join(pieces), options, line=line, last=last)
    # n line breaks were added before the n-th one.
    added = np.array([line + row + number for number, row in enumerate(rows)])
    return _renumbered(separated, added, line)


def _joined_starts(data: bytes, rejected: list[int]) -> tuple[list[int], list[int]]:
    """Find a START that follows a line which a full disk or a crash cut short.

    Within a START line it may also be part of a client id, so it counts only if the block was
    rejected.

    Args:
        rejected: the first rows of the rejects.

    Returns:
        The offset of each, and the row of its line.
    """
    starts = np.array([match.start() for match in re.finditer(START, data)], np.int64)
    ends = line_ends(data)
    rows = np.searchsorted(ends, starts)
    is_inside = starts > np.concatenate([np.zeros(1, np.int64), ends + 1])[rows]
    inside, first = np.unique(rows[is_inside], return_index=True)
    keep = ~np.isin(inside, rows[~is_inside]) | np.isin(inside, rejected)
    return starts[is_inside][first][keep].tolist(), inside[keep].tolist()


def _renumbered(batch: Batch, added: Int64s, line: int) -> Batch:
    """Return ``batch`` with the line numbers of the log without the line breaks ``added``."""

    def number(row: int) -> int:
        return row - int(np.searchsorted(added, row))

    rejects = []
    for reject in batch.rejects:
        first, final = number(reject.line), number(reject.line + reject.lines - 1)
        rejects.append(replace(reject, line=first, lines=final - first + 1))
    lines = number(line + batch.lines) - line
    return replace(
        batch,
        line=batch.line - np.searchsorted(added, batch.line),
        rejects=rejects,
        lines=lines,
        incomplete_lines=batch.lines + batch.incomplete_lines - len(added) - lines,
    )


def _parse(data: bytes, options: ParseOptions, *, line: int, last: bool) -> Batch:
    unfinished = b""
    if last:
        cut = _finished(data, options)
        data, unfinished = data[:cut], data[cut:]
    if data and not data.endswith(b"\n"):
        data = data.removesuffix(b"\r") + b"\n"
    blocks = _blocks(data)
    batch = build_batch(_entries(blocks, options, line))
    outside, blank = _outside_blocks(blocks)
    bounds = blocks.lines.bounds
    digests = fingerprints(
        data,
        bounds[[part.first for part in outside]],
        bounds[[part.end for part in outside]],
        options.key,
    )
    rejects = [
        Reject(line + part.first, part.end - part.first, part.reason, digest.tobytes())
        for part, digest in zip(outside, digests, strict=True)
    ]
    return replace(
        batch,
        rejects=sorted(rejects + batch.rejects, key=lambda reject: reject.line),
        incomplete=1 if unfinished else 0,
        incomplete_lines=unfinished.count(b"\n") + (unfinished[-1:] not in (b"", b"\n")),
        blank=blank,
        lines=len(blocks.lengths),
    )


def _finished(data: bytes, options: ParseOptions) -> int:
    """Return the offset up to which the end of an input is complete."""
    tail = data[data.rfind(b"\n") + 1 :]
    block = data.rfind(b"\n" + START) + 1
    is_block = data.startswith(START, block)
    end = data.find(b"\n" + END, block)
    if is_block and end < 0:
        return block
    if tail and START.startswith(tail):
        return len(data) - len(tail)
    if is_block and data.find(b"\n", end + 1) < 0:
        # END without a line end: the total shows whether its last digits are missing.
        ended = data[block:].removesuffix(b"\r") + b"\n"
        return block if _parse(ended, options, line=1, last=False).rejects else len(data)
    return len(data)


def _blocks(data: bytes) -> _Blocks:
    """Find each START line that an END line follows before another START line, and that END."""
    lines = find_lines(data)
    bounds, leading = lines.bounds, lines.leading
    candidates = np.flatnonzero((leading == ord("S")) | (leading == ord("E")))
    texts = spans(data, bounds[candidates], bounds[candidates + 1])
    is_start = np.asarray(pc.starts_with(texts, START), np.bool_)
    is_marker = is_start | np.asarray(pc.starts_with(texts, END), np.bool_)
    rows, is_start = candidates[is_marker], is_start[is_marker]
    whole = np.flatnonzero(is_start[:-1] & ~is_start[1:])
    return _Blocks(lines, rows[whole], rows[whole + 1], np.diff(bounds))


def _entries(blocks: _Blocks, options: ParseOptions, line: int) -> ParsedEntries:
    """Return the blocks as entries with their reasons of rejection."""
    lines, first, final = blocks.lines, blocks.first, blocks.final
    counts = blocks.transfers
    starts = read_start_lines(lines, first, options.latest)
    ends = read_end_lines(lines, final)
    transfers = read_transfer_lines(lines, blocks.is_transfer)
    row_reasons = _long_blocks(blocks)
    last_rows = np.cumsum(counts)
    for row, reason in transfers.reasons.items():
        row_reasons.setdefault(int(np.searchsorted(last_rows, row, side="right")), reason)
    add_reasons(
        row_reasons,
        (~starts.is_readable, reasons.BAD_START),
        (unknown_peers(starts.peers, starts.peer), reasons.BAD_ADDRESS),
        (~starts.is_dated, reasons.BAD_TIME),
        (~ends.is_readable, reasons.BAD_END),
        (_differs(starts, ends), reasons.OTHER_END),
    )
    return ParsedEntries(
        digest=fingerprints(lines.data, lines.bounds[first], lines.bounds[final + 1], options.key),
        line=line + first,
        lines=counts + 2,
        log_time=starts.log_time,
        connect_time=starts.connect_time,
        start_time=np.full(len(first), UNSPECIFIED),
        direction=starts.direction,
        peer=starts.peer,
        transfers=counts,
        total=ends.total,
        stream=transfers.stream,
        bytes=transfers.bytes,
        packets=transfers.packets,
        peers=starts.peers,
        streams=transfers.streams,
        reasons=row_reasons,
    )


def _long_blocks(blocks: _Blocks) -> dict[int, str]:
    """Return the blocks with a line that is too long, with that reason."""
    long_rows = np.flatnonzero(blocks.lengths > LONGEST_LINE)
    owners = np.searchsorted(blocks.first, long_rows, side="right") - 1
    return {
        block: reasons.TOO_LONG
        for row, block in zip(long_rows.tolist(), owners.tolist(), strict=True)
        if block >= 0 and row <= blocks.final[block]
    }


def _differs(starts: StartLines, ends: EndLines) -> Bools:
    """Return which blocks have an END line of another client or direction than the START line."""
    codes = {name: code for code, name in enumerate(starts.names)}
    start_codes = np.array([codes[name] for name in starts.names], np.int64)
    end_codes = np.array([codes.get(name, -1) for name in ends.names], np.int64)
    is_other_client = end_codes[ends.name] != start_codes[starts.peer]
    return np.asarray(is_other_client | (ends.direction[ends.name] != starts.direction), np.bool_)


def _outside_blocks(blocks: _Blocks) -> tuple[list[_Outside], int]:
    """Return the lines outside of blocks, cut at each START, and the number of blank lines."""
    data, bounds, lengths = blocks.lines.data, blocks.lines.bounds, blocks.lengths
    begins = np.concatenate([np.zeros(1, np.int64), blocks.final + 1])
    ends = np.concatenate([blocks.first, np.array([len(lengths)])])
    blank = np.flatnonzero(lengths == 1)
    blanks = np.searchsorted(blank, ends) - np.searchsorted(blank, begins)
    is_filled = ends - begins > blanks
    outside: list[_Outside] = []
    for begin, end in zip(begins[is_filled].tolist(), ends[is_filled].tolist(), strict=True):
        starts = {row for row in range(begin, end) if data.startswith(START, bounds[row])}
        for low, high in itertools.pairwise(sorted({begin, *starts, end})):
            reason = reasons.NO_END if low in starts else reasons.NO_START
            if (lengths[low:high] > LONGEST_LINE).any():
                reason = reasons.TOO_LONG
            outside.append(_Outside(low, high, reason))
    return outside, int(blanks[~is_filled].sum())
