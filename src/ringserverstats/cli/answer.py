"""An answer as a table for people, or as CSV, JSON or Parquet for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ringserverstats.cli.common import console, human_bytes, show, table, width
from ringserverstats.errors import StoreError, UsageError
from ringserverstats.statistics.columns import GROUPS
from ringserverstats.statistics.questions import Question, ask, totals
from ringserverstats.store.base import Store

if TYPE_CHECKING:
    from rich.table import Table

_BAR = 16
_FORMULA = "^[=+\\-@\t\r]"
_NONE = "–"


def write(store: Store, question: Question, format_: str, output: str | None) -> None:
    """Answer ``question`` in ``format_`` to the file ``output`` or to standard output.

    Raises:
        UsageError: the file cannot be written.
    """
    if format_ == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("Parquet is no text; name a file with -o FILE")
    answer = ask(store, question)
    with _opened(output) as file:
        if format_ == "table":
            _write_table(store, question, answer, None if output is None else file)
        elif format_ == "csv":
            pa.csv.write_csv(
                _without_formulas(answer), file, pa.csv.WriteOptions(quoting_style="needed")
            )
        elif format_ == "json":
            _write_json(answer, file)
        else:
            pa.parquet.write_table(answer, file)


@contextmanager
def _opened(output: str | None) -> Iterator[BinaryIO]:
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with open(output, "wb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{output!a} cannot be written: {error.strerror}") from None


def _without_formulas(answer: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would run as a formula, behind an apostrophe."""
    for number, field in enumerate(answer.schema):
        if pa.types.is_string(field.type):
            column = answer.column(number)
            risky = pc.match_substring_regex(column, _FORMULA)
            guarded = pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
            answer = answer.set_column(number, field.name, guarded)
    return answer


def _write_json(answer: pa.Table, file: BinaryIO) -> None:
    file.write(b"[")
    separator = b"\n"
    for batch in answer.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            file.write(separator + json.dumps(row, ensure_ascii=False, default=int).encode())
            separator = b",\n"
    file.write(b"\n]\n")


def _write_table(store: Store, question: Question, answer: pa.Table, file: BinaryIO | None) -> None:
    import io

    text = None if file is None else io.TextIOWrapper(file, "utf-8", write_through=True)
    if not len(answer) or (not question.by and not any(answer.to_pylist()[0].values())):
        console(file=text).print(_empty(store, question))
        return
    on = console(file=text)
    whole = totals(store, question) if question.by else None
    made = _table(question, answer, whole, bars=bool(question.by))
    if width(made, on) > on.width:
        made = _table(question, answer, whole, bars=False)
    show(made, on)
    if text is not None:
        text.detach()


def _table(
    question: Question, answer: pa.Table, whole: dict[str, int] | None, *, bars: bool
) -> Table:
    """The answer with sizes for people, ``bars`` of the measure that it is sorted by, a total."""
    barred = question.sort if question.sort in question.shown else question.shown[0]
    made = table(
        [
            *((name, False) for name in question.by),
            *((name, True) for name in question.shown),
            *([(barred, False)] if bars else []),
        ]
    )
    columns = {name: answer[name].to_pylist() for name in answer.column_names}
    most = max(columns[barred], default=0) or 1
    for row in range(len(answer)):
        groups = [_group(name, columns[name][row]) for name in question.by]
        numbers = [_number(name, columns[name][row]) for name in question.shown]
        bar = ["█" * round(_BAR * columns[barred][row] / most) or "▏"] if bars else []
        made.add_row(*groups, *numbers, *bar)
    if whole:
        labels = ["total", *[""] * (len(question.by) - 1)]
        made.add_section()
        made.add_row(*labels, *(_number(name, whole[name]) for name in question.shown))
    made.caption = _caption(question)
    made.caption_justify = "left"
    return made


def _group(name: str, value: str | None) -> str:
    if name == "location" and value == "":
        return "--"
    return _NONE if value is None else value


def _number(name: str, count: int) -> str:
    return human_bytes(count) if name == "bytes" else f"{count:,}"


def _caption(question: Question) -> str:
    directions = question.filters.get("direction", ())
    way: dict[tuple[str, ...], str] = {
        ("TX",): "sent to clients (TX)",
        ("RX",): "received from clients (RX)",
    }
    parts = [way.get(directions, "sent and received")]
    if question.first or question.last:
        parts.append(f"{question.first or 'the beginning'} to {question.last or 'today'}")
    if question.top is not None:
        parts.append(f"the first {question.top}, and the total of all")
    if question.first or question.last or any(GROUPS[name].is_time for name in question.by):
        parts.append("day: the server's local date")
    return "; ".join(parts)


def _empty(store: Store, question: Question) -> str:
    held = ask(store, Question(by=("day",), measures=("transfers",)))
    days = held["day"].to_pylist()
    if not days:
        raise StoreError(
            f"there is nothing in {store.label} yet; read logs with: ringserverstats FILE..."
        )
    return (
        f"No entries for this question: {_caption(question)}. "
        f"The store holds {days[0]} to {days[-1]}."
    )
