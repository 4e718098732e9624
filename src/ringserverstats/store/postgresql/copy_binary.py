"""Columns as the bytes that PostgreSQL's binary COPY takes, without a loop over rows.

The format is that of its manual, section COPY, "Binary Format": a row is the number of its fields
(16 bits), then each field as its length in bytes (32 bits; -1 for NULL) and its value, all of it
most significant byte first.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_AT_ONCE = 1 << 20  # bytes of columns, which become about three times as many
_EPOCH = 10_957  # days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts
_MICROSECONDS = 1_000_000
_DIGITS = 10_000  # base of PostgreSQL's decimals
_OF_LIST = {pa.int64(): 20, pa.string(): 25}  # object ids of bigint and text, from pg_type


def encoded(rows: pa.Table) -> Iterator[bytes]:
    """All of ``rows`` in pieces, from the format's header to its trailer.

    Columns may be of integers, 64-bit floats, booleans, dates, timestamps (UTC), UUIDs, texts, and
    lists of 64-bit integers or texts, whose list itself is not NULL; and of decimals without
    fraction, none of which is NULL or under 0.
    """
    yield _HEADER
    step = max(1, int(len(rows) * _AT_ONCE / max(rows.nbytes, 1)))
    for start in range(0, len(rows), step):
        yield _rows(rows.slice(start, step).combine_chunks())
    yield _TRAILER


def _rows(rows: pa.Table) -> bytes:
    count = len(rows)
    head = np.frombuffer(rows.num_columns.to_bytes(2, "big"), np.uint8)
    fields: list[Bytes | pa.Array] = [np.broadcast_to(head, (count, 2))]
    for column in rows.columns:
        fields += _fields(column.chunk(0) if column.num_chunks else column.combine_chunks())
    if all(isinstance(field, np.ndarray) for field in fields):
        return np.hstack(fields).tobytes()
    return _data(_joined(fields))


def _joined(fields: list[Bytes | pa.Array]) -> pa.Array:
    """One text of bytes a row, from those of its fields."""
    parts: list[pa.Array] = []
    held: list[Bytes] = []
    for field in [*fields, None]:
        if isinstance(field, np.ndarray):
            held.append(field)
            continue
        if held:
            parts.append(_binary(np.hstack(held)))
            held = []
        if field is not None:
            parts.append(field)
    return pc.binary_join_element_wise(*parts, pa.scalar(b"")) if len(parts) > 1 else parts[0]


def _fields(column: pa.Array) -> list[Bytes | pa.Array]:
    """A column's fields, as bytes of one width (rows x bytes) or as texts of bytes."""
    if column.null_count == len(column) and not pa.types.is_list(column.type):
        return [np.broadcast_to(np.frombuffer(_NULL, np.uint8), (len(column), 4))]
    kind = column.type
    if pa.types.is_decimal(kind):
        return [_decimals(column)]
    if pa.types.is_dictionary(kind):
        return _words(column)
    if pa.types.is_list(kind):
        return _lists(column)
    if pa.types.is_integer(kind) and not column.null_count:
        return [_numbers(column)]
    if pa.types.is_string(kind):
        found = [_lengths(pc.binary_length(column).fill_null(0)), column.cast(pa.binary())]
    else:
        values = _values(column)
        size = np.broadcast_to(_big(np.array([values.shape[1]]), 4), (len(column), 4))
        if not column.null_count:
            return [size, values]
        found = [np.array(size), _binary(values)]
    if not column.null_count:
        return found
    whole = pc.binary_join_element_wise(_binary(found[0]), found[1].fill_null(b""), pa.scalar(b""))
    return [pc.if_else(column.is_valid(), whole, pa.scalar(_NULL, pa.binary()))]


def _words(column: pa.Array) -> list[Bytes | pa.Array]:
    """Texts that are few: each is made a field once."""
    words = _joined(_fields(column.dictionary))
    used = pc.unique(column.indices)
    if len(used) > 1:
        return [words.take(column.indices).fill_null(_NULL)]
    word = np.frombuffer(words[used[0].as_py()].as_py(), np.uint8)
    return [np.broadcast_to(word, (len(column), len(word)))]


def _values(column: pa.Array) -> Bytes:
    """The values of a column whose values are of one width; anything for NULL."""
    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        storage = column.storage
        values = np.frombuffer(storage.buffers()[1], np.uint8).reshape(-1, 16)
        return values[storage.offset : storage.offset + len(storage)]
    if pa.types.is_date(kind):
        return _big(column.cast(pa.int32()).fill_null(0).to_numpy() - _EPOCH, 4)
    if pa.types.is_timestamp(kind):
        seconds = column.cast(pa.int64()).fill_null(0).to_numpy()
        return _big((seconds - _EPOCH * 86_400) * _MICROSECONDS, 8)
    if pa.types.is_boolean(kind):
        return _big(column.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int8), 1)
    if pa.types.is_float64(kind):
        return _big(column.fill_null(0).to_numpy().view(np.int64), 8)
    if pa.types.is_int8(kind):  # which PostgreSQL has not
        column, kind = column.cast(pa.int16()), pa.int16()
    return _big(column.fill_null(0).to_numpy(), kind.bit_width // 8)


def _lists(column: pa.Array) -> list[Bytes | pa.Array]:
    """Lists as arrays: dimensions, whether any is NULL, type, length, first number; elements."""
    elements = column.flatten()
    kind = column.type.value_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    elif pa.types.is_string(kind):  # few words, many times
        elements = elements.dictionary_encode()
    ends = np.concatenate([[0], np.cumsum(column.value_lengths().to_numpy())])
    fields = _fields(elements)
    if all(isinstance(field, np.ndarray) for field in fields):
        cells = np.hstack(fields)
        bodies = pa.Array.from_buffers(
            pa.binary(),
            len(column),
            [
                None,
                pa.py_buffer((ends * cells.shape[1]).astype(np.int32)),
                pa.py_buffer(np.ascontiguousarray(cells)),
            ],
        )
    else:
        cells = _joined(fields)
        bodies = pc.binary_join(
            pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), cells), b""
        )
    lengths = column.value_lengths().to_numpy()
    head = np.zeros((len(column), 5), ">i4")
    head[:] = (1, int(pc.any(pc.is_null(elements)).as_py() or 0), _OF_LIST[kind], 0, 1)
    head[:, 3] = lengths
    sizes = pc.binary_length(bodies).to_numpy() + head.shape[1] * 4
    return [_big(sizes, 4), head.view(np.uint8).reshape(len(column), -1), bodies]


def _numbers(column: pa.Array) -> Bytes:
    """The fields of whole numbers, none of which is NULL, each written once (rows x bytes)."""
    width = max(column.type.bit_width // 8, 2)  # PostgreSQL has none of one byte
    fields = np.empty(len(column), [("length", ">i4"), ("value", f">i{width}")])
    fields["length"], fields["value"] = width, column.to_numpy()
    return fields.view(np.uint8).reshape(len(column), 4 + width)


def _decimals(column: pa.Array) -> Bytes:
    """The fields of decimals: number of digits, weight of the first one, sign, scale; digits.

    These are to the base 10,000; PostgreSQL drops those that are 0 in front and behind.
    """
    words = np.frombuffer(column.buffers()[1], np.uint64).reshape(-1, 2)
    words = words[column.offset : column.offset + len(column)]
    numbers = words[:, 0]
    if words[:, 1].any():
        numbers = numbers.astype(object) + words[:, 1].astype(object) * 2**64
    count = 10 if numbers.dtype == object else 5
    fields = np.zeros((len(column), 4 + count), ">i2")
    fields[:, :2] = count, count - 1
    for place in range(count):
        fields[:, -1 - place] = numbers // _DIGITS**place % _DIGITS
    size = np.broadcast_to(_big(np.array([fields.shape[1] * 2]), 4), (len(column), 4))
    return np.hstack([size, fields.view(np.uint8)])


def _lengths(lengths: pa.Array) -> Bytes:
    return _big(lengths.to_numpy(), 4)


def _big(numbers: npt.NDArray[np.signedinteger], width: int) -> Bytes:
    """Numbers of ``width`` bytes each, the most significant one first (rows x bytes)."""
    turned = np.ascontiguousarray(numbers.astype(f">i{width}"))
    return turned.view(np.uint8).reshape(len(turned), width)


def _binary(values: Bytes) -> pa.Array:
    """Bytes of one width (rows x bytes) as texts of bytes."""
    kind = pa.binary(values.shape[1])
    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [None, buffer]).cast(pa.binary())


def _data(texts: pa.Array) -> bytes:
    """All bytes of ``texts``, one after the other."""
    texts = pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return bytes(memoryview(data)[ends[0] : ends[-1]])
