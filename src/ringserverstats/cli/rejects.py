"""``ringserverstats rejects``: what of the logs was not counted, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.options import (
    database_option,
    output_options,
    period,
    period_options,
    server_names,
    servers_option,
)
from ringserverstats.cli.terminal import load_settings, note_cut, open_store, show, table

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_MOST_SHOWN = 100


@click.command(
    "rejects",
    short_help="List what was not counted, and why.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats rejects --last 30d\n"
    "  ringserverstats rejects --server node-a --format csv -o rejects.csv\n"
    "  ringserverstats ingest --retry-rejects /var/log/ringserver",
)
@period_options
@servers_option
@output_options("table", "csv", "json", "parquet")
@database_option
def command(
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
    server: tuple[str, ...],
    format_: str,
    output: str | None,
    database: str | None,
) -> None:
    """List what was rejected of the logs: file, place, reason, and the version that did it.

    Each is listed once for its server, however often its log was read. Nothing of its text is kept,
    as that holds addresses: look into the log. Where the log's name tells no interval there is no
    day, and such rejects are listed only without a period. What a newer version can read is
    counted, and leaves this list, when its file is read again with ingest --retry-rejects.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.query import Query
    from ringserverstats.statistics.reject_list import rejects

    begin, end = period(first, final, month, year, length)
    store = open_store(load_settings(database), answers=True)
    filters = {"server": server_names(store, server)} if server else {}
    query = Query(first=begin, last=end, filters=filters)
    rows = rejects(store, query)
    write(rows, format_, output, lambda on: _print(rows, on))


def _print(rows: pa.Table, on: Console) -> None:
    if not len(rows):
        on.print("Nothing was rejected.")
        return
    made = table(
        [
            ("server", False),
            ("day", False),
            ("line", True),
            ("lines", True),
            ("byte", True),
            ("reason", False),
            ("version", False),
            ("file", False),
        ]
    )
    for row in rows.slice(0, _MOST_SHOWN).to_pylist():
        made.add_row(
            row["server"],
            row["day"] or "–",
            f"{row['line']:,}",
            f"{row['lines']:,}",
            f"{row['position']:,}",
            row["reason"],
            row["version"],
            row["file"],
        )
    note_cut(made, _MOST_SHOWN, len(rows))
    show(made, on)
