"""``ringserverstats prune``: anonymise old months."""

from __future__ import annotations

from datetime import date

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import confirm, load_settings, open_store, progress_bar


@click.command(
    "prune",
    short_help="Anonymise old months.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats prune --keep 13mo --dry-run\n"
    "  ringserverstats prune --keep 2y --yes",
)
@click.option(
    "--keep",
    required=True,
    metavar="LENGTH",
    help="Keep this many whole months, and the current one, as they are: 13mo, 2y.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be pruned.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def command(keep: str, dry_run: bool, yes: bool) -> None:
    """Anonymise old months: delete individual transfers and keep the totals.

    Totals stay exact. Each client gets a random pseudonym per month, and only its country, class
    and agent family are kept; over several pruned months, numbers of clients are upper bounds. The
    ledger stays, so that old logs that are read again still count once.

    It cannot be undone. Days of pruned months cannot be deleted, their servers cannot be merged,
    and the store cannot be copied to the other engine. Back it up, or move it to PostgreSQL, first.
    """
    from ringserverstats.statistics.periods import months_before

    before = months_before(keep, date.today())
    store = open_store(load_settings(), for_queries=True, must_exist=True, changes=not dry_run)
    months = store.prunable(before)
    names = ", ".join(f"{month:%Y-%m}" for month in months) or "none"
    if months and not (dry_run or yes):
        what = f"{_count(len(months))} ({names})"
        confirm(
            f"Prune {what}? It cannot be undone.",
            otherwise=f"this would prune {what}; add --yes to do it",
        )
    with progress_bar("pruning", None) as progress:
        pruned = store.prune(before, try_only=dry_run, progress=progress)
    if not dry_run:
        store.vacuum()
    click.echo(
        f"{'would prune' if dry_run else 'pruned'} {_count(pruned.months)} before {before} "
        f"({names}): {pruned.transfers:,} transfers; {pruned.clients:,} clients, counted once per "
        "month"
    )


def _count(months: int) -> str:
    return f"{months:,} month{'' if months == 1 else 's'}"
