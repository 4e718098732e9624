"""Ways to read a text log, measured in turn on the same file.

Ours reads it to checked columns, with a fingerprint of each block. Two check the same and make no
fingerprints. Two only split the lines and sum bytes and packets by stream.
Polars and ClickHouse in process (chdb) are no dependencies: pip install '.[benchmarks]'.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from ringserverstats import memory

LATEST = 2_000_000_000
ROUNDS = 5
HEAD = (
    r"^START CLIENT (\S+) \[([^\]\s]+)\] \((\w+)\|(.*)\) @ (\S+[ T]\S+)"
    r" \(connected (\S+[ T]\S+)\) (TX|RX)$"
)


def ours(path: Path) -> int:
    """NumPy and PyArrow: this project's reader, on one core."""
    from ringserverstats.logs.entries import ParseOptions
    from ringserverstats.logs.reader import read
    from ringserverstats.logs.source import chunks, find

    source = find([str(path)]).sources[0]
    options = ParseOptions(key=b"k" * 32, latest=LATEST)
    return sum(len(batch.entry) for chunk in chunks(source) for batch in read(chunk, options))


def checked_by_polars(path: Path) -> int:
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


def checked_by_duckdb(path: Path) -> int:
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


def sums_by_polars(path: Path) -> int:
    """The lines as one column, split at spaces, and grouped."""
    import polars as pl

    line = pl.col("line")
    transfers = (
        pl.scan_csv(path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"])
        .filter(~line.str.starts_with("START CLIENT ") & ~line.str.starts_with("END CLIENT "))
        .select(line.str.split_exact(" ", 2).struct.unnest())
    )
    sums = transfers.group_by("field_0").agg(
        pl.col("field_1").cast(pl.UInt64).sum(), pl.col("field_2").cast(pl.UInt64).sum(), pl.len()
    )
    return int(sums.collect()["len"].sum())


def sums_by_clickhouse(path: Path) -> int:
    """The same in SQL."""
    import chdb

    groups = (
        "SELECT fields[1] AS stream, sum(toUInt64(fields[2])) AS bytes,"
        " sum(toUInt64(fields[3])) AS packets, count() AS transfers"
        " FROM (SELECT splitByChar(' ', line) AS fields"
        f" FROM file('{path}', 'LineAsString', 'line String')"
        " WHERE NOT startsWith(line, 'START CLIENT ') AND NOT startsWith(line, 'END CLIENT '))"
        " GROUP BY stream"
    )
    answer = chdb.query(
        f"SELECT sum(transfers), sum(bytes), sum(packets) FROM ({groups})", "TabSeparated"
    )
    return int(answer.bytes().split()[0])


WAYS = (ours, checked_by_polars, checked_by_duckdb, sums_by_polars, sums_by_clickhouse)


def measure(path: Path) -> None:
    """Print the medians of each way."""
    runs: dict[Callable[[Path], int], list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS + 1):
        for way, times in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            count = way(path)
            times.append((time.perf_counter() - wall, time.process_time() - processor))
    medians = {
        way: [median(kind) for kind in zip(*times[1:], strict=True)] for way, times in runs.items()
    }
    for way, (wall, processor) in medians.items():
        print(
            f"{way.__name__:20} {wall:6.2f} s, {processor:6.2f} s of CPU:"
            f" {processor / count * 1e6:.2f} s a million transfers,"
            f" ours {medians[ours][1] / processor:.2f} times that"
        )


if __name__ == "__main__":
    memory.share()  # as the commands do
    measure(Path(sys.argv[1]).absolute())
