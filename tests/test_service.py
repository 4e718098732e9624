"""The service as its users start it and post to it: with their own programs."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import (
    DATA,
    LONG,
    SECRET,
    CommandLine,
    assert_whole,
    make_store,
    read_into,
    rest_in_soak,
)
from model import block
from service import add_token, bearer, served

LOG = DATA / "v4.5.3-midnight-paris" / "txlog-20260630T0000-20260701T0000"
#: 2026-06-30 10:00 UTC.
JUNE = 1_782_813_600
BIN = Path(sys.executable).parent
RUNNERS = {
    "serve": (),
    "gunicorn": (
        str(BIN / "gunicorn"),
        *("-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "127.0.0.1:{port}"),
        "ringserverstats.web:app",
    ),
    "uvicorn": (str(BIN / "uvicorn"), "--port", "{port}", "ringserverstats.web:app"),
}
POSTING = {
    "curl": ("curl", "-sS", "--data-binary", "@{log}", "{url}"),
    "curl-chunked": ("curl", "-sS", "-T", "-", "-X", "POST", "{url}"),
    "curl-upload": ("curl", "-sS", "-T", "{log}", "{url}"),
    "wget": ("wget", "-q", "-O", "-", "--post-file", "{log}", "{url}"),
    "http": (str(BIN / "http"), "--ignore-netrc", "--body", "{url}"),
}


@pytest.fixture
def running(run: CommandLine) -> CommandLine:
    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    return run


@pytest.mark.parametrize("runner", rest_in_soak(RUNNERS))
def test_each_way_to_start_it_serves(running: CommandLine, tmp_path: Path, runner: str) -> None:
    store = running.store
    read_into(store, LOG, server="a")
    token = add_token(store, "operator")
    with served(running, *RUNNERS[runner], folder=tmp_path) as url:
        page = httpx.get(url, headers={"Accept": "text/html"}, timeout=LONG)
        assert page.status_code == 200
        assert page.text.count("<svg") > 5
        answer = httpx.get(f"{url}/api/v1/stats?by=client", headers=bearer(token), timeout=LONG)
        assert answer.json() == json.loads(
            running("stats", "--by", "client", "--format", "json").stdout
        )
        assert (
            httpx.get(
                f"{url}/nothing?q=secret-word", headers=bearer(token), timeout=LONG
            ).status_code
            == 404
        )
    log = (tmp_path / "service.log").read_text()
    for secret in (token, "127.0.0.1 -", '"GET', "secret-word"):
        assert secret not in log
    assert "Traceback" not in log


def test_a_port_that_is_in_use_is_the_only_message(running: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = running.process("serve", "--port", port)
    assert done.returncode == 2
    assert done.stderr == f"Error: port {port} is in use; choose another with --port\n"
    done = running.process("serve", "--host", "192.0.2.1")
    assert done.returncode == 2
    assert "cannot listen on '192.0.2.1'" in done.stderr


def test_a_log_is_posted_as_people_do(running: CommandLine, tmp_path: Path) -> None:
    with served(running, folder=tmp_path) as url:
        for server, program in POSTING.items():
            assert shutil.which(program[0])
            target = f"{url}/?server={server}&name={LOG.name}"
            words = [word.format(log=LOG, url=target) for word in program]
            for expected in (4, 0):
                with open(LOG, "rb") as file:
                    output = subprocess.run(
                        words, stdin=file, capture_output=True, timeout=LONG, check=True
                    ).stdout
                assert json.loads(output)["entries"] == expected, program
    assert_whole(running.store)
    counted = running.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py()
    assert counted == 4 * len(POSTING)


def test_senders_that_stop_or_say_nothing_leave_nothing(
    running: CommandLine, tmp_path: Path
) -> None:
    serve = f"ulimit -n 400; exec {sys.executable} -m ringserverstats serve --port {{port}}"
    with served(running, "sh", "-c", serve, folder=tmp_path) as url:
        host, port = url.removeprefix("http://").split(":")
        silent = [socket.create_connection((host, int(port)), LONG) for _ in range(600)]
        for _ in range(5):
            with socket.create_connection((host, int(port))) as sender:
                sender.sendall(
                    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"
                    + LOG.read_bytes()
                )
                time.sleep(0.05)
        held = socket.create_connection((host, int(port)))  # and one that never goes on
        held.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nSTART")
        assert httpx.get(f"{url}/healthz", timeout=LONG).status_code == 200
        posted = httpx.post(
            f"{url}/?server=a&name={LOG.name}", content=LOG.read_bytes(), timeout=LONG
        )
        assert posted.json()["entries"] == 4
        held.close()
        for connection in silent:
            connection.close()
    assert_whole(running.store)
    log = (tmp_path / "service.log").read_text()
    assert log.count("too many connections") == 1
    assert len(log.splitlines()) < 20


def test_a_kill_while_a_log_is_read_counts_it_once_in_the_end(
    running: CommandLine, tmp_path: Path
) -> None:
    logs = sorted((DATA / "v4.5.3-midnight-paris").glob("*log-*"))
    body = b"".join(path.read_bytes() for path in logs if "access" not in path.name)
    with served(running, folder=tmp_path) as url:
        host, port = url.removeprefix("http://").split(":")
        sender = socket.create_connection((host, int(port)))
        head = f"POST /?server=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        sender.sendall(head.encode() + body)
        time.sleep(0.15)
        subprocess.run(["pkill", "-9", "-f", f"serve --port {port}"], check=True)
        sender.close()
    with served(running, folder=tmp_path) as url:
        again = httpx.post(f"{url}/?server=a", content=body, timeout=LONG)
        assert again.status_code in (200, 201)
    plain = make_store(tmp_path / "plain.duckdb")
    (tmp_path / "all").write_bytes(body)
    read_into(plain, tmp_path / "all", server="a")
    count = "SELECT count(*) AS n, sum(bytes) AS bytes FROM entry_ledger"
    assert running.store.ask(count).to_pylist() == plain.ask(count).to_pylist()
    assert_whole(running.store)


@pytest.mark.soak
def test_many_read_while_a_log_is_posted(running: CommandLine, tmp_path: Path) -> None:
    store = running.store
    read_into(store, *sorted((DATA / "v4.5.3-midnight-paris").glob("*log-*")), server="a")
    with served(running, folder=tmp_path) as url:
        client = "from service import read_often; import sys; read_often(*sys.argv[1:])"
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", client, url, "5"],
                cwd=Path(__file__).parent,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        more = DATA / "v4.5.3-text"
        for path in sorted(more.glob("*log-*")):
            posted = httpx.post(f"{url}/?server=b", content=path.read_bytes(), timeout=LONG)
            assert posted.status_code in (200, 201)
        outputs = [reader.communicate(timeout=LONG)[0].decode().split() for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0]
    assert all(int(failed) == 0 and int(done) >= 25 for done, failed in outputs)


def _fuzz(
    running: CommandLine, folder: Path, *, examples: int, headers: tuple[str, ...] = ()
) -> int:
    """Send requests made of the OpenAPI description; returns how many.

    What the description allows may still be refused: what is sent is no log, and some periods
    exclude one another.
    """
    read_into(running.store, LOG, server="a")
    with served(running, folder=folder) as url:
        completed = subprocess.run(
            [
                *(str(BIN / "schemathesis"), "run", f"{url}/openapi.json"),
                *("--exclude-checks", "positive_data_acceptance"),
                *(word for header in headers for word in ("--header", header)),
                *("--max-examples", str(examples), "--phases", "examples,coverage,fuzzing"),
                *("--seed", "1", "--suppress-health-check", "all", "--no-color"),
            ],
            capture_output=True,
            text=True,
            timeout=1200,
            cwd=folder,
        )
        assert httpx.get(f"{url}/healthz", timeout=LONG).status_code == 200
    assert completed.returncode == 0, completed.stdout[-6000:]
    assert "Traceback" not in (folder / "service.log").read_text()
    tried = re.search(r"(\d+) generated", completed.stdout)
    assert tried
    print(tried[0])
    return int(tried[1])


def _large(size: int) -> Iterator[bytes]:
    """A log of some ``size`` bytes, an entry with 1,000 streams after the other."""
    streams = [f"FR_S{n:04}_00_HHZ/MSEED" for n in range(1000)]
    time, done = JUNE, 0
    while done < size:
        time += 1
        transfers = tuple((name, 512 * (time % 97 + 1), time % 97 + 1) for name in streams)
        text = block(log_time=time, connect_time=JUNE, transfers=transfers).encode()
        done += len(text)
        yield text


@pytest.mark.soak
def test_two_gigabytes_are_read_in_bounded_memory(running: CommandLine, tmp_path: Path) -> None:
    with served(running, folder=tmp_path) as url:
        posted = httpx.post(f"{url}/?server=a", content=_large(2_000_000_000), timeout=3600)
        assert posted.status_code == 201
        report = posted.json()
        process = subprocess.run(
            ["pgrep", "-f", f"serve --port {url.rpartition(':')[2]}"],
            capture_output=True,
            text=True,
        ).stdout.split()
        status = Path(f"/proc/{process[0]}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    print(f"{report['transfers']:,} transfers, peak {peak / 1000:.0f} MB")
    assert peak < 1_500_000
    assert report["transfers"] == report["entries"] * 1000
    rows = running.store.ask("SELECT sum(bytes) AS bytes FROM connection_by_day").to_pylist()
    assert rows[0]["bytes"] == report["bytes"]


@pytest.mark.soak
def test_kills_while_logs_are_posted_lose_and_double_nothing(
    running: CommandLine, tmp_path: Path
) -> None:
    body = b"".join(_large(40_000_000))
    partial = 0
    for number in range(25):
        with served(running, folder=tmp_path) as url:
            host, port = url.removeprefix("http://").split(":")
            sender = socket.create_connection((host, int(port)))
            head = f"POST /?server=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            sender.sendall(head.encode() + b"\r\n\r\n" + body)
            time.sleep(0.1 * number)
            subprocess.run(["pkill", "-9", "-f", f"serve --port {port}"], check=True)
            sender.close()
        if running.store.exists():
            assert_whole(running.store)
            partial += 1
    with served(running, folder=tmp_path) as url:
        report = httpx.post(f"{url}/?server=a", content=body, timeout=600).json()
    entries = body.count(b"START CLIENT")
    assert report["entries"] + report["known"] == entries
    assert running.store.ask("SELECT count(*) AS n FROM entry_ledger")["n"][0].as_py() == entries
    print(f"25 kills, {partial} with a store behind them; {report['known']} known at the end")


@pytest.mark.soak
@pytest.mark.parametrize("is_operator", [False, True])
def test_a_thousand_strange_requests(
    running: CommandLine, tmp_path: Path, is_operator: bool
) -> None:
    token = add_token(running.store, "operator") if is_operator else ""
    headers = (f"Authorization: Bearer {token}",) if token else ()
    assert _fuzz(running, tmp_path, examples=60, headers=headers) >= 900
