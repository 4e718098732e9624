"""``ringserverstats token``: who may come into the web service."""

from __future__ import annotations

import re

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import console, load_settings, open_store, show, table
from ringserverstats.errors import UsageError
from ringserverstats.statistics.periods import listed

_NAME = r"[\w.@-]{1,64}"


@click.group(
    "token",
    short_help="Let programs and people into the web service.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats token add node-a --ingest\n"
    "  ringserverstats token add owner-of-xp --network XP2014,FR\n"
    "  ringserverstats token list\n"
    "  ringserverstats token revoke node-a",
)
def command() -> None:
    """Tokens of the web service: who may post logs, and who may see what not everybody may.

    The store keeps a digest of each, never the token. A revoked one is refused within a second.
    """


@command.command(
    "add",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats token add node-a --ingest\n"
    "  ringserverstats token add owner-of-xp --network XP2014,FR",
)
@click.argument("name")
@click.option(
    "--ingest", is_flag=True, help="It may post logs; what it reads is what everybody may read."
)
@click.option(
    "--network",
    multiple=True,
    metavar="LIST",
    help="It reads of these networks alone, also if they are under embargo: FR,XP2014.",
)
@database_option
def add(name: str, ingest: bool, network: tuple[str, ...], database: str | None) -> None:
    """Make a token and print it, once.

    Without options it is an operator's, who may read all: single clients, networks under embargo,
    small counts, rejects.
    """
    from datetime import UTC, datetime

    from ringserverstats.statistics.network_names import unmatched_patterns
    from ringserverstats.store.base import Token
    from ringserverstats.store.tokens import digest_of, make_token

    if not re.fullmatch(_NAME, name, re.ASCII):
        raise UsageError(f"{name!a} is no name for a token; use up to 64 letters, digits, . _ @ -")
    networks = tuple(pattern.upper() for pattern in listed(network))
    if network and not networks:
        raise UsageError("--network names no network; write --network FR,XP2014")
    store = open_store(load_settings(database), answers=True)
    store.open(create=True)
    for pattern in unmatched_patterns(store, networks):
        click.echo(f"Note: no network in the store is {pattern!a} so far", err=True)
    made = make_token()
    today = datetime.now(UTC).date()
    store.add_token(Token(name, digest_of(made), ingest, networks, today))
    click.echo(made)
    click.echo(
        "It is shown this once. Programs send it as: Authorization: Bearer TOKEN; people sign in "
        "with it on the pages.",
        err=True,
    )


@command.command("list", epilog="Examples:\n\n\b\n  ringserverstats token list")
@database_option
def list_(database: str | None) -> None:
    """List the tokens, without what they are."""
    found = open_store(load_settings(database), answers=True, needed=True).tokens()
    if not found:
        click.echo("There are no tokens; make one with: ringserverstats token add NAME")
        return
    made = table([(name, False) for name in ("name", "may post", "reads", "created")])
    for one in found:
        reads = ",".join(one.networks) or ("what is public" if one.may_ingest else "all")
        made.add_row(one.name, "yes" if one.may_ingest else "no", reads, one.created.isoformat())
    show(made, console())


@command.command("revoke", epilog="Examples:\n\n\b\n  ringserverstats token revoke node-a")
@click.argument("name")
@database_option
def revoke(name: str, database: str | None) -> None:
    """Let a token in no longer."""
    open_store(load_settings(database), answers=True, needed=True).remove_token(name)
    click.echo(f"Token {name} is refused from now on.")
