"""``ringserverstats stats``: query statistics."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli.options import (
    Command,
    Output,
    complete_list,
    database_option,
    filter_options,
    output_options,
    pass_object,
    period_words_options,
    server_names,
)
from ringserverstats.cli.terminal import load_settings, open_store, print_note, print_warning
from ringserverstats.errors import UsageError
from ringserverstats.opening import public_policy
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES, SYNONYMS

if TYPE_CHECKING:
    from ringserverstats.statistics.publish import Policy
    from ringserverstats.statistics.query import Query
    from ringserverstats.store.base import Store


def _query_of(
    *,
    period: dict[str, str],
    filters: dict[str, tuple[str, ...]],
    sort: str,
    top: int | None,
    **lists: Any,
) -> Query:
    from ringserverstats.statistics.parameters import query_of

    single = {**period, "sort": sort, "top": top}
    words = {name: texts for name, texts in lists.items() if texts}
    words |= {name: (str(word),) for name, word in single.items() if word}
    return query_of(words | filters, date.today())


def _query_options(command: Command) -> Command:
    """The options of a query, passed as ``query``: a `Query`."""
    options: dict[str, Callable[[Any], Any]] = {
        "by": click.option(
            "--by",
            multiple=True,
            metavar="LIST",
            shell_complete=complete_list(*DIMENSIONS),
            help="Group by, in this order: " + ", ".join(DIMENSIONS) + ".",
        ),
        "period": period_words_options,
        "filters": filter_options(*FILTERS),
        "measure": click.option(
            "--measure",
            multiple=True,
            metavar="LIST",
            shell_complete=complete_list(*MEASURES),
            help="Numbers to show: " + ", ".join(MEASURES) + ". Default: all totals; entries"
            " and connections by stream, network, station, ... only when named. Means are over"
            " covered days: see ringserverstats coverage.",
        ),
        "sort": click.option(
            "--sort",
            default="",
            metavar="NAME",
            shell_complete=complete_list(*MEASURES, *DIMENSIONS),
            help="A measure (largest first) or a dimension. Default: time if grouped by it,"
            " else bytes.",
        ),
        "top": click.option(
            "--top",
            type=click.IntRange(min=1),
            metavar="N",
            help="Only the first N rows. By time and another dimension: the N largest of the whole"
            " period in each time, all others as one row, other.",
        ),
    }
    return pass_object(command, "query", _query_of, options)


@click.command(
    "stats",
    short_help="Query statistics.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats stats --by month,network --from 2026-09 --to 2026-11\n"
    "  ringserverstats stats --by network,station --network FR,R? --top 20 --sort clients\n"
    "  ringserverstats stats --by day --last 30d --direction RX --format csv -o rx.csv\n"
    "  ringserverstats stats --by network,city --year 2026 --public -o for-all.csv",
)
@click.argument("others", nargs=-1, metavar="")
@_query_options
@click.option(
    "--public",
    is_flag=True,
    help="Only what may be published: no individual clients, no networks under embargo, no small"
    " numbers of clients (settings embargo, min_clients).",
)
@click.option("--sql", is_flag=True, help="Print the SELECT of the query and its parameters.")
@output_options
@database_option
def command(others: tuple[str, ...], query: Query, public: bool, sql: bool, output: Output) -> None:
    """Query statistics: measures of a period, grouped by dimensions, with filters.

    LIST is a list with commas and without blanks; filters take the wildcards * and ?. Station codes
    are unique only within their network: use --by network,station. Days are each server's local
    dates, and both ends of a period belong to it. Counts only what was sent to clients (TX), unless
    --direction is given.
    """
    if others:
        raise UsageError(f"unexpected argument {others[0]!a}{_meant(others[0])}")
    if sql and public:
        raise UsageError("--sql and --public exclude one another; take one")
    settings = load_settings()
    store = open_store(settings, for_queries=True)
    if sql:
        _print_sql(store, query)
        return
    if "server" in query.filters:
        server_names(store, query.filters["server"])
    _write_result(store, query, public_policy(settings) if public else None, output)


def _meant(word: str) -> str:
    """Return a question for the option that ``word`` may be the value of."""
    name = word.lower().strip(",")
    options = {
        rf"{'|'.join([*DIMENSIONS, *SYNONYMS])}": "--by",
        r"\d{4}": "--year",
        r"\d{4}-\d\d": "--month",
        r"\d{4}-q[1-4]": "--quarter",
        r"\d+[dwmqy]": "--last",
        r"[a-z0-9]{1,2}|[0-9x-z][a-z0-9]\d{4}": "--network",
        r"[a-z0-9]{3,5}": "--station",
    }
    option = next((option for form, option in options.items() if re.fullmatch(form, name)), "")
    question = f"; did you mean {option} {word}?" if option else "."
    return f"{question} Lists have no blanks" if option in ("", "--by") else question


def _print_sql(store: Store, query: Query) -> None:
    from ringserverstats.statistics.run import select_for

    select, values = select_for(store.ask, query)
    click.echo(f"{select};")
    for number, value in enumerate(values, start=1):
        click.echo(f"-- ${number}: {value!a}")


def _write_result(store: Store, query: Query, policy: Policy | None, output: Output) -> None:
    """Write the result of ``query``; ``policy`` says what is withheld, None: nothing."""
    from ringserverstats.cli.output import write
    from ringserverstats.cli.result_table import notes, print_result
    from ringserverstats.statistics.gaps import gaps, with_all_groups
    from ringserverstats.statistics.network_names import unmatched_patterns
    from ringserverstats.statistics.publish import Policy, QueryContext, Role, public_query
    from ringserverstats.statistics.suggestions import suggestions

    if policy:
        for pattern in unmatched_patterns(store, policy.embargoed):
            print_warning(
                f"the embargo on {pattern!a} matches no network in the store. Check its code with: "
                "ringserverstats networks list"
            )
        query = public_query(query, policy)
    context = QueryContext(store, Role(is_operator=policy is None), policy or Policy())
    groups = gaps(store, query)
    result = with_all_groups(query, context.result(query), groups)
    hints = suggestions(store, query) if result.is_empty(query) and not policy else []
    write(result.rows, output, lambda on: print_result(context, query, result, groups, on, hints))
    if output.format != "table":
        for note in [*notes(context, query, result, groups), *hints]:
            print_note(note)
