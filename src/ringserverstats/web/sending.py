"""Days that posted logs changed go on to InfluxDB, in a thread, so that no sender waits for it."""

import logging
import threading
from typing import TYPE_CHECKING

from ringserverstats.errors import RingserverStatsError
from ringserverstats.opening import open_outlet

if TYPE_CHECKING:
    from ringserverstats.web.service import Service

_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 600.0

log = logging.getLogger("ringserverstats.web")


class Sender:
    """Sends when it is woken, and what did not go out later again."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._outlet = open_outlet(service.settings)
        self._woken = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Send what is due, and what will be."""
        if self._outlet is None:
            return
        try:
            note = self._outlet.begin(self._service.store())
            if note:
                log.warning("%s", note)
        except RingserverStatsError as error:
            log.error("the store is not ready: %s", error)
        self.wake()
        self._thread.start()

    def wake(self) -> None:
        """Days may have changed."""
        self._woken.set()

    def stop(self) -> None:
        """Send no more; what is due goes out after the next start."""
        self._is_over = True
        self.wake()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._woken.wait()
            self._woken.clear()
            if self._is_over:
                return
            if self._send():
                pause = _FIRST_PAUSE
                continue
            if self._woken.wait(pause) and self._is_over:
                return
            pause = min(2 * pause, _LONGEST_PAUSE)
            self.wake()

    def _send(self) -> bool:
        """Whether all that is due went out."""
        if self._outlet is None:
            return True
        try:
            store = self._service.store()
            sent = self._outlet.send_due(store) if store.exists() else None
        except RingserverStatsError as error:
            log.warning("nothing goes on to InfluxDB just now: %s", error)
            return False
        except Exception:  # a thread that is gone would send nothing any more
            log.exception("nothing goes on to InfluxDB just now")
            return False
        if sent is None:
            return True
        if sent.touched:
            log.info("sent to InfluxDB days=%d points=%d", len(sent.touched), sent.points)
        for problem in sent.problems:
            log.warning("%s", problem)
        return not sent.problems
