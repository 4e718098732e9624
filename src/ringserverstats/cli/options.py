"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    from ringserverstats.store.base import Store

_Command = TypeVar("_Command", bound=Callable[..., Any])


def database_option(command: _Command) -> _Command:
    """``--database``, for those who write it behind the command."""
    return click.option(
        "--database",
        "--dburi",
        metavar="URI",
        help="The store: duckdb:///path/to/file or postgresql://user@host/database.",
    )(command)


def output_options(*formats: str) -> Callable[[_Command], _Command]:
    """``--format`` (one of ``formats``, the first by default) and ``-o``."""

    def add(command: _Command) -> _Command:
        command = click.option(
            "-o",
            "--output",
            is_eager=True,  # the format looks at its name
            type=click.Path(dir_okay=False),
            help="A file instead of standard output.",
        )(command)
        return click.option(
            "--format",
            "format_",
            type=click.Choice(formats),
            default=lambda: _by_name(formats),
            show_default=f"by the name of the output, else {formats[0]}",
        )(command)

    return add


def _by_name(formats: tuple[str, ...]) -> str:
    """The format that the name of the output means: ``.csv`` for instance."""
    output = click.get_current_context().params.get("output")
    if not isinstance(output, str):
        return formats[0]
    ending = Path(output).suffix.lower().removeprefix(".")
    return ending if ending in formats else formats[0]


def period_options(command: _Command) -> _Command:
    """The options that `period` reads."""
    for option in reversed(
        (
            click.option(
                "--from", "first", metavar="DATE", help="First day: 2026, 2026-11 or 2026-11-24."
            ),
            click.option(
                "--to", "final", metavar="DATE", help="Last day; 2026-11 holds all of November."
            ),
            click.option("--month", metavar="YYYY-MM", help="Only this month."),
            click.option("--year", metavar="YYYY", help="Only this year."),
            click.option(
                "--last", "length", metavar="LENGTH", help="Until today: 30d, 4w, 6m or 1y."
            ),
        )
    ):
        command = option(command)
    return command


def period(
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
) -> tuple[date | None, date | None]:
    """The first and last day that the options of `period_options` mean; None is no limit.

    Raises:
        UsageError: they exclude one another, or are no dates.
    """
    from ringserverstats.statistics import parameters as asked

    told = {"from": first, "to": final, "month": month, "year": year, "last": length}
    return asked.period({name: text for name, text in told.items() if text}, date.today())


def server_names(store: Store, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The values of ``--server``, of which those without wildcards must be servers.

    Raises:
        UsageError: one is none.
    """
    names = listed(texts)
    servers = store.servers()
    for name in names if store.exists() else ():
        if not set("*?") & set(name) and not any(one.name == name for one in servers):
            now = next((one.name for one in servers if one.is_called(name)), None)
            known = ", ".join(one.name for one in servers) or "none"
            hint = f"it is called {now!r} now" if now else f"known: {known}"
            raise UsageError(f"there is no server {name!r} ({hint})")
    return names


def complete_server(context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
    """Completes the last of a list of servers."""
    import msgspec

    from ringserverstats.cli.terminal import load_settings, open_store

    database = context.params.get("database") or context.find_root().params.get("database")
    with context.scope(cleanup=False):
        try:
            settings = msgspec.structs.replace(load_settings(database), lock_timeout=0)
            servers = open_store(settings, answers=True).servers()
        except RingserverStatsError:
            return []
    return complete_list(*(one.name for one in servers))(context, _parameter, text)


def servers_option(command: _Command) -> _Command:
    """``--server``, whose values `server_names` checks."""
    return click.option(
        "--server",
        multiple=True,
        metavar="LIST",
        help="Only these servers.",
        shell_complete=complete_server,
    )(command)


def complete_list(*names: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes the last name of a list with commas by those of ``names`` that it has not yet."""

    def complete(_context: click.Context, _parameter: click.Parameter, text: str) -> list[str]:
        before, comma, last = text.rpartition(",")
        given = before.split(",")
        return [
            f"{before}{comma}{name}"
            for name in names
            if name.startswith(last) and name not in given
        ]

    return complete
