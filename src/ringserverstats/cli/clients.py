"""``ringserverstats clients``: what clients are to the centre, by the operator's rules."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.inputs import find_inputs, input_options, reading
from ringserverstats.cli.options import database_option, output_options
from ringserverstats.cli.terminal import console, load_settings, open_store, show, table
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules, open_geoip

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ringserverstats.settings import Settings
    from ringserverstats.store.base import Store

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats clients check-rules /var/log/ringserver/txlog-20261124T0000-20261125T0000\n"
    "  ringserverstats clients reclassify --dry-run\n"
    "  ringserverstats stats --by class,institution --last 1m"
)


@click.group("clients", epilog=_EXAMPLES)
def command() -> None:
    """Tell feeders, mirrors, monitoring, ... from the users proper, and whose they are.

    The rules lie in clients.toml in the configuration folder, or in the file that the setting
    `rules` names.
    """


@command.command("check-rules", short_help="Show whom the rules make what.", epilog=_EXAMPLES)
@input_options
@output_options("table", "csv", "json", "parquet")
@database_option
def check_rules(
    files: tuple[str, ...],
    server: str | None,
    name: str | None,
    format_: str,
    output: str | None,
    database: str | None,
) -> None:
    """Show what the rules make of the clients in logs; nothing is counted.

    Addresses and host names are not shown.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.ingest import IngestOptions, ingest
    from ringserverstats.statistics.client_list import clients

    settings = load_settings(database)
    rules = load_rules(settings)
    store = open_store(settings, answers=True)
    sources, _ = find_inputs(files, server, name, store)
    with tempfile.TemporaryDirectory(prefix="ringserverstats-") as folder:
        logs = _scratch(store, settings, Path(folder))
        with reading(sources) as progress:
            ingest(
                sources,
                logs,
                IngestOptions(
                    ipv6_prefix=settings.ipv6_prefix, geoip=open_geoip(settings), rules=rules
                ),
                progress=progress,
            )
        found = clients(logs)
    write(found, format_, output, lambda on: _print(found, on))


@command.command("reclassify", short_help="Apply changed rules to history.", epilog=_EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
@database_option
def reclassify(dry_run: bool, database: str | None) -> None:
    """Apply the rules to all that is stored; totals stay as they are.

    What is kept of a client is its registrable domain, agent, user, direction, and the names of the
    rules by network or domain that held when its logs were read. A new rule by network, or by a
    longer name than a registrable domain, holds from its first ingest on.
    """
    settings = load_settings(database)
    rules = load_rules(settings)
    if not rules.rules:
        raise UsageError(
            "there are no rules: write them into clients.toml in "
            f"{settings.config_folder}, or set RINGSERVERSTATS_RULES to their file"
        )
    store = open_store(settings, answers=True, needed=True, changes=not dry_run)
    found = store.reclassify(rules, try_only=dry_run)
    told = table([("class", False), ("clients", True), ("came from", False)])
    for name in sorted(found.clients):
        moved = [
            f"{count:,} {old}" for (old, new), count in sorted(found.moved.items()) if new == name
        ]
        told.add_row(name, f"{found.clients[name]:,}", ", ".join(moved))
    show(told, console())
    if found.institutions:
        click.echo(f"clients with another institution: {found.institutions:,}")
    for name in found.unmatched:
        click.echo(
            f"Note: the rule {name!a} holds of nobody that is stored; if it is new, it holds from "
            "the next ingest on, as no addresses are kept. For days before, delete them and read "
            "their logs again",
            err=True,
        )
    if dry_run:
        click.echo("Nothing was changed.", err=True)


def _scratch(store: Store, settings: Settings, folder: Path) -> Store:
    """An empty store in ``folder``; as ``store``, where there is one."""
    from msgspec.structs import replace

    path = folder / "logs.duckdb"
    if store.exists():
        return store.new_empty_like(path)
    given = replace(settings, database=f"duckdb://{path}", config_folder=folder)
    return open_store(given, answers=True, quiet=True)


def _print(found: pa.Table, on: Console) -> None:
    numbers = {"bytes", "packets"}
    made = table([(name, name in numbers) for name in found.column_names])
    for row in found.to_pylist():
        made.add_row(
            *(
                f"{value:,}" if isinstance(value, int) else str(value or "–")
                for value in row.values()
            )
        )
    show(made, on)
