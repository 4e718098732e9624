"""``ringserverstats restore``: replace the store with a backup."""

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
    short_help="Replace the store with a backup.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats restore /backup/ringserverstats.duckdb\n"
    "  ringserverstats restore --yes /backup/ringserverstats.duckdb && ringserverstats audit",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Replace an existing store without asking.")
@database_option
def command(file: Path, yes: bool) -> None:
    """Replace the store with the backup FILE.

    Takes the secret from RINGSERVERSTATS_SECRET or from the configuration folder. Without either,
    asks for it and stores it in that folder. Migrates a backup of an older version. Check the
    result with `ringserverstats audit`.
    """
    from ringserverstats.logs.source import printable

    settings = load_settings()
    store = open_store(settings, for_queries=True, changes=True)
    if not settings.is_postgresql and os.path.realpath(file) == os.path.realpath(
        settings.database_path
    ):
        raise UsageError(f"{str(file)!a} is the store itself; name its backup")
    if store.exists() and not yes:
        confirm(
            f"Replace the store {store.label}?",
            otherwise=f"the store {store.label} exists; add --yes to replace it",
        )
    store.restore(file.absolute(), ask=_ask_secret if sys.stdin.isatty() else None)
    click.echo(f"restored {store.label} from {printable(str(file))}")


def _ask_secret(path: Path) -> bytes:
    """Ask for the secret, which will be stored in ``path``."""
    from ringserverstats.keys import read_secret

    label = f"The secret of this store (64 hexadecimal digits; it will be stored in {path})"

    def read(text: str) -> bytes:
        try:
            return read_secret(text)
        except UsageError:
            raise click.BadParameter("a secret has 64 hexadecimal digits") from None

    secret: bytes = click.prompt(label, hide_input=True, err=True, value_proc=read)
    return secret
