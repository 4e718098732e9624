"""``ringserverstats server``: the ringservers by name."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import complete_server, database_option
from ringserverstats.cli.terminal import confirm, console, load_settings, open_store, show, table
from ringserverstats.errors import UsageError
from ringserverstats.logs.names import check_server_name
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.store.base import Removed, Server

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats server add node-a --timezone Europe/Paris --path '/data/node-a/log'\n"
    "  ringserverstats server path node-a '/archive/node-a/*/*xlog-*.gz'\n"
    "  ringserverstats server timezone node-a Europe/Paris\n"
    "  ringserverstats server service node-c --to 2026-06-30\n"
    "  ringserverstats server rename node-a rt1\n"
    "  ringserverstats server merge default node-a --dry-run\n"
    "  ringserverstats server list"
)


@click.group("server", epilog=_EXAMPLES)
def command() -> None:
    """Name the servers whose logs are read.

    A server that is not added is made when its first log is read, with the time zone UTC. The time
    zone decides the day only of entries that come without a file name, and when a log is whole.
    """


@command.command("add", epilog=_EXAMPLES)
@click.argument("name")
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="Where the server's midnight is: Area/City.",
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="GLOB",
    help="Where its logs lie: a folder, or files with * ? ** (in quotes). May be repeated.",
)
@database_option
def add(name: str, timezone: str, paths: tuple[str, ...], database: str | None) -> None:
    """Add a server. `ringserverstats ingest` without files reads its paths."""
    store = open_store(load_settings(database), answers=False)
    opened = store.open(create=True)
    if any(server.is_called(check_server_name(name)) for server in opened.servers):
        raise UsageError(
            f"there is a server {name!r} already; to change it: ringserverstats server timezone "
            f"{name} Area/City, or server path {name} GLOB"
        )
    store.add_server(name, _zone(timezone))
    if paths:
        store.change_server(name, paths=_absolute(paths))
    click.echo(f"added server {name} ({timezone})")


@command.command("path", short_help="Register where the logs of a server lie.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("paths", nargs=-1, required=True, metavar="GLOB...")
@click.option("--remove", is_flag=True, help="Take these away.")
@database_option
def path(name: str, paths: tuple[str, ...], remove: bool, database: str | None) -> None:
    """Register where a server's logs lie, for `ringserverstats ingest` without files.

    A GLOB is a folder or a pattern of files with * ? ** (in quotes, lest the shell expands it).
    """
    store = open_store(load_settings(database), answers=False)
    known = next((one.paths for one in store.servers() if one.name == name), ())
    given = _absolute(paths)
    for one in given:
        if remove and one not in known:
            raise UsageError(f"{one!a} is no path of server {name!r}; see: server list")
    kept = tuple(one for one in known if one not in given)
    now = kept if remove else (*kept, *given)
    store.change_server(name, paths=now)
    click.echo(f"paths of server {name!a}: {len(now)}")


@command.command("list", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@database_option
def list_(as_json: bool, database: str | None) -> None:
    """List the servers."""
    from ringserverstats.logs.source import printable

    servers = open_store(load_settings(database), answers=True, needed=True).servers()
    if as_json:
        import json

        click.echo(
            json.dumps(
                [
                    {
                        "name": one.name,
                        "timezone": one.timezone or None,
                        "first_day": one.first_day and one.first_day.isoformat(),
                        "last_day": one.last_day and one.last_day.isoformat(),
                        "former_names": one.former_names,
                        "paths": one.paths,
                    }
                    for one in servers
                ]
            )
        )
        return
    headings = ("server", "time zone", "in service", "before", "paths")
    made = table([(heading, False) for heading in headings])
    for server in servers:
        made.add_row(
            server.name,
            server.timezone or "UTC, not told",
            _service(server),
            ", ".join(server.former_names),
            "\n".join(printable(one) for one in server.paths),
        )
    show(made, console())


@command.command("rename", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("new_name")
@click.option("--timezone", help="Also change the time zone.")
@database_option
def rename(name: str, new_name: str, timezone: str | None, database: str | None) -> None:
    """Give a server another name; its history stays."""
    open_store(load_settings(database), answers=True, changes=True).change_server(
        name, rename=check_server_name(new_name), timezone=_zone(timezone) if timezone else None
    )
    click.echo(f"server {name!a} is now {new_name}; logs that bear the old name are still its own")


@command.command("merge", short_help="Make two servers one.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("into", shell_complete=complete_server)
@click.option("--once", is_flag=True, help="Count entries that both have once from now on.")
@click.option("--dry-run", is_flag=True, help="Only tell what both have.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def merge(name: str, into: str, once: bool, dry_run: bool, yes: bool, database: str | None) -> None:
    """Make two servers one: all that was read of NAME is INTO's from now on.

    For logs that were read under a wrong name. NAME stays a name of INTO, as logs may bear it. No
    total changes, unless both have read the same entries: these are told, and merged only with
    --once, which keeps one of each.
    """
    store = open_store(load_settings(database), answers=True, needed=True, changes=not dry_run)
    if dry_run or not yes:
        twice = store.merge_servers(name, into, once=once, try_only=True)
        told = _of_both(twice)
        if dry_run:
            how = " --once" if twice.entries else ""
            click.echo(f"{told} would count once: ringserverstats server merge {name} {into}{how}")
            return
        confirm(
            f"Merge {name!a} into {into!a}, which cannot be undone ({told})?",
            otherwise=f"this would merge {name!a} into {into!a}; add --yes to do it",
        )
    told = _of_both(store.merge_servers(name, into, once=once, try_only=False))
    click.echo(f"server {name!a} is now a part of {into!a}; {told} count once")


def _of_both(twice: Removed) -> str:
    amounts = f"{twice.transfers:,} transfers, {human_bytes(twice.bytes)}"
    return f"{twice.entries:,} entries ({amounts}) of both"


@command.command("service", short_help="Tell when a server was in service.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.option("--from", "first", metavar="DATE", help="Its first day; without it not told.")
@click.option("--to", "final", metavar="DATE", help="Its last day; without it not told.")
@database_option
def service(name: str, first: str | None, final: str | None, database: str | None) -> None:
    """Tell between which days a server was in service: outside, no logs are expected."""
    from ringserverstats.statistics.periods import first_day, last_day

    days = (first_day(first) if first else None, last_day(final) if final else None)
    if days[0] and days[1] and days[1] < days[0]:
        raise UsageError(f"the service ends ({days[1]}) before it starts ({days[0]})")
    store = open_store(load_settings(database), answers=False, needed=True)
    store.change_server(name, service=days)
    click.echo(f"server {name!a} in service: {days[0] or 'not told'} to {days[1] or 'not told'}")


@command.command(
    "remove", short_help="Forget a server of which nothing was read.", epilog=_EXAMPLES
)
@click.argument("name", shell_complete=complete_server)
@database_option
def remove(name: str, database: str | None) -> None:
    """Forget a server of which no logs were read, as one whose name was mistyped."""
    open_store(load_settings(database), answers=False, needed=True).remove_server(name)
    click.echo(f"removed server {name!a}")


@command.command("timezone", short_help="Change the time zone of a server.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("timezone", metavar="AREA/CITY")
@database_option
def timezone_(name: str, timezone: str, database: str | None) -> None:
    """Change a server's time zone, for logs that are read from now on."""
    store = open_store(load_settings(database), answers=False)
    before = next((one.timezone for one in store.servers() if one.name == name), "")
    store.change_server(name, timezone=_zone(timezone))
    click.echo(f"time zone of server {name!a}: {timezone}")
    if before not in ("", timezone):
        click.echo("its days count as incomplete until their logs are read again")


def _service(server: Server) -> str:
    if not server.first_day and not server.last_day:
        return ""
    return f"{server.first_day or '...'} to {server.last_day or '...'}"


def _absolute(paths: tuple[str, ...]) -> tuple[str, ...]:
    if not all(paths):
        raise UsageError("a path is empty; name a folder or a pattern of files")
    here = glob.escape(str(Path.cwd()))
    return tuple(
        dict.fromkeys(
            os.path.normpath(os.path.join(here, os.path.expanduser(one)))
            if not os.path.exists(one)
            else os.path.abspath(one)
            for one in paths
        )
    )


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(f"{name!r} is no time zone; write it as Europe/Paris") from None
    except KeyError:
        raise UsageError(f"there is no time zone {name!r}; write it as Europe/Paris") from None
    return name
