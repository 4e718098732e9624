"""Measure this program against ringserverstats 0.17.4, and print ratios of one run.

Both read the same generated logs, in turn, each in a process of its own; medians are printed. The
old release needs a PostgreSQL server, which is started for the run (Debian: postgresql), and is
built from source (libpq-dev, gcc). Everything is kept in benchmarks/made, about 3 GB; --quick
leaves out the files of 10 million lines and more.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from generate import write

HERE = Path(__file__).parent
WORK = HERE / "made"
OLD = WORK / "old"
POSTGRES = Path("/usr/lib/postgresql/15/bin")
PORT = 54917

OLD_PARSE = """
import sys, time
from ringserverstats import ringserverstats as old
old.logger.setLevel("ERROR")
begin = time.perf_counter()
events = old.parse_ringserver_log(sys.argv[1])
print(time.perf_counter() - begin)
"""
OLD_JOB = """
import sys
from ringserverstats import ringserverstats as old
old.logger.setLevel("ERROR")
old.register_events(old.parse_ringserver_log(sys.argv[1]), sys.argv[2])
"""
NEW_READ = """
import sys, time
from ringserverstats import memory
memory.share()
from ringserverstats.logs.entries import ParseOptions
from ringserverstats.logs.reader import read
from ringserverstats.logs.source import chunks, find
begin = time.perf_counter()
options = ParseOptions(key=b"k" * 32, latest=2_000_000_000)
for chunk in chunks(find([sys.argv[1]]).sources[0]):
    for batch in read(chunk, options):
        assert not batch.rejects
print(time.perf_counter() - begin)
"""
NEW_ASK = """
import sys, time
from datetime import date
from pathlib import Path
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.duckdb.store import DuckDBStore
from ringserverstats.store.sql_store import Options
options = Options(secret=b"k" * 32, secrets=Path("."), ipv6_prefix=64, lock_timeout=30,
                  memory="1GB",
                  notify=print)
store = DuckDBStore(Path(sys.argv[1]), options)
by = tuple(sys.argv[2].split(","))
query = Query(dimensions=by, filters={"direction": ("TX",)})
durations = []
for _ in range(5):
    begin = time.perf_counter()
    run_query(store, query)
    durations.append(time.perf_counter() - begin)
print(sorted(durations)[2])
"""
TABLE = (
    "CREATE TABLE ringserver_events (time timestamp, bytes bigint, network text, station text,"
    " location text, channel text, city text, country text, agent text, geohash text, client text)"
)


@dataclass(frozen=True)
class Run:
    """One finished process: what it says or the time it took, its largest memory, its CPU time."""

    seconds: float
    megabytes: float
    cpu: float


# What pip installs is compiled; what is changed here is so after the first run, if it may be kept.
_COMPILED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measured(command: list[str], *, says: bool, **environment: str) -> Run:
    """Run ``command``; ``says``: its last line is the number of seconds."""
    with tempfile.TemporaryFile("w+") as output:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, env={**_COMPILED, **environment})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        if process.returncode:
            raise SystemExit(f"failed: {' '.join(command[:3])}")
        output.seek(0)
        if says:
            seconds = float(output.read().split()[-1])
    return Run(seconds, usage.ru_maxrss / 1000, usage.ru_utime + usage.ru_stime)


def in_turn(times: int, *ways: Callable[[], Run]) -> list[Run]:
    """The median of each way's runs, which take turns so that a slow minute hits all."""
    runs = [[way() for way in ways] for _ in range(times)]
    return [
        Run(
            statistics.median(run.seconds for run in own),
            statistics.median(run.megabytes for run in own),
            statistics.median(run.cpu for run in own),
        )
        for own in zip(*runs, strict=True)
    ]


def log(name: str, lines: int, **options: object) -> Path:
    """The generated log of that name, written where it is not there yet."""
    path = WORK / name
    if not path.exists():
        print(f"writing {name} ...", flush=True)
        write(path, lines, **options)
    return path


def prepare_old() -> str:
    """The old release in an environment of its own; returns its interpreter."""
    python = OLD / "bin" / "python"
    if not python.exists():
        print("installing ringserverstats 0.17.4 ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", OLD], check=True)
        wanted = ["ringserverstats==0.17.4", "fdsnnetextender<4"]
        subprocess.run([OLD / "bin" / "pip", "install", "-q", *wanted], check=True)
    return str(python)


class Postgres:
    """A private server on 127.0.0.1, gone at the end."""

    def __init__(self, options: str = "") -> None:
        self.options = options

    def __enter__(self) -> str:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
        self.user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self.user:
            shutil.chown(self.folder, "postgres")
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-U", "bench", "-A", "trust")
        options = f"-p {PORT} -k {self.folder} -c listen_addresses=127.0.0.1 {self.options}"
        self._run("pg_ctl", "-D", data, "-w", "-l", self.folder / "log", "-o", options, "start")
        uri = f"postgresql://bench@127.0.0.1:{PORT}/postgres"
        self._run("psql", uri, "-c", TABLE)
        return uri

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *args: object) -> None:
        subprocess.run(
            [*self.user, str(POSTGRES / program), *map(str, args)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )


def read(path: Path) -> Run:
    """Read ``path`` to columns, in a process of its own; the time without its imports."""
    return measured([sys.executable, "-c", NEW_READ, str(path)], says=True)


def job(path: Path, **environment: str) -> Run:
    """The whole command, from its start to the committed store.

    The store is there before, and empty, as are the server and the table of the old release.
    """
    (WORK / "store.duckdb").unlink(missing_ok=True)
    command("server", "add", "default")
    return command("ingest", path, **environment)


def command(*args: object, **environment: str) -> Run:
    """Run a command of this program on the benchmark's store, with settings in ``environment``."""
    own = {
        **environment,
        "DATABASE_URI": f"duckdb://{WORK / 'store.duckdb'}",
        "RINGSERVERSTATS_SECRET": (b"k" * 32).hex(),
    }
    program = [sys.executable, "-m", "ringserverstats", *map(str, args)]
    return measured(program, says=False, **own)


def compare(title: str, old: Run, new: Run, wanted: float, lines: int, path: Path) -> None:
    """Print both runs and their ratio beside the one that is wanted."""
    size = path.stat().st_size / 1e6
    print(
        f"{title:44} {old.seconds:7.2f} s {old.megabytes:6.0f} MB  {new.seconds:6.2f} s"
        f" {new.megabytes:5.0f} MB  {old.seconds / new.seconds:5.1f} times (wanted {wanted:g})"
        f"  {lines / new.seconds / 1e6:.2f} M lines/s {size / new.seconds:.0f} MB/s",
        flush=True,
    )


def where_the_time_goes(path: Path) -> None:
    """The job's steps one after the other, without the overlap of reading and writing."""
    subprocess.run([sys.executable, str(HERE / "steps.py"), str(path)], check=True)


def a_year() -> None:
    """Questions to a year of a large centre, and what proves that they are right."""
    WORK.mkdir(exist_ok=True)
    year = job(log("30m.log", 30_000_000, streams=274))
    size = (WORK / "store.duckdb").stat().st_size / 1e6
    print(f"a year of 30 M transfers: {year.seconds:.0f} s to read, {size:.0f} MB of store")
    for by in ("network,month", "station", "client"):
        answer = measured(
            [sys.executable, "-c", NEW_ASK, str(WORK / "store.duckdb"), by], says=True
        )
        print(f"stats --by {by}: {answer.seconds:.2f} s (wanted under 0.5)")
    days = ("--from", "2018-01-10", "--to", "2018-01-20")
    for args in (
        ("coverage",),
        ("audit",),
        ("backup", "--replace", WORK / "backup.duckdb"),
        ("delete", "--server", "default", *days, "--dry-run"),
        ("verify", WORK / "30m.log"),
    ):
        done = command(*args)
        ratio = done.seconds / year.seconds
        print(
            f"{args[0]} on it: {done.seconds:.2f} s, {done.megabytes:.0f} MB:"
            f" {ratio:.2f} times the time to read it",
            flush=True,
        )


def main() -> None:
    """Measure everything, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="nothing over a million lines")
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    python = prepare_old()
    million = log("1m.log", 1_000_000)
    short = log("1m-short.log", 1_000_000, streams=3)
    json_lines = log("1m.jsonl", 1_000_000, json_lines=True)

    def old_parse(path: Path) -> Run:
        return measured([python, "-c", OLD_PARSE, str(path)], says=True)

    print(f"{'':44} {'0.17.4':>18}  {'this':>15}")
    old, new = in_turn(given.times, lambda: old_parse(million), lambda: read(million))
    compare("read to columns, 1 M lines", old, new, 8, 1_000_000, million)
    parse = old
    old, new = in_turn(given.times, lambda: old_parse(short), lambda: read(short))
    compare("read to columns, blocks of 3 lines", old, new, 5, 1_000_000, short)

    with Postgres() as uri:

        def old_job(path: Path) -> Run:
            return measured([python, "-c", OLD_JOB, str(path), uri], says=False)

        old, new = in_turn(given.times, lambda: old_job(million), lambda: job(million))
        compare("whole job, 1 M lines", old, new, 6, 1_000_000, million)
        compare("whole job against its parse alone, 1 M", parse, new, 2.8, 1_000_000, million)
        one = new
        if not given.quick:
            ten = log("10m.log", 10_000_000)
            old, new = in_turn(1, lambda: old_job(ten), lambda: in_turn(3, lambda: job(ten))[0])
            compare("whole job, 10 M lines", old, new, 11, 10_000_000, ten)
            [parse] = in_turn(1, lambda: old_parse(ten))
            compare("whole job against its parse alone, 10 M", parse, new, 4.5, 10_000_000, ten)
            print(f"CPU per million lines, 10 M: {new.cpu / 10:.2f} s (wanted 1.2)")
            store = (WORK / "store.duckdb").stat().st_size / 1e6
            print(f"store of 10 M lines: {store:.0f} MB (wanted 220)", flush=True)

    text, lines = in_turn(given.times, lambda: read(million), lambda: read(json_lines))
    ratio = text.seconds / lines.seconds
    print(f"JSON Lines read at {ratio:.2f} times the transfers a second of text (wanted 0.5)")
    text, lines = in_turn(given.times, lambda: job(million), lambda: job(json_lines))
    ratio = text.seconds / lines.seconds
    print(f"JSON Lines stored at {ratio:.2f} times the transfers a second of text (wanted 0.5)")
    where_the_time_goes(million)
    if given.quick:
        return
    twenty = job(log("20m.log", 20_000_000))
    print(
        f"memory: {one.megabytes:.0f} MB for 1 M lines (wanted 300), "
        f"{twenty.megabytes:.0f} MB for 20 M (wanted 380); CPU per million lines at 20 M:"
        f" {twenty.cpu / 20:.2f} s, {twenty.cpu / 20 / one.cpu:.2f} times that of 1 M"
    )
    a_year()


if __name__ == "__main__":
    main()
