"""``ringserverstats networks``: manage the registry of FDSN networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import Output, database_option, output_options
from ringserverstats.cli.terminal import load_settings, open_store, print_note, show, table
from ringserverstats.errors import StoreError
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats networks refresh\n"
    "  ringserverstats networks unknown\n"
    "  ringserverstats stats --by network,network-name,network-doi --last 1y"
)
_MAX_NAME = 60


@click.group("networks", short_help="Manage the network registry.", epilog=_EXAMPLES)
def command() -> None:
    """Manage the network registry, which resolves reused temporary codes.

    XP in 2014 is the network XP2014. No other command accesses the internet for this. A refresh
    also applies to stored history; logs need not be read again.
    """


@command.command("refresh", short_help="Replace the network registry.", epilog=_EXAMPLES)
@click.argument("source", required=False, metavar="[URL|FILE]")
@database_option
def refresh(source: str | None) -> None:
    """Replace the registry by that of FDSN (setting `registry`), of another URL, or of a file.

    Reads the JSON of FDSN's network service, or the text of a station service
    (query?level=network&format=text), which has no DOIs.
    """
    from ringserverstats.enrich.networks import read_registry
    from ringserverstats.statistics.registry_list import registry, unknown_codes

    settings = load_settings()
    store = open_store(settings, for_queries=True, must_exist=True, changes=True)
    new = read_registry(source or settings.registry)
    before = len(registry(store))
    store.set_registry(new.networks)
    temporary = sum(network.extended != network.code for network in new.networks)
    click.echo(
        f"{len(new.networks):,} networks, {temporary:,} of them temporary; {before:,} before"
    )
    if new.left_out:
        print_note(f"{new.left_out:,} rows without a valid code or dates were left out")
    codes = {row["code"] for row in unknown_codes(store).to_pylist() if row["network"] is None}
    if codes:
        print_note(
            f"codes that no network had on some days: {', '.join(sorted(codes))}: "
            "ringserverstats networks unknown"
        )


@command.command("list", short_help="List the networks of the registry.", epilog=_EXAMPLES)
@click.option("--all", "whole", is_flag=True, help="Also networks without streams in the store.")
@output_options
@database_option
def list_(whole: bool, output: Output) -> None:
    """List the networks with streams in the store, as they are in the registry."""
    import pyarrow.compute as pc

    from ringserverstats.cli.output import write
    from ringserverstats.statistics.registry_list import registry

    store = open_store(load_settings(), for_queries=True, must_exist=True)
    rows = registry(store)
    if not len(rows):
        raise StoreError("there is no registry in the store: ringserverstats networks refresh")
    if not whole:
        rows = rows.filter(pc.field("here"))
    rows = rows.drop_columns(["code", "here"])
    write(rows, output, lambda on: _print_list(rows, on))


@command.command("unknown", short_help="List codes that no network had.", epilog=_EXAMPLES)
@output_options
@database_option
def unknown_(output: Output) -> None:
    """List stored codes that no network of the registry had, and the days of their data.

    Days within two years of those of a network with the same code count as that network, which is
    shown. Other days count by the code itself. Bytes are sent and received.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.registry_list import unknown_codes

    store = open_store(load_settings(), for_queries=True, must_exist=True)
    rows = unknown_codes(store)
    write(rows, output, lambda on: _print_unknown(rows, on))


def _print_list(rows: pa.Table, on: Console) -> None:
    grid = table((name.replace("_", " "), False) for name in rows.column_names)
    for row in rows.to_pylist():
        row["name"] = _cut(row["name"])
        grid.add_row(*(value or "–" for value in row.values()))
    show(grid, on)


def _cut(name: str) -> str:
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _print_unknown(rows: pa.Table, on: Console) -> None:
    grid = table(
        [
            ("code", False),
            ("counted as", False),
            ("first day", False),
            ("last day", False),
            ("bytes", True),
        ]
    )
    for row in rows.to_pylist():
        network = f"{row['network']} (the nearest)" if row["network"] else row["code"]
        grid.add_row(
            row["code"], network, row["first_day"], row["last_day"], human_bytes(row["bytes"])
        )
    show(grid, on)
