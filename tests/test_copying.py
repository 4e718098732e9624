"""What is encoded for PostgreSQL's binary COPY is read back as it was."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import Server

from ringserverstats.store.postgresql import copy_binary as copying
from ringserverstats.store.postgresql.copy_binary import encode_table

WORD = pa.dictionary(pa.int8(), pa.string())
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=9)
DATES = st.one_of(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.dates(date(1, 1, 1), date(2000, 1, 1)),
    st.sampled_from([date(1999, 12, 31), date(2000, 1, 1), date(1970, 1, 1), date(9999, 12, 31)]),
)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)).map(
    lambda time: time.replace(microsecond=0)
)


def integers(bits: int) -> st.SearchStrategy[int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return st.sampled_from([low, high, -1, 0, 1]) | st.integers(low, high)


#: Of each kind of column its type in PostgreSQL and its values.
KINDS: dict[pa.DataType, tuple[str, st.SearchStrategy[Any]]] = {
    pa.int8(): ("smallint", integers(8)),  # PostgreSQL has no narrower one
    pa.int16(): ("smallint", integers(16)),
    pa.int32(): ("integer", integers(32)),
    pa.int64(): ("bigint", integers(64)),
    pa.float64(): ("double precision", st.floats(allow_nan=False)),
    pa.bool_(): ("boolean", st.booleans()),
    pa.date32(): ("date", DATES),
    pa.timestamp("s"): ("timestamp", TIMES),
    pa.uuid(): ("uuid", st.uuids() | st.just(UUID(int=0)) | st.just(UUID(int=2**128 - 1))),
    pa.string(): ("text", TEXTS),
    WORD: ("text", st.sampled_from(["TX", "RX", "", "ünïcode-☃"]) | TEXTS),
    # Empty lists work too; a list that is NULL itself does not, and never occurs.
    pa.list_(pa.int64()): ("bigint[]", st.lists(st.none() | integers(64), max_size=4)),
    pa.list_(pa.string()): ("text[]", st.lists(st.none() | TEXTS, max_size=4)),
}


@st.composite
def columns(draw: st.DrawFn, kind: pa.DataType, size: int) -> pa.ChunkedArray:
    """``size`` values of a kind, in some chunks, which may be slices of longer arrays."""
    _, values = KINDS[kind]
    if not pa.types.is_list(kind):
        some = [] if kind == WORD else ["some"]  # see test_some_words_are_null
        nulls = draw(st.sampled_from(["none", "all", *some]))
        values = {"none": values, "some": st.none() | values, "all": st.none()}[nulls]
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    count = before + size + after
    whole = pa.array(draw(st.lists(values, min_size=count, max_size=count)), kind)
    cut = draw(st.integers(0, size))
    if draw(st.booleans()):
        cut = size
    own = whole.slice(before, size)
    return pa.chunked_array([own.slice(0, cut), own.slice(cut)] if cut < size else [own], kind)


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    size = draw(st.integers(0, 10))
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=5))
    made = {f"c{n}": draw(columns(kind, size)) for n, kind in enumerate(kinds)}
    table = pa.table(made)
    if draw(st.booleans()):
        return table
    start = draw(st.integers(0, size))
    return table.slice(start, draw(st.integers(0, size - start)))


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server.uri(), autocommit=True, prepare_threshold=None) as connection:
        yield connection


def there_and_back(connection: psycopg.Connection[Any], rows: pa.Table) -> list[dict[str, Any]]:
    """``rows`` as the server has them after a COPY."""
    given = ", ".join(f"{field.name} {KINDS[field.type][0]}" for field in rows.schema)
    names = ", ".join(rows.column_names)
    connection.execute("DROP TABLE IF EXISTS pg_temp.copied")
    connection.execute(f"CREATE TEMP TABLE copied (place serial, {given})")
    cursor = connection.cursor(row_factory=psycopg.rows.dict_row)
    with cursor.copy(f"COPY copied ({names}) FROM STDIN (FORMAT binary)") as copy:
        for piece in encode_table(rows):
            copy.write(piece)
    return cursor.execute(f"SELECT {names} FROM copied ORDER BY place").fetchall()


@given(rows=tables(), at_once=st.sampled_from([1, 40, 200, copying._PIECE_BYTES]))
@settings(max_examples=80)
def test_any_table_is_read_back_as_it_was(
    connection: psycopg.Connection[Any], rows: pa.Table, at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "_PIECE_BYTES", at_once)
        assert there_and_back(connection, rows) == rows.to_pylist()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@given(data=st.data(), size=st.integers(1, 12), at_once=st.sampled_from([1, 40, 1 << 20]))
@settings(max_examples=8)
def test_a_column_of_each_kind_alone(
    connection: psycopg.Connection[Any],
    kind: pa.DataType,
    data: st.DataObject,
    size: int,
    at_once: int,
) -> None:
    rows = pa.table({"c0": data.draw(columns(kind, size))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "_PIECE_BYTES", at_once)
        assert there_and_back(connection, rows) == rows.to_pylist()


def test_some_words_are_null(connection: psycopg.Connection[Any]) -> None:
    rows = pa.table({"c0": pa.array(range(4)), "c1": pa.array(["TX", None, "RX", None], WORD)})
    assert there_and_back(connection, rows) == rows.to_pylist()


@given(
    numbers=st.lists(
        st.sampled_from([0, 1, 9_999, 10_000, 10**8, 2**63 - 1, 2**63, 2**64, 10**38 - 1])
        | st.integers(0, 10**38 - 1),
        min_size=1,
    ),
    start=st.integers(0, 2),
)
@settings(max_examples=40)
def test_decimals(connection: psycopg.Connection[Any], numbers: list[int], start: int) -> None:
    kind = pa.decimal128(38, 0)
    rows = pa.table({"c0": pa.array(numbers, kind)}).slice(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KINDS, kind, ("numeric", st.nothing()))
        assert there_and_back(connection, rows) == rows.to_pylist()


def test_a_table_is_cut_into_pieces_of_some_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pa.table({"c0": pa.array(range(1000), pa.int64())})
    whole = list(encode_table(rows))
    monkeypatch.setattr(copying, "_PIECE_BYTES", 800)
    pieces = list(encode_table(rows))
    assert len(whole) == 3  # header, rows, trailer
    assert len(pieces) == 2 + 10
    assert b"".join(pieces) == b"".join(whole)


def test_many_rows_of_several_megabytes(connection: psycopg.Connection[Any]) -> None:
    count = 60_000
    rows = pa.table(
        {
            "c0": pa.array(range(count), pa.int64()),
            "c1": pa.array([f"stream {n % 999} ☃" if n % 7 else None for n in range(count)]),
            "c2": pa.array([[n, None, -n] if n % 3 else [n] for n in range(count)]),
        }
    )
    assert rows.nbytes > 2 * copying._PIECE_BYTES
    assert there_and_back(connection, rows) == rows.to_pylist()
