"""``ringserverstats networks``: what the registry says of FDSN networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option, output_options
from ringserverstats.cli.terminal import load_settings, open_store, show, table
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
_LONGEST = 60


@click.group("networks", epilog=_EXAMPLES)
def command() -> None:
    """Tell which network a temporary code stands for: XP in 2014 is XP2014.

    No other command asks the network; what was read before a refresh follows it without being
    read again.
    """


@command.command("refresh", short_help="Take over the registry of networks.", epilog=_EXAMPLES)
@click.argument("source", required=False, metavar="[URL|FILE]")
@database_option
def refresh(source: str | None, database: str | None) -> None:
    """Take over the registry, from FDSN (setting `registry`), another URL, or a file.

    It is the JSON of FDSN's network service, or the text of a station service
    (query?level=network&format=text), which tells no DOIs.
    """
    from ringserverstats.enrich.networks import read_registry
    from ringserverstats.statistics.registry_list import registry, unknown_codes

    settings = load_settings(database)
    store = open_store(settings, answers=True, needed=True, changes=True)
    told = read_registry(source or settings.registry)
    before = len(registry(store))
    store.set_registry(told.networks)
    extended = sum(one.extended != one.code for one in told.networks)
    click.echo(
        f"{len(told.networks):,} networks, {extended:,} of them temporary; {before:,} before"
    )
    if told.left_out:
        click.echo(
            f"Note: {told.left_out:,} rows were left out, as their code or dates are none", err=True
        )
    codes = {row["code"] for row in unknown_codes(store).to_pylist() if row["network"] is None}
    if codes:
        click.echo(
            f"Note: on some days none of them had these codes: {', '.join(sorted(codes))}: "
            "ringserverstats networks unknown",
            err=True,
        )


@command.command("list", short_help="Show the networks of the registry.", epilog=_EXAMPLES)
@click.option("--all", "whole", is_flag=True, help="Also those of which the store has no stream.")
@output_options("table", "csv", "json", "parquet")
@database_option
def list_(whole: bool, format_: str, output: str | None, database: str | None) -> None:
    """Show the networks that the store has streams of, as the registry tells of them."""
    import pyarrow.compute as pc

    from ringserverstats.cli.output import write
    from ringserverstats.statistics.registry_list import registry

    store = open_store(load_settings(database), answers=True, needed=True)
    found = registry(store)
    if not len(found):
        raise StoreError("there is no registry in the store: ringserverstats networks refresh")
    if not whole:
        found = found.filter(pc.field("here"))
    found = found.drop_columns(["code", "here"])
    write(found, format_, output, lambda on: _print_list(found, on))


@command.command("unknown", short_help="Show codes that are no network.", epilog=_EXAMPLES)
@output_options("table", "csv", "json", "parquet")
@database_option
def unknown_(format_: str, output: str | None, database: str | None) -> None:
    """Show codes of the store that no network of the registry had, and the days of their data.

    Within two years of its days, a network is taken for the one that is meant: such days are shown
    with it, and count as its own. Other days count by the code as it is. Bytes are what was sent
    and received.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.registry_list import unknown_codes

    store = open_store(load_settings(database), answers=True, needed=True)
    found = unknown_codes(store)
    write(found, format_, output, lambda on: _print_unknown(found, on))


def _print_list(found: pa.Table, on: Console) -> None:
    made = table((name.replace("_", " "), False) for name in found.column_names)
    for row in found.to_pylist():
        row["name"] = _cut(row["name"])
        made.add_row(*(value or "–" for value in row.values()))
    show(made, on)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _print_unknown(found: pa.Table, on: Console) -> None:
    made = table(
        [
            ("code", False),
            ("counted as", False),
            ("first day", False),
            ("last day", False),
            ("bytes", True),
        ]
    )
    for row in found.to_pylist():
        near = f"{row['network']} (the nearest)" if row["network"] else row["code"]
        made.add_row(
            row["code"], near, row["first_day"], row["last_day"], human_bytes(row["bytes"])
        )
    show(made, on)
