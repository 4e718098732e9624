"""``ringserverstats verify``: does the store still say what the logs say?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.inputs import find_inputs, input_options, reading
from ringserverstats.cli.options import database_option, output_options
from ringserverstats.cli.terminal import load_settings, open_store, rows_of, show, table

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ringserverstats.verify import Verified

_MOST_SHOWN = 100


@click.command(
    "verify",
    short_help="Compare the store with logs.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats verify /var/log/ringserver\n"
    "  ringserverstats verify txlog-20261124T0000-20261125T0000.gz --as node-a\n"
    "  ringserverstats verify --format csv -o findings.csv",
)
@input_options
@output_options("table", "csv", "json", "parquet")
@database_option
def command(
    files: tuple[str, ...],
    server: str | None,
    name: str | None,
    format_: str,
    output: str | None,
    database: str | None,
) -> None:
    """Compare the store with logs, entry by entry; end with 1 if they differ.

    The logs are read into a temporary store (in TMPDIR), and each entry, reject and covered day is
    compared: missing in the store, different, or only in the store. The last is looked for on days
    and in directions (TX, RX) that the given logs cover whole or by the hour, so give all logs of a
    day. Without FILES the registered paths are read.
    """
    from msgspec.structs import replace

    from ringserverstats.cli.output import write
    from ringserverstats.verify import Finding, verify

    settings = replace(load_settings(database), query_timeout=0)  # a day may take long
    store = open_store(settings, answers=True, needed=True)
    sources, _ = find_inputs(files, server, name, store)
    with reading(sources) as progress:
        found = verify(sources, store, ipv6_prefix=settings.ipv6_prefix, progress=progress)
    rows = rows_of(found.findings, Finding)
    write(rows, format_, output, lambda on: _print(rows, found, on))
    if found.partly:
        click.echo(
            f"Note: {found.partly} days of servers are only partly in these logs, or the logs have "
            "no names that tell; what only the store has was not looked for there",
            err=True,
        )
    if found.findings:
        click.get_current_context().exit(1)


def _print(rows: pa.Table, found: Verified, on: Console) -> None:
    read = found.report
    if not len(rows):
        on.print(
            f"No differences: {read.entries:,} entries of {read.files:,} files are in the store as"
            " they were logged."
        )
        return
    made = table(
        [
            ("thing", False),
            ("state", False),
            ("server", False),
            ("", False),
            ("day", False),
            ("bytes logged", True),
            ("stored", True),
            ("differs", False),
            ("id or place", False),
        ]
    )
    for row in rows.slice(0, _MOST_SHOWN).to_pylist():
        place = f"{row['file']}: line {row['line']:,}" if row["file"] else row["id"] or ""
        amounts = (row["logged_bytes"], row["stored_bytes"])
        made.add_row(
            row["thing"],
            row["state"],
            row["server"],
            row["direction"] or "",
            row["day"] or "",
            *("" if amount is None else f"{amount:,}" for amount in amounts),
            row["differs"] or "",
            place,
        )
    counts = ", ".join(
        f"{number:,} {thing} {state}" for (thing, state), number in sorted(found.counts.items())
    )
    made.caption = f"{counts}; of {read.entries:,} entries in {read.files:,} files"
    made.caption_justify = "left"
    show(made, on)
