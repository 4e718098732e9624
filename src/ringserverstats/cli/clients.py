"""``ringserverstats clients``: classify clients by the operator's rules."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.inputs import find_inputs, reading_progress
from ringserverstats.cli.options import (
    Inputs,
    Output,
    database_option,
    input_options,
    output_options,
)
from ringserverstats.cli.terminal import (
    console,
    load_settings,
    open_store,
    print_note,
    show,
    table,
)
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules, open_geoip

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ringserverstats.settings import Settings
    from ringserverstats.store.base import Reclassified, Store

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats clients check-rules /var/log/ringserver/txlog-20261124T0000-20261125T0000\n"
    "  ringserverstats clients reclassify --dry-run\n"
    "  ringserverstats stats --by class,institution --last 1m"
)


@click.group("clients", short_help="Classify clients by rules.", epilog=_EXAMPLES)
def command() -> None:
    """Classify clients by rules: feeders, mirrors, monitoring, external users.

    The rules are in clients.toml in the configuration folder, or in the file that the setting
    `rules` names.
    """


@command.command("check-rules", short_help="Show the class of each client.", epilog=_EXAMPLES)
@input_options
@output_options
@database_option
def check_rules(inputs: Inputs, output: Output) -> None:
    """Show how the rules classify the clients in logs; the store stays as it is.

    Addresses and host names are not shown.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.ingest import IngestOptions, ingest
    from ringserverstats.statistics.client_list import clients

    settings = load_settings()
    rules = load_rules(settings)
    store = open_store(settings, for_queries=True)
    sources = find_inputs(inputs, store).sources
    with tempfile.TemporaryDirectory(prefix="ringserverstats-") as folder:
        temporary = _temporary_store(store, settings, Path(folder))
        with reading_progress(sources) as progress:
            ingest(
                sources,
                temporary,
                IngestOptions(
                    ipv6_prefix=settings.ipv6_prefix, geoip=open_geoip(settings), rules=rules
                ),
                progress=progress,
            )
        rows = clients(temporary)
    write(rows, output, lambda on: _print_clients(rows, on))


@command.command("reclassify", short_help="Apply changed rules to history.", epilog=_EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@database_option
def reclassify(dry_run: bool) -> None:
    """Apply the rules to all stored entries; totals stay as they are.

    The store keeps of each client its registrable domain, agent, user, direction, and the names of
    the rules by network or domain that matched when its logs were read. A new rule by network, or
    by a name longer than a registrable domain, applies from its first ingest on.
    """
    settings = load_settings()
    rules = load_rules(settings)
    if not rules.rules:
        raise UsageError(
            "there are no rules: write them into clients.toml in "
            f"{settings.config_folder}, or set RINGSERVERSTATS_RULES to their file"
        )
    store = open_store(settings, for_queries=True, must_exist=True, changes=not dry_run)
    result = store.reclassify(rules, try_only=dry_run)
    _print_classes(result)
    if result.institutions:
        click.echo(f"clients with another institution: {result.institutions:,}")
    for name in result.unmatched:
        print_note(
            f"the rule {name!a} matches no stored client. A new rule applies from the next ingest "
            "on, because addresses are not stored. To apply it to earlier days, delete them and "
            "read their logs again."
        )
    if dry_run:
        click.echo("Nothing was changed.", err=True)


def _temporary_store(store: Store, settings: Settings, folder: Path) -> Store:
    """Return an empty store in ``folder``, with the keys of ``store`` if that exists."""
    from msgspec.structs import replace

    path = folder / "logs.duckdb"
    if store.exists():
        return store.new_empty_like(path)
    changed = replace(settings, database=f"duckdb://{path}", config_folder=folder)
    return open_store(changed, for_queries=True, quiet=True)


def _print_classes(result: Reclassified) -> None:
    grid = table([("class", False), ("clients", True), ("came from", False)])
    for name in sorted(result.clients):
        moved = [
            f"{count:,} {old}" for (old, new), count in sorted(result.moved.items()) if new == name
        ]
        grid.add_row(name, f"{result.clients[name]:,}", ", ".join(moved))
    show(grid, console())


def _print_clients(rows: pa.Table, on: Console) -> None:
    grid = table([(name, name in ("bytes", "packets")) for name in rows.column_names])
    for row in rows.to_pylist():
        grid.add_row(
            *(
                f"{value:,}" if isinstance(value, int) else str(value or "–")
                for value in row.values()
            )
        )
    show(grid, on)
