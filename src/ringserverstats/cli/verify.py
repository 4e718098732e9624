"""``ringserverstats verify``: compare the store with logs."""

from __future__ import annotations

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
    load_settings,
    open_store,
    print_note,
    rows_of,
    show,
    table,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

    from ringserverstats.verify import Verified

_MAX_SHOWN = 100


@click.command(
    "verify",
    short_help="Compare the store with logs.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats verify /var/log/ringserver\n"
    "  ringserverstats verify txlog-20261124T0000-20261125T0000.gz --as node-a\n"
    "  ringserverstats verify --format csv -o findings.csv",
)
@input_options
@output_options
@database_option
def command(inputs: Inputs, output: Output) -> None:
    """Compare the store with logs, entry by entry; exit with 1 if they differ.

    Reads the logs into a temporary store (in TMPDIR) and compares each entry, reject and covered
    day: missing in the store, different, or only in the store. The last is checked only for days
    and directions (TX, RX) that the given logs cover completely or by the hour, so give all logs of
    a day. Without FILES, reads the registered paths.
    """
    from msgspec.structs import replace

    from ringserverstats.cli.output import write
    from ringserverstats.verify import Finding, verify

    settings = replace(load_settings(), query_timeout=0)  # comparing a large day takes long
    store = open_store(settings, for_queries=True, must_exist=True)
    sources = find_inputs(inputs, store).sources
    with reading_progress(sources) as progress:
        result = verify(sources, store, ipv6_prefix=settings.ipv6_prefix, progress=progress)
    for note in result.report.notes:
        print_note(note)
    rows = rows_of(result.findings, Finding)
    write(rows, output, lambda on: _print(rows, result, on))
    if result.partly:
        print_note(
            f"{result.partly} days of servers are only partly in these logs, or the names of the "
            "logs have no interval; entries only in the store were not searched for there"
        )
    if result.findings:
        click.get_current_context().exit(1)


def _print(rows: pa.Table, result: Verified, on: Console) -> None:
    report = result.report
    if not len(rows):
        on.print(
            f"No differences: {report.entries:,} entries of {report.files:,} files are in the store"
            " as they were logged."
        )
        return
    grid = table(
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
    for row in rows.slice(0, _MAX_SHOWN).to_pylist():
        place = f"{row['file']}: line {row['line']:,}" if row["file"] else row["id"] or ""
        amounts = (row["logged_bytes"], row["stored_bytes"])
        grid.add_row(
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
        f"{number:,} {thing} {state}" for (thing, state), number in sorted(result.counts.items())
    )
    grid.caption = f"{counts}; of {report.entries:,} entries in {report.files:,} files"
    show(grid, on)
