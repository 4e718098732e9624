"""``ringserverstats import-0.17``: import the history of release 0.17."""

from __future__ import annotations

from datetime import datetime

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, progress_bar
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules
from ringserverstats.statistics.sizes import human_bytes


@click.command(
    "import-0.17",
    short_help="Import the history of release 0.17.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats import-0.17 --dry-run\n"
    "  ringserverstats import-0.17 --as node-a --until 2026-10-31",
)
@click.option(
    "--as", "server", default="default", metavar="NAME", help="The server that wrote the logs."
)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DAY",
    help="The last day. Default: all days of which no logs were read.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing, and show what would be imported.")
@database_option
def command(server: str, until: datetime | None, dry_run: bool) -> None:
    """Import the history of release 0.17 from its table in the same PostgreSQL database.

    `ringserverstats migrate` keeps that table as ringserver_events_0_17. First configure the time
    zone of the server, which decides the days: `ringserverstats server add NAME --timezone
    Area/City`. Days of which logs were read are left out. Logs of imported days that are read later
    are not counted. Nothing is counted twice if you run the command again. Times are taken as UTC,
    as ringserver logs them.
    """
    from ringserverstats.import_0_17 import import_0_17

    settings = load_settings()
    if not settings.is_postgresql:
        raise UsageError("release 0.17 kept its history in PostgreSQL: set DATABASE_URI to that")
    rules = load_rules(settings)
    store = open_store(settings, for_queries=False, changes=not dry_run)
    importing = next((one for one in store.servers() if one.is_called(server)), None)
    if importing is None:
        raise UsageError(
            f"there is no server {server!r} yet; its time zone decides the days, so add it first: "
            f"ringserverstats server add {server} --timezone Area/City"
        )
    with progress_bar("importing", 1) as progress:
        result = import_0_17(
            store,
            importing,
            ipv6_prefix=settings.ipv6_prefix,
            rules=rules,
            until=until.date() if until else None,
            dry_run=dry_run,
            progress=progress,
        )
    verb = "would import" if dry_run else "imported"
    click.echo(
        f"{verb} {result.entries:,} entries with {result.transfers:,} transfers"
        f" ({human_bytes(result.bytes)}) of {result.days:,} days; {result.known:,} entries were"
        " imported before"
    )
    for count, what in (
        (
            result.repeated,
            "rows are repetitions, as their logs were sent more than once: not counted again",
        ),
        (
            result.refused,
            f"rows are of {result.refused_days} days of which logs were read: left out",
        ),
        (result.wrong, "rows have no time or number of bytes: left out"),
    ):
        if count:
            click.echo(f"Note: {count:,} {what}", err=True)
