"""``ringserverstats restore``: a backup takes the place of the store."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import confirm, load_settings, open_store
from ringserverstats.errors import UsageError


@click.command(
    "restore",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats restore /backup/ringserverstats.duckdb\n"
    "  ringserverstats restore --yes /backup/ringserverstats.duckdb && ringserverstats audit",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Replace a store that is there without asking.")
@database_option
def command(file: Path, yes: bool, database: str | None) -> None:
    """Put the backup FILE in the place of the store.

    Its secret is taken from RINGSERVERSTATS_SECRET or from the configuration folder; where it is in
    neither it is asked for, and kept in that folder. A backup of an older version is brought up to
    date. `ringserverstats audit` checks what was restored.
    """
    from ringserverstats.logs.source import printable

    settings = load_settings(database)
    store = open_store(settings, answers=True, changes=True)
    if not settings.is_postgresql and os.path.realpath(file) == os.path.realpath(
        settings.database_path
    ):
        raise UsageError(f"{str(file)!a} is the store itself; name its backup")
    if store.exists() and not yes:
        confirm(
            f"Replace the store {store.label}?",
            otherwise=f"there is a store {store.label}; add --yes to replace it",
        )
    store.restore(file.absolute(), ask=_ask if sys.stdin.isatty() else None)
    click.echo(f"restored {store.label} from {printable(str(file))}")


def _ask(path: Path) -> bytes:
    from ringserverstats.keys import read_secret

    label = f"The secret of this store (64 hexadecimal digits; it will be kept in {path})"

    def read(text: str) -> bytes:
        try:
            return read_secret(text)
        except UsageError:
            raise click.BadParameter("these are not 64 hexadecimal digits") from None

    secret: bytes = click.prompt(label, hide_input=True, err=True, value_proc=read)
    return secret
