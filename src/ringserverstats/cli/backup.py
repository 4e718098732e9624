"""``ringserverstats backup``: copy the store into a file."""

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
    short_help="Back up the store, also while it is in use.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats backup /backup/ringserverstats.duckdb\n"
    "  ringserverstats backup --replace /backup/ringserverstats.duckdb",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--replace", is_flag=True, help="Replace FILE if it exists.")
@database_option
def command(file: Path, replace: bool) -> None:
    """Back up the store, as it is at one moment, into FILE, also while it is in use.

    The backup is a store itself: restore it with `ringserverstats restore`, or query it with
    --database. It does not contain the secret. Back that up separately (`ringserverstats info`
    shows where it is).
    """
    from ringserverstats.logs.source import printable

    if os.path.exists(file) and not replace:
        raise UsageError(f"{str(file)!a} exists already; take another name, or add --replace")
    settings = load_settings()
    store = open_store(settings, for_queries=True, must_exist=True)
    if not settings.is_postgresql and os.path.realpath(file) == os.path.realpath(
        settings.database_path
    ):
        raise UsageError(f"{str(file)!a} is the store itself; name another file")
    store.backup(file.absolute())
    size = human_bytes(os.path.getsize(file))
    click.echo(f"backed up {store.label} to {printable(str(file))} ({size})")
    click.echo(f"the secret is not included; back it up separately: {store.secret_place}")
