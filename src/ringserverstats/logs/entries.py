"""Parsed entries of any format, with the checks and the columns that all formats share."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringserverstats.logs import reasons
from ringserverstats.logs.batch import (
    LARGEST_NUMBER,
    MOST_STREAMS,
    Batch,
    Ids,
    Int8s,
    Int32s,
    Int64s,
    Name,
    Peer,
    Reject,
)
from ringserverstats.logs.line_columns import Bools, overflows, sums

UInt64s = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class ParseOptions:
    """What a parser needs besides the data.

    Args:
        key: key of the digests.
        latest: last second since 1970 that a time may have; later times are rejected.
    """

    key: bytes
    latest: int


@dataclass(frozen=True)
class ParsedEntries:
    """Entries of one piece of one log, before the checks that all formats share.

    Per entry (n rows): columns as in `Batch`; ``lines`` is its number of lines, ``transfers`` its
    number of transfers, ``total`` the bytes that the log states for it. Per transfer (m rows):
    ``stream``, ``bytes``, ``packets``. ``reasons`` are the rows that the format rejects.
    """

    digest: Ids
    line: Int64s
    lines: Int64s
    log_time: Int64s
    connect_time: Int64s
    start_time: Int64s
    direction: Int8s
    peer: Int32s
    transfers: Int64s
    total: UInt64s
    stream: Int32s
    bytes: UInt64s
    packets: UInt64s
    peers: tuple[Peer | None, ...]
    streams: tuple[Name, ...]
    reasons: dict[int, str]


def add_reasons(row_reasons: dict[int, str], *checks: tuple[Bools, str]) -> None:
    """Add the reason of each check for the rows that it flags and that have no reason yet."""
    for flags, reason in checks:
        for row in np.flatnonzero(flags).tolist():
            row_reasons.setdefault(row, reason)


def unknown_peers(peers: tuple[Peer | None, ...], peer: Int32s) -> Bools:
    """Return which rows have a peer without a valid address."""
    is_unknown = np.array([value is None for value in peers], np.bool_)
    return np.asarray(is_unknown[peer], np.bool_)


def build_batch(entries: ParsedEntries) -> Batch:
    """Return the valid entries as a batch, with a reject for each of the others."""
    counts = entries.transfers
    total_bytes, packets = sums(entries.bytes, counts), sums(entries.packets, counts)
    row_reasons = dict(entries.reasons)
    is_large = overflows(entries.bytes, counts) | overflows(entries.packets, counts)
    add_reasons(
        row_reasons,
        (is_large | (entries.total > LARGEST_NUMBER), reasons.LARGE),
        (counts > MOST_STREAMS, reasons.TOO_MANY),
    )
    for row in np.flatnonzero(total_bytes != entries.total).tolist():
        reason = reasons.total_reason(int(entries.total[row]), int(total_bytes[row]))
        row_reasons.setdefault(row, reason)
    is_valid = np.ones(len(counts), np.bool_)
    is_valid[list(row_reasons)] = False
    keep = is_valid & (counts > 0)
    is_kept = slice(None) if keep.all() else np.repeat(keep, counts)
    return Batch(
        digest=entries.digest[keep],
        line=entries.line[keep],
        log_time=entries.log_time[keep],
        connect_time=entries.connect_time[keep],
        start_time=entries.start_time[keep],
        direction=entries.direction[keep],
        peer=entries.peer[keep],
        bytes=total_bytes[keep].astype(np.int64),
        packets=packets[keep].astype(np.int64),
        transfers=counts[keep].astype(np.int32),
        entry=np.repeat(np.arange(keep.sum(), dtype=np.int32), counts[keep]),
        stream=entries.stream[is_kept],
        stream_bytes=entries.bytes[is_kept].view(np.int64),
        stream_packets=entries.packets[is_kept].view(np.int64),
        peers=entries.peers,
        streams=entries.streams,
        rejects=[
            Reject(
                int(entries.line[row]),
                int(entries.lines[row]),
                reason,
                entries.digest[row].tobytes(),
            )
            for row, reason in row_reasons.items()
        ],
        empty=int((is_valid & (counts == 0)).sum()),
    )
