"""``ringserverstats audit``: do all tables of the store tell of the same entries?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option, output_options
from ringserverstats.cli.terminal import (
    load_settings,
    note_cut,
    open_store,
    progress_bar,
    rows_of,
    show,
    table,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_MOST_SHOWN = 100


@click.command(
    "audit",
    short_help="Check that the store is consistent.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats audit\n"
    "  ringserverstats audit --format csv -o differences.csv",
)
@output_options("table", "csv", "json", "parquet")
@database_option
def command(format_: str, output: str | None, database: str | None) -> None:
    """Check that the store is consistent; end with 1 if it is not.

    All transfers are summed up anew, by server and day, and compared with the sums by day, by month
    and by connection, and with the ledger of entries; names are compared with their ids. This needs
    no logs: `ringserverstats verify` compares the store with logs. Where it finds differences,
    restore a backup, or delete these days and read their logs again.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.errors import MissingSecretError
    from ringserverstats.store.audit import Difference, audit

    store = open_store(load_settings(database), answers=True, needed=True)
    keys = None
    try:
        keys = store.open(create=False).keys
    except MissingSecretError as error:
        click.echo(f"Note: ids are not compared with names: {error}", err=True)
    with progress_bar("auditing", 1) as progress:
        found = audit(store, keys, progress=lambda done, size: progress(done, total=size))
    rows = rows_of(found, Difference)
    write(rows, format_, output, lambda on: _print(rows, store.label, on))
    if store.kept_since:
        click.echo(
            f"Note: transfers are kept since {store.kept_since}; sums of earlier days were not "
            "compared with them",
            err=True,
        )
    if found:
        click.get_current_context().exit(1)


def _print(rows: pa.Table, label: str, on: Console) -> None:
    if not len(rows):
        on.print(f"No differences: all tables of {label} tell of the same entries.")
        return
    made = table(
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
    for row in rows.slice(0, _MOST_SHOWN).to_pylist():
        numbers = ("" if row[name] is None else f"{row[name]:,}" for name in ("stored", "counted"))
        made.add_row(
            row["table"],
            row["server"] or "",
            row["period"] or "",
            f"{row['rows']:,}",
            *numbers,
            row["unit"] or "",
            row["problem"],
        )
    note_cut(made, _MOST_SHOWN, len(rows))
    show(made, on)
