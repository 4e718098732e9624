"""``ringserverstats forget``: erase the pseudonym of a client (GDPR erasure)."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, print_note
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.keys import Keys


@click.command(
    "forget",
    short_help="Erase the pseudonym of a client (GDPR erasure).",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats forget --dry-run -     (type the address, then Ctrl-D)\n"
    "  ringserverstats forget - < address.txt",
)
@click.argument("source", metavar="-")
@click.option("--dry-run", is_flag=True, help="Only show what would be erased.")
@database_option
def command(source: str, dry_run: bool) -> None:
    """Replace the pseudonyms of clients by random ones, which no address leads to.

    Standard input holds the addresses, one per line, so that neither the process list nor the
    history of the shell shows them. For clients without an address, as from release 0.17, it holds
    host names. Totals stay as they are. Logs read later that still contain the address create the
    client again: remove such logs first.
    """
    if source != "-":
        raise UsageError("addresses are read from standard input: ringserverstats forget - < FILE")
    settings = load_settings()
    store = open_store(settings, for_queries=True, must_exist=True, changes=not dry_run)
    keys = store.open(create=False).keys
    names = [line.strip() for line in sys.stdin if line.strip()]
    if not names:
        raise UsageError("standard input contains no address")
    unknown = 0
    for name in names:
        pseudonym = _pseudonym(name, keys, settings.ipv6_prefix)
        removed = store.forget(pseudonym, try_only=dry_run)
        if not removed.entries:
            unknown += 1
            continue
        click.echo(
            f"{'would erase' if dry_run else 'erased'} the pseudonym of a client with "
            f"{removed.entries:,} entries on {removed.days:,} days; their "
            f"{human_bytes(removed.bytes)} still count"
        )
        if dry_run:
            click.echo(f"its data: ringserverstats stats --client {pseudonym} --by ...")
    if not dry_run:
        store.vacuum()
    if unknown:
        print_note(f"{unknown} of {len(names)} are not in the store")
        click.get_current_context().exit(1)


def _pseudonym(name: str, keys: Keys, ipv6_prefix: int) -> str:
    from ringserverstats.enrich.pseudonyms import client_pseudonym

    try:
        return client_pseudonym(ip_address(name), keys.clients, ipv6_prefix=ipv6_prefix)
    except ValueError:  # a host name
        return client_pseudonym(name, keys.clients, ipv6_prefix=ipv6_prefix)
