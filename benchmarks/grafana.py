"""How long the questions of Grafana's panels take PostgreSQL, over thirty days.

On a store of `large.py` that was copied into PostgreSQL; each is asked several times, with all that
there is, and of one network.
"""

import argparse
import statistics
import sys
import time
from datetime import date, timedelta
from pathlib import Path

import psycopg
from large import p95

sys.path.insert(0, str(Path(__file__).parents[1] / "grafana" / "code"))

import boards
import expand
import sql

DAYS = 30
CHOICES = {
    "all": {},
    "one network": {"network": ["FA"]},
    "one country": {"country": ["FR"]},
}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("--last", type=date.fromisoformat, default=date(2025, 11, 29))
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    first = given.last - timedelta(days=DAYS - 1)
    with psycopg.connect(given.uri, autocommit=True) as connection:
        client = connection.execute("SELECT pseudonym FROM client ORDER BY 1 LIMIT 1").fetchall()
        for board in boards.BOARDS:
            for panel in board.panels:
                for name, chosen in CHOICES.items():
                    if name != "all" and "network" not in board.variables:
                        continue
                    values = {"direction": ["TX"], "client": [client[0][0]], **chosen}
                    query = expand.postgresql(
                        getattr(sql, panel.name), first, given.last, values, timescaledb=False
                    )
                    durations = []
                    for _ in range(given.times):
                        begin = time.perf_counter()
                        connection.execute(query.encode()).fetchall()
                        durations.append(1000 * (time.perf_counter() - begin))
                    print(
                        f"{board.uid:11} {panel.title:34} {name:12}"
                        f" median {statistics.median(durations):6.0f} ms"
                        f"  p95 {p95(durations):6.0f} ms",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
