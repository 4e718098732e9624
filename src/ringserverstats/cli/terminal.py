"""What several commands share: opening the store, tables on a terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.errors import RingserverStatsError, UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ringserverstats.exports.influxdb.exporter import ExportReport, InfluxExporter
    from ringserverstats.settings import Settings
    from ringserverstats.store.base import Store

_UNLIMITED = 10_000
_MOST_PROBLEMS = 20


def load_settings(database: str | None) -> Settings:
    """The settings, where ``--database`` before or behind the command goes first."""
    from ringserverstats import settings

    told = database or click.get_current_context().obj
    warn_of_password(told)
    return settings.load(database=told)


def warn_of_password(uri: str | None) -> None:
    """Say so where ``uri``, from the command line, holds a password."""
    if uri and re.search(r"://[^/?]*:[^/?]*@|[?&]password=", uri):
        click.echo(
            "Warning: a password on the command line is seen by every user of this machine; set "
            "DATABASE_URI instead, or put it into ~/.pgpass",
            err=True,
        )


def open_store(
    settings: Settings,
    *,
    answers: bool,
    needed: bool = False,
    quiet: bool = False,
    changes: bool = False,
) -> Store:
    """The store that ``settings`` name, as `opening.open_store` has it.

    Args:
        quiet: it says nothing by itself, as it is made for a moment.
        changes: days of it may change, and go on to InfluxDB at the end of the command.
    """
    from ringserverstats import opening

    tell = (lambda _: None) if quiet else (lambda message: click.echo(message, err=True))
    store = opening.open_store(settings, answers=answers, needed=needed, tell=tell)
    exporter = _exporter(settings) if changes else None
    if exporter is not None:
        existed = store.exists()
        if existed:
            begin(exporter, store)

        def send() -> None:
            # As for answers: what reading logs has of memory is too little to split a day in full.
            _send_due(exporter, open_store(settings, answers=True, quiet=True), is_new=not existed)

        click.get_current_context().call_on_close(send)
    return store


def _exporter(settings: Settings) -> InfluxExporter | None:
    """The InfluxDB of the settings; what is wrong with it is told, and stops no command."""
    from ringserverstats import opening

    try:
        return opening.open_exporter(settings)
    except UsageError as error:
        click.echo(f"Warning: nothing goes on to InfluxDB: {error}", err=True)
        return None


def begin(exporter: InfluxExporter, store: Store) -> None:
    """Let days of ``store`` go on to ``exporter``; says so where it is a new one."""
    note = exporter.begin(store)
    if note:
        click.echo(f"Note: {note}", err=True)


def _send_due(exporter: InfluxExporter, store: Store, *, is_new: bool) -> None:
    """Let days that changed go on; whatever happens is told, and what the command did stays so."""
    try:
        if not store.exists():
            return
        if is_new:
            exporter.begin(store, is_new=True)
        with progress_bar("InfluxDB", None) as progress:
            sent = exporter.export_pending(
                store, progress=lambda done, size: progress(done, total=size)
            )
        if sent.days or sent.problems:
            print_export_report(sent, exporter.database.name)
    except RingserverStatsError as error:
        click.echo(f"Warning: nothing goes on to InfluxDB just now: {error}", err=True)


def print_export_report(sent: ExportReport, name: str) -> None:
    """What went on to InfluxDB, and what did not."""
    if sent.days or not sent.problems:
        click.echo(f"{name}: {sent.days:,} days, {sent.points:,} points", err=True)
    for problem in sent.problems[:_MOST_PROBLEMS]:
        click.echo(f"Warning: {problem}", err=True)
    if len(sent.problems) > _MOST_PROBLEMS:
        click.echo(f"Warning: {len(sent.problems) - _MOST_PROBLEMS} more", err=True)


def confirm(query: str, *, otherwise: str) -> None:
    """Go on only if somebody at a terminal says yes to ``query``.

    Raises:
        UsageError: nobody is there to ask; ``otherwise`` says what is needed then.
    """
    if not sys.stdin.isatty():
        raise UsageError(otherwise)
    click.confirm(query, abort=True, err=True)


@contextmanager
def progress_bar(
    label: str, size: int | None, *extra: str, is_bytes: bool = False
) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere; call what it gives with what is done.

    Args:
        extra: rich's markup of more columns, whose values are given by name.
    """
    if not sys.stderr.isatty():
        yield lambda *_, **__: None
        return
    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn(label),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        *(bars.TextColumn(one) for one in extra),
        *([bars.TransferSpeedColumn()] if is_bytes else []),
        bars.TimeRemainingColumn(),
        console=console(error=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=size or None, lines=0)
        yield lambda done, **values: bar.update(task, completed=done, **values)


def console(*, error: bool = False, file: Any = None) -> Console:
    """A console that never cuts what does not go to a terminal."""
    from rich.console import Console

    found = Console(stderr=error, file=file, highlight=False, emoji=False, markup=False)
    if not found.is_terminal:
        found.width = _UNLIMITED
    return found


def table(headings: Iterable[tuple[str, bool]], title: str | None = None) -> Table:
    """An empty table; of each heading whether its column holds numbers."""
    from rich import box
    from rich.table import Table

    made = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading, is_number in headings:
        made.add_column(heading, justify="right" if is_number else "left", no_wrap=True)
    return made


def note_cut(made: Table, shown: int, size: int) -> None:
    """Say below ``made`` that only the first ``shown`` of ``size`` rows are in it."""
    if size > shown:
        made.caption = f"the first {shown} of {size:,}; all with --format csv"
        made.caption_justify = "left"


def width(made: Table, on: Console) -> int:
    """The columns of a terminal that ``made`` needs to be whole."""
    from rich.measure import Measurement

    return Measurement.get(on, on.options.update(max_width=_UNLIMITED), made).maximum


def show(made: Table, on: Console) -> None:
    """Print ``made`` whole: where it is too wide, the terminal breaks its lines."""
    on.width = max(on.width, width(made, on))
    on.print(made)


def rows_of(found: Iterable[Any], kind: type) -> Any:
    """Dataclasses of one ``kind`` as rows with their fields as columns."""
    from dataclasses import fields

    import pyarrow as pa

    texts = {
        one.name: pa.int64() if "int" in str(one.type) else pa.string() for one in fields(kind)
    }
    return pa.Table.from_pylist([vars(one) for one in found], pa.schema(texts.items()))
