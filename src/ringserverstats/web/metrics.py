"""Metrics of the store, in the text format of Prometheus (0.0.4).

They are read from the store, not counted by a process: several processes serve requests, and
others import logs.
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
       (SELECT coalesce(sum(entries), 0)::bigint FROM reject r
         WHERE r.server = v.server) AS rejects,
       (SELECT max(s.log_time) FROM entry_ledger s WHERE s.server = v.server AND s.log_day =
         (SELECT max(log_day) FROM entry_ledger l WHERE l.server = v.server)) AS last_entry
  FROM server v ORDER BY v.name
"""
_COUNTERS = {
    "bytes": "Payload of records, as logged by servers",
    "packets": "Records",
    "transfers": "Lines of transfer logs",
}


@dataclass(frozen=True)
class StoreMetrics:
    """Rows by server and direction, and rows by server."""

    amounts: list[dict[str, Any]]
    servers: list[dict[str, Any]]


def read_metrics(store: Readable) -> StoreMetrics:
    """Return the metrics of ``store``."""
    return StoreMetrics(store.ask(_AMOUNTS).to_pylist(), store.ask(_SERVERS).to_pylist())


class _Collector(Collector):
    def __init__(self, metrics: StoreMetrics, now: float, pending: int | None) -> None:
        self._metrics = metrics
        self._now = now
        self._pending = pending

    def collect(self) -> Iterator[Metric]:
        for name, help_ in _COUNTERS.items():
            counter = CounterMetricFamily(
                f"ringserverstats_{name}", help_, labels=("server", "direction")
            )
            for row in self._metrics.amounts:
                counter.add_metric((row["server"], row["direction"]), row[name])
            yield counter
        yield from self._server_metrics()
        if self._pending is not None:
            yield GaugeMetricFamily(
                "ringserverstats_influxdb_days_due",
                "Changed days that are not yet exported to InfluxDB",
                value=self._pending,
            )

    def _server_metrics(self) -> Iterator[Metric]:
        labels = ("server",)
        entries = CounterMetricFamily(
            "ringserverstats_entries", "Log entries that were counted", labels=labels
        )
        rejects = GaugeMetricFamily(
            "ringserverstats_rejects", "Log entries that were rejected", labels=labels
        )
        latest = GaugeMetricFamily(
            "ringserverstats_last_entry_timestamp_seconds",
            "Log time of the last counted entry, UTC",
            labels=labels,
        )
        lag = GaugeMetricFamily(
            "ringserverstats_lag_seconds", "Time since the last counted entry", labels=labels
        )
        for row in self._metrics.servers:
            server = (row["server"],)
            entries.add_metric(server, row["entries"])
            rejects.add_metric(server, row["rejects"])
            if row["last_entry"] is not None:
                time = row["last_entry"].replace(tzinfo=UTC).timestamp()
                latest.add_metric(server, time)
                lag.add_metric(server, self._now - time)
        yield from (entries, rejects, latest, lag)


def metrics_text(metrics: StoreMetrics, now: float, pending: int | None = None) -> str:
    """Return the response to a scrape.

    Args:
        metrics: of the store.
        now: seconds since 1970.
        pending: days to export to InfluxDB; None without one.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, now, pending))
    return generate_latest(registry).decode()
