"""Functions on columns of bytes that the formats share."""

from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ringserverstats.logs.batch import Ids, Int32s, Int64s

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
UInt64s = npt.NDArray[np.uint64]

_FORMAT = b"\x01"  # of the hashed bytes; a new value would count all logs again
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EPOCH = np.datetime64("1970-01", "M")
_MOST_DIGITS = 19  # of which every number fits into 64 bits
_ZEROS = np.uint64(0x3030303030303030)
_ABOVE_NINE = np.uint64(0x7676767676767676)  # added to a byte over 9, sets its high bit
_HIGH_BITS = np.uint64(0x8080808080808080)
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
    keyed = blake2b(key=key, digest_size=16, person=_FORMAT)  # a copy costs less than a new one
    digests = []
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        hashing = keyed.copy()
        hashing.update(view[begin:end])
        digests.append(hashing.digest())
    return np.frombuffer(b"".join(digests), "V16")


def gather(data: bytes, begins: Int64s, width: int) -> Bytes:
    """Return ``width`` bytes from each of ``begins``: (n, width)."""
    pieces = np.ndarray(max(len(data) - width + 1, 0), f"V{width}", data, strides=(1,))
    return pieces[begins].view(np.uint8).reshape(-1, width)


def numbers(data: bytes, begins: Int64s, ends: Int64s) -> tuple[UInt64s, Bools]:
    """Convert the decimal numbers ``data[begin:end]``, each behind at least 8 other bytes.

    Eight digits are one 64-bit word: three steps add neighbours, 1 to 2, 2 to 4 and 4 to 8 digits.

    Returns:
        The numbers, and which of them are valid: 1 to 19 digits.
    """
    length = ends - begins
    unused = (64 - 8 * np.clip(length, 0, 8)).astype(np.uint64)  # bits of bytes before the number
    word = gather(data, ends - 8, 8).view("<u8")[:, 0] ^ _ZEROS
    word = word >> unused << unused
    is_number: Bools = (length > 0) & (length <= _MOST_DIGITS)
    is_number &= ((word + _ABOVE_NINE) | word) & _HIGH_BITS == 0
    word = word * 2561 >> 8
    word = (word & 0x00FF00FF00FF00FF) * 6553601 >> 16
    word = (word & 0x0000FFFF0000FFFF) * 42949672960001 >> 32
    longer = np.flatnonzero(is_number & (length > 8))
    if len(longer):
        high, is_number[longer] = numbers(data, begins[longer], ends[longer] - 8)
        word[longer] += high * 10**8
    return word, is_number


def matches(texts: Bytes, template: bytes) -> Bools:
    """Return which rows of ``texts`` match ``template``, in which ``0`` stands for any digit."""
    wanted = np.frombuffer(template, np.uint8)
    most = np.where(wanted == ord("0"), np.uint8(9), np.uint8(0))
    return np.asarray((texts - wanted <= most).all(axis=1), np.bool_)


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


def sums(values: UInt64s, counts: Int64s) -> UInt64s:
    """Return the sums of consecutive runs of ``counts`` values, modulo 2^64."""
    running = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=running[1:])
    ends = np.cumsum(counts)
    result: UInt64s = running[ends] - running[ends - counts]
    return result


def overflows(values: UInt64s, counts: Int64s) -> Bools:
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
