"""``ringserverstats prune``: months that are long ago keep their sums, and no one's traces."""

from __future__ import annotations

from datetime import date

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import confirm, load_settings, open_store, progress_bar


@click.command(
    "prune",
    short_help="Make old months anonymous; their sums stay.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats prune --keep 13mo --dry-run\n"
    "  ringserverstats prune --keep 2y --yes",
)
@click.option(
    "--keep",
    required=True,
    metavar="LENGTH",
    help="Whole months that stay as they are, beside this one: 13mo, 2y.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be pruned.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def command(keep: str, dry_run: bool, yes: bool, database: str | None) -> None:
    """Let nobody be followed through months that are long ago.

    Single transfers of these months go. Their sums stay exact, but each client has a random
    pseudonym for each month, and of it only the country, the class and the program are kept; over
    several such months clients are counted as "at most". The ledger stays, so that old logs which
    are read again still count once.

    It cannot be undone. Days of such months cannot be deleted, their servers not be merged, and the
    store not be copied to another kind any more: back it up, or move it to PostgreSQL, before.
    """
    from ringserverstats.statistics.periods import months_before

    before = months_before(keep, date.today())
    store = open_store(load_settings(database), answers=True, needed=True, changes=not dry_run)
    months = store.prunable(before)
    named = ", ".join(f"{month:%Y-%m}" for month in months) or "none"
    if months and not (dry_run or yes):
        asked = f"{_count(len(months))} ({named})"
        confirm(
            f"Prune {asked}? It cannot be undone.",
            otherwise=f"this would prune {asked}; add --yes to do it",
        )
    with progress_bar("pruning", None) as progress:
        found = store.prune(
            before, try_only=dry_run, progress=lambda done, size: progress(done, total=size)
        )
    if not dry_run:
        store.vacuum()
    click.echo(
        f"{'would prune' if dry_run else 'pruned_month'} {_count(found.months)} before {before} "
        f"({named}): {found.transfers:,} transfers; {found.clients:,} clients, each counted in "
        "each month in which it was"
    )


def _count(months: int) -> str:
    return f"{months:,} month{'' if months == 1 else 's'}"
