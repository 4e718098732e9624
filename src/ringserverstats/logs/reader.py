"""Any usage log, told apart by what it holds, as batches."""

from collections.abc import Iterator

import numpy as np

from ringserverstats.logs import jsonl, text
from ringserverstats.logs.batch import Batch
from ringserverstats.logs.line_columns import line_ends
from ringserverstats.logs.source import Chunk


def read(chunk: Chunk, *, key: bytes, latest: int) -> Iterator[Batch]:
    """The batches of ``chunk``: one, unless it mixes formats.

    Args:
        key: the key of the entries' digests.
        latest: the last second since 1970 that a time may have; later ones are rejected.
    """
    line, data = chunk.line, chunk.data
    runs = _runs(data)
    for number, (begin, end, is_json) in enumerate(runs):
        parse = jsonl.parse if is_json else text.parse
        last = chunk.last and number == len(runs) - 1
        part = data if len(runs) == 1 else data[begin:end]
        batch = parse(part, line=line, last=last, key=key, latest=latest)
        line += batch.lines + batch.incomplete_lines
        yield batch


def _runs(data: bytes) -> list[tuple[int, int, bool]]:
    """Consecutive parts of ``data`` of one format each: begin, end, whether it is JSON Lines."""
    # A byte that is not there is found out much faster than two.
    if not data.startswith(b"{") and (b"{" not in data or b"\n{" not in data):
        return [(0, len(data), False)]
    has_blocks = data.startswith(b"START CLIENT ") or b"\nSTART CLIENT " in data
    if data.startswith(b"{") and not has_blocks:
        return [(0, len(data), True)]
    ends = np.append(line_ends(data), len(data) if not data.endswith(b"\n") else [])
    ends = ends.astype(np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])[: len(ends)]
    values = np.frombuffer(data + b"\n", np.uint8)
    closing = values[np.maximum(ends - 1, 0)]
    closing = np.where(closing == ord("\r"), values[np.maximum(ends - 2, 0)], closing)
    # A stream may be called `{...}`, but its line ends with a number.
    is_json = (values[begins] == ord("{")) & (closing == ord("}"))
    if not data.endswith(b"\n") and not has_blocks:  # a line that may still be written
        is_json[-1] |= values[begins[-1]] == ord("{")
    changes = np.flatnonzero(is_json[1:] != is_json[:-1]) + 1
    firsts = [0, *changes.tolist()]
    cuts = [*(int(begins[first]) for first in firsts), len(data)]
    return [
        (low, high, bool(is_json[first]))
        for low, high, first in zip(cuts, cuts[1:], firsts, strict=False)
    ]
