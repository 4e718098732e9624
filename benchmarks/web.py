"""How long pages take, made for the first time and again, and for many readers while a log comes.

The service is started on a store that is there; `--post` counts a log in it, so give it a copy: the
log is posted again and again while it grows, so that each post changes what the readers read.
Readers are threads of another process, so that the service has what is left of the machine.
"""

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
from large import SECRET, p95

DAYS = 30
PIECES = 10


@contextmanager
def serving(uri: str, config: Path | None) -> Iterator[str]:
    """The address of a service on the store ``uri``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"DATABASE_URI": uri, "PATH": os.environ["PATH"]}
    if config:
        given["RINGSERVERSTATS_CONFIG_FOLDER"] = str(config)
    else:
        given["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    process = subprocess.Popen(
        [sys.executable, "-m", "ringserverstats", "serve", "--port", str(port)],
        env=given,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                httpx.get(f"{url}/readyz", timeout=60)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def read(client: httpx.Client, path: str) -> tuple[float, int]:
    """Seconds, and bytes as they come."""
    begin = time.perf_counter()
    with client.stream("GET", path) as answer:
        size = sum(len(piece) for piece in answer.iter_raw())
    answer.raise_for_status()
    return time.perf_counter() - begin, size


def report(name: str, durations: list[float]) -> None:
    """Print what ``durations`` are."""
    print(
        f"{name:44} median {1000 * statistics.median(durations):6.0f} ms"
        f"  p95 {1000 * p95(durations):6.0f} ms",
        flush=True,
    )


def pages(url: str, last: date, count: int) -> None:
    """Pages of thirty days, each made once and then read again."""
    spans = [(last - timedelta(days=n + DAYS - 1), last - timedelta(days=n)) for n in range(count)]
    paths = [f"/?from={first}&to={final}" for first, final in spans]
    with httpx.Client(base_url=url, timeout=120) as client:
        read(client, f"/?from={last}&to={last}")  # the process that draws is there now
        first = [read(client, path) for path in paths]
        again = [read(client, path) for _ in range(3) for path in paths]
    report(f"{DAYS} days, made", [time for time, _ in first])
    report(f"{DAYS} days, known", [time for time, _ in again])
    print(f"largest page, packed: {max(size for _, size in first):,} bytes")


def many(url: str, last: date, readers: int, seconds: float, log: Path | None) -> None:
    """Readers who ask again and again, while ``log`` is posted."""
    durations: list[float] = []
    failed: list[str] = []
    end = time.monotonic() + seconds
    first = last - timedelta(days=DAYS - 1)

    def reader(number: int) -> None:
        splits = ("network", "protocol", "class", "country")
        with httpx.Client(base_url=url, timeout=120) as client:
            while time.monotonic() < end:
                path = f"/?from={first}&to={last}&split={splits[number % len(splits)]}"
                try:
                    durations.append(read(client, path)[0])
                except httpx.HTTPError as error:
                    failed.append(str(error))

    threads = [threading.Thread(target=reader, args=(n,)) for n in range(readers)]
    for thread in threads:
        thread.start()
    if log:
        begin, body = time.monotonic(), log.read_bytes()
        for piece in range(1, PIECES + 1):
            time.sleep(max(0, begin + seconds * piece / (PIECES + 1) - time.monotonic()))
            part = body[: body.rindex(b"START", 0, len(body) * piece // PIECES)]
            answer = httpx.post(f"{url}/?server=posted", content=part, timeout=600)
            if answer.status_code != 201:
                failed.append(answer.text)
        print(
            f"a log of {len(body):,} bytes in {PIECES} growing posts,"
            f" the last one read {time.monotonic() - begin:.0f} s after the first"
        )
    for thread in threads:
        thread.join()
    report(f"{readers} readers at once, {len(durations)} pages", durations)
    print(f"failed: {len(failed)} {failed[:1]}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("--config", type=Path, help="its folder of secrets; else large.py's secret")
    parser.add_argument("--last", type=date.fromisoformat, default=date(2025, 11, 30))
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--post", type=Path, help="a log")
    given = parser.parse_args()
    with serving(given.uri, given.config) as url:
        pages(url, given.last, given.pages)
        many(url, given.last, given.readers, given.seconds, given.post)


if __name__ == "__main__":
    main()
