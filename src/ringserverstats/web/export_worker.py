"""Days that posted logs changed go on to InfluxDB, in a thread, so that no sender waits for it."""

import logging
import threading
from typing import TYPE_CHECKING

from ringserverstats.errors import RingserverStatsError
from ringserverstats.opening import open_exporter
from ringserverstats.store.base import Readable

if TYPE_CHECKING:
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.web.service import Service

# Also between two rounds, so that days of a busy service are not sent for each log again.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0

log = logging.getLogger("ringserverstats.web")


def _exporter(service: "Service") -> "InfluxExporter | None":
    try:
        return open_exporter(service.settings)
    except RingserverStatsError as error:
        log.error("nothing goes on to InfluxDB: %s", error)
        return None


class ExportWorker:
    """Sends when it is woken, and what did not go out later again."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._exporter = _exporter(service)
        self._had_store = True
        self._has_begun = False
        self._woken = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Send what is due, and what will be."""
        if self._exporter is None:
            return
        try:
            self.begin()
        except RingserverStatsError as error:
            log.error("the store is not ready: %s", error)
        self._woken.set()
        self._thread.start()

    def begin(self) -> None:
        """Let days that change from now on be sent; called before a log is read, as often as that.

        Raises:
            StoreError: the store is away.
        """
        if self._exporter is None or self._has_begun:
            return
        store = self._service.store()
        if not store.exists():
            self._had_store = False  # all of one that comes now is to go there
            return
        note = self._exporter.register(store, is_new=not self._had_store)
        self._has_begun = True
        if note:
            log.warning("%s", note)

    def due(self, store: Readable) -> int | None:
        """How many days have to go out; None where there is nowhere to go."""
        return None if self._exporter is None else len(self._exporter.pending(store))

    def wake(self) -> None:
        """Days may have changed."""
        self._woken.set()

    def stop(self) -> None:
        """Send no more; what is due goes out after the next start."""
        self._over.set()
        self.wake()

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while self._exporter is not None:
            self._woken.wait()
            self._woken.clear()
            if self._over.is_set():
                return
            if self._try(self._exporter):
                pause = _SHORTEST_PAUSE
            else:
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._woken.set()
            self._over.wait(pause)

    def _try(self, exporter: "InfluxExporter") -> bool:
        """Whether nothing is left that is due; errors are told, as a thread has to go on."""
        try:
            self.begin()
            return not self._has_begun or self._send(exporter)
        except RingserverStatsError as error:
            log.warning("nothing goes on to InfluxDB just now: %s", error)
        except Exception:
            log.exception("nothing goes on to InfluxDB just now")
        return False

    def _send(self, exporter: "InfluxExporter") -> bool:
        sent = exporter.export_pending(self._service.store())
        if sent.days:
            log.info("sent to InfluxDB days=%d points=%d", sent.days, sent.points)
        for problem in sent.problems:
            log.warning("%s", problem)
        return not sent.pending
