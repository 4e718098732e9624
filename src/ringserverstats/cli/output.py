"""Write rows as a table for people, or as CSV, JSON or Parquet for programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from ringserverstats.cli.options import Output
from ringserverstats.cli.terminal import console
from ringserverstats.errors import UsageError
from ringserverstats.statistics.serialize import FORMATS

if TYPE_CHECKING:
    from rich.console import Console


def write(rows: pa.Table, output: Output, print_table: Callable[[Console], None]) -> None:
    """Write ``rows`` as ``output`` says; ``print_table`` prints them for people.

    Raises:
        UsageError: the file cannot be written, or is needed for Parquet.
    """
    if output.format == "parquet" and output.file is None and sys.stdout.isatty():
        raise UsageError("a terminal cannot show Parquet; name a file with -o FILE")
    with open_output(output.file) as file:
        if output.format == "table":
            _write_text(print_table, None if output.file is None else file)
        else:
            file.writelines(FORMATS[output.format](rows))


@contextmanager
def open_output(path: str | None) -> Iterator[BinaryIO]:
    """Open the file ``path``, or standard output if it is None, for writing bytes.

    Raises:
        UsageError: the file cannot be written, or is a database.
    """
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if _is_database(path):
        raise UsageError(f"{path!a} is a DuckDB file, perhaps the store; name another file")
    try:
        with open(path, "wb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{path!a} cannot be written: {error.strerror}") from None


def _is_database(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(12)[8:] == b"DUCK"
    except OSError:
        return False


def _write_text(print_table: Callable[[Console], None], file: BinaryIO | None) -> None:
    text = None if file is None else io.TextIOWrapper(file, "utf-8", write_through=True)
    print_table(console(file=text))
    if text is not None:
        text.detach()
