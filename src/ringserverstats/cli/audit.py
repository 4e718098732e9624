"""``ringserverstats audit``: check that the tables of the store are consistent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import Output, database_option, output_options
from ringserverstats.cli.terminal import (
    load_settings,
    note_cut,
    open_store,
    print_note,
    progress_bar,
    rows_of,
    show,
    table,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_MAX_SHOWN = 100


@click.command(
    "audit",
    short_help="Check that the store is consistent.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats audit\n"
    "  ringserverstats audit --format csv -o differences.csv",
)
@output_options
@database_option
def command(output: Output) -> None:
    """Check that the store is consistent; exit with 1 if it is not.

    Computes totals by server and day from all transfers and compares them with the rollups by day,
    by month and by connection, and with the ledger of entries. Compares names with their ids. Lists
    servers that share entries. This needs no logs: `ringserverstats verify` compares the store with
    logs. If there are differences, restore a backup, or delete these days and read their logs
    again.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.errors import MissingSecretError
    from ringserverstats.store.audit import Difference, audit, shared_entries

    store = open_store(load_settings(), for_queries=True, must_exist=True)
    keys = None
    try:
        keys = store.open(create=False).keys
    except MissingSecretError as error:
        print_note(f"ids are not compared with names: {error}")
    with progress_bar("auditing", 1) as progress:
        differences = audit(store, keys, progress=progress)
    rows = rows_of(differences, Difference)
    write(rows, output, lambda on: _print(rows, store.label, on))
    for server, other, entries in shared_entries(store):
        print_note(
            f"{entries:,} entries count for server {server!a} and for server {other!a}. If these "
            f"are logs of one server: ringserverstats server merge {other} {server} --once"
        )
    if store.kept_since:
        print_note(
            f"transfers are kept since {store.kept_since}; rollups of earlier days were compared "
            "with the ledger"
        )
    if differences:
        click.get_current_context().exit(1)


def _print(rows: pa.Table, label: str, on: Console) -> None:
    if not len(rows):
        on.print(f"No differences: all tables of {label} agree.")
        return
    grid = table(
        [
            ("table", False),
            ("server", False),
            ("period", False),
            ("rows", True),
            ("stored", True),
            ("by transfers", True),
            ("", False),
            ("problem", False),
        ],
        f"differences in {label}",
    )
    for row in rows.slice(0, _MAX_SHOWN).to_pylist():
        numbers = ("" if row[name] is None else f"{row[name]:,}" for name in ("stored", "counted"))
        grid.add_row(
            row["table"],
            row["server"] or "",
            row["period"] or "",
            f"{row['rows']:,}",
            *numbers,
            row["unit"] or "",
            row["problem"],
        )
    note_cut(grid, _MAX_SHOWN, len(rows))
    show(grid, on)
