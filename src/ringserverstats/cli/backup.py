"""``ringserverstats backup``: a whole copy of the store."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes


@click.command(
    "backup",
    short_help="Copy the store, also while it is in use.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats backup /backup/ringserverstats.duckdb\n"
    "  ringserverstats backup --replace /backup/ringserverstats.duckdb",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace FILE where it is there.")
@database_option
def command(file: Path, replace: bool, database: str | None) -> None:
    """Copy the store, as it is at one moment, into FILE, also while it is in use.

    The copy is a store like the original, for `ringserverstats restore`, and can be asked where it
    lies. Its secret is never inside: back that up apart (`ringserverstats info` tells where it is).
    """
    from ringserverstats.logs.source import printable

    if os.path.exists(file) and not replace:
        raise UsageError(f"{str(file)!a} is there already; take another name, or add --replace")
    settings = load_settings(database)
    store = open_store(settings, answers=True, needed=True)
    if not settings.is_postgresql and os.path.realpath(file) == os.path.realpath(
        settings.database_path
    ):
        raise UsageError(f"{str(file)!a} is the store itself; name another file")
    store.backup(file.absolute())
    size = human_bytes(os.path.getsize(file))
    click.echo(f"backed up {store.label} to {printable(str(file))} ({size})")
    click.echo(f"its secret is not inside; back it up apart: {store.secret_place}")
