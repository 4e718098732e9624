"""``ringserverstats token``: manage access tokens of the web service."""

from __future__ import annotations

import re

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import (
    console,
    load_settings,
    open_store,
    print_note,
    show,
    table,
)
from ringserverstats.errors import UsageError
from ringserverstats.statistics.periods import listed

_NAME = r"[\w.@-]{1,64}"


@click.group(
    "token",
    short_help="Manage access tokens of the web service.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats token add node-a --ingest --server node-a\n"
    "  ringserverstats token add owner-of-xp --network XP2014,FR\n"
    "  ringserverstats token list\n"
    "  ringserverstats token revoke node-a",
)
def command() -> None:
    """Manage access tokens, which allow posting logs and reading unpublished statistics.

    The store contains a digest of each token, not the token. A revoked token is refused within a
    second.
    """


@command.command(
    "add",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats token add node-a --ingest --server node-a\n"
    "  ringserverstats token add owner-of-xp --network XP2014,FR",
)
@click.argument("name")
@click.option("--ingest", is_flag=True, help="It may post logs, and read what is public.")
@click.option(
    "--server",
    multiple=True,
    metavar="LIST",
    help="With --ingest: it may post logs of these servers only. A single one need not be named "
    "with a log.",
)
@click.option(
    "--network",
    multiple=True,
    metavar="LIST",
    help="It may read only these networks, even under embargo: FR,XP2014.",
)
@database_option
def add(name: str, ingest: bool, server: tuple[str, ...], network: tuple[str, ...]) -> None:
    """Create a token and print it, once.

    Without options it is an operator's token, which may read everything: individual clients,
    networks under embargo, suppressed rows, rejects.
    """
    from datetime import UTC, datetime

    from ringserverstats.logs.names import check_server_name
    from ringserverstats.statistics.network_names import unmatched_patterns
    from ringserverstats.store.base import Token
    from ringserverstats.store.tokens import digest_of, make_token

    if not re.fullmatch(_NAME, name, re.ASCII):
        raise UsageError(f"{name!a} is not a valid name; use up to 64 letters, digits, . _ @ -")
    networks = tuple(pattern.upper() for pattern in listed(network))
    if network and not networks:
        raise UsageError("--network names no network; write --network FR,XP2014")
    servers = listed(server)
    if server and not (ingest and servers):
        raise UsageError("--server names the servers of --ingest: --ingest --server node-a,node-b")
    store = open_store(load_settings(), for_queries=True)
    known = store.open(create=True).servers
    for new in servers:
        if not any(one.is_called(new) for one in known):
            print_note(f"there is no server {check_server_name(new)!r} yet")
    for pattern in unmatched_patterns(store, networks):
        print_note(f"no network in the store matches {pattern!a} yet")
    token = make_token()
    today = datetime.now(UTC).date()
    store.add_token(Token(name, digest_of(token), ingest, networks, today, servers))
    click.echo(token)
    click.echo(
        "It is shown only once. Programs send it as: Authorization: Bearer TOKEN. Users sign in "
        "with it on the pages.",
        err=True,
    )


@command.command("list", epilog="Examples:\n\n\b\n  ringserverstats token list")
@database_option
def list_() -> None:
    """List the names and permissions of tokens."""
    tokens = open_store(load_settings(), for_queries=True, must_exist=True).tokens()
    if not tokens:
        click.echo("There are no tokens. Create one with: ringserverstats token add NAME")
        return
    grid = table([(name, False) for name in ("name", "posts", "reads", "created")])
    for token in tokens:
        grid.add_row(token.name, token.posts, token.reads, token.created.isoformat())
    show(grid, console())


@command.command("revoke", epilog="Examples:\n\n\b\n  ringserverstats token revoke node-a")
@click.argument("name")
@database_option
def revoke(name: str) -> None:
    """Revoke a token. The service then refuses it within a second."""
    open_store(load_settings(), for_queries=True, must_exist=True).remove_token(name)
    click.echo(f"revoked token {name}")
