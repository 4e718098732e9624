"""The tables of a page, declared once: what they group by, and where their rows lead."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ringserverstats.statistics.dimensions import MEASURES, OTHER
from ringserverstats.statistics.publish import Result, Role
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.web.view import View

_NOT_TOLD = "–"
#: Rows of a table on a page; behind "all rows" are all of them, up to `MOST`.
SHOWN, MOST = 10, 5000


@dataclass(frozen=True)
class Table:
    """What one table shows.

    Args:
        name: in addresses, and its ``title``.
        by: groups; those of ``keys`` are filters that a row adds, the others tell more of it.
        headings: of the groups that are shown.
        page: path of the row's own page, with places for the keys; empty: it has none.
        is_private: it is for the operator alone.
        is_on_pages: it is not only a page of its own.
        measures: its numbers, those of the bars first.
    """

    name: str
    title: str
    by: tuple[str, ...]
    keys: tuple[str, ...]
    headings: tuple[str, ...]
    page: str = ""
    is_private: bool = False
    is_on_pages: bool = True
    measures: tuple[str, ...] = ("bytes", "clients")

    def query(self, view: View) -> Query:
        """What its rows are the answer to, all of them, in the order that is asked for."""
        sort = view.sort(self.name) or self.measures[0]
        return view.query(*self.by, measures=self.measures, sort=sort)


TABLES = {
    table.name: table
    for table in (
        Table(
            "networks",
            "Networks",
            ("network", "network-name", "network-doi"),
            ("network",),
            ("Network", "Name"),
            page="network/{}",
        ),
        Table(
            "stations",
            "Stations",
            ("network", "station"),
            ("network", "station"),
            ("Network", "Station"),
            page="station/{}/{}",
            # Distinct clients of all stations take PostgreSQL a second; a station's page has them.
            measures=("bytes", "packets"),
        ),
        Table("countries", "Countries", ("country", "country-name"), ("country",), ("Country", "")),
        Table("institutions", "Institutions", ("institution",), ("institution",), ("Institution",)),
        Table("cities", "Cities", ("city",), ("city",), ("City",)),
        Table("software", "Software", ("agent-family",), ("agent-family",), ("Software",)),
        Table(
            "agents",
            "Versions of software",
            ("agent",),
            ("agent",),
            ("Version",),
            is_on_pages=False,
        ),
        Table("classes", "Classes of clients", ("class",), ("class",), ("Class",)),
        Table("servers", "Servers", ("server",), ("server",), ("Server",)),
        Table(
            "clients",
            "Clients",
            ("client",),
            ("client",),
            ("Client (pseudonym)",),
            is_private=True,
            measures=("bytes", "packets"),
        ),
    )
}


#: By what each table can be sorted.
SORTS = {name: (*table.measures, table.by[0]) for name, table in TABLES.items()}


@dataclass(frozen=True)
class Line:
    """A row as it is shown: ``texts``, the ``address`` of the filter it adds, its own ``page``."""

    texts: tuple[str, ...]
    address: str
    page: str
    numbers: tuple[str, ...]
    share: float
    doi: str


@dataclass(frozen=True)
class Shown:
    """A table as it is shown: ``size`` is the number of all its rows."""

    table: Table
    lines: Sequence[Line]
    size: int
    sort: str
    notes: Sequence[str]
    command: str
    api: str


def worth_showing(reader: Role, classes: int, servers: int) -> dict[str, Table]:
    """The tables of a page: those of classes and servers only where there are several of them."""
    alone = {name for name, count in (("classes", classes), ("servers", servers)) if count < 2}
    return {
        name: table
        for name, table in tables_for(reader).items()
        if table.is_on_pages and name not in alone
    }


def tables_for(reader: Role) -> dict[str, Table]:
    """The tables that ``reader`` may see."""
    return {
        name: table for name, table in TABLES.items() if reader.is_operator or not table.is_private
    }


def shown(table: Table, view: View, answer: Result, most: int, reader: Role) -> Shown:
    """The first ``most`` rows of ``answer``, the one to the question of ``table``."""
    rows = answer.rows.slice(0, most).to_pylist()
    largest = max((row[table.measures[0]] or 0 for row in rows), default=0) or 1
    return Shown(
        table,
        [_line(table, view, row, largest) for row in rows],
        len(answer.rows),
        view.sort(table.name) or table.measures[0],
        answer.suppressed,
        view.command(table.by, table.measures, public=not reader.is_operator),
        view.api(table.by, table.measures, "csv"),
    )


def _line(table: Table, view: View, row: Mapping[str, Any], largest: int) -> Line:
    keys = [row[name] for name in table.keys]
    is_one = all(keys) and not any(key.startswith("<") or key == OTHER for key in keys)
    filters = {name: pattern_of(row[name]) for name in table.keys} if is_one else {}
    page = table.page.format(*(quote(key, safe="") for key in keys)) if is_one else ""
    texts = tuple(row[name] or _NOT_TOLD for name in table.by if name != "network-doi")
    return Line(
        texts,
        view.address(filters) if filters else "",
        page,
        tuple(number(name, row[name]) for name in table.measures),
        (row[table.measures[0]] or 0) / largest,
        row.get("network-doi") or "",
    )


def pattern_of(text: str) -> str:
    """A filter's value that lets in ``text``: a comma would end it, so any sign may stand there."""
    return text.replace(",", "?")


def number(measure: str, count: int | None) -> str:
    """A measure as it is shown."""
    if count is None:
        return _NOT_TOLD
    return human_bytes(count) if MEASURES[measure].unit == "B" else f"{count:,}"
