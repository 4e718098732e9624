"""``ringserverstats coverage``: show which days the logs cover."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

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
from ringserverstats.cli.terminal import load_settings, open_store, show, table
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.text import Text

_BLOCKS = {"complete": "█", "empty": "▁", "incomplete": "▒", "missing": "·"}
_COLOURS = {"complete": "green", "empty": "cyan", "incomplete": "yellow", "missing": "red"}
_NOT_IN_PERIOD = " "
_MAX_RANGES = 15
_NO_LOGS = "No logs match."
_NO_SENT_LOGS = "No logs of what was sent (TX) match. For what was received: --direction RX"


@click.command(
    "coverage",
    short_help="Show which days the logs cover.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats coverage\n"
    "  ringserverstats coverage --by month --server node-a\n"
    "  ringserverstats coverage --last 30d --strict\n"
    "  ringserverstats coverage --direction RX --format csv -o coverage.csv",
)
@click.option(
    "--by", type=click.Choice(("day", "month")), default="day", show_default=True, help="Rows."
)
@period_options
@filter_options("server", "direction")
@output_options
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if a day is incomplete or missing, or more entries were rejected than the"
    " setting max_rejects.",
)
@database_option
def command(
    by: str,
    period: Period,
    filters: dict[str, tuple[str, ...]],
    output: Output,
    strict: bool,
) -> None:
    """Show which days of which server the logs cover, so that gaps are not taken for zeros.

    A day is complete (all its logs were read to their end), empty (complete, without any entry),
    incomplete (the reason is listed) or missing. Rejected entries do not make a day incomplete.
    Shows all days of the period up to yesterday; without a period, the days from a server's first
    day to the last day of any server. Days on which a server was not in service need no logs: see
    `ringserverstats server service`. TX and RX have separate logs.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.coverage import coverage, gap_ranges
    from ringserverstats.statistics.query import Query

    settings = load_settings()
    store = open_store(settings, for_queries=True)
    values = {"direction": listed(filters.get("direction", ())) or ("TX",)}
    if "server" in filters:
        values["server"] = server_names(store, filters["server"])
    query = Query(first=period.first, last=period.last, filters=values)
    rows = coverage(store, query, by=by)
    print_rows = _print_days if by == "day" else _print_months
    ranges = gap_ranges(store, query)

    def print_all(on: Console) -> None:
        if not len(rows):
            on.print(_NO_LOGS if "direction" in filters else _NO_SENT_LOGS, soft_wrap=True)
            return
        print_rows(rows, on)
        _print_ranges(ranges, on)

    write(rows, output, print_all)
    rejects = sum(rows["rejects"].to_pylist())
    if strict and (not len(rows) or len(ranges) or rejects > settings.max_rejects):
        click.get_current_context().exit(1)


def _print_days(rows: pa.Table, on: Console) -> None:
    """Print a calendar: a line per month, a block per day."""
    from rich.text import Text

    for (server, direction), days in groupby(
        rows.to_pylist(), lambda row: (row["server"], row["direction"])
    ):
        grid = table(
            [("month", False), (_ruler(), False), ("complete", True), ("rejects", True)],
            f"{server}, {'sent (TX)' if direction == 'TX' else 'received (RX)'}",
        )
        for month, days_of_month in groupby(days, lambda row: row["day"][:7]):
            grid.add_row(month, *_month_cells(list(days_of_month)))
        show(grid, on)
    legend = Text()
    for state, block in _BLOCKS.items():
        legend.append(block, style=_COLOURS[state]).append(f" {state}   ")
    on.print(legend)
    on.print("day: the server's local date; rejects: rejected entries")


def _print_ranges(ranges: pa.Table, on: Console) -> None:
    """Print the first ranges of incomplete and missing days."""
    from ringserverstats.statistics.footnotes import range_text

    for row in ranges.slice(0, _MAX_RANGES).to_pylist():
        on.print(range_text(row), soft_wrap=True)
    if len(ranges) > _MAX_RANGES:
        on.print(f"and {len(ranges) - _MAX_RANGES:,} more: list all days with --format csv")


def _ruler() -> str:
    return "".join(f"{day:<5}" for day in (1, 6, 11, 16, 21, 26)) + "31"


def _month_cells(days: list[dict[str, Any]]) -> tuple[Text, str, str]:
    """Return a month's blocks, the number of its complete days, that of its rejected entries."""
    from rich.text import Text

    states = {int(row["day"][8:]): row["state"] for row in days}
    blocks = Text()
    for day in range(1, 32):
        state = states.get(day)
        block = _BLOCKS[state] if state else _NOT_IN_PERIOD
        blocks.append(block, style=_COLOURS.get(state or "", ""))
    complete = sum(state in ("complete", "empty") for state in states.values())
    rejects = sum(row["rejects"] for row in days)
    return blocks, f"{complete} of {len(days)}", f"{rejects:,}" if rejects else ""


def _print_months(rows: pa.Table, on: Console) -> None:
    texts = ("server", "direction", "month")
    grid = table([(name, name not in texts) for name in rows.column_names])
    for row in rows.to_pylist():
        grid.add_row(*(row[name] if name in texts else f"{row[name]:,}" for name in row))
    grid.caption = "days (the server's local dates) of each state; entries; rejected entries"
    show(grid, on)
