"""Daily figures as Parquet files: one folder per month, and a description of the columns.

Hive partitions, which DuckDB, pandas, Polars and R read as a column::

    figures/month=2026-10/figures.parquet
    coverage/month=2026-10/coverage.parquet
    columns.csv
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ringserverstats.errors import UsageError
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.dimensions import DIMENSIONS, MEASURES
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Readable
from ringserverstats.store.rollups import month_of
from ringserverstats.store.snapshot import snapshot

_STREAM = ("network", "station", "location", "channel")
_ENTRY = ("server", "direction", "protocol")
DIMENSION_COLUMNS = ("day", *_ENTRY, *_STREAM, "class", "country", "agent-family")
MEASURE_COLUMNS = ("bytes", "packets", "transfers", "clients")
_FIGURES = pa.schema(
    [("day", pa.date32())]
    + [(name.replace("-", "_"), pa.string()) for name in DIMENSION_COLUMNS[1:]]
    # Bytes and packets may exceed 64 bits.
    + [("bytes", pa.decimal128(38, 0)), ("packets", pa.decimal128(38, 0))]
    + [("transfers", pa.int64()), ("clients", pa.int64())]
)
_COVERAGE = pa.schema(
    [("server", pa.string()), ("direction", pa.string()), ("day", pa.date32())]
    + [("state", pa.string()), ("reason", pa.string())]
    + [(name, pa.int64()) for name in ("minutes", "entries", "rejects")]
)
_MEANINGS = {
    "state": "complete, empty (complete, nothing transferred), incomplete or missing",
    "reason": "why the day is incomplete",
    "minutes": "minutes of the day that logs cover",
    "entries": "log entries",
    "rejects": "rejected log entries",
}
_UNITS = {"bytes": "byte", "minutes": "minute"}
# Entries of logs without a name are on days that no log covers.
_PERIOD = """
SELECT min(day) AS first, max(day) AS last
  FROM (SELECT day FROM coverage UNION ALL SELECT day FROM server_day) d
"""


@dataclass(frozen=True)
class Report:
    """What was written: ``months`` months with ``rows`` rows of figures."""

    months: int
    rows: int


def export_months(
    store: Readable,
    folder: Path,
    first: date | None,
    last: date | None,
    *,
    progress: Callable[..., None] = lambda *_: None,
) -> Report:
    """Write the months from that of ``first`` to that of ``last``; None: the first or last.

    Files of these months are replaced one by one, each completely. A month is of one state of the
    store.

    Args:
        progress: called with 1 after each month, and with the number of months.

    Raises:
        UsageError: the folder cannot be written.
    """
    period = store.ask(_PERIOD).to_pylist()[0]
    first, last = first or period["first"], last or period["last"]
    months = list(_months(first, last)) if first and last else []
    rows = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_columns(folder / "columns.csv")
        for begin, end in months:
            with snapshot(store, limited=False) as state:
                rows += _write_month(state, folder, begin, end)
            progress(1, len(months))
    except OSError as error:
        raise UsageError(f"{str(folder)!a} cannot be written: {error.strerror}") from None
    return Report(len(months), rows)


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    begin, end = month_of(first)
    while begin <= last:
        yield begin, end
        begin, end = month_of(end + timedelta(days=1))


def _write_month(store: Readable, folder: Path, first: date, last: date) -> int:
    """Write a month and return its number of rows of figures."""
    days = coverage(store, Query(first=first, last=last, filters={"direction": ("TX", "RX")}))
    month = f"month={first:%Y-%m}"
    _write(folder / "coverage" / month / "coverage.parquet", _COVERAGE, [days])
    tables = _figures(store, first, last)
    return _write(folder / "figures" / month / "figures.parquet", _FIGURES, tables)


def _figures(store: Readable, first: date, last: date) -> Iterator[pa.Table]:
    """Yield the figures of each day, so that memory is that of a day."""
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        query = Query(DIMENSION_COLUMNS, day, day, measures=MEASURE_COLUMNS)
        rows = run_query(store, query).select([*DIMENSION_COLUMNS, *MEASURE_COLUMNS])
        # Packets of bytes that have none were not logged: see `statistics.packets`.
        unknown = pc.and_(pc.equal(rows["packets"], 0), pc.greater(rows["bytes"], 0))
        packets = pc.if_else(unknown, None, rows["packets"])
        yield rows.set_column(rows.column_names.index("packets"), "packets", packets)


def _write(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    """Replace the file ``path`` by ``tables``, and return the number of their rows."""
    rows = 0
    with _replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in tables:
            if len(table):
                writer.write_table(table.rename_columns(schema.names).cast(schema))
            rows += len(table)
    return rows


def _write_columns(path: Path) -> None:
    """Write name, type, unit and meaning of each column."""
    helps = {name.replace("-", "_"): DIMENSIONS[name].help for name in DIMENSION_COLUMNS}
    helps |= {name: MEASURES[name].help for name in MEASURE_COLUMNS} | _MEANINGS
    helps["packets"] += "; empty if they were not logged"
    with _replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("table", "column", "type", "unit", "meaning"))
        for table, schema in (("figures", _FIGURES), ("coverage", _COVERAGE)):
            for column in schema:
                unit = _UNITS.get(column.name, "")
                writer.writerow((table, column.name, column.type, unit, helps[column.name]))


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write, which replaces ``path`` if all is well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
