"""Private servers that take line protocol: InfluxDB 1.6, VictoriaMetrics, and one that records."""

import gzip
import json
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from conftest import LONG
from servers import MUST

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  log-enabled = false
[monitor]
  store-enabled = false
[continuous_queries]
  run-interval = "1s"
"""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class _Program(ABC):
    """A server of ``program`` with a folder and a port of its own."""

    program = ""

    def __init__(self) -> None:
        if shutil.which(self.program) is None and not MUST:
            pytest.skip(f"needs {self.program} (Debian: apt-get install influxdb victoria-metrics)")
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.program}-"))
        self.port = _free_port()
        self._words = self._prepare()
        self.start()

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write its configuration; returns the words of its command line."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self.program, *self._words], stdout=log, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + LONG
        while True:
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code < 500:
                    return
            except httpx.HTTPError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Influxd(_Program):
    """InfluxDB 1.6."""

    program = "influxd"

    def _prepare(self) -> list[str]:
        path = self.folder / "influxdb.conf"
        given = {"rpc": _free_port(), "port": self.port, "folder": self.folder}
        path.write_text(_CONFIG.format(**given))
        return ["-config", str(path)]

    def ask(self, db: str, query: str) -> list[dict[str, Any]]:
        """The rows of ``query``, with their tags."""
        answer = httpx.post(f"{self.url}/query", data={"q": query, "db": db}, timeout=60)
        results = answer.raise_for_status().json()["results"]
        assert not any("error" in one for one in results), results
        return [
            {**one.get("tags", {}), **dict(zip(one["columns"], row, strict=True))}
            for one in results[0].get("series", [])
            for row in one.get("values", [])
        ]


class VictoriaMetrics(_Program):
    """VictoriaMetrics, which takes what is written as for InfluxDB 2."""

    program = "victoria-metrics"

    def _prepare(self) -> list[str]:
        return [
            f"-storageDataPath={self.folder}/data",
            f"-httpListenAddr=127.0.0.1:{self.port}",
            "-retentionPeriod=100y",
        ]

    def sum_of(self, name: str) -> int:
        """The sum of all values of a metric."""
        httpx.get(f"{self.url}/internal/force_flush", timeout=30).raise_for_status()
        result = httpx.post(f"{self.url}/api/v1/export", data={"match[]": name}, timeout=60)
        rows = [json.loads(line) for line in result.raise_for_status().text.splitlines()]
        return sum(int(value) for row in rows for value in row["values"])


@dataclass
class Request:
    """What came: ``fields`` of the query, headers, the body as it was before it was packed."""

    method: str
    path: str
    fields: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Recording:
    """A server that keeps what comes; it sends ``answers`` in turn, then ``otherwise``."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    otherwise: tuple[int, dict[str, str], object] = (204, {}, None)
    slow: bytes = b"\0"  # what is in requests that take a while

    def of(self, path: str) -> list[Request]:
        return [one for one in self.requests if one.path == path]


@contextmanager
def recording() -> Iterator[Recording]:
    """A `Recording` that listens."""
    kept = Recording()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = gzip.decompress(raw) if headers.get("content-encoding") == "gzip" else raw
            parts = urlsplit(self.path)
            fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
            kept.requests.append(Request(self.command, parts.path, fields, headers, body))
            if kept.slow in body:
                time.sleep(1)
            status, more, result = kept.answers.pop(0) if kept.answers else kept.otherwise
            text = b"" if result is None else json.dumps(result).encode()
            self.send_response(status)
            for name, value in {**more, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
