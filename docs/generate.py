"""Write what of the manual comes from the code: commands, statistics, tables, the man page.

In statistics.md and tables.md only the text between ``<!-- name -->`` and ``<!-- end -->``.
"""

import html
import re
import textwrap
from datetime import date
from pathlib import Path

import click

from ringserverstats import __version__
from ringserverstats.cli import PROGRAM, cli
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, JOINS, MEASURES, Filter
from ringserverstats.statistics.plan import plan_query
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import select_sql
from ringserverstats.store.tables import TABLES

FOLDER = Path(__file__).parent
_WIDTH = 96
_MAN_WIDTH = 76
_TABLES = {
    "amounts": "`connection_by_day`, or rollups of streams",
    "profiles": "of stations `station_profiles_by_day` and `station_profiles_by_month`,"
    " of streams `stream_profiles_by_day` and `stream_profiles_by_month`",
    "connections": "`connection_by_day`",
    "transfers": "`transfer`",
    "means": "rollups by day, covered days only",
}
_EXAMPLE = Query(
    dimensions=("month", "network"),
    first=date(2026, 9, 1),
    last=date(2026, 10, 31),
    filters={"direction": ("TX",), "network": ("FR", "R?")},
    measures=("bytes", "clients"),
)


def pages() -> dict[Path, str]:
    """The text of every page, by its file."""
    statistics, tables = FOLDER / "statistics.md", FOLDER / "tables.md"
    return {
        tables: _filled(tables.read_text(), {"tables": _tables()}),
        FOLDER / "commands.md": _commands(),
        FOLDER / "ringserverstats.1": _man(),
        statistics: _filled(
            statistics.read_text(),
            {
                "groups": _groups(),
                "filters": _filters(),
                "measures": _measures(),
                "joins": _joins(),
                "example": _example(),
            },
        ),
    }


def _helps(width: int) -> list[tuple[str, str]]:
    """The path and help of every command, in the order of the program's own list."""
    context = click.Context(cli, info_name=PROGRAM, **cli.context_settings)
    return _below(cli, context, width)


def _below(command: click.Command, context: click.Context, width: int) -> list[tuple[str, str]]:
    context.max_content_width = context.terminal_width = width
    found = [(context.command_path, command.get_help(context))]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            one = command.get_command(context, name)
            assert one is not None
            found += _below(one, click.Context(one, parent=context, info_name=name), width)
    return found


#: Options that nearly all commands have.
_COMMON = re.compile(r"\n  --database, --dburi URI .*(\n {9}.*)*|\n  -h, --help .*")
_EXAMPLES = "\n\n  Examples:\n"


def _commands() -> str:
    """The help of each command, without what others have too: options, a group's examples."""
    parts = [
        "# Commands\n\nThe `--help` of each command, written by `make docs`.\n\n"
        "All commands have `--help`. Commands that use the store have `--database` (or `--dburi`): "
        "`duckdb:///path/to/file` or `postgresql://user@host/database`. "
        "Default: `DATABASE_URI`, else a file in your data folder.\n"
    ]
    shown: set[str] = set()
    for path, text in _helps(_WIDTH):
        usage, _, examples = _COMMON.sub("", text).partition(_EXAMPLES)
        usage = usage.replace("\n\nOptions:\n\n", "\n\n").removesuffix("\n\nOptions:")
        if examples and examples not in shown:
            usage += _EXAMPLES + examples
        shown.add(examples)
        parts.append(f"## {path}\n\n```\n{usage.rstrip()}\n```\n")
    return "\n".join(parts)


def _man() -> str:
    """The man page, in roff: the same texts, not filled, as click has laid them out."""
    lines = [
        f'.TH RINGSERVERSTATS 1 "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        f"{PROGRAM} \\- statistics of what a ringserver serves, from its usage logs",
    ]
    for path, text in _helps(_MAN_WIDTH):
        lines += [f'.SH "{path.upper()}"', ".nf", *map(_roff, text.splitlines()), ".fi"]
    lines += [
        ".SH EXIT STATUS",
        "0: done. 1: something was found (rejects with \\-\\-strict, differences, gaps).",
        "2: wrong use. 3: the store, or a service that is sent to, cannot be used.",
        ".SH ENVIRONMENT",
        "DATABASE_URI names the store; RINGSERVERSTATS_<NAME> is the setting <name>.",
    ]
    return "\n".join(lines) + "\n"


def _roff(line: str) -> str:
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _filled(page: str, parts: dict[str, str]) -> str:
    for name, text in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        page, count = re.subn(
            pattern, lambda match, text=text: f"{match[1]}\n{text}\n{match[2]}", page, flags=re.S
        )
        assert count == 1, name
    return page


def _tables() -> str:
    """Each table of the store with its columns."""
    sections = []
    for table in TABLES.values():
        rows = [(f"`{column.name}`", column.type, column.comment) for column in table.columns]
        packed = f" PostgreSQL: a view of `{table.stored}`." if table.arrays else ""
        columns = _table(("column", "type", "what it is"), rows)
        sections.append(f"## `{table.name}`\n\n{table.comment}{packed}\n\n{columns}")
    return "\n".join(sections)


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(sql: str) -> str:
    text = " ".join(sql.split())
    if "|" not in text:
        return f"`{text}`"
    # In a table no other spelling of a bar is shown alike wherever the page is read.
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>"


def _groups() -> str:
    rows = []
    for one in DIMENSIONS.values():
        label = one.label.format(key="k")
        shown = "" if label == "k" else _code(label)
        joins = (*one.joins, *(["network_period"] if one.registry_key else []))
        joined = ", ".join(f"`{name}`" for name in joins)
        rows.append((f"`{one.name}`", one.help, _code(one.key_sql(resolved=True)), shown, joined))
    return _table(("dimension", "what it is", "key", "label (`k`: the key)", "joins"), rows)


def _filters() -> str:
    rows = [
        (f"`--{one.name}`", one.help, _code(one.sql.format(condition=_condition(one))))
        for one in FILTERS.values()
    ]
    return _table(("filter", "only these", "condition"), rows)


def _condition(one: Filter) -> str:
    return f"{one.column} {'IN' if one.values else 'LIKE'} ..."


def _measures() -> str:
    rows = [
        (f"`{one.name}`", one.help, _TABLES[kind], _code(sql.replace("{is_covered}", "covered")))
        for one in MEASURES.values()
        for kind, sql in one.sql.items()
    ]
    return _table(("measure", "what it is", "from", "SQL"), rows)


def _joins() -> str:
    return _table(
        ("join", "SQL"),
        [(f"`{name}`", _code(sql.format(codes="s"))) for name, sql in JOINS.items()],
    )


def _example() -> str:
    sql, parameters = select_sql(plan_query(_EXAMPLE))
    values = ", ".join(f"`${n}` = `{value}`" for n, value in enumerate(parameters, start=1))
    return f"```sql\n{_lines(sql)}\n```\n\nwith {values}.\n"


def _lines(sql: str) -> str:
    """``sql`` with a line for each clause."""
    clauses = re.split(r" (?=(?:FROM by_|JOIN|WHERE f|GROUP BY|ORDER BY|AND f|SELECT sub))", sql)
    clauses = [part for clause in clauses for part in re.split(r"(?<=\),) (?=all_)", clause)]
    wrapped = (textwrap.wrap(clause, 92, subsequent_indent="    ") for clause in clauses)
    return "\n".join(line for lines in wrapped for line in lines)


if __name__ == "__main__":
    for file, text in pages().items():
        file.write_text(text)
