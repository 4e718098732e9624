"""``ringserverstats prune``: anonymise old months."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import confirm, load_settings, open_store, progress_bar
from ringserverstats.errors import UsageError

if TYPE_CHECKING:
    from ringserverstats.store.base import Store


@click.command(
    "prune",
    short_help="Anonymise old months.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats prune --keep 13mo --dry-run\n"
    "  ringserverstats prune --keep 2y --yes\n"
    "  RINGSERVERSTATS_TRANSFER_RETENTION_DAYS=400 ringserverstats prune --yes",
)
@click.option(
    "--keep",
    metavar="LENGTH",
    help="Keep this many whole months, and the current one, as they are: 13mo, 2y.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be pruned.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def command(keep: str | None, dry_run: bool, yes: bool) -> None:
    """Anonymise old months: delete individual transfers and keep the totals.

    If the setting transfer_retention_days is set, individual transfers that are older are deleted,
    too. Without --keep, nothing else is done.

    Totals stay exact. Each client gets a random pseudonym per month, and only its country, class
    and agent family are kept; over several pruned months, numbers of clients are upper bounds. The
    ledger stays, so that old logs that are read again still count once.

    It cannot be undone. Servers of pruned months cannot be merged, and the store cannot be copied
    to the other engine. Back it up, or move it to PostgreSQL, first.
    """
    settings = load_settings()
    retention = settings.transfer_retention_days
    if not keep and not retention:
        raise UsageError("say how many months to keep: --keep 13mo, or set transfer_retention_days")
    store = open_store(settings, for_queries=True, must_exist=True, changes=not dry_run)
    if keep:
        _prune(store, keep, dry_run=dry_run, yes=yes)
    if retention:
        _delete_transfers(store, retention, dry_run=dry_run, yes=yes)
    if not dry_run:
        store.vacuum()


def _prune(store: Store, keep: str, *, dry_run: bool, yes: bool) -> None:
    from ringserverstats.statistics.periods import months_before

    before = months_before(keep, date.today())
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
    click.echo(
        f"{'would prune' if dry_run else 'pruned'} {_count(pruned.months)} before {before} "
        f"({names}): {pruned.transfers:,} transfers; {pruned.clients:,} clients, counted once per "
        "month"
    )


def _delete_transfers(store: Store, days: int, *, dry_run: bool, yes: bool) -> None:
    before = date.today() - timedelta(days=days)
    if not (dry_run or yes):
        what = f"individual transfers before {before}"
        confirm(
            f"Delete {what}? It cannot be undone.",
            otherwise=f"this would delete {what}; add --yes to do it",
        )
    deleted = store.delete_transfers(before, try_only=dry_run)
    click.echo(
        f"{'would delete' if dry_run else 'deleted'} {deleted:,} transfers before {before} "
        f"(transfer_retention_days = {days}); all totals are kept"
    )


def _count(months: int) -> str:
    return f"{months:,} month{'' if months == 1 else 's'}"
