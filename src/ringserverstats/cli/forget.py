"""``ringserverstats forget``: the right to erasure."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.keys import Keys


@click.command(
    "forget",
    short_help="Forget whose the entries of an address are.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats forget --dry-run -     (type the address, then Ctrl-D)\n"
    "  ringserverstats forget - < address.txt",
)
@click.argument("source", metavar="-")
@click.option("--dry-run", is_flag=True, help="Only tell what would be forgotten.")
@database_option
def command(source: str, dry_run: bool, database: str | None) -> None:
    """Give clients a new, random pseudonym, which nobody can find from their address again.

    The addresses, one a line, are read from standard input, so that they are in no list of
    processes and no history of a shell; of clients that came without one, as from release 0.17,
    the host names. What they read still counts. Logs that are read later, and still hold the
    address, make a client of it again: remove the logs first.
    """
    if source != "-":
        raise UsageError("addresses are read from standard input: ringserverstats forget - < FILE")
    settings = load_settings(database)
    store = open_store(settings, answers=True, needed=True, changes=not dry_run)
    keys = store.open(create=False).keys
    names = [line.strip() for line in sys.stdin if line.strip()]
    if not names:
        raise UsageError("standard input holds no address")
    unknown = 0
    for name in names:
        pseudonym = _pseudonym(name, keys, settings.ipv6_prefix)
        gone = store.forget(pseudonym, try_only=dry_run)
        unknown += gone.entries == 0
        if gone.entries:
            click.echo(
                f"{'would forget' if dry_run else 'forgot'} a client with {gone.entries:,} entries "
                f"on {gone.days:,} days; their {human_bytes(gone.bytes)} still count"
            )
        if gone.entries and dry_run:
            click.echo(f"what is kept of it: ringserverstats stats --client {pseudonym} --by ...")
    if not dry_run:
        store.vacuum()
    if unknown:
        click.echo(f"Note: {unknown} of {len(names)} are not in the store", err=True)
        click.get_current_context().exit(1)


def _pseudonym(name: str, keys: Keys, ipv6_prefix: int) -> str:
    from ringserverstats.enrich.pseudonyms import client_pseudonym

    try:
        return client_pseudonym(ip_address(name), keys.clients, ipv6_prefix=ipv6_prefix)
    except ValueError:  # a host name
        return client_pseudonym(name, keys.clients, ipv6_prefix=ipv6_prefix)
