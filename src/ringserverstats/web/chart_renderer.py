"""Renders charts in a process of their own.

The library holds the interpreter lock while it draws, and some texts make it end its process.
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

_TIMEOUT = 60  # seconds
_POLL_INTERVAL = 2  # seconds

_Image = TypeVar("_Image", str, bytes)


class ChartRenderer:
    """Renders charts, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        """Start the process, which takes half a second to load the library."""
        self._submit(svg, ranking([], width=100))

    def svg(self, specs: list[Spec]) -> list[str]:
        """Return ``specs`` as SVG."""
        return self._render(svg, specs)

    def png(self, spec: Spec) -> bytes:
        """Return ``spec`` as PNG."""
        return self._render(png, [spec])[0]

    def stop(self) -> None:
        """Stop the process."""
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = None

    def _render(self, draw: Callable[[Spec], _Image], specs: list[Spec]) -> list[_Image]:
        try:
            return self._images(draw, specs)
        except BrokenProcessPool:  # by this chart or another: try once in a new process
            with self._lock:
                self._pool = None
            return self._images(draw, specs)

    def _images(self, draw: Callable[[Spec], _Image], specs: list[Spec]) -> list[_Image]:
        futures = [self._submit(draw, spec) for spec in specs]
        return [future.result(_TIMEOUT) for future in futures]

    def _submit(self, draw: Callable[[Spec], _Image], spec: Spec) -> "Future[_Image]":
        with self._lock:
            if self._pool is None:
                spawn = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, spawn, _end_with, (os.getpid(),))
            return self._pool.submit(draw, spec)


def _end_with(parent: int) -> None:
    """End this process after process ``parent`` has ended, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_INTERVAL)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
