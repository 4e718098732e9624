"""The formats of usage logs, declared once each: how a record is recognised, and what parses it.

To add a format, write its parser and add a `Format` to `FORMATS`.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import pyarrow.compute as pc

from ringserverstats.logs import jsonl, text
from ringserverstats.logs.batch import Batch, Int64s
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.line_columns import BYTE_ORDER_MARK, Bools, line_ends, spans


class Parser(Protocol):
    """Reads one format."""

    def __call__(self, data: bytes, options: ParseOptions, *, line: int, last: bool) -> Batch:
        """Parse ``data``, which begins with line number ``line``.

        Args:
            last: the input ends with ``data``, so an unfinished record is incomplete, not invalid.
        """


@dataclass(frozen=True)
class Format:
    """A format of usage logs.

    Args:
        name: what people call it.
        start: bytes that the first line of a record begins with.
        end: bytes that a record ends with, if each record is one line; else empty.
        parse: the parser.
        inner: bytes with which a record begins behind garbage on its line.
        garbage: what such a line may begin with.
    """

    name: str
    start: bytes
    end: bytes
    parse: Parser
    inner: bytes = b""
    garbage: tuple[bytes, ...] = ()

    def occurs(self, data: bytes) -> bool:
        """Return True if a line of ``data`` begins like a record."""
        # If the start occurs nowhere, it is ruled out much faster without the line break.
        return data.startswith(self.start) or (self.start in data and b"\n" + self.start in data)

    def is_record_start(self, data: bytes, begins: Int64s, ends: Int64s) -> Bools:
        """Return which of the lines ``data[begin:end]`` begin a record."""
        values = np.frombuffer(data, np.uint8)
        has_return = (ends > begins) & (values[np.maximum(ends - 1, 0)] == ord("\r"))
        lines = spans(data, begins, ends - has_return)
        is_start = pc.starts_with(lines, self.start)
        for garbage in self.garbage:
            is_late = pc.and_(pc.starts_with(lines, garbage), pc.match_substring(lines, self.inner))
            is_start = pc.or_(is_start, is_late)
        return np.asarray(pc.and_(is_start, pc.ends_with(lines, self.end)), np.bool_)

    def last_record(self, data: bytes) -> int:
        """Return the offset of the last record that may continue behind ``data``; 0 if none."""
        if not self.end:
            return data.rfind(b"\n" + self.start) + 1
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(end, 0)) + 1
        line = data[begin:end].rstrip(b"\r")
        return end + 1 if line.startswith(self.start) and line.endswith(self.end) else 0


#: A stream of a text log may be called ``{...}``, but its line ends with a number.
JSONL = Format(
    "JSON Lines",
    start=b"{",
    end=b"}",
    parse=jsonl.parse,
    inner=jsonl.OBJECT,
    garbage=(b"\0", BYTE_ORDER_MARK),
)
#: Also takes all lines that no other format claims.
TEXT = Format("text", start=b"START CLIENT ", end=b"", parse=text.parse)
FORMATS = (JSONL, TEXT)


def split_by_format(data: bytes) -> list[tuple[int, int, Format]]:
    """Return the consecutive parts of ``data`` of one format each: begin, end, format."""
    present = [format_ for format_ in FORMATS if format_.occurs(data)] or [TEXT]
    if present == [TEXT] or (len(present) == 1 and data.startswith(present[0].start)):
        return [(0, len(data), present[0])]
    return _split_lines(data, present)


def _split_lines(data: bytes, present: list[Format]) -> list[tuple[int, int, Format]]:
    ends = line_ends(data)
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
    owner = np.full(len(ends), FORMATS.index(TEXT))
    for format_ in present:
        owner[format_.is_record_start(data, begins, ends)] = FORMATS.index(format_)
    if len(present) == 1 and not data.endswith(b"\n"):  # the last line may still be written
        is_record = data.startswith(present[0].start, begins[-1])
        owner[-1] = FORMATS.index(present[0] if is_record else TEXT)
    firsts = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist()]
    bounds = pairwise([*begins[firsts].tolist(), len(data)])
    return [
        (begin, end, FORMATS[owner[row]]) for (begin, end), row in zip(bounds, firsts, strict=True)
    ]
