"""Results for programs: CSV, JSON or Parquet."""

import io
import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

# Also full-width characters, which some spreadsheets read as their plain ones.
_FORMULA = r"^[=+\-@\t\r\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_BATCH_ROWS = 10_000


def without_formulas(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with an apostrophe before texts that spreadsheets run as formulas."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            column = rows.column(number)
            risky = pc.match_substring_regex(column, _FORMULA)
            guarded = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
            rows = rows.set_column(number, field.name, guarded)
    return rows


def _csv(rows: pa.Table) -> Iterator[bytes]:
    """Yield CSV (RFC 4180), with the names of columns first."""
    guarded = without_formulas(rows)
    pieces = guarded.to_batches(max_chunksize=_BATCH_ROWS) or [guarded.slice(0, 0)]
    for number, piece in enumerate(pieces):
        file = io.BytesIO()
        options = pa.csv.WriteOptions(include_header=number == 0, quoting_style="needed")
        pa.csv.write_csv(pa.table(piece), file, options)
        yield file.getvalue()


def _json(rows: pa.Table) -> Iterator[bytes]:
    """Yield an array with one object per line."""
    separator = "[\n"
    for piece in rows.to_batches(max_chunksize=_BATCH_ROWS):
        lines = (json.dumps(row, ensure_ascii=False, default=int) for row in piece.to_pylist())
        text = ",\n".join(lines)
        if text:
            yield (separator + text).encode()
            separator = ",\n"
    yield b"[\n]\n" if separator == "[\n" else b"\n]\n"


def _parquet(rows: pa.Table) -> Iterator[bytes]:
    file = io.BytesIO()
    pa.parquet.write_table(rows, file)
    yield file.getvalue()


#: By name: the function that yields rows as bytes.
FORMATS: dict[str, Callable[[pa.Table], Iterator[bytes]]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}
