"""The state that all requests share: settings, caches, and the workers beside the web server."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from starlette.exceptions import HTTPException

from ringserverstats.errors import RingserverStatsError
from ringserverstats.opening import open_store, public_policy
from ringserverstats.settings import Settings
from ringserverstats.store.base import Readable, Store
from ringserverstats.store.schema import NEWEST
from ringserverstats.store.snapshot import snapshot
from ringserverstats.store.versions import version
from ringserverstats.web.authorization import TokenCache
from ringserverstats.web.cache import Cache
from ringserverstats.web.chart_renderer import ChartRenderer
from ringserverstats.web.export_worker import ExportWorker
from ringserverstats.web.metrics import StoreMetrics
from ringserverstats.web.overview import Content
from ringserverstats.web.receiver import LogReceiver
from ringserverstats.web.refresh_worker import RefreshWorker
from ringserverstats.web.view import DataPeriod, today

_CACHED = 256  # entries of each cache
_DAYS = "SELECT min(day) AS first, max(day) AS last FROM connection_by_day"

log = logging.getLogger("ringserverstats.web")


class Service:
    """The state of one process of the web service."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy = public_policy(settings)
        self.tokens = TokenCache(self.open_store)
        self.pages: Cache[Content] = Cache(_CACHED)
        self.chart_files: Cache[bytes] = Cache(_CACHED)
        self.networks_by_size: Cache[list[str]] = Cache(_CACHED)
        self.metrics: Cache[StoreMetrics] = Cache(1)
        self.chart_renderer = ChartRenderer()
        self.export_worker = ExportWorker(settings, self.open_store)
        self.refresh_worker = RefreshWorker(self.open_store)
        self.log_receiver = LogReceiver(settings, self.open_store, self.tokens, self.export_worker)

    def open_store(self) -> Store:
        """Return the store for one use; it may not exist yet."""
        return open_store(self.settings, for_queries=True, notify=log.warning)

    def existing_store(self) -> Store:
        """Return the store for one use.

        Raises:
            HTTPException: the store does not exist yet (404).
        """
        store = self.open_store()
        if not store.exists():
            raise HTTPException(404, "the store is empty: no log has been imported yet")
        return store

    @contextmanager
    def snapshot(self) -> Iterator[Readable]:
        """Return one state of the store; raises as `existing_store` does."""
        with snapshot(self.existing_store()) as store:
            yield store

    def start(self) -> None:
        """Start the workers, and migrate a store of an older version if that is possible."""
        self.chart_renderer.start()
        try:
            store = self.open_store()
            if store.exists() and store.schema_version() < NEWEST:
                store.migrate()
        except RingserverStatsError as error:
            log.error("the store is not ready: %s", error)
        self.export_worker.start()
        self.refresh_worker.start()

    def stop(self) -> None:
        """Stop the workers."""
        self.refresh_worker.stop()
        self.export_worker.stop()
        self.chart_renderer.stop()

    def data_period(self, store: Readable) -> DataPeriod:
        """Return the first and last day in ``store``; today if it is empty."""
        row = store.ask(_DAYS).to_pylist()[0]
        return DataPeriod(row["first"] or today(), row["last"] or today())

    def version(self, store: Readable, first: date | None, last: date | None) -> str:
        """Return a text that changes whenever a result for this period may change."""
        return f"{today()} {version(store.ask, first, last)}"
