"""What is stored of a log besides its entries: the interval that it covers, and its rejects."""

from datetime import UTC, tzinfo
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from ringserverstats import __version__
from ringserverstats.logs.batch import Reject
from ringserverstats.logs.constants import DIRECTIONS
from ringserverstats.logs.intervals import pieces
from ringserverstats.logs.line_columns import line_ends
from ringserverstats.logs.names import FileName
from ringserverstats.logs.source import UNOPENED, Chunk, Source

#: Rejects of one chunk that are stored one by one; further ones are only counted, so that a file
#: that is not a log does not fill the store.
MOST_OF_A_CHUNK = 1_000

LOG_INTERVALS = pa.schema(
    [
        ("server", pa.int32()),
        ("direction", pa.string()),
        ("day", pa.date32()),
        ("first_minute", pa.int16()),
        ("last_minute", pa.int16()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        ("complete", pa.bool_()),
    ]
)
REJECTS = pa.schema(
    [
        ("server", pa.int32()),
        ("digest", pa.uuid()),
        ("direction", pa.string()),
        ("day", pa.date32()),
        ("file", pa.string()),
        ("position", pa.int64()),
        ("line", pa.int64()),
        ("lines", pa.int64()),
        ("reason", pa.string()),
        ("version", pa.string()),
        ("entries", pa.int64()),
    ]
)
_DIRECTION_OF = {"tx": DIRECTIONS[0], "rx": DIRECTIONS[1]}


def log_interval_rows(name: FileName, *, server: int, zone: tzinfo, complete: bool) -> pa.Table:
    """Return the rows of `LOG_INTERVALS` of a log.

    Args:
        zone: time zone of the server.
        complete: the log was read whole, and will not grow.
    """
    covered = pieces(name, zone) if name.kind in _DIRECTION_OF else []
    rows = [
        {
            "server": server,
            "direction": _DIRECTION_OF[name.kind],
            "day": piece.day,
            "first_minute": piece.first_minute,
            "last_minute": piece.last_minute,
            "first_day": covered[0].day,
            "last_day": covered[-1].day,
            "complete": complete,
        }
        for piece in covered
    ]
    return pa.Table.from_pylist(rows, LOG_INTERVALS)


def damage_reject(chunk: Chunk, source: Source, *, key: bytes) -> Reject:
    """Return the reject for the part of ``source`` after ``chunk`` that cannot be read."""
    line = chunk.line + chunk.data.count(b"\n")
    return Reject(line, 0, chunk.damage or "", _digest(key, source, "damage"))


def reject_rows(
    rejects: list[Reject], chunk: Chunk, source: Source, *, server: int, key: bytes
) -> pa.Table:
    """Return the rows of `REJECTS` for the rejects of ``chunk``."""
    ends = line_ends(chunk.data)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1]) + chunk.position
    days = pieces(source.name, UTC)
    rows = [
        {
            "server": server,
            "digest": reject.digest,
            "direction": _DIRECTION_OF.get(source.name.kind),
            "day": days[0].day if days else None,
            "file": source.stored_name,
            "position": int(begins[min(reject.line - chunk.line, len(ends))]),
            "line": reject.line,
            "lines": reject.lines,
            "reason": reject.reason,
            "version": __version__,
            "entries": reject.entries,
        }
        for reject in _limited(rejects, chunk, source, key)
        if not reject.reason.startswith(UNOPENED)  # reported each time, never stored
    ]
    return pa.Table.from_pylist(rows, REJECTS)


def refused_rows(
    source: Source, *, server: int, entry: bytes, entries: int, reason: str
) -> pa.Table:
    """Return the row of `REJECTS` for a log of which nothing was counted.

    Args:
        server: the server that has its entries.
        entry: the id of one of them.
        entries: the number of entries that were not counted.
        reason: why it was refused.
    """
    row = {
        "server": server,
        "digest": entry,
        "file": source.stored_name,
        "position": 0,
        "line": 1,
        "lines": 0,
        "reason": reason,
        "version": __version__,
        "entries": entries,
    }
    return pa.Table.from_pylist([row], REJECTS)


def _limited(rejects: list[Reject], chunk: Chunk, source: Source, key: bytes) -> list[Reject]:
    """Return ``rejects`` with those after `MOST_OF_A_CHUNK` joined into one."""
    single, more = rejects[:MOST_OF_A_CHUNK], rejects[MOST_OF_A_CHUNK:]
    if not more:
        return single
    digest = _digest(key, source, f"more from {chunk.position}")
    last = more[-1].line + more[-1].lines - 1
    reason = f"{len(more)} more rejects up to line {last}"
    lines = sum(reject.lines for reject in more)
    return [*single, Reject(more[0].line, lines, reason, digest, len(more))]


def _digest(key: bytes, source: Source, part: str) -> bytes:
    """Return the digest for bytes that cannot be read, or are too many, from the file's name."""
    text = f"{part} {plain_name(source.stored_name)}"
    return blake2b(
        text.encode("utf-8", "backslashreplace"), key=key, digest_size=16, person=b"file"
    ).digest()


def plain_name(file: str) -> str:
    """Return the name of ``file`` without folder and compression, equal for all copies of a log."""
    name = file.rpartition("/")[2]
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    return name
