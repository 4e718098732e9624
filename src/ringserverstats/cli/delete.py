"""``ringserverstats delete``: delete days of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import complete_server, database_option, server_names
from ringserverstats.cli.terminal import confirm, load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import counted, human_bytes

if TYPE_CHECKING:
    from ringserverstats.store.base import Removed


@click.command(
    "delete",
    short_help="Delete days of a server.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats delete --server node-a --from 2026-11-24 --to 2026-11-24 --dry-run\n"
    "  ringserverstats delete --server test --from 2000 --to 2100 --yes",
)
@click.option(
    "--server",
    required=True,
    metavar="LIST",
    help="The servers, by name.",
    shell_complete=complete_server,
)
@click.option("--from", "first", required=True, metavar="DATE", help="First day to delete.")
@click.option("--to", "final", required=True, metavar="DATE", help="Last day to delete.")
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def command(server: str, first: str, final: str, dry_run: bool, yes: bool) -> None:
    """Delete all data of days of a server: entries, rollups, coverage, rejects.

    The data of each server are deleted in one transaction. The logs of these days can be read again
    afterwards. Dates are written as for `ringserverstats stats`; days are the server's local dates.
    """
    from ringserverstats.statistics.periods import first_day, last_day

    begin, end = first_day(first), last_day(final)
    if end < begin:
        raise UsageError(f"the period ends ({end}) before it starts ({begin})")
    store = open_store(load_settings(), for_queries=True, must_exist=True, changes=not dry_run)
    names = dict.fromkeys(server_names(store, (server,)))
    if any(set("*?") & set(name) for name in names):
        raise UsageError("name each server in full, without * and ?")

    def delete(*, try_only: bool) -> list[str]:
        return [
            f"{_amounts(store.delete(name, begin, end, try_only=try_only))} of server {name!a},"
            f" {begin} to {end}"
            for name in names
        ]

    if dry_run or not yes:
        amounts = delete(try_only=True)
        if dry_run:
            for text in amounts:
                click.echo(f"would delete {text}")
            return
        texts = "; ".join(amounts)
        confirm(f"Delete {texts}?", otherwise=f"this would delete {texts}; add --yes to do it")
    for text in delete(try_only=False):
        click.echo(f"deleted {text}; their logs can be read again")


def _amounts(removed: Removed) -> str:
    rejects = counted(removed.rejects, "rejected entry", "rejected entries")
    return (
        f"{counted(removed.entries, 'entry', 'entries')} with {removed.transfers:,} transfers "
        f"({human_bytes(removed.bytes)}) and {rejects} on {counted(removed.days, 'day')}"
    )
