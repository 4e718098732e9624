"""What all commands share: settings, the store, the exporter, tables, progress bars."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from ringserverstats.errors import RingserverStatsError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ringserverstats.exports.influxdb.exporter import ExportReport, InfluxExporter
    from ringserverstats.settings import Settings
    from ringserverstats.store.base import Store

_UNLIMITED = 10_000
_MAX_PROBLEMS = 20


def print_note(message: str) -> None:
    """Print a note on standard error."""
    click.echo(f"Note: {message}", err=True)


def print_warning(message: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"Warning: {message}", err=True)


def load_settings() -> Settings:
    """Return the settings; ``--database``, before or after the command, takes precedence."""
    from ringserverstats import settings

    database = click.get_current_context().find_root().obj
    warn_of_password(database)
    return settings.load(database=database, warn=print_warning)


def warn_of_password(uri: str | None) -> None:
    """Print a warning if ``uri``, from the command line, contains a password."""
    if uri and re.search(r"://[^/?]*:[^/?]*@|[?&]password=", uri):
        print_warning(
            "every user of this machine can see a password on the command line; set DATABASE_URI "
            "instead, or put the password into ~/.pgpass"
        )


def open_store(
    settings: Settings,
    *,
    for_queries: bool,
    must_exist: bool = False,
    quiet: bool = False,
    changes: bool = False,
) -> Store:
    """Return the store that ``settings`` name.

    Args:
        for_queries: see `opening.open_store`.
        must_exist: see `opening.open_store`.
        quiet: print no messages of the store.
        changes: the command changes days; export them to InfluxDB at its end.
    """
    from ringserverstats import opening

    notify = (lambda _: None) if quiet else (lambda message: click.echo(message, err=True))
    store = opening.open_store(
        settings, for_queries=for_queries, must_exist=must_exist, notify=notify
    )
    exporter = _open_exporter(settings) if changes else None
    if exporter is not None:
        existed = store.exists()
        if existed:
            register_exporter(exporter, store)

        def export() -> None:
            # A whole day does not fit into the memory limit for reading logs.
            again = open_store(settings, for_queries=True, quiet=True)
            _export_pending(exporter, again, is_new=not existed)

        click.get_current_context().call_on_close(export)
    return store


def _open_exporter(settings: Settings) -> InfluxExporter | None:
    """Return the exporter; print a warning and return None if its settings are invalid."""
    from ringserverstats import opening

    try:
        return opening.open_exporter(settings)
    except UsageError as error:
        print_warning(f"nothing is exported to InfluxDB: {error}")
        return None


def register_exporter(exporter: InfluxExporter, store: Store) -> None:
    """Let ``store`` record which of its days change for ``exporter``."""
    note = exporter.register(store)
    if note:
        print_note(note)


def _export_pending(exporter: InfluxExporter, store: Store, *, is_new: bool) -> None:
    """Export pending days; errors are printed and do not change the exit code."""
    try:
        if not store.exists():
            return
        if is_new:
            exporter.register(store, is_new=True)
        with progress_bar("InfluxDB", None) as progress:
            report = exporter.export_pending(store, progress=progress)
        if report.days or report.problems:
            print_export_report(report, exporter.database.name)
    except RingserverStatsError as error:
        print_warning(f"the export to InfluxDB failed: {error}")


def print_export_report(report: ExportReport, name: str) -> None:
    """Print what was exported to the InfluxDB ``name``, and the problems."""
    if report.days or not report.problems:
        click.echo(f"{name}: {report.days:,} days, {report.points:,} points", err=True)
    for problem in report.problems[:_MAX_PROBLEMS]:
        print_warning(problem)
    if len(report.problems) > _MAX_PROBLEMS:
        print_warning(f"{len(report.problems) - _MAX_PROBLEMS} more")


def confirm(question: str, *, otherwise: str) -> None:
    """Ask ``question`` on the terminal and abort the command unless the answer is yes.

    Raises:
        UsageError: standard input is not a terminal; ``otherwise`` is its message.
    """
    if not sys.stdin.isatty():
        raise UsageError(otherwise)
    click.confirm(question, abort=True, err=True)


@contextmanager
def progress_bar(
    label: str, size: int | None, *extra: str, is_bytes: bool = False
) -> Iterator[Callable[..., None]]:
    """Show a progress bar on a terminal, nothing elsewhere.

    Args:
        label: what is done.
        size: the amount to do, if known.
        extra: rich's markup of more columns.
        is_bytes: amounts are bytes; also show bytes per second.

    Returns:
        A function to call with the amount done, the amount to do if it changed, and by name the
        values of ``extra``.
    """
    if not sys.stderr.isatty():
        yield lambda *_, **__: None
        return
    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn(label),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        *(bars.TextColumn(column) for column in extra),
        *([bars.TransferSpeedColumn()] if is_bytes else []),
        bars.TimeRemainingColumn(),
        console=console(error=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=size or None, lines=0)

        def update(done: int, total: int | None = None, **values: Any) -> None:
            bar.update(task, completed=done, total=total, **values)

        yield update


def console(*, error: bool = False, file: Any = None) -> Console:
    """Return a console that never cuts lines of output to a file or pipe."""
    from rich.console import Console

    target = Console(stderr=error, file=file, highlight=False, emoji=False, markup=False)
    if not target.is_terminal:
        target.width = _UNLIMITED
    return target


def table(headings: Iterable[tuple[str, bool]], title: str | None = None) -> Table:
    """Return an empty table.

    Args:
        headings: for each column its heading and whether it contains numbers.
        title: a line above the table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(
        title=title and Text(title, "bold", no_wrap=True, overflow="ignore"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    grid.caption_justify = "left"
    for heading, is_number in headings:
        # Only texts are wrapped: a number that is cut is a wrong number.
        justify: Literal["left", "right"] = "right" if is_number else "left"
        grid.add_column(heading, justify=justify, no_wrap=is_number, overflow="fold")
    return grid


def note_cut(grid: Table, shown: int, size: int) -> None:
    """Note below ``grid`` that it has only the first ``shown`` of ``size`` rows."""
    if size > shown:
        grid.caption = f"the first {shown} of {size:,}; all with --format csv"


def width(grid: Table, on: Console) -> int:
    """Return the width in characters of ``grid`` without line breaks."""
    from rich.measure import Measurement

    return Measurement.get(on, on.options.update(max_width=_UNLIMITED), grid).maximum


def show(grid: Table, on: Console) -> None:
    """Print ``grid`` in the width of ``on``, or its least width if that is larger."""
    from rich.measure import Measurement

    least = Measurement.get(on, on.options.update(max_width=_UNLIMITED), grid).minimum
    on.width = max(on.width, least)
    on.print(grid)


def rows_of(items: Iterable[Any], kind: type) -> Any:
    """Return dataclasses of one ``kind`` as an Arrow table with a column for each field."""
    from dataclasses import fields

    import pyarrow as pa

    schema = [
        (field.name, pa.int64() if "int" in str(field.type) else pa.string())
        for field in fields(kind)
    ]
    return pa.Table.from_pylist([vars(item) for item in items], pa.schema(schema))
