"""Functions on columns of bytes that the formats share."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.logs.batch import Ids, Int32s, Int64s

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

_FORMAT = b"\x01"  # of the hashed bytes; a new value would count all logs again
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EPOCH = np.datetime64("1970-01", "M")
OLDEST = int(np.datetime64("2000-01-01", "s").astype(np.int64))


def line_ends(data: bytes) -> Int64s:
    """Return the offsets of the line ends of ``data``."""
    return np.flatnonzero(np.frombuffer(data, np.uint8) == 10)


def spans(data: bytes, begins: Int64s, ends: Int64s) -> pa.BinaryArray:
    """Return the consecutive pieces ``data[begin:end]`` as one array.

    The offsets of the pieces and of the gaps between them, interleaved, form an array over ``data``
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
    """Return 128 bits of keyed BLAKE2b (RFC 7693) of each piece ``data[begin:end]``.

    Keyed, because the bytes contain an address, which could be found by trying all of them.
    Cryptographic, because strangers choose part of the bytes and must not make two entries collide.
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
    """Return ``width`` bytes from each of ``begins``, which are that far apart: (n, width)."""
    buffer = spans(data, begins, begins + width).buffers()[2]
    values = np.frombuffer(buffer, np.uint8) if buffer else np.zeros(0, np.uint8)
    return values[: len(begins) * width].reshape(-1, width)


def matches(texts: Bytes, template: bytes) -> Bools:
    """Return which rows of ``texts`` match ``template``, in which ``0`` stands for any digit."""
    wanted = np.frombuffer(template, np.uint8)
    is_digit = wanted == ord("0")
    fits = (texts[:, ~is_digit] == wanted[~is_digit]).all(axis=1)
    digits = texts[:, is_digit]
    result: Bools = fits & ((digits >= ord("0")) & (digits <= ord("9"))).all(axis=1)
    return result


def seconds(text: Bytes, *, latest: int | None) -> tuple[Int64s, Bools]:
    """Convert UTC times like ``2018-03-30 07:00:05`` (any separators; shape (n, 19)).

    Returns:
        Seconds since 1970, and which of them are valid dates between 2000 and ``latest``. None:
        any valid dates.
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
    is_valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    is_valid &= (hour < 24) & (minute < 60) & (second <= 60)
    time = ((first_day + day - 1) * 24 + hour) * 3600 + minute * 60 + second
    return time, is_valid if latest is None else is_valid & (time >= OLDEST) & (time <= latest)


def sums(values: npt.NDArray[np.uint64], counts: Int64s) -> npt.NDArray[np.uint64]:
    """Return the sums of consecutive runs of ``counts`` values, modulo 2^64."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=running[1:])
    ends = np.cumsum(counts)
    result: npt.NDArray[np.uint64] = running[ends] - running[ends - counts]
    return result


def overflows(values: npt.NDArray[np.uint64], counts: Int64s) -> Bools:
    """Return which of those sums are larger than 2^63-1."""
    if not len(values) or int(values.max()) <= (2**63 - 1) // max(int(counts.max()), 1):
        return np.zeros(len(counts), np.bool_)
    running = np.concatenate([[0], np.cumsum(values.astype(object))])
    ends = np.cumsum(counts)
    return np.asarray(running[ends] - running[ends - counts] > 2**63 - 1, np.bool_)


def unique_rows(columns: list[npt.NDArray[np.integer]]) -> tuple[Int64s, Int32s]:
    """Find the unique combinations of columns of small codes.

    Returns:
        The first row of each combination, and each row's index into them.
    """
    index = np.zeros(len(columns[0]), np.int64)
    first = np.zeros(0, np.int64)
    for column in columns:
        wide = index * (int(column.max(initial=0)) + 1) + column
        _, first, index = np.unique(wide, return_index=True, return_inverse=True)
    return first, index.astype(np.int32)
