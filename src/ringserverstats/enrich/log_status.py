"""What is kept of a log beside its entries: what it covers, and what of it was rejected."""

from datetime import date
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from ringserverstats.logs.batch import DIRECTIONS, Reject
from ringserverstats.logs.intervals import pieces
from ringserverstats.logs.line_columns import line_ends
from ringserverstats.logs.names import FileName
from ringserverstats.logs.source import UNOPENED, Chunk, Source

#: Rejects of one chunk that are kept one by one; of more only how many, so that a file which is no
#: log at all does not fill the store.
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
    ]
)
_WAYS = {"tx": DIRECTIONS[0], "rx": DIRECTIONS[1]}


def covered(name: FileName, *, server: int, complete: bool) -> pa.Table:
    """Rows of `LOG_INTERVALS` for a log with ``name``; ``complete``: all that it will ever hold was read."""
    found = pieces(name) if name.kind in _WAYS else []
    rows = [
        {
            "server": server,
            "direction": _WAYS[name.kind],
            "day": piece.day,
            "first_minute": piece.first_minute,
            "last_minute": piece.last_minute,
            "first_day": found[0].day,
            "last_day": found[-1].day,
            "complete": complete,
        }
        for piece in found
    ]
    return pa.Table.from_pylist(rows, LOG_INTERVALS)


def damage(chunk: Chunk, source: Source, *, key: bytes) -> Reject:
    """The reject for what could not be read behind ``chunk``."""
    line = chunk.line + chunk.data.count(b"\n")
    return Reject(line, 0, chunk.damage or "", _digest(key, source, "damage"))


def rejected(
    rejects: list[Reject], chunk: Chunk, source: Source, *, server: int, key: bytes, version: str
) -> pa.Table:
    """Rows of `REJECTS` for ``rejects``, found in ``chunk`` of ``source`` by ``version``."""
    ends = line_ends(chunk.data)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1]) + chunk.position
    rows = [
        {
            "server": server,
            "digest": one.digest,
            "direction": _WAYS.get(source.name.kind),
            "day": _day(source.name),
            "file": source.place,
            "position": int(begins[min(one.line - chunk.line, len(ends))]),
            "line": one.line,
            "lines": one.lines,
            "reason": one.reason,
            "version": version,
        }
        for one in _few(rejects, chunk, source, key)
        if not one.reason.startswith(UNOPENED)  # nothing of it was seen: told, and no more
    ]
    return pa.Table.from_pylist(rows, REJECTS)


def _few(rejects: list[Reject], chunk: Chunk, source: Source, key: bytes) -> list[Reject]:
    """``rejects``, of which those over `MOST_OF_A_CHUNK` are joined into one."""
    kept, more = rejects[:MOST_OF_A_CHUNK], rejects[MOST_OF_A_CHUNK:]
    if not more:
        return kept
    digest = _digest(key, source, f"more from {chunk.position}")
    last = more[-1].line + more[-1].lines - 1
    reason = f"{len(more)} more rejects up to line {last}"
    return [*kept, Reject(more[0].line, sum(one.lines for one in more), reason, digest)]


def _digest(key: bytes, source: Source, what: str) -> bytes:
    """What stands for bytes that cannot be read, or are too many: the file's name."""
    text = f"{what} {plain_name(source.place)}"
    return blake2b(
        text.encode("utf-8", "backslashreplace"), key=key, digest_size=16, person=b"file"
    ).digest()


def plain_name(file: str) -> str:
    """The name of ``file`` without folder and compression: the same of all copies of a log."""
    name = file.rpartition("/")[2]
    for ending in (".gz", ".bz2", ".xz", ".zst"):
        name = name.removesuffix(ending)
    return name


def _day(name: FileName) -> date | None:
    """The day of a log, of one of several days the first."""
    found = pieces(name)
    return found[0].day if found else None
