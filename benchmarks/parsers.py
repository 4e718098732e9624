"""Three ways to read a text log to checked columns, measured on the same file.

Each finds the blocks, reads their headers and transfers and compares sums with totals; none makes
fingerprints. NumPy with PyArrow is what `ringserverstats.logs.text` does (its fingerprints
included). Polars is not a dependency: pip install polars.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LATEST = 2_000_000_000
HEAD = (
    r"^START CLIENT (\S+) \[([^\]\s]+)\] \((\w+)\|(.*)\) @ (\S+[ T]\S+)"
    r" \(connected (\S+[ T]\S+)\) (TX|RX)$"
)


def with_pyarrow(path: Path) -> int:
    """NumPy for line ends, PyArrow's CSV reader for the transfers: this project's reader."""
    from ringserverstats.logs.entries import ParseOptions
    from ringserverstats.logs.reader import read
    from ringserverstats.logs.source import chunks, find

    source = find([str(path)]).sources[0]
    with ThreadPoolExecutor(1) as pool:
        options = ParseOptions(key=b"k" * 32, latest=LATEST, pool=pool)
        return sum(len(batch.entry) for chunk in chunks(source) for batch in read(chunk, options))


def with_polars(path: Path) -> int:
    """Lines as one column; splitting, block numbers and sums by expressions."""
    import polars as pl

    lines = pl.read_csv(
        path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"]
    )
    lines = lines.with_columns(
        start=pl.col("line").str.starts_with("START CLIENT "),
        end=pl.col("line").str.starts_with("END CLIENT "),
    ).with_columns(block=pl.col("start").cum_sum())
    heads = lines.filter("start").select(pl.col("line").str.extract_groups(HEAD))
    ends = lines.filter("end").select(
        "block", total=pl.col("line").str.extract(r"bytes: (\d+)$").cast(pl.UInt64)
    )
    transfers = lines.filter(~pl.col("start") & ~pl.col("end")).select(
        "block", pl.col("line").str.split_exact(" ", 2).struct.unnest()
    )
    transfers = transfers.with_columns(
        pl.col("field_0").cast(pl.Categorical),
        pl.col("field_1").cast(pl.UInt64),
        pl.col("field_2").cast(pl.UInt64),
    )
    sums = transfers.group_by("block").agg(pl.col("field_1").sum())
    wrong = sums.join(ends, on="block").filter(pl.col("field_1") != pl.col("total"))
    if len(wrong) or heads.null_count().sum_horizontal()[0]:
        raise ValueError("the log is not what it should be")
    return len(transfers)


def with_duckdb(path: Path) -> int:
    """Lines as one column; a window counts the blocks."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(
        f"CREATE TABLE lines AS SELECT line, row_number() OVER () AS n FROM read_csv('{path}',"
        " header = false, delim = '\x01', quote = '', escape = '', columns = {'line': 'VARCHAR'})"
    )
    connection.execute(
        "CREATE TABLE blocks AS SELECT n, line,"
        " sum(starts_with(line, 'START CLIENT ')::int) OVER (ROWS UNBOUNDED PRECEDING) AS block"
        " FROM lines"
    )
    connection.execute(
        f"CREATE TABLE heads AS SELECT block, regexp_extract(line, '{HEAD}',"
        " ['host', 'ip', 'mode', 'agent', 'log', 'connected', 'way']) AS head FROM blocks"
        " WHERE starts_with(line, 'START CLIENT ')"
    )
    connection.execute(
        "CREATE TABLE transfers AS SELECT block, split_part(line, ' ', 1) AS stream,"
        " split_part(line, ' ', 2)::UBIGINT AS bytes, split_part(line, ' ', 3)::UBIGINT AS packets"
        " FROM blocks WHERE NOT starts_with(line, 'START CLIENT ')"
        " AND NOT starts_with(line, 'END CLIENT ')"
    )
    wrong = connection.execute(
        "SELECT count(*) FROM (SELECT block, sum(bytes) AS found FROM transfers GROUP BY 1) JOIN"
        " (SELECT block, regexp_extract(line, 'bytes: (\\d+)$', 1)::HUGEINT AS total FROM blocks"
        " WHERE starts_with(line, 'END CLIENT ')) USING (block) WHERE found <> total"
    ).fetchall()[0][0]
    if wrong:
        raise ValueError("the log is not what it should be")
    return int(connection.execute("SELECT count(*) FROM transfers").fetchall()[0][0])


if __name__ == "__main__":
    log = Path(sys.argv[1])
    for way in (with_pyarrow, with_polars, with_duckdb):
        durations = []
        for _ in range(4):  # the first one warms up
            begin = time.perf_counter()
            count = way(log)
            durations.append(time.perf_counter() - begin)
        best = sorted(durations[1:])[1]
        print(f"{way.__name__:14} {best:6.2f} s  {count / best / 1e6:5.2f} million transfers/s")
