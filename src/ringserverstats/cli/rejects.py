"""``ringserverstats rejects``: list rejected log entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import (
    Output,
    Period,
    database_option,
    filter_options,
    output_options,
    period_options,
    server_names,
)
from ringserverstats.cli.terminal import load_settings, note_cut, open_store, show, table
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_MAX_SHOWN = 100


@click.command(
    "rejects",
    short_help="List rejected log entries.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats rejects --last 30d\n"
    "  ringserverstats rejects --server node-a --format csv -o rejects.csv\n"
    "  ringserverstats ingest --retry-rejects /var/log/ringserver",
)
@period_options
@filter_options("server")
@click.option(
    "--direction",
    "directions",
    multiple=True,
    metavar="LIST",
    help="Only rejects of data sent (TX) or received (RX). Default: all, also of files without a"
    " direction in their name.",
)
@output_options
@database_option
def command(
    period: Period,
    filters: dict[str, tuple[str, ...]],
    directions: tuple[str, ...],
    output: Output,
) -> None:
    """List rejected log entries: file, position, reason, and the version that rejected them.

    Each is listed once per server, however often its log was read. Their text is not stored,
    because it contains addresses: look into the log. A log without an interval in its name has no
    day: its rejects are listed only without a period. When a newer version can read an entry, read
    its file again with `ringserverstats ingest --retry-rejects`: it is counted and leaves the list.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.query import Query
    from ringserverstats.statistics.reject_list import rejects

    store = open_store(load_settings(), for_queries=True)
    values = {"server": server_names(store, filters["server"])} if filters else {}
    if directions:
        values["direction"] = listed(directions)
    query = Query(first=period.first, last=period.last, filters=values)
    rows = rejects(store, query)
    write(rows, output, lambda on: _print(rows, on))


def _print(rows: pa.Table, on: Console) -> None:
    if not len(rows):
        on.print("Nothing was rejected.")
        return
    grid = table(
        [
            ("server", False),
            ("", False),
            ("day", False),
            ("entries", True),
            ("line", True),
            ("lines", True),
            ("byte", True),
            ("reason", False),
            ("version", False),
            ("file", False),
        ]
    )
    for row in rows.slice(0, _MAX_SHOWN).to_pylist():
        grid.add_row(
            row["server"],
            row["direction"] or "",
            row["day"] or "–",
            f"{row['entries']:,}",
            f"{row['line']:,}",
            f"{row['lines']:,}",
            f"{row['position']:,}",
            row["reason"],
            row["version"],
            row["file"],
        )
    note_cut(grid, _MAX_SHOWN, len(rows))
    show(grid, on)
