"""Small steps on columns of bytes that the formats share."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.logs.batch import Ids, Int32s, Int64s

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

_FORMAT = b"\x01"  # of the bytes that are hashed; another value would count all logs again
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EPOCH = np.datetime64("1970-01", "M")
OLDEST = int(np.datetime64("2000-01-01", "s").astype(np.int64))


def line_ends(data: bytes) -> Int64s:
    """Offsets of the line ends of ``data``."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == 10)


def spans(data: bytes, begins: Int64s, ends: Int64s) -> pa.BinaryArray:
    """The pieces ``data[begins[i]:ends[i]]``, which follow one another, joined in one array.

    The offsets of pieces and of the gaps between them, interleaved, make an array over ``data``
    without a copy; taking every second value drops the gaps.
    """
    count = len(begins)
    if not count:
        return pa.array([], pa.binary())
    offsets = np.empty(2 * count, np.int32)
    offsets[0::2] = begins
    offsets[1::2] = ends
    everything = pa.BinaryArray.from_buffers(
        pa.binary(), 2 * count - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )
    return everything.take(pa.array(np.arange(0, 2 * count - 1, 2)))


def fingerprints(data: bytes, begins: Int64s, ends: Int64s, key: bytes) -> Ids:
    """128 bits of keyed BLAKE2b (RFC 7693) over each piece ``data[begin:end]``.

    Keyed, because the bytes hold an address that could be found by trying all; cryptographic,
    because strangers choose part of the bytes and must not make two entries look the same.
    """
    view = memoryview(data)
    return np.frombuffer(
        b"".join(
            [
                blake2b(view[begin:end], key=key, digest_size=16, person=_FORMAT).digest()
                for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
            ]
        ),
        "V16",
    )


def gather(data: bytes, begins: Int64s, width: int) -> Bytes:
    """The ``width`` bytes from each of ``begins``, at least as far apart: shape (n, width)."""
    found = spans(data, begins, begins + width).buffers()[2]
    values = np.frombuffer(found, np.uint8) if found else np.zeros(0, np.uint8)
    return values[: len(begins) * width].reshape(-1, width)


def matches(found: Bytes, template: bytes) -> Bools:
    """Which rows of ``found`` fit ``template``, in which ``0`` stands for any digit."""
    wanted = np.frombuffer(template, np.uint8)
    digit = wanted == ord("0")
    fits = (found[:, ~digit] == wanted[~digit]).all(axis=1)
    digits = found[:, digit]
    result: Bools = fits & ((digits >= ord("0")) & (digits <= ord("9"))).all(axis=1)
    return result


def seconds(text: Bytes, *, latest: int) -> tuple[Int64s, Bools]:
    """Times written as ``2018-03-30 07:00:05`` (any separators; shape (n, 19)), UTC.

    Returns:
        Seconds since 1970, and which of them are dates of the calendar between 2000 and
        ``latest``.
    """
    digit = text.astype(np.int64) - ord("0")

    def number(first: int, width: int) -> Int64s:
        value = digit[:, first]
        for position in range(first + 1, first + width):
            value = value * 10 + digit[:, position]
        return value

    year, month, day = number(0, 4), number(5, 2), number(8, 2)
    hour, minute, second = number(11, 2), number(14, 2), number(17, 2)
    first = _EPOCH + ((year - 1970) * 12 + month - 1)
    first_day = first.astype("datetime64[D]").astype(np.int64)
    length = (first + 1).astype("datetime64[D]").astype(np.int64) - first_day
    real = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    real &= (hour < 24) & (minute < 60) & (second <= 60)
    time = ((first_day + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    return time, real & (time >= OLDEST) & (time <= latest)


def sums(values: npt.NDArray[np.uint64], counts: Int64s) -> npt.NDArray[np.uint64]:
    """Sums of consecutive runs of ``counts`` values, modulo 2^64."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=running[1:])
    ends = np.cumsum(counts)
    result: npt.NDArray[np.uint64] = running[ends] - running[ends - counts]
    return result


def overflows(values: npt.NDArray[np.uint64], counts: Int64s) -> Bools:
    """Which of those sums are over 2^63-1 (found with room to spare: 2^63 as a float)."""
    if not len(values) or int(values.max()) <= (2**63 - 1) // max(int(counts.max()), 1):
        return np.zeros(len(counts), np.bool_)
    running = np.concatenate([[0], np.cumsum(values.astype(object))])
    ends = np.cumsum(counts)
    return np.asarray(running[ends] - running[ends - counts] > 2**63 - 1, np.bool_)


def unique_rows(columns: list[npt.NDArray[np.integer]]) -> tuple[Int64s, Int32s]:
    """Unique combinations of columns of small codes.

    Returns:
        The first row of each, and each row's index into them.
    """
    index = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(0, np.int64)
    for column in columns:
        wide = index * (int(column.max(initial=0)) + 1) + column
        _, first, index = np.unique(wide, return_index=True, return_inverse=True)
    return first, index.astype(np.int32)
