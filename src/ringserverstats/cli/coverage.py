"""``ringserverstats coverage``: which days the logs that were read cover."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli.options import (
    database_option,
    output_options,
    period,
    period_options,
    server_names,
    servers_option,
)
from ringserverstats.cli.terminal import load_settings, open_store, show, table
from ringserverstats.statistics.periods import listed

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console

_BLOCKS = {"complete": "█", "empty": "▁", "incomplete": "▒", "missing": "·"}
_COLOURS = {"complete": "green", "empty": "cyan", "incomplete": "yellow", "missing": "red"}
_UNKNOWN = " "
_MOST_DAYS = 15


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
@servers_option
@click.option(
    "--direction",
    multiple=True,
    metavar="LIST",
    help="TX (default), RX, or TX,RX: each has logs of its own.",
)
@output_options("table", "csv", "json", "parquet")
@click.option("--strict", is_flag=True, help="End with 1 if a day is incomplete or missing.")
@database_option
def command(
    by: str,
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
    server: tuple[str, ...],
    direction: tuple[str, ...],
    format_: str,
    output: str | None,
    strict: bool,
    database: str | None,
) -> None:
    """Show which days of which server are in the store: no log is not zero.

    A day is complete (all its logs were read, to their end), empty (likewise, and nobody was
    served), incomplete (a part of it, or a log that may still grow, or input without its log's
    name) or missing. All days of the period that is asked for are looked at, up to yesterday;
    without one, those from a server's first day to the last day of any server. When a server was
    not in service, no logs are expected: see ringserverstats server service.
    """
    from ringserverstats.cli.output import write
    from ringserverstats.statistics.coverage import coverage
    from ringserverstats.statistics.query import Query

    begin, end = period(first, final, month, year, length)
    store = open_store(load_settings(database), answers=True)
    filters = {"direction": listed(direction) or ("TX",)}
    if server:
        filters["server"] = server_names(store, server)
    query = Query(first=begin, last=end, filters=filters)
    rows = coverage(store, query, by=by)
    shown = _print_days if by == "day" else _print_months
    write(rows, format_, output, lambda on: shown(rows, on))
    if strict and _has_gaps(rows):
        click.get_current_context().exit(1)


def _has_gaps(rows: pa.Table) -> bool:
    if not len(rows):
        return True
    if "state" in rows.column_names:
        return bool({"incomplete", "missing"} & set(rows["state"].to_pylist()))
    return any(sum(rows[name].to_pylist()) for name in ("incomplete", "missing"))


def _print_days(rows: pa.Table, on: Console) -> None:
    """A calendar: a line a month, a block a day."""
    from rich.text import Text

    if not len(rows):
        on.print("No logs of that are known.")
        return
    for (server, direction), days in groupby(
        rows.to_pylist(), lambda row: (row["server"], row["direction"])
    ):
        made = table(
            [("month", False), (_ruler(), False), ("complete", True), ("rejects", True)],
            f"{server}, {'sent (TX)' if direction == 'TX' else 'received (RX)'}",
        )
        for month, own in groupby(days, lambda row: row["day"][:7]):
            made.add_row(month, *_line(list(own)))
        show(made, on)
    legend = Text()
    for state, block in _BLOCKS.items():
        legend.append(block, style=_COLOURS[state]).append(f" {state}   ")
    on.print(legend)
    on.print("day: the server's local date")
    _print_gaps(rows, on)


def _print_gaps(rows: pa.Table, on: Console) -> None:
    """The days that are not covered, where they are few."""
    lost = [row for row in rows.to_pylist() if row["state"] in ("incomplete", "missing")]
    if not lost:
        return
    for row in lost[:_MOST_DAYS]:
        hours = f" ({row['minutes'] / 60:.3g} of 24 hours are covered)" if row["minutes"] else ""
        place = f"{row['server']} {row['direction']} {row['day']}"
        on.print(f"{place}: {row['state']}{hours}", soft_wrap=True)
    if len(lost) > _MOST_DAYS:
        on.print(f"and {len(lost) - _MOST_DAYS:,} days more: all with --format csv")


def _ruler() -> str:
    return "".join(f"{day:<5}" for day in (1, 6, 11, 16, 21, 26)) + "31"


def _line(days: list[dict[str, Any]]) -> tuple[Any, str, str]:
    from rich.text import Text

    states = {int(row["day"][8:]): row["state"] for row in days}
    line = Text()
    for day in range(1, 32):
        state = states.get(day)
        line.append(_BLOCKS[state] if state else _UNKNOWN, style=_COLOURS.get(state or "", ""))
    good = sum(state in ("complete", "empty") for state in states.values())
    rejects = sum(row["rejects"] for row in days)
    return line, f"{good} of {len(days)}", f"{rejects:,}" if rejects else ""


def _print_months(rows: pa.Table, on: Console) -> None:
    if not len(rows):
        on.print("No logs of that are known.")
        return
    texts = ("server", "direction", "month")
    made = table([(name, name not in texts) for name in rows.column_names])
    for row in rows.to_pylist():
        made.add_row(*(row[name] if name in texts else f"{row[name]:,}" for name in row))
    made.caption = "days (the server's local dates) of each state; entries; rejects"
    made.caption_justify = "left"
    show(made, on)
