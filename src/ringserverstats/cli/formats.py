"""Rows as a table for people, or as CSV, JSON or Parquet for programs."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ringserverstats.cli.common import console
from ringserverstats.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


_FORMULA = "^[=+\\-@\t\r]"


def write(
    rows: pa.Table, format_: str, output: str | None, show: Callable[[Console], None]
) -> None:
    """Write ``rows`` in ``format_`` to the file ``output`` or to standard output.

    Args:
        show: prints them as a table.

    Raises:
        UsageError: the file cannot be written.
    """
    if format_ == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is no text; name a file with -o FILE")
    with opened(output) as file:
        if format_ == "table":
            _write_text(show, None if output is None else file)
        elif format_ == "csv":
            options = pa.csv.WriteOptions(quoting_style="needed")
            pa.csv.write_csv(_without_formulas(rows), file, options)
        elif format_ == "json":
            _write_json(rows, file)
        else:
            pa.parquet.write_table(rows, file)


@contextmanager
def opened(output: str | None) -> Iterator[BinaryIO]:
    """The file ``output``, or standard output, to write into.

    Raises:
        UsageError: it cannot be written.
    """
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if _is_database(output):
        raise UsageError(f"{output!a} is a DuckDB file, perhaps the store; name another file")
    try:
        with open(output, "wb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{output!a} cannot be written: {error.strerror}") from None


def _is_database(output: str) -> bool:
    try:
        with open(output, "rb") as file:
            return file.read(12)[8:] == b"DUCK"
    except OSError:
        return False


def _write_text(show: Callable[[Console], None], file: BinaryIO | None) -> None:
    text = None if file is None else io.TextIOWrapper(file, "utf-8", write_through=True)
    show(console(file=text))
    if text is not None:
        text.detach()


def _without_formulas(rows: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would run as a formula, behind an apostrophe."""
    for number, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            column = rows.column(number)
            risky = pc.match_substring_regex(column, _FORMULA)
            guarded = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
            rows = rows.set_column(number, field.name, guarded)
    return rows


def _write_json(rows: pa.Table, file: BinaryIO) -> None:
    file.write(b"[")
    separator = b"\n"
    for batch in rows.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            file.write(separator + json.dumps(row, ensure_ascii=False, default=int).encode())
            separator = b",\n"
    file.write(b"\n]\n")
