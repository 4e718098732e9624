"""``ringserverstats delete``: forget days of a server, so that their logs can be read again."""

from __future__ import annotations

import sys

import click

from ringserverstats.cli.common import human_bytes, load_settings, open_store
from ringserverstats.cli.options import database_option
from ringserverstats.errors import UsageError


@click.command(
    "delete",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats delete --server node-a --from 2026-11-24 --to 2026-11-24 --dry-run\n"
    "  ringserverstats delete --server test --from 2000 --to 2100 --yes",
)
@click.option("--server", required=True, metavar="NAME", help="The server.")
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
    store = open_store(load_settings(database), answers=True)
    would = store.delete(server, begin, end, try_only=True)
    told = (
        f"{would.entries:,} entries with {would.transfers:,} transfers "
        f"({human_bytes(would.bytes)}) and {would.rejects:,} rejects on {would.days:,} days of "
        f"server {server!a}, {begin} to {end}"
    )
    if dry_run:
        click.echo(f"would delete {told}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"this would delete {told}; add --yes to do it")
        click.confirm(f"Delete {told}?", abort=True)
    done = store.delete(server, begin, end, try_only=False)
    click.echo(f"deleted {done.entries:,} entries; their logs can be read again")
