"""Where the time of one ingest goes: its steps one after the other. Usage: steps.py LOG"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

spent: dict[str, float] = defaultdict(float)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Add the time of what is within to ``spent``."""
    begin = time.perf_counter()
    yield
    spent[name] += time.perf_counter() - begin


with step("imports"):
    from ringserverstats.enrich.rows import Enricher, EnrichOptions, join
    from ringserverstats.logs.days import days
    from ringserverstats.logs.duplicates import Duplicates
    from ringserverstats.logs.entries import ParseOptions
    from ringserverstats.logs.reader import read
    from ringserverstats.logs.source import chunks, find
    from ringserverstats.store.duckdb.store import DuckDBStore
    from ringserverstats.store.sql_store import Options

with tempfile.TemporaryDirectory() as folder:
    store = DuckDBStore(
        Path(folder) / "store.duckdb",
        Options(
            secret=b"k" * 32,
            secrets=Path(folder),
            ipv6_prefix=64,
            lock_timeout=30,
            memory="96MB",
            notify=print,
        ),
    )
    with step("make the store"):
        keys = store.open(create=True).keys
        server = store.add_server("default", "UTC")
    source = find([sys.argv[1]]).sources[0]
    enricher = Enricher(keys, EnrichOptions(ipv6_prefix=64))
    duplicates = Duplicates(keys.entries)
    options = ParseOptions(keys.entries, latest=2_000_000_000)
    parts = []
    pieces = chunks(source)
    while True:
        with step("read the file"):
            chunk = next(pieces, None)
        if chunk is None:
            break
        with step("parse, check, fingerprint"):
            batches = list(read(chunk, options))
        for batch in batches:
            with step("days and duplicates"):
                ids = duplicates.ids(batch.digest, batch.log_time)
                dated = days(batch, source.name, ZoneInfo("UTC"))
            with step("enrich"):
                parts.append(enricher.rows(batch, ids, dated, server=server.number))
    with step("write"):
        store.write(join(parts))

for name, seconds in spent.items():
    print(f"  {name:26} {seconds:6.3f} s  {100 * seconds / sum(spent.values()):3.0f} %")
