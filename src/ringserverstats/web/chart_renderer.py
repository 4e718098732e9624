"""Charts drawn in a process of their own: drawing holds all threads of its process still.

And a text that the library cannot draw ends that process alone.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ringserverstats.statistics.charts import Spec, png, ranking, svg

_PATIENCE = 60  # seconds
_WATCH = 2  # seconds

_Drawn = TypeVar("_Drawn", str, bytes)


class ChartRenderer:
    """Draws charts, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Be ready before somebody waits: the library takes half a second to load."""
        self._submit(svg, ranking([], width=100))

    def svg(self, specs: list[Spec]) -> list[str]:
        """``specs`` as SVG."""
        return self._drawn(svg, specs)

    def png(self, spec: Spec) -> bytes:
        """``spec`` as PNG."""
        return self._drawn(png, [spec])[0]

    def stop(self) -> None:
        """Leave no process behind."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = None

    def _drawn(self, draw: Callable[[Spec], _Drawn], specs: list[Spec]) -> list[_Drawn]:
        try:
            return self._results(draw, specs)
        except BrokenProcessPool:  # by this chart or another; a new process knows nothing of it
            with self._lock:
                self._pool = None
            return self._results(draw, specs)

    def _results(self, draw: Callable[[Spec], _Drawn], specs: list[Spec]) -> list[_Drawn]:
        futures = [self._submit(draw, spec) for spec in specs]
        return [future.result(_PATIENCE) for future in futures]

    def _submit(self, draw: Callable[[Spec], _Drawn], spec: Spec) -> "Future[_Drawn]":
        with self._lock:
            if self._pool is None:
                spawn = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, spawn, _end_with, (os.getpid(),))
            return self._pool.submit(draw, spec)


def _end_with(parent: int) -> None:
    """End this process when ``parent`` has, also when that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
