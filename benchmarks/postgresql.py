"""Measure this program's PostgreSQL stores against ringserverstats 0.17.4, on one server.

The server is started for the run (Debian: postgresql-15), with TimescaleDB where that is installed.
All read the same generated log of a million lines in turn, each into an empty database whose tables
are there, from the start of the command to the commit; medians are printed, with the time of the
whole command and the sizes that the databases grew by. A second million of the same days and
clients is measured too, whose rollups exist already.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from run import OLD_JOB, POSTGRES, TABLE, WORK, Postgres, Run, in_turn, log, measured, prepare_old

TIMESCALEDB = Path("/usr/lib/postgresql/15/lib/timescaledb.so")
SECRET = (b"k" * 32).hex()


class Bench:
    """Databases of a server, created for each run."""

    def __init__(self, server: str) -> None:
        self._server = server.rsplit("/", 1)[0]
        self.whole: dict[str, list[float]] = {}

    def uri(self, name: str) -> str:
        return f"{self._server}/{name}"

    def make(self, name: str) -> str:
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
        return self.uri(name)

    def ask(self, name: str, sql: str) -> float:
        with psycopg.connect(self.uri(name), autocommit=True) as connection:
            return float(connection.execute(sql).fetchall()[0][0])

    def size(self, name: str) -> float:
        """Megabytes of a database, over those of an empty one."""
        empty = self.ask("template1", "SELECT pg_database_size('template1')")
        return (self.ask(name, f"SELECT pg_database_size('{name}')") - empty) / 1e6

    def described(self, name: str, run: Run) -> str:
        """What a line of the table begins with."""
        whole = statistics.median(self.whole[name])
        return f"{run.seconds:6.2f} s (whole command {whole:.2f} s) {run.megabytes:6.0f} MB"

    def old(self, python: str, path: Path) -> Run:
        uri = self.make("old")
        with psycopg.connect(uri) as connection:
            connection.execute(TABLE)
        return self._measured("old", "ringserver_events", [python, "-c", OLD_JOB, str(path), uri])

    def new(self, name: str, timescaledb: str, *paths: Path) -> Run:
        """Read ``paths``, the last of which is measured."""
        *before, path = paths
        environment = {
            "DATABASE_URI": self.make(name),
            "RINGSERVERSTATS_SECRET": SECRET,
            "RINGSERVERSTATS_TIMESCALEDB": timescaledb,
        }
        program = [sys.executable, "-m", "ringserverstats"]
        read = [("ingest", str(one)) for one in before]
        for args in (("migrate",), ("server", "add", "default"), *read):
            subprocess.run(
                [*program, *args],
                check=True,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        return self._measured(name, "entry_ledger", [*program, "ingest", str(path)], **environment)

    def _measured(self, name: str, table: str, command: list[str], **environment: str) -> Run:
        """Run ``command``, which ends with rows in ``table``; the time is that of their commit."""
        begin = time.time()
        run = measured(command, says=False, **environment)
        self.whole.setdefault(name, []).append(run.seconds)
        committed = "max(extract(epoch FROM pg_xact_commit_timestamp(xmin)))"
        end = self.ask(name, f"SELECT {committed} FROM {table}")
        return Run(end - begin, run.megabytes, run.cpu)


def main() -> None:
    """Measure and print, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    python = prepare_old()
    path = log("1m.log", 1_000_000)
    noon = log("1m-noon.log", 1_000_000, first="2018-01-01T12:00:00")
    has_timescaledb = TIMESCALEDB.exists()
    options = "-c track_commit_timestamp=on"
    if has_timescaledb:
        options += " -c shared_preload_libraries=timescaledb"
    with Postgres(options) as server:
        bench = Bench(server)
        ways = [
            lambda: bench.old(python, path),
            lambda: bench.new("plain", "no", path),
            lambda: bench.new("again", "no", path, noon),
        ]
        if has_timescaledb:
            ways.append(lambda: bench.new("timescale", "yes", path))
        old, plain, again, *timescale = in_turn(given.times, *ways)
        print(f"PostgreSQL in {POSTGRES}, 1,000,000 lines, medians of {given.times}")
        size = bench.size("old")
        print(f"{'0.17.4':10} {bench.described('old', old)}, {size:4.0f} MB on disk")
        for name, run, wanted in zip(
            ("plain", "timescale"), (plain, *timescale), (4, 3), strict=False
        ):
            ratio = old.seconds / run.seconds
            print(
                f"{name:10} {bench.described(name, run)},"
                f" {bench.size(name):4.0f} MB on disk: {ratio:.1f} times as fast"
                f" (wanted {wanted}), {bench.size(name) / size:.2f} times the size"
            )
        print(f"{'plain, a second million of the same days':48} {again.seconds:6.2f} s")
        if timescale:
            begin = time.perf_counter()
            bench.ask(
                "timescale",
                "SELECT count(compress_chunk(c)) FROM show_chunks('transfer_hypertable') c",
            )
            took = time.perf_counter() - begin
            rows = bench.ask("timescale", "SELECT hypertable_size('transfer_hypertable')") / 1e6
            print(
                f"compressed in {took:.1f} s: transfers {rows:.0f} MB"
                f" ({rows / size:.2f} times 0.17.4's table, wanted 0.33),"
                f" all with sums {bench.size('timescale'):.0f} MB"
            )


if __name__ == "__main__":
    main()
