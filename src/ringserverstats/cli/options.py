"""Options that several commands share; each decorator passes one object to its command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli import DATABASE_HELP, remember_database
from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    from ringserverstats.store.base import Store

FORMATS = ("table", "csv", "json", "parquet")

#: A function that becomes a command.
Command = Callable[..., Any]
_Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@dataclass(frozen=True)
class Period:
    """The first and last day of a period, both inclusive; None is no limit."""

    first: date | None
    last: date | None


@dataclass(frozen=True)
class Output:
    """Where rows are written: ``format``, one of `FORMATS`, and a file (None: standard output)."""

    format: str
    file: str | None


@dataclass(frozen=True)
class Inputs:
    """Which logs to read: ``files`` and folders, their ``server``, the log's file ``name``."""

    files: tuple[str, ...]
    server: str | None
    name: str | None


def database_option(command: Command) -> Command:
    """``--database`` after the command; `load_settings` reads it."""
    return click.option(
        "--database",
        "--dburi",
        metavar="URI",
        expose_value=False,
        callback=remember_database,
        help=DATABASE_HELP,
    )(command)


def add_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Add ``options`` to ``command``, which lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """``--format`` and ``-o``, passed as ``output``: an `Output`."""

    @functools.wraps(command)
    def with_output(*args: Any, format_: str, output: str | None, **given: Any) -> Any:
        return command(*args, output=Output(format_, output), **given)

    return add_options(
        with_output,
        (
            click.option(
                "--format",
                "format_",
                type=click.Choice(FORMATS),
                default=_format_of_output,
                show_default=f"by the name of the output, else {FORMATS[0]}",
            ),
            click.option(
                "-o",
                "--output",
                is_eager=True,  # the default format depends on its name
                type=click.Path(dir_okay=False),
                help="Write to this file instead of standard output.",
            ),
        ),
    )


def _format_of_output() -> str:
    """Return the format that the name of the output implies, such as csv."""
    output = click.get_current_context().params.get("output")
    suffix = Path(output).suffix.lower().removeprefix(".") if isinstance(output, str) else ""
    return suffix if suffix in FORMATS else FORMATS[0]


def period_options(command: Command) -> Command:
    """``--from``, ``--to``, ``--month``, ..., passed as ``period``: a `Period`."""

    @functools.wraps(command)
    def with_period(*args: Any, **given: Any) -> Any:
        names = {"first": "from", "final": "to", "month": "month", "year": "year", "length": "last"}
        words = {word: given.pop(name) for name, word in names.items()}
        return command(*args, period=period_of(words), **given)

    return add_options(
        with_period,
        (
            click.option(
                "--from", "first", metavar="DATE", help="First day: 2026, 2026-11 or 2026-11-24."
            ),
            click.option("--to", "final", metavar="DATE", help="Last day; 2026-11 is 30 November."),
            click.option("--month", metavar="YYYY-MM", help="Only this month."),
            click.option("--year", metavar="YYYY", help="Only this year."),
            click.option(
                "--last", "length", metavar="LENGTH", help="Until today: 30d, 4w, 6m or 1y."
            ),
        ),
    )


def period_of(words: dict[str, str | None]) -> Period:
    """Return the period of the options in ``words``: from, to, month, year, last.

    Raises:
        UsageError: they are invalid or exclude one another.
    """
    from ringserverstats.statistics import parameters

    given = {name: text for name, text in words.items() if text}
    return Period(*parameters.period(given, date.today()))


def filter_options(*names: str) -> Callable[[Command], Command]:
    """An option for each filter, passed as ``filters``: the given texts by name of the filter."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_filters(*args: Any, **given: Any) -> Any:
            texts = {name: given.pop(name.replace("-", "_")) for name in names}
            filters = {name: values for name, values in texts.items() if values}
            return command(*args, filters=filters, **given)

        return add_options(
            with_filters,
            [
                click.option(
                    f"--{name}",
                    multiple=True,
                    metavar="LIST",
                    help=f"Only these {FILTERS[name].help}.",
                    shell_complete=complete_server if name == "server" else None,
                )
                for name in names
            ],
        )

    return decorate


def input_options(command: Command) -> Command:
    """``FILE...``, ``--as`` and ``--name``, passed as ``inputs``: `Inputs`."""

    @functools.wraps(command)
    def with_inputs(*args: Any, files: Any, server: Any, name: Any, **given: Any) -> Any:
        return command(*args, inputs=Inputs(files, server, name), **given)

    return add_options(
        with_inputs,
        (
            click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path()),
            click.option("--as", "server", metavar="NAME", help="The server that wrote the logs."),
            click.option(
                "--name", metavar="FILENAME", help="The log's file name, for input without one."
            ),
        ),
    )


def server_names(store: Store, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of ``--server``.

    Raises:
        UsageError: a value without wildcards is not the name of a server.
    """
    names = listed(texts)
    servers = store.servers()
    for name in names if store.exists() else ():
        if not set("*?") & set(name) and not any(server.name == name for server in servers):
            renamed = next((server.name for server in servers if server.is_called(name)), None)
            known = ", ".join(server.name for server in servers) or "none"
            hint = f"it is called {renamed!r} now" if renamed else f"known: {known}"
            raise UsageError(f"there is no server {name!r} ({hint})")
    return names


def complete_server(context: click.Context, parameter: click.Parameter, text: str) -> list[str]:
    """Complete the last name of a list of servers."""
    import msgspec

    from ringserverstats.cli.terminal import load_settings, open_store

    with context.scope(cleanup=False):
        try:
            settings = msgspec.structs.replace(load_settings(), lock_timeout=0)
            servers = open_store(settings, for_queries=True).servers()
        except RingserverStatsError:
            return []
    return complete_list(*(server.name for server in servers))(context, parameter, text)


def complete_list(*names: str) -> _Complete:
    """Return a function that completes the last name of a list with commas."""

    def complete(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
        before, comma, last = text.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{name}"
            for name in names
            if name.startswith(last) and name not in given
        ]

    return complete
