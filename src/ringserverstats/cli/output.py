"""Rows as a table for people, or as CSV, JSON or Parquet for programs."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from ringserverstats.cli.terminal import console
from ringserverstats.errors import UsageError
from ringserverstats.statistics.serialize import FORMATS

if TYPE_CHECKING:
    from rich.console import Console


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
        else:
            file.writelines(FORMATS[format_](rows))


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
