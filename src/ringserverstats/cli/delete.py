"""``ringserverstats delete``: forget days of a server, so that their logs can be read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import complete_server, database_option
from ringserverstats.cli.terminal import confirm, load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.store.base import Removed


@click.command(
    "delete",
    short_help="Forget days of a server.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats delete --server node-a --from 2026-11-24 --to 2026-11-24 --dry-run\n"
    "  ringserverstats delete --server test --from 2000 --to 2100 --yes",
)
@click.option(
    "--server", required=True, metavar="NAME", help="The server.", shell_complete=complete_server
)
@click.option("--from", "first", required=True, metavar="DATE", help="First day that goes.")
@click.option("--to", "final", required=True, metavar="DATE", help="Last day that goes.")
@click.option("--dry-run", is_flag=True, help="Only tell what would go.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def command(
    server: str, first: str, final: str, dry_run: bool, yes: bool, database: str | None
) -> None:
    """Forget all that was read of a server's days: entries, sums, coverage, rejects.

    All of it goes in one step, or nothing does. The logs of these days can be read again
    afterwards. Dates are as those of `ringserverstats stats`; days are the server's local dates.
    """
    from ringserverstats.statistics.periods import first_day, last_day

    begin, end = first_day(first), last_day(final)
    if end < begin:
        raise UsageError(f"the period ends ({end}) before it starts ({begin})")
    store = open_store(load_settings(database), answers=True, needed=True, changes=not dry_run)
    place = f"of server {server!a}, {begin} to {end}"
    if dry_run or not yes:
        told = _amounts(store.delete(server, begin, end, try_only=True))
        if dry_run:
            click.echo(f"would delete {told} {place}")
            return
        confirm(
            f"Delete {told} {place}?",
            otherwise=f"this would delete {told} {place}; add --yes to do it",
        )
    told = _amounts(store.delete(server, begin, end, try_only=False))
    click.echo(f"deleted {told} {place}; their logs can be read again")


def _amounts(gone: Removed) -> str:
    return (
        f"{gone.entries:,} entries with {gone.transfers:,} transfers ({human_bytes(gone.bytes)}) "
        f"and {gone.rejects:,} rejects on {gone.days:,} days"
    )
