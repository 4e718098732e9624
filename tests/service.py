"""The web service in tests: within this process, and as its user starts it."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
from conftest import LONG, SECRET, CommandLine
from starlette.testclient import TestClient

from ringserverstats.settings import Secret, Settings
from ringserverstats.store.base import Store, Token
from ringserverstats.store.postgresql.store import PostgreSQLStore
from ringserverstats.store.tokens import digest_of, make_token
from ringserverstats.web.application import create

LOCAL = ("127.0.0.1", 50000)
ELSEWHERE = ("192.0.2.7", 50000)


def settings_of(store: Store, **given: object) -> Settings:
    uri = store._info if isinstance(store, PostgreSQLStore) else f"duckdb://{store._path}"
    if isinstance(store, PostgreSQLStore):
        uri = given.pop("uri")
    folder = store.options.secrets
    usual = {
        "database": uri,
        "secret": Secret(SECRET.hex()),
        "config_folder": folder,
        "lock_timeout": 20,
    }
    return Settings(**{**usual, **given})


def client_of(settings: Settings, *, at: tuple[str, int] = LOCAL, **given: object) -> TestClient:
    """A client of the service within this process; its drawing process is started when needed."""
    host = "localhost:8000" if at == LOCAL else "statistics.example"
    return TestClient(
        create(settings),
        base_url=f"http://{host}",
        client=at,
        raise_server_exceptions=False,
        follow_redirects=False,
        **given,
    )


def add_token(
    store: Store, name: str, *, ingest: bool = False, networks: tuple = (), servers: tuple = ()
) -> str:
    """A new token, as `ringserverstats token add` makes it."""
    token = make_token()
    store.open(create=True)
    store.add_token(Token(name, digest_of(token), ingest, networks, date(2026, 1, 1), servers))
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(run: CommandLine, *command: str, folder: Path) -> Iterator[str]:
    """The service as ``command`` starts it, with ``{port}`` put in; gives its address."""
    port = free_port()
    words = [word.format(port=port) for word in command or ("serve", "--port", "{port}")]
    if not command:
        words = [sys.executable, "-m", "ringserverstats", *words]
    with open(folder / "service.log", "wb") as log:
        process = subprocess.Popen(
            words, env=run.environment, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            try:
                httpx.get(f"{url}/healthz", timeout=LONG)
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "service.log").read_text()
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def read_often(url: str, readers: str) -> None:
    """Read pages and answers by some ``readers`` at once; tells how many, and how many failed."""
    paths = ["/", "/?split=protocol", "/network/FR", "/api/v1/stats?by=month", "/tables/stations"]
    answers: list[int] = []

    def read(number: int) -> None:
        with httpx.Client(timeout=LONG) as client:
            for n in range(5):
                path = paths[(number + n) % len(paths)]
                answers.append(client.get(url + path).status_code)

    threads = [threading.Thread(target=read, args=(n,)) for n in range(int(readers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(answers), sum(status != 200 for status in answers))
