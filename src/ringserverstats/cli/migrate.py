"""``ringserverstats migrate``: create or upgrade the tables of the store."""

from __future__ import annotations

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, open_store, register_exporter
from ringserverstats.opening import open_exporter

_PENDING = 1


@click.command(
    "migrate",
    short_help="Create or upgrade the tables of the store.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats migrate\n"
    "  ringserverstats migrate --status\n"
    "  yoyo apply --database postgresql+psycopg://owner@host/db $(ringserverstats migrate --path)",
)
@click.option("--status", is_flag=True, help="Show the schema number, and change nothing.")
@click.option("--path", is_flag=True, help="Show the folder of the migrations, for yoyo.")
@database_option
def command(status: bool, path: bool) -> None:
    """Create the tables of the store, or upgrade them to the schema of this program.

    A PostgreSQL database needs this command, run by the role that is to own the tables. A DuckDB
    file is also upgraded by any command that writes to it. With --status the exit code is 1 if the
    schema is not that of this program. If the setting influx_url names an InfluxDB, the command
    also creates there what aggregates points for longer periods.
    """
    from ringserverstats.store.schema import FOLDER, NEWEST

    if path:
        click.echo(str(FOLDER))
        return
    settings = load_settings()
    store = open_store(settings, for_queries=True)
    if status:
        version = store.schema_version()
        click.echo(f"{store.label}: schema {version}, this program needs {NEWEST}")
        click.get_current_context().exit(0 if version == NEWEST else _PENDING)
    before = store.migrate()
    if before == NEWEST:
        click.echo(f"{store.label} is up to date (schema {NEWEST})")
    elif before:
        click.echo(f"upgraded {store.label} from schema {before} to {NEWEST}")
    else:
        click.echo(f"created the tables of {store.label} (schema {NEWEST})")
    exporter = open_exporter(settings)
    if exporter is not None:
        for message in exporter.database.set_up():
            click.echo(message)
        register_exporter(exporter, store)
