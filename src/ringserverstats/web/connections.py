"""The HTTP connections of ``serve``, limited in number and time.

uvicorn has neither a limit for connections without a request nor a time limit for headers, so idle
connections could use up all file descriptors. Behind a proxy, the proxy limits them.
"""

import asyncio
import logging
import resource
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Seconds for the headers of a request, and for what follows a request that was answered.
HEADER_TIMEOUT = 30.0
#: Seconds after which a client that reads nothing of its response is disconnected.
WRITE_TIMEOUT = 60.0
_MAX_CONNECTIONS = 1000
_MIN_CONNECTIONS = 32
_OTHER_FILES = (
    256  # of the store, logs that arrive, libraries; and connections until they are counted
)
_LOG_INTERVAL = 60  # seconds

log = logging.getLogger("ringserverstats.web")


def max_connections() -> int:
    """Return the number of connections that the limit of open files has room for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = _MAX_CONNECTIONS if files == resource.RLIM_INFINITY else files - _OTHER_FILES
    return max(_MIN_CONNECTIONS, min(room, _MAX_CONNECTIONS))


class LimitedProtocol(H11Protocol):
    """Closes connections of clients that are too slow, and idle ones where there are too many."""

    _last_logged = -float(_LOG_INTERVAL)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            self._make_room()
        self._waiting = self.loop.call_later(HEADER_TIMEOUT, transport.abort)

    def _make_room(self) -> None:
        """Close the connection without a request that ends first, else this one."""
        timers = {
            connection: connection._waiting or connection.timeout_keep_alive_task
            for connection in self.connections
            if isinstance(connection, LimitedProtocol)
        }
        idle = {connection: timer.when() for connection, timer in timers.items() if timer}
        closed = min(idle, key=idle.__getitem__, default=self)
        closed.transport.abort()
        self.connections.discard(closed)
        now = time.monotonic()
        if now - LimitedProtocol._last_logged >= _LOG_INTERVAL:
            LimitedProtocol._last_logged = now
            log.warning("too many connections: the idle ones are closed")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle ``data``, and limit the time until the headers of the next request are complete.

        What still comes of a request that was answered takes no longer.
        """
        super().data_received(data)
        is_answered = self.cycle is not None and self.cycle.response_complete
        is_incomplete = self.conn.their_state is h11.SEND_BODY and is_answered
        if self.conn.their_state is not h11.IDLE and not is_incomplete:
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEADER_TIMEOUT, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def pause_writing(self) -> None:
        """Limit the time until the client reads on."""
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        if self._writing:
            self._writing.cancel()
            self._writing = None
