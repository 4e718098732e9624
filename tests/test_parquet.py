"""`export parquet`: daily figures as files that equal the results of queries."""

import csv
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest
from conftest import DATA, CommandLine, make_store, read_into, sample_logs
from model import block

from ringserverstats.exports.parquet import DIMENSION_COLUMNS, export_months
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store

PAGE = (Path(__file__).parents[1] / "docs" / "parquet.md").read_text()
BOTH = {"direction": ("TX", "RX")}


def figures(folder: Path, select: str) -> list[tuple]:
    files = f"read_parquet('{folder}/figures/*/*.parquet')"
    return duckdb.sql(f"SELECT {select} FROM {files} GROUP BY ALL ORDER BY ALL").fetchall()


@pytest.mark.of_both
def test_files_have_the_figures_and_the_coverage(store: Store, tmp_path: Path) -> None:
    read_into(store, sample_logs(tmp_path / "logs", days=35))
    read_into(store, DATA / "v4.5.3-midnight-paris", server="paris")
    folder = tmp_path / "figures"
    report = export_months(store, folder, None, None)

    dimensions = ("month", "direction", "network", "country")
    query = Query(dimensions=dimensions, measures=("bytes", "packets", "transfers"), sort="month")
    expected = sorted(tuple(row.values()) for row in run_query(store, query).to_pylist())
    sums = "sum(bytes), sum(packets), sum(transfers)"
    assert sorted(figures(folder, f"{', '.join(dimensions)}, {sums}"), key=str) == sorted(
        expected, key=str
    )
    by_row = run_query(store, Query(dimensions=DIMENSION_COLUMNS, measures=("clients",)))
    assert figures(folder, "sum(clients), count(*)") == [
        (sum(by_row["clients"].to_pylist()), report.rows)
    ]
    states = (
        "SELECT server, direction, day::text, state FROM read_parquet('{}/coverage/*/*.parquet')"
    )
    days = coverage(store, Query(filters=BOTH)).select(["server", "direction", "day", "state"])
    written = duckdb.sql(states.format(folder)).fetchall()
    assert {tuple(row.values()) for row in days.to_pylist()} <= set(written)
    assert (
        len(list(folder.glob("figures/*/*")))
        == report.months
        == len({row[2][:7] for row in written})
    )
    assert not list(folder.rglob(".*"))


def test_months_are_replaced_whole(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.duckdb")
    read_into(store, sample_logs(tmp_path / "logs", days=35))
    folder = tmp_path / "figures"
    export_months(store, folder, None, None)
    before = figures(folder, "month, sum(bytes)")
    first, *_, last = run_query(store, Query(dimensions=("day",)))["day"].to_pylist()[:3]
    for server in store.servers():
        period = date.fromisoformat(first), date.fromisoformat(last)
        store.delete(server.name, *period, try_only=False)
    export_months(store, folder, None, None)
    after = figures(folder, "month, sum(bytes)")
    assert after[0][1] < before[0][1]
    assert after[1:] == before[1:]


def test_the_examples_of_the_manual_run(tmp_path: Path, run: CommandLine) -> None:
    run("ingest", sample_logs(tmp_path / "logs", days=3))
    folder = tmp_path / "figures"
    done = run("export", "parquet", folder)
    assert done.returncode == 0
    assert re.fullmatch(r"wrote 1 months with [\d,]+ rows to .*\n", done.stderr)
    sql = re.search(r"```sql\n(.*?)```", PAGE, re.S)[1].replace("/srv/figures", str(folder))
    rows = duckdb.sql(sql).fetchall()
    stats = run("stats", "--by", "month,network", "--measure", "bytes", "--format", "csv").stdout
    assert [(month, network or "") for month, network, _ in rows] == [
        (row["month"], row["network"]) for row in csv.DictReader(stats.splitlines())
    ]
    with (folder / "columns.csv").open() as file:
        described = {row["column"] for row in csv.DictReader(file) if row["meaning"]}
    columns = duckdb.sql(f"SELECT * FROM '{folder}/figures/*/*.parquet' LIMIT 0").columns
    assert set(columns) - {"month"} <= described


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, run: CommandLine) -> None:
    run("ingest", sample_logs(tmp_path / "logs", days=1))
    (tmp_path / "file").write_text("")
    done = run("export", "parquet", tmp_path / "file" / "figures")
    assert done.returncode == 2
    assert "cannot be written: Not a directory" in done.stderr


def test_days_without_logs_and_packets_that_were_not_logged(
    tmp_path: Path, log: Callable[..., Path]
) -> None:
    store = make_store(tmp_path / "store.duckdb")
    transfers = (("FR_CIEL_00_HHZ/MSEED", 512, 0), ("FR_CIEL_00_HHN/MSEED", 1024, 2))
    read_into(store, log(block(transfers=transfers)))  # without a name: no log covers its day
    export_months(store, tmp_path / "figures", None, None)
    rows = figures(tmp_path / "figures", "channel, bytes, packets")
    assert rows == [("HHN", 1024, 2), ("HHZ", 512, None)]
