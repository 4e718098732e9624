"""``ringserverstats server``: manage the ringservers by name."""

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
    """Manage servers: names, time zones, log paths.

    Reading the first log of a server adds it, with the time zone UTC. The time zone decides which
    day an entry belongs to only for input without a log's file name, and when a log is complete.
    """


@command.command("add", epilog=_EXAMPLES)
@click.argument("name")
@click.option(
    "--timezone", default="UTC", show_default=True, help="The server's time zone: Area/City."
)
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="GLOB",
    help="Where its logs are: a folder, or files with * ? ** (in quotes). Can be repeated.",
)
@database_option
def add(name: str, timezone: str, paths: tuple[str, ...]) -> None:
    """Add a server. `ringserverstats ingest` without files reads its paths."""
    store = open_store(load_settings(), for_queries=False)
    servers = store.open(create=True).servers
    if any(server.is_called(check_server_name(name)) for server in servers):
        raise UsageError(
            f"there is a server {name!r} already; to change it: ringserverstats server timezone "
            f"{name} Area/City, or server path {name} GLOB"
        )
    store.add_server(name, _check_timezone(timezone))
    if paths:
        store.change_server(name, paths=_absolute(paths))
    click.echo(f"added server {name} ({timezone})")


@command.command("path", short_help="Register the log paths of a server.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("paths", nargs=-1, required=True, metavar="GLOB...")
@click.option("--remove", is_flag=True, help="Remove these paths.")
@database_option
def path(name: str, paths: tuple[str, ...], remove: bool) -> None:
    """Register the log paths of a server, for `ringserverstats ingest` without files.

    A GLOB is a folder or a pattern of files with * ? ** (in quotes, or the shell expands it).
    """
    store = open_store(load_settings(), for_queries=False)
    registered = next((server.paths for server in store.servers() if server.name == name), ())
    given = _absolute(paths)
    for pattern in given:
        if remove and pattern not in registered:
            raise UsageError(f"{pattern!a} is not a path of server {name!r}; see: server list")
    others = tuple(pattern for pattern in registered if pattern not in given)
    changed = others if remove else (*others, *given)
    store.change_server(name, paths=changed)
    click.echo(f"paths of server {name!a}: {len(changed)}")


@command.command("list", epilog=_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@database_option
def list_(as_json: bool) -> None:
    """List the servers."""
    from ringserverstats.logs.source import printable

    servers = open_store(load_settings(), for_queries=True, must_exist=True).servers()
    if as_json:
        import json

        click.echo(json.dumps([_json(server) for server in servers]))
        return
    headings = ("server", "time zone", "in service", "former names", "paths")
    grid = table([(heading, False) for heading in headings])
    for server in servers:
        grid.add_row(
            server.name,
            server.timezone or "UTC, not configured",
            _service_period(server),
            ", ".join(server.former_names),
            "\n".join(printable(path) for path in server.paths),
        )
    show(grid, console())


def _json(server: Server) -> dict[str, object]:
    return {
        "name": server.name,
        "timezone": server.timezone or None,
        "first_day": server.first_day and server.first_day.isoformat(),
        "last_day": server.last_day and server.last_day.isoformat(),
        "former_names": server.former_names,
        "paths": server.paths,
    }


@command.command("rename", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("new_name")
@click.option("--timezone", help="Also change the time zone.")
@database_option
def rename(name: str, new_name: str, timezone: str | None) -> None:
    """Rename a server; its history stays."""
    store = open_store(load_settings(), for_queries=True, changes=True)
    zone = _check_timezone(timezone) if timezone else None
    store.change_server(name, rename=check_server_name(new_name), timezone=zone)
    click.echo(f"server {name!a} is now {new_name}; logs with the old name still belong to it")


@command.command("merge", short_help="Merge a server into another one.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("into", shell_complete=complete_server)
@click.option("--once", is_flag=True, help="Count entries that both servers have only once.")
@click.option("--dry-run", is_flag=True, help="Only show what both servers have.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
def merge(name: str, into: str, once: bool, dry_run: bool, yes: bool) -> None:
    """Merge the server NAME into the server INTO, such as after reading logs under a wrong name.

    NAME stays a former name of INTO, because logs may contain it. Totals do not change, unless both
    servers have the same entries: these are reported, and merged only with --once, which keeps one
    of each.
    """
    store = open_store(load_settings(), for_queries=True, must_exist=True, changes=not dry_run)
    if dry_run or not yes:
        duplicates = store.merge_servers(name, into, once=once, try_only=True)
        amounts = _amounts(duplicates)
        if dry_run:
            how = " --once" if duplicates.entries else ""
            click.echo(
                f"{amounts} would count once: ringserverstats server merge {name} {into}{how}"
            )
            return
        confirm(
            f"Merge {name!a} into {into!a}, which cannot be undone ({amounts})?",
            otherwise=f"this would merge {name!a} into {into!a}; add --yes to do it",
        )
    amounts = _amounts(store.merge_servers(name, into, once=once, try_only=False))
    click.echo(f"server {name!a} is now a part of {into!a}; {amounts} count once")


def _amounts(duplicates: Removed) -> str:
    amounts = f"{duplicates.transfers:,} transfers, {human_bytes(duplicates.bytes)}"
    return f"{duplicates.entries:,} entries ({amounts}) of both"


@command.command("service", short_help="Set when a server was in service.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.option("--from", "first", metavar="DATE", help="Its first day. Default: unknown.")
@click.option("--to", "final", metavar="DATE", help="Its last day. Default: unknown.")
@database_option
def service(name: str, first: str | None, final: str | None) -> None:
    """Set the first and last day of service of a server. Other days need no logs."""
    from ringserverstats.statistics.periods import first_day, last_day

    days = (first_day(first) if first else None, last_day(final) if final else None)
    if days[0] and days[1] and days[1] < days[0]:
        raise UsageError(f"the service ends ({days[1]}) before it starts ({days[0]})")
    store = open_store(load_settings(), for_queries=False, must_exist=True)
    store.change_server(name, service=days)
    click.echo(f"server {name!a} in service: {days[0] or 'unknown'} to {days[1] or 'unknown'}")


@command.command("remove", short_help="Remove a server without logs.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@database_option
def remove(name: str) -> None:
    """Remove a server without logs, such as one with a mistyped name."""
    open_store(load_settings(), for_queries=False, must_exist=True).remove_server(name)
    click.echo(f"removed server {name!a}")


@command.command("timezone", short_help="Set the time zone of a server.", epilog=_EXAMPLES)
@click.argument("name", shell_complete=complete_server)
@click.argument("timezone", metavar="AREA/CITY")
@database_option
def timezone_(name: str, timezone: str) -> None:
    """Set the time zone of a server, for logs that are read from now on."""
    store = open_store(load_settings(), for_queries=False)
    before = next((server.timezone for server in store.servers() if server.name == name), "")
    store.change_server(name, timezone=_check_timezone(timezone))
    click.echo(f"time zone of server {name!a}: {timezone}")
    if before not in ("", timezone):
        click.echo("its days count as incomplete until their logs are read again")


def _service_period(server: Server) -> str:
    if not server.first_day and not server.last_day:
        return ""
    return f"{server.first_day or '...'} to {server.last_day or '...'}"


def _absolute(paths: tuple[str, ...]) -> tuple[str, ...]:
    if not all(paths):
        raise UsageError("a path is empty; name a folder or a pattern of files")
    here = glob.escape(str(Path.cwd()))
    return tuple(
        dict.fromkeys(
            os.path.normpath(os.path.join(here, os.path.expanduser(path)))
            if not os.path.exists(path)
            else os.path.abspath(path)
            for path in paths
        )
    )


def _check_timezone(name: str) -> str:
    """Return ``name`` if it is a time zone.

    Raises:
        UsageError: it is not.
    """
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise UsageError(f"{name!r} is not a time zone; write it as Europe/Paris") from None
    except KeyError:
        raise UsageError(f"there is no time zone {name!r}; write it as Europe/Paris") from None
    return name
