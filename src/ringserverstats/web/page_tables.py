"""The tables of a page, each declared once: dimensions, measures, and links of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException

from ringserverstats.statistics.dimensions import MEASURES, OTHER
from ringserverstats.statistics.publish import Result, Role
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.statistics.suppression import is_combined
from ringserverstats.web.view import View

_NO_VALUE = "–"
#: Rows of a table on a page with other tables, and on a page of its own.
PAGE_ROWS, MAX_ROWS = 10, 5000


@dataclass(frozen=True)
class Table:
    """The declaration of a table.

    Args:
        name: name in addresses.
        title: heading.
        by: dimensions.
        keys: the dimensions that identify a row: filters that its link adds.
        headings: of the dimensions that are shown.
        page: path of the page of a row, with {} for each key; empty if rows have no page.
        is_private: only the operator sees it.
        is_on_pages: False: only shown on a page of its own.
        measures: the first one has bars.
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
        """Return the query for all rows, in the order that ``view`` chooses."""
        return view.query(*self.by, measures=self.measures, sort=self.sort_column(view))

    def sort_column(self, view: View) -> str:
        """Return the column that sorts the rows."""
        return view.sort(self.name) or self.measures[0]


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
            # To count distinct clients of all stations takes PostgreSQL 1 s.
            measures=("bytes", "packets"),
        ),
        Table("countries", "Countries", ("country", "country-name"), ("country",), ("Country", "")),
        Table("institutions", "Institutions", ("institution",), ("institution",), ("Institution",)),
        Table("cities", "Cities", ("city",), ("city",), ("City",)),
        Table("software", "Software", ("agent-family",), ("agent-family",), ("Software",)),
        Table(
            "agents",
            "Software versions",
            ("agent",),
            ("agent",),
            ("Version",),
            is_on_pages=False,
        ),
        Table("classes", "Client classes", ("class",), ("class",), ("Class",)),
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


#: Allowed sort columns by table.
SORTS = {name: (*table.measures, table.by[0]) for name, table in TABLES.items()}


@dataclass(frozen=True)
class TableRow:
    """A row as it is displayed: texts of dimensions, numbers of measures, DOI of the network.

    Args:
        address: query string that adds the row as a filter; empty for rows of several values.
        page: path of its own page; empty if it has none.
        share: of the largest row, 0 to 1.
    """

    texts: tuple[str, ...]
    numbers: tuple[str, ...]
    share: float
    doi: str
    address: str
    page: str


@dataclass(frozen=True)
class TableData:
    """A table as it is displayed: the first rows, the number of all, what is suppressed.

    ``command`` prints the same; with the query string ``api``, the API returns it.
    """

    table: Table
    rows: Sequence[TableRow]
    row_count: int
    sort: str
    notes: Sequence[str]
    command: str
    api: str


def tables_for(role: Role) -> dict[str, Table]:
    """Return the tables that ``role`` may see."""
    return {
        name: table for name, table in TABLES.items() if role.is_operator or not table.is_private
    }


def find_table(name: str, role: Role) -> Table:
    """Return the table called ``name``.

    Raises:
        HTTPException: there is no such table (404), or ``role`` may not see it (403).
    """
    if name not in TABLES:
        raise HTTPException(404, "this page does not exist")
    if name not in tables_for(role):
        raise HTTPException(403, "only the operator can see individual clients")
    return TABLES[name]


def page_tables_for(role: Role, class_count: int, server_count: int) -> dict[str, Table]:
    """Return the tables of a page; classes and servers only if there are several."""
    counts = {"classes": class_count, "servers": server_count}
    return {
        name: table
        for name, table in tables_for(role).items()
        if table.is_on_pages and counts.get(name, 2) > 1
    }


def table_data(table: Table, view: View, result: Result, limit: int, role: Role) -> TableData:
    """Return the first ``limit`` rows of ``result``, the result of the query of ``table``."""
    rows = result.rows.slice(0, limit).to_pylist()
    largest = max((row[table.measures[0]] or 0 for row in rows), default=0) or 1
    return TableData(
        table,
        [_table_row(table, view, row, largest) for row in rows],
        len(result.rows),
        table.sort_column(view),
        result.suppressed,
        view.command(table.by, table.measures, public=not role.is_operator),
        view.api(table.by, table.measures, "csv"),
    )


def _table_row(table: Table, view: View, row: Mapping[str, Any], largest: int) -> TableRow:
    return TableRow(
        tuple(row[name] or _NO_VALUE for name in table.by if name != "network-doi"),
        tuple(_format_number(name, row[name]) for name in table.measures),
        (row[table.measures[0]] or 0) / largest,
        row.get("network-doi") or "",
        *_links(table, view, row),
    )


def _links(table: Table, view: View, row: Mapping[str, Any]) -> tuple[str, str]:
    """Return address and page of a row; empty for the rest and for combined rows."""
    keys = {name: row[name] for name in table.keys}
    if any(not key or key == OTHER or is_combined(key) for key in keys.values()):
        return "", ""
    page = table.page.format(*(quote(key, safe="") for key in keys.values()))
    return view.address({name: pattern_of(key) for name, key in keys.items()}), page


def pattern_of(text: str) -> str:
    """Return the filter value that matches ``text``; a comma, which ends a value, becomes ``?``."""
    return text.replace(",", "?")


def _format_number(measure: str, count: int | None) -> str:
    if count is None:
        return _NO_VALUE
    return human_bytes(count) if MEASURES[measure].unit == "B" else f"{count:,}"
