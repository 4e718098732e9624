"""The store in numbers, in the text format of Prometheus (0.0.4).

They come from the store, not from a process: several processes serve, and others read logs in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from ringserverstats.store.base import Readable

_AMOUNTS = """
SELECT v.name AS server, f.direction::text AS direction, sum(f.bytes) AS bytes,
       sum(f.packets) AS packets, sum(f.transfers) AS transfers
  FROM network_by_day f JOIN server v ON v.server = f.server GROUP BY 1, 2 ORDER BY 1, 2
"""
_SERVERS = """
SELECT v.name AS server,
       (SELECT coalesce(sum(entries), 0) FROM connection_by_day c
         WHERE c.server = v.server) AS entries,
       (SELECT count(*) FROM reject r WHERE r.server = v.server) AS rejects,
       (SELECT max(s.log_time) FROM entry_ledger s WHERE s.server = v.server AND s.log_day =
         (SELECT max(log_day) FROM entry_ledger l WHERE l.server = v.server)) AS last_entry
  FROM server v ORDER BY v.name
"""
_COUNTED = {
    "bytes": "Payload of records, as servers logged it",
    "packets": "Records",
    "transfers": "Lines of transfer logs",
}


@dataclass(frozen=True)
class Measured:
    """What a store tells: rows by server and direction, and by server."""

    amounts: list[dict[str, Any]]
    servers: list[dict[str, Any]]


def measured(store: Readable) -> Measured:
    """What ``store`` tells."""
    return Measured(store.ask(_AMOUNTS).to_pylist(), store.ask(_SERVERS).to_pylist())


class _Collected(Collector):
    """``found`` as metrics, at the moment ``now`` (seconds since 1970)."""

    def __init__(self, found: Measured, now: float, due: int | None) -> None:
        self._found = found
        self._now = now
        self._due = due

    def collect(self) -> Iterator[Metric]:
        for name, help_ in _COUNTED.items():
            counter = CounterMetricFamily(
                f"ringserverstats_{name}", help_, labels=("server", "direction")
            )
            for row in self._found.amounts:
                counter.add_metric((row["server"], row["direction"]), row[name])
            yield counter
        own = ("server",)
        entries = CounterMetricFamily(
            "ringserverstats_entries", "Log entries that were counted", labels=own
        )
        rejects = GaugeMetricFamily(
            "ringserverstats_rejects", "Places in logs that were not counted", labels=own
        )
        latest = GaugeMetricFamily(
            "ringserverstats_last_entry_timestamp_seconds",
            "Log time of the last entry that was counted, UTC",
            labels=own,
        )
        lag = GaugeMetricFamily(
            "ringserverstats_lag_seconds", "Time since that last entry was logged", labels=own
        )
        for row in self._found.servers:
            who = (row["server"],)
            entries.add_metric(who, row["entries"])
            rejects.add_metric(who, row["rejects"])
            if row["last_entry"] is not None:
                time = row["last_entry"].replace(tzinfo=UTC).timestamp()
                latest.add_metric(who, time)
                lag.add_metric(who, self._now - time)
        yield from (entries, rejects, latest, lag)
        if self._due is not None:
            yield GaugeMetricFamily(
                "ringserverstats_influxdb_days_due",
                "Days that changed and have not gone on to InfluxDB",
                value=self._due,
            )


def metrics_text(found: Measured, now: float, due: int | None = None) -> str:
    """What a scrape gets; ``due`` are days that have to go on to InfluxDB, where there is one."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(found, now, due))
    return generate_latest(registry).decode()
