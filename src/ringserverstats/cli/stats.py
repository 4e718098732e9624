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
        help_text = f"Only these {one.help}."
        option = click.option(f"--{one.name}", multiple=True, metavar="LIST", help=help_text)
        command = option(command)
    return command


@click.command(
    "stats",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats stats --by month,network --from 2026-09 --to 2026-11\n"
    "  ringserverstats stats --by network,station --network FR,R? --top 20 --sort clients\n"
    "  ringserverstats stats --by day --last 30d --direction RX --format csv -o rx.csv",
)
@click.argument("others", nargs=-1, metavar="")
@click.option(
    "--by",
    multiple=True,
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
    multiple=True,
    metavar="LIST",
    help="Numbers to show: "
    + ", ".join(MEASURES)
    + ". Default: all; entries and connections by stream, network, station, ... only when named.",
)
@click.option(
    "--sort",
    default="",
    metavar="NAME",
    help="A measure (largest first) or a group. Default: time if grouped by it, else bytes.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="A file instead of standard output."
)
@database_option
def command(
    others: tuple[str, ...],
    by: tuple[str, ...],
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
    measure: tuple[str, ...],
    sort: str,
    top: int | None,
    format_: str,
    output: str | None,
    database: str | None,
    **filters: tuple[str, ...],
) -> None:
    """Ask: how much, by what, of what.

    LIST is a list with commas and no blanks; filters take * and ? as wildcards. Station codes are
    unique within their network only: --by network,station. Days are each server's local dates, and
    both ends of a period belong to it. Only what was sent to clients (TX) is counted, unless
    --direction says otherwise.
    """
    from ringserverstats.cli.answer import write
    from ringserverstats.statistics.questions import Question

    if others:
        raise UsageError(f"{others[0]!a} is no option; write lists without blanks: month,network")
    begin, end = _period(first, final, month, year, length)
    given = {name.replace("_", "-"): values for name, values in filters.items()}
    chosen = {name: _list(values) or ("",) for name, values in given.items() if values}
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


def _list(texts: tuple[str, ...]) -> tuple[str, ...]:
    parts = (part.strip() for text in texts for part in text.split(","))
    return tuple(part for part in parts if part)


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
