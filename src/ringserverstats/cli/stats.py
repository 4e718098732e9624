"""``ringserverstats stats``: questions to the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import click

from ringserverstats.cli.common import database_option, load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.statistics.columns import FILTERS, GROUPS, MEASURES

FORMATS = ("table", "csv", "json", "parquet")


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(FILTERS.values()):
        command = click.option(f"--{one.name}", metavar="LIST", help=f"Only these {one.help}.")(
            command
        )
    return command


@click.command(
    "stats",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats stats --by month,network --from 2026-09 --to 2026-11\n"
    "  ringserverstats stats --by station --network FR,R? --top 20 --sort clients\n"
    "  ringserverstats stats --by day --last 30d --direction RX --format csv -o rx.csv",
)
@click.option(
    "--by",
    default="",
    metavar="LIST",
    help="Group by, in this order: " + ", ".join(GROUPS) + ".",
)
@click.option("--from", "first", metavar="DATE", help="First day: 2026, 2026-11 or 2026-11-24.")
@click.option("--to", "final", metavar="DATE", help="Last day; 2026-11 holds all of November.")
@click.option("--month", metavar="YYYY-MM", help="Only this month.")
@click.option("--year", metavar="YYYY", help="Only this year.")
@click.option("--last", "length", metavar="LENGTH", help="Until today: 30d, 4w, 6m or 1y.")
@_filter_options
@click.option(
    "--measure",
    default="",
    metavar="LIST",
    help="Numbers to show: "
    + ", ".join(MEASURES)
    + ". Default: all; entries and connections by stream, network, station, ... only when named.",
)
@click.option("--sort", default="", metavar="NAME", help="A measure (largest first) or a group.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="A file instead of standard output."
)
@database_option
def command(
    by: str,
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
    measure: str,
    sort: str,
    top: int | None,
    format_: str,
    output: str | None,
    database: str | None,
    **filters: str | None,
) -> None:
    """Ask: how much, by what, of what.

    LIST is a list with commas; filters take * and ? as wildcards. Days are each server's local
    dates, and both ends of a period belong to it. Only what was sent to clients (TX) is counted,
    unless --direction says otherwise.
    """
    from ringserverstats.cli.answer import write
    from ringserverstats.statistics.questions import Question

    begin, end = _period(first, final, month, year, length)
    given = {name.replace("_", "-"): values for name, values in filters.items()}
    chosen = {name: _list(values) for name, values in given.items() if values is not None}
    chosen.setdefault("direction", ("TX",))
    question = Question(
        by=_list(by),
        first=begin,
        last=end,
        filters=chosen,
        measures=_list(measure),
        sort=sort,
        top=top,
    )
    store = open_store(load_settings(database), answers=True)
    write(store, question, format_, output)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


def _period(
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
) -> tuple[date | None, date | None]:
    from ringserverstats.statistics import periods

    ways = [way for way in (month, year, length, first or final) if way]
    if len(ways) > 1:
        raise UsageError("--month, --year, --last and --from/--to exclude one another; take one")
    if length:
        return periods.last(length, date.today())
    for option, text, form in (("--month", month, "2026-11"), ("--year", year, "2026")):
        if text and len(text) != len(form):
            raise UsageError(f"{option} {text!r} has another form; write {form}")
    begin, end = month or year or first, month or year or final
    return periods.first_day(begin) if begin else None, periods.last_day(end) if end else None
