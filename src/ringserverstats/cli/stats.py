"""``ringserverstats stats``: questions to the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import click

from ringserverstats.cli.options import (
    complete_list,
    complete_server,
    database_option,
    output_options,
    period_options,
    server_names,
)
from ringserverstats.cli.terminal import load_settings, open_store
from ringserverstats.errors import UsageError
from ringserverstats.opening import public_policy
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for one in reversed(FILTERS.values()):
        help_text = f"Only these {one.help}."
        complete = complete_server if one.name == "server" else None
        option = click.option(
            f"--{one.name}", multiple=True, metavar="LIST", help=help_text, shell_complete=complete
        )
        command = option(command)
    return command


@click.command(
    "stats",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats stats --by month,network --from 2026-09 --to 2026-11\n"
    "  ringserverstats stats --by network,station --network FR,R? --top 20 --sort clients\n"
    "  ringserverstats stats --by day --last 30d --direction RX --format csv -o rx.csv\n"
    "  ringserverstats stats --by network,city --year 2026 --public -o for-all.csv",
)
@click.argument("others", nargs=-1, metavar="")
@click.option(
    "--by",
    multiple=True,
    metavar="LIST",
    shell_complete=complete_list(*DIMENSIONS),
    help="Group by, in this order: " + ", ".join(DIMENSIONS) + ".",
)
@period_options
@_filter_options
@click.option(
    "--measure",
    multiple=True,
    metavar="LIST",
    shell_complete=complete_list(*MEASURES),
    help="Numbers to show: "
    + ", ".join(MEASURES)
    + ". Default: all sums; entries and connections by stream, network, station, ... only when"
    " named. Means are over covered days: see ringserverstats coverage.",
)
@click.option(
    "--sort",
    default="",
    metavar="NAME",
    shell_complete=complete_list(*MEASURES, *DIMENSIONS),
    help="A measure (largest first) or a group. Default: time if grouped by it, else bytes.",
)
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option(
    "--public",
    is_flag=True,
    help="What everybody may know: no single clients, no networks under embargo, no small counts"
    " of clients (settings embargo, min_clients).",
)
@click.option("--sql", is_flag=True, help="Print the SELECT behind the answer, and its values.")
@output_options("table", "csv", "json", "parquet")
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
    public: bool,
    sql: bool,
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
    from ringserverstats.cli.output import write
    from ringserverstats.cli.result_table import notes, print_result
    from ringserverstats.statistics.network_names import unmatched_patterns
    from ringserverstats.statistics.parameters import query_of
    from ringserverstats.statistics.publish import operator_result, public_result
    from ringserverstats.statistics.run import select_for

    if others:
        raise UsageError(f"{others[0]!a} is no option; write lists without blanks: month,network")
    given = {
        **{name.replace("_", "-"): values for name, values in filters.items()},
        "by": by,
        "measure": measure,
        **{
            name: (text,)
            for name, text in (
                ("from", first),
                ("to", final),
                ("month", month),
                ("year", year),
                ("last", length),
                ("sort", sort),
                ("top", str(top) if top else None),
            )
            if text
        },
    }
    query = query_of({name: texts for name, texts in given.items() if texts}, date.today())
    if sql and public:
        raise UsageError("--sql and --public exclude one another; take one")
    settings = load_settings(database)
    store = open_store(settings, answers=True)
    if "server" in query.filters and not sql:
        server_names(store, query.filters["server"])
    if sql:
        select, values = select_for(store.ask, query)
        click.echo(f"{select};")
        for number, value in enumerate(values, start=1):
            click.echo(f"-- ${number}: {value!a}")
        return
    policy = public_policy(settings)
    if public:
        for pattern in unmatched_patterns(store, policy.embargoed):
            click.echo(
                f"Warning: the embargo on {pattern!a} is of no network in the store; if it should "
                "be: ringserverstats networks list",
                err=True,
            )
    answer = public_result(store, query, policy) if public else operator_result(store, query)
    write(answer.rows, format_, output, lambda on: print_result(store, query, answer, on))
    if format_ != "table":
        for note in notes(store, query, answer):
            click.echo(f"Note: {note}", err=True)
