"""``ringserverstats import-0.17``: the history of release 0.17 is brought into the store."""

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
    short_help="Bring in the history that release 0.17 kept.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats import-0.17 --dry-run\n"
    "  ringserverstats import-0.17 --as node-a --until 2026-10-31",
)
@click.option(
    "--as", "server", default="default", metavar="NAME", help="The server whose history it is."
)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DAY",
    help="The last day. Default: all days of which no logs were read.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@database_option
def command(server: str, until: datetime | None, dry_run: bool) -> None:
    """Bring in the rows of release 0.17, whose table lies in the same PostgreSQL database.

    `ringserverstats migrate` keeps that table, as ringserver_events_0_17. Tell the server's time
    zone first (`ringserverstats server add NAME --timezone Area/City`), which decides the days.
    Days of which logs were read already are left out; days that are brought in are covered, so that
    logs of them that are read later count nothing. To run it again counts nothing twice. Its times
    are taken as UTC, which is what ringserver logs.
    """
    from ringserverstats.import_0_17 import import_0_17

    settings = load_settings()
    if not settings.is_postgresql:
        raise UsageError("release 0.17 kept its history in PostgreSQL: set DATABASE_URI to that")
    rules = load_rules(settings)
    store = open_store(settings, for_queries=False, changes=not dry_run)
    named = next((one for one in store.servers() if one.is_called(server)), None)
    if named is None:
        raise UsageError(
            f"there is no server {server!r} yet; its time zone decides the days, so add it first: "
            f"ringserverstats server add {server} --timezone Area/City"
        )
    with progress_bar("importing", 1) as progress:
        done = import_0_17(
            store,
            named,
            ipv6_prefix=settings.ipv6_prefix,
            rules=rules,
            until=until.date() if until else None,
            dry_run=dry_run,
            progress=progress,
        )
    would = "would import" if dry_run else "imported"
    click.echo(
        f"{would} {done.entries:,} entries with {done.transfers:,} transfers"
        f" ({human_bytes(done.bytes)}) of {done.days:,} days; {done.known:,} entries were imported"
        " before"
    )
    for count, what in (
        (
            done.repeated,
            "rows stand there again, as their logs were sent more than once: not counted again",
        ),
        (done.refused, f"rows are of {done.refused_days} days of which logs were read: left out"),
        (done.wrong, "rows have no time or number of bytes: left out"),
    ):
        if count:
            click.echo(f"Note: {count:,} {what}", err=True)
