"""Connections of `serve` that send nothing, or too slowly, neither stay nor keep others out."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn
from conftest import LONG, wait_for

from ringserverstats.web import connections

_LIMIT = 10
_LARGE = 50_000_000  # bytes, more than the system buffers
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def _app(scope: Any, _: Any, send: Any) -> None:
    body = b"0" * (_LARGE if scope["path"] == "/large" else 2)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(connections, "HEADER_TIMEOUT", 1)
    monkeypatch.setattr(connections, "WRITE_TIMEOUT", 1)
    monkeypatch.setattr(connections, "max_connections", lambda: _LIMIT)
    server = uvicorn.Server(
        uvicorn.Config(
            _app, http=connections.LimitedProtocol, lifespan="off", log_config=None, loop="asyncio"
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for(lambda: server.started)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(LONG)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), LONG)


def _is_closed(connection: socket.socket) -> bool:
    """Read until the server closes the connection."""
    with suppress(ConnectionError):
        while connection.recv(1 << 20):
            pass
    return True


def _is_served(port: int) -> bool:
    with _connect(port) as connection:
        connection.sendall(REQUEST + b"\r\n")
        return connection.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_clients_are_disconnected(port: int) -> None:
    silent, dribbling, unread = (_connect(port) for _ in range(3))
    body = _connect(port)
    body.sendall(REQUEST + b"Content-Length: 1000000\r\n\r\nstart")
    unread.sendall(REQUEST.replace(b"/ ", b"/large ") + b"\r\n")
    begin = time.monotonic()
    dropped = []

    def dribble(connection: socket.socket) -> None:
        with suppress(ConnectionError):
            while time.monotonic() - begin < LONG:
                connection.sendall(b"X")
                time.sleep(0.1)
        dropped.append(connection)

    threads = [threading.Thread(target=dribble, args=(one,)) for one in (dribbling, body)]
    for thread in threads:
        thread.start()
    assert _is_closed(silent)
    assert _is_served(port)
    for thread in threads:
        thread.join()
    time.sleep(max(0, begin + 2 - time.monotonic()))
    with suppress(ConnectionError):
        assert sum(iter(lambda: len(unread.recv(1 << 20)), 0)) < _LARGE
    assert len(dropped) == 2
    for connection in (silent, dribbling, unread, body):
        connection.close()


def test_a_connection_is_kept_for_further_requests(port: int) -> None:
    client = HTTPConnection("127.0.0.1", port, LONG)
    client.connect()
    connection = client.sock
    for _ in range(3):
        client.request("GET", "/")
        assert client.getresponse().read() == b"00"
        assert client.sock is connection
        time.sleep(0.5)
    client.close()


def test_too_many_idle_connections_make_room(port: int, caplog: pytest.LogCaptureFixture) -> None:
    idle = [_connect(port) for _ in range(_LIMIT)]
    for connection in idle[5:]:
        connection.sendall(REQUEST + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    more = [_connect(port) for _ in range(5 * _LIMIT)]
    assert _is_served(port)
    assert [record.message for record in caplog.records] == [
        "too many connections: the idle ones are closed"
    ]
    for connection in idle + more:
        connection.close()


def test_the_limit_of_connections_is_below_that_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, expected in ((1024, 768), (100, 32), (-1, 1000), (1 << 20, 1000)):
        monkeypatch.setattr(connections.resource, "getrlimit", lambda _, n=files: (n, n))
        assert connections.max_connections() == expected
