"""``ringserverstats server``: the ringservers by name."""

from __future__ import annotations

import click

from ringserverstats.cli.common import (
    check_server_name,
    console,
    database_option,
    load_settings,
    open_store,
    show,
    table,
)
from ringserverstats.errors import UsageError

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats server add node-a --timezone Europe/Paris\n"
    "  ringserverstats server timezone node-a Europe/Paris\n"
    "  ringserverstats server rename node-a rt1\n"
    "  ringserverstats server list"
)


@click.group("server", epilog=_EXAMPLES)
def command() -> None:
    """Name the servers whose logs are read.

    A server that is not added is made when its first log is read, with the time zone UTC. The time
    zone decides the day only of entries that come without a file name.
    """


@command.command("add", epilog=_EXAMPLES)
@click.argument("name")
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="Where the server's midnight is: Area/City.",
)
@database_option
def add(name: str, timezone: str, database: str | None) -> None:
    """Add a server."""
    store = open_store(load_settings(database), answers=False)
    opened = store.open(create=True)
    if any(server.is_called(check_server_name(name)) for server in opened.servers):
        raise UsageError(
            f"there is a server {name!r} already; to change it: ringserverstats server timezone "
            f"{name} Area/City"
        )
    store.add_server(name, _zone(timezone))
    click.echo(f"added server {name} ({timezone})")


@command.command("list", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@database_option
def list_(as_json: bool, database: str | None) -> None:
    """List the servers."""
    servers = open_store(load_settings(database), answers=True).servers()
    if as_json:
        import json

        click.echo(json.dumps([{"name": one.name, "timezone": one.timezone} for one in servers]))
        return
    made = table([("server", False), ("time zone", False)])
    for server in servers:
        made.add_row(server.name, server.timezone)
    show(made, console())


@command.command("rename", epilog=_EXAMPLES)
@click.argument("name")
@click.argument("new_name")
@click.option("--timezone", help="Also change the time zone.")
@database_option
def rename(name: str, new_name: str, timezone: str | None, database: str | None) -> None:
    """Give a server another name; its history stays."""
    open_store(load_settings(database), answers=False).change_server(
        name, rename=check_server_name(new_name), timezone=_zone(timezone) if timezone else None
    )
    click.echo(f"server {name!a} is now {new_name}; logs that bear the old name are still its own")


@command.command("timezone", epilog=_EXAMPLES)
@click.argument("name")
@click.argument("timezone", metavar="AREA/CITY")
@database_option
def timezone_(name: str, timezone: str, database: str | None) -> None:
    """Change a server's time zone, for logs that are read from now on."""
    open_store(load_settings(database), answers=False).change_server(
        name, rename=None, timezone=_zone(timezone)
    )
    click.echo(f"time zone of server {name!a}: {timezone}")


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(f"{name!r} is no time zone; write it as Europe/Paris") from None
    except KeyError:
        raise UsageError(f"there is no time zone {name!r}; write it as Europe/Paris") from None
    return name
