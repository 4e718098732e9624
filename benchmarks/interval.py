"""What a log interval of an hour costs against one of a day. Usage: interval.py

The sample's node-b, once as it is (hours), once with a log a day: size of the logs, time to read
them, size of the store, time of a question.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import make_sample as sample

_DAYS = 30


def _write(folder: Path, hours: int) -> int:
    """30 days of one server that logs every ``hours``; returns the bytes of its logs."""
    rng = random.Random(sample.SEED)
    own = [client for client in sample.clients(rng) if client.server == "node-b"]
    start = sample._utc(sample.FIRST_DAY) - sample.timedelta(hours=7)
    connected = dict.fromkeys(own, start)
    folder.mkdir()
    for day in range(_DAYS):
        today = sample.FIRST_DAY + sample.timedelta(days=day)
        plan = sample._present(own, day, today, rng)
        for hour in range(0, 24, hours):
            begin = today + sample.timedelta(hours=hour)
            blocks = [
                block
                for client in plan
                for block in sample._blocks(client, begin, hours, connected, rng)
            ]
            sample._write_file(folder, "node-b", "TX", begin, hours, blocks)
    return sum(path.stat().st_size for path in folder.iterdir())


def _run(folder: Path, *args: object) -> float:
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URI": f"duckdb://{folder}/store.duckdb",
        "RINGSERVERSTATS_CONFIG_FOLDER": str(folder),
    }
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "ringserverstats", *map(str, args)],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begin


def main() -> None:
    """Print a row for each interval, and the ratios."""
    rows = {}
    for hours in (24, 1):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            size = _write(folder / "logs", hours)
            read = _run(folder, "ingest", folder / "logs")
            asked = min(_run(folder, "stats", "--by", "month,network") for _ in range(3))
            store = (folder / "store.duckdb").stat().st_size
            rows[hours] = (size, store, read, asked)
            print(
                f"{hours:2} h: logs {size / 1e6:6.1f} MB, store {store / 1e6:6.1f} MB,"
                f" read in {read:5.2f} s, stats in {asked:4.2f} s"
            )
    names = ("logs", "store", "reading", "stats")
    ratios = [
        f"{name} {one / day:.1f}x" for name, one, day in zip(names, rows[1], rows[24], strict=True)
    ]
    print("an hour against a day:", ", ".join(ratios))


if __name__ == "__main__":
    main()
