"""Builds the rollups of days that do not change any more, in a thread."""

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

from ringserverstats.errors import RingserverStatsError, RoleError
from ringserverstats.store.base import Store

_PAUSE = 300.0  # seconds between two rounds
_IDLE = timedelta(hours=1)

log = logging.getLogger("ringserverstats.web")


class RefreshWorker:
    """Builds the rollups of days that have not changed for an hour."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresh", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._is_stopped.set()

    def _run(self) -> None:
        while not self._is_stopped.wait(_PAUSE):
            try:
                store = self._open_store()
                if store.exists():
                    store.refresh(idle=_IDLE)
            except RoleError:
                return  # a reader: whoever writes builds the rollups
            except RingserverStatsError as error:
                log.warning("rollups were not built: %s", error)
            except Exception:
                log.exception("rollups were not built")
