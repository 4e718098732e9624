"""Exports changed days to InfluxDB, in a thread, so that no sender of logs waits for it."""

import logging
import threading
from collections.abc import Callable

from ringserverstats.errors import RingserverStatsError
from ringserverstats.opening import open_exporter
from ringserverstats.settings import Settings
from ringserverstats.store.base import Readable, Store

# Also the pause between two rounds: a busy day is not exported again for each log.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0  # seconds

log = logging.getLogger("ringserverstats.web")


class ExportWorker:
    """Exports pending days when woken, and retries what failed."""

    def __init__(self, settings: Settings, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._had_store = True
        self._is_registered = False
        self._wake_up = threading.Event()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="export", daemon=True)
        try:
            self._exporter = open_exporter(settings)
        except RingserverStatsError as error:
            log.error("the InfluxDB export is off: %s", error)
            self._exporter = None

    def start(self) -> None:
        """Start the thread, which exports pending days first."""
        if self._exporter is None:
            return
        try:
            self.register()
        except RingserverStatsError as error:
            log.error("the store is not ready: %s", error)
        self._wake_up.set()
        self._thread.start()

    def register(self) -> None:
        """Mark days that change from now on as pending; call it before each ingest.

        Raises:
            StoreError: the store is unavailable.
        """
        if self._exporter is None or self._is_registered:
            return
        store = self._open_store()
        if not store.exists():
            self._had_store = False  # all days of a store that is created from now on are exported
            return
        note = self._exporter.register(store, is_new=not self._had_store)
        self._is_registered = True
        if note:
            log.warning("%s", note)

    def pending(self, store: Readable) -> int | None:
        """Return the number of days to export; None without an InfluxDB."""
        return None if self._exporter is None else len(self._exporter.pending(store))

    def wake(self) -> None:
        """Export days that may have changed."""
        self._wake_up.set()

    def stop(self) -> None:
        """Stop the thread; pending days are exported after the next start."""
        self._is_stopped.set()
        self.wake()

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            self._wake_up.wait()
            self._wake_up.clear()
            if self._is_stopped.is_set():
                return
            if self._export():
                pause = _SHORTEST_PAUSE
            else:
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._wake_up.set()
            self._is_stopped.wait(pause)

    def _export(self) -> bool:
        """Return True if nothing is pending; log all errors, as the thread must go on."""
        try:
            self.register()
            if self._exporter is None or not self._is_registered:
                return True
            report = self._exporter.export_pending(self._open_store())
        except RingserverStatsError as error:
            log.warning("InfluxDB export failed: %s", error)
            return False
        except Exception:
            log.exception("InfluxDB export failed")
            return False
        if report.days:
            log.info("exported to InfluxDB days=%d points=%d", report.days, report.points)
        for problem in report.problems:
            log.warning("%s", problem)
        return not report.pending
