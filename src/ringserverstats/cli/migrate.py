"""``ringserverstats migrate``: the store's tables are brought up to date."""

from __future__ import annotations

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, register_exporter
from ringserverstats.opening import open_exporter

_PENDING = 1


@click.command(
    "migrate",
    short_help="Make the store's tables, or bring them up to date.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats migrate\n"
    "  ringserverstats migrate --status\n"
    "  yoyo apply --database postgresql+psycopg://owner@host/db $(ringserverstats migrate --path)",
)
@click.option("--status", is_flag=True, help="Only tell which steps were applied.")
@click.option("--path", is_flag=True, help="Only tell where the steps for PostgreSQL lie.")
@database_option
def command(status: bool, path: bool) -> None:
    """Make the tables of the store, or bring them up to date.

    A PostgreSQL database is written only when this was run, by the role that is to own the tables;
    a DuckDB file is also brought up to date by whatever writes it. With --status the exit code is 1
    where steps are to be applied. Where the setting influx_url names an InfluxDB, it also makes
    there what sums points up for longer times.
    """
    if path:
        from ringserverstats.store.postgresql.schema import folder

        click.echo(str(folder()))
        return
    settings = load_settings()
    store = open_store(settings, for_queries=True)
    if status:
        steps = store.steps()
        for name, is_applied in steps.items():
            click.echo(f"{name}  {'applied' if is_applied else 'to be applied'}")
        click.get_current_context().exit(0 if all(steps.values()) else _PENDING)
    done = store.migrate()
    if done:
        click.echo(f"applied to {store.label}: {', '.join(done)}")
    else:
        click.echo(f"{store.label} is up to date")
    exporter = open_exporter(settings)
    if exporter is not None:
        for told in exporter.database.set_up():
            click.echo(told)
        register_exporter(exporter, store)
