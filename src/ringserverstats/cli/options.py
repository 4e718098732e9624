"""Options that several commands share; each decorator passes one object to its command."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli import DATABASE_HELP, remember_database
from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.statistics.dimensions import FILTERS, SYNONYMS
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    from ringserverstats.store.base import Store

FORMATS = ("table", "csv", "json", "parquet")
_TEXTS = ("", "txt")  # endings of files with tables for people

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


def pass_object(
    command: Command,
    name: str,
    make: Callable[..., Any],
    options: Mapping[str, Callable[[Any], Any]],
) -> Command:
    """Return ``command`` with ``options``: it gets their values as one object.

    Args:
        command: the function of a command.
        name: its parameter.
        make: returns the object from the values of the options, by their names.
        options: decorators by name, in the order of the help.
    """

    @functools.wraps(command)
    def with_object(*args: Any, **given: Any) -> Any:
        values = {option: given.pop(option) for option in options}
        return command(*args, **given, **{name: make(**values)})

    decorated: Command = with_object
    for option in reversed([*options.values()]):
        decorated = option(decorated)
    return decorated


def output_options(command: Command) -> Command:
    """``--format`` and ``-o``, passed as ``output``: an `Output`."""
    options = {
        "format": click.option(
            "--format",
            type=click.Choice(FORMATS),
            default=_format_of_output,
            show_default=f"by the name of the output, else {FORMATS[0]}",
        ),
        "file": click.option(
            "-o",
            "--output",
            "file",
            is_eager=True,  # the default format depends on its name
            type=click.Path(dir_okay=False),
            help="Write to this file instead of standard output.",
        ),
    }
    return pass_object(command, "output", Output, options)


def _format_of_output() -> str:
    """Return the format that the name of the output implies, such as csv.

    Raises:
        UsageError: the name implies another format.
    """
    file = click.get_current_context().params.get("file")
    suffix = Path(file).suffix.lower().removeprefix(".") if isinstance(file, str) else ""
    if suffix in _TEXTS:
        return FORMATS[0]
    if suffix not in FORMATS:
        raise UsageError(
            f"{file!a} names no format that can be written. Name it .csv, .json, .parquet or .txt, "
            "or choose with --format"
        )
    return suffix


def period_options(command: Command) -> Command:
    """``--from``, ``--to``, ``--month``, ..., passed as ``period``: a `Period`."""
    return pass_object(command, "period", period_of, _period_options())


def period_words_options(command: Command) -> Command:
    """The options of `period_options`, passed as ``period``: their texts by parameter."""
    return pass_object(command, "period", _period_words, _period_options())


def _period_options() -> dict[str, Command]:
    texts = {
        "from": ("DATE", "First day: 2026, 2026-Q4, 2026-11 or 2026-11-24."),
        "to": ("DATE", "Last day; 2026-11 is 30 November."),
        "month": ("YYYY-MM", "Only this month."),
        "quarter": ("YYYY-QN", "Only this quarter, such as 2026-Q4."),
        "year": ("YYYY", "Only this year."),
        "last": (
            "LENGTH",
            "Until today: 30d, 4w, 6m (this month and the five before it), 4q or 1y (12m).",
        ),
    }
    options = {
        name: click.option(f"--{name}", name, metavar=metavar, help=text)
        for name, (metavar, text) in texts.items()
    }
    options["last_month"] = click.option("--last-month", is_flag=True, help="Only last month.")
    options["yesterday"] = click.option("--yesterday", is_flag=True, help="Only yesterday.")
    return options


def _period_words(**values: str | bool | None) -> dict[str, str]:
    """Return the parameters of a period; a flag becomes ``yes``."""
    given = {name.replace("_", "-"): value for name, value in values.items() if value}
    return {name: "yes" if value is True else str(value) for name, value in given.items()}


def period_of(**values: str | bool | None) -> Period:
    """Return the period of the options from, to, month, ....

    Raises:
        UsageError: they are invalid or exclude one another.
    """
    from ringserverstats.statistics import parameters

    return Period(*parameters.period(_period_words(**values), date.today()))


def filter_options(*names: str) -> Callable[[Command], Command]:
    """An option for each filter, passed as ``filters``: the given texts by name of the filter."""
    options = {
        name.replace("-", "_"): click.option(
            f"--{name}",
            *(f"--{other}" for other, meant in SYNONYMS.items() if meant == name),
            name.replace("-", "_"),
            multiple=True,
            metavar="LIST",
            help=f"Only these {FILTERS[name].help}.",
            shell_complete=complete_server if name == "server" else None,
        )
        for name in names
    }

    def make(**texts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        return {name.replace("_", "-"): values for name, values in texts.items() if values}

    return lambda command: pass_object(command, "filters", make, options)


def input_options(command: Command) -> Command:
    """``FILE...``, ``--as`` and ``--name``, passed as ``inputs``: `Inputs`."""
    options = {
        "files": click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path()),
        "server": click.option(
            "--as", "server", metavar="NAME", help="The server that wrote the logs."
        ),
        "name": click.option(
            "--name", metavar="FILENAME", help="The log's file name, for input without one."
        ),
    }
    return pass_object(command, "inputs", Inputs, options)


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
            near = {server.name.lower(): server.name for server in servers}
            similar = get_close_matches(name.lower(), near, n=1)
            hint = f"known: {known}"
            if renamed or similar:
                hint = (
                    f"it is called {renamed!r} now"
                    if renamed
                    else f"did you mean {near[similar[0]]!r}?"
                )
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
