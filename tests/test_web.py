"""The web service imports logs exactly, checks tokens, and returns what the command prints."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet
import pytest
from anyio.from_thread import start_blocking_portal
from conftest import (
    DATA,
    LONG,
    REGISTRY,
    SECRET,
    CommandLine,
    another,
    assert_whole,
    dump,
    make_postgresql,
    make_store,
    read_into,
    wait_for,
)
from model import block
from psycopg.conninfo import conninfo_to_dict
from servers import Server
from service import ELSEWHERE, add_token, bearer, client_of, served, settings_of
from starlette.testclient import TestClient

from ringserverstats import ingest
from ringserverstats.errors import StoreError
from ringserverstats.settings import Secret, Settings
from ringserverstats.statistics.dimensions import DIMENSIONS, PERSONAL
from ringserverstats.statistics.serialize import without_formulas
from ringserverstats.store.base import Store
from ringserverstats.web import receiver
from ringserverstats.web.metrics import read_metrics

#: 2026-06-30 10:00 UTC.
JUNE = 1_782_813_600
REAL = DATA / "v4.5.3-midnight-paris"
LOGS = sorted(REAL.glob("txlog*"))
LOG = max(LOGS, key=lambda path: path.stat().st_size)


@pytest.fixture
def settings(store: Store, kind: str, request: pytest.FixtureRequest) -> Settings:
    if kind == "postgresql":
        return settings_of(store, uri=request.getfixturevalue("database"))
    return settings_of(store)


@pytest.fixture
def web(settings: Settings) -> TestClient:
    return client_of(settings)


def named(path: Path) -> str:
    return f"/?server=a&name={path.name}"


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/x-www-form-urlencoded", "text/plain", None],
)
def test_a_posted_log_counts_as_a_file_does_whatever_its_content_type(
    web: TestClient, store: Store, tmp_path: Path, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = web.post(named(LOG), content=LOG.read_bytes(), headers=headers)
    assert answer.status_code == 201
    (tmp_path / "other").mkdir()
    other = make_store(tmp_path / "other" / "store.duckdb")
    report = read_into(other, LOG, server="a")
    received = answer.json()
    for name in ("entries", "transfers", "bytes", "packets", "connections", "known", "rejected"):
        assert received[name] == getattr(report, name)
    assert totals_of(store) == totals_of(other)
    assert_whole(store)


def totals_of(store: Store) -> list[dict]:
    return store.ask(
        "SELECT day, direction::text AS direction, sum(bytes) AS bytes, sum(packets) AS packets,"
        " sum(entries) AS entries FROM connection_by_day GROUP BY 1, 2 ORDER BY 1, 2"
    ).to_pylist()


def test_the_same_post_again_changes_nothing(web: TestClient, store: Store) -> None:
    assert web.post(named(LOG), content=LOG.read_bytes()).status_code == 201
    before = dump(store)
    again = web.put(named(LOG), content=LOG.read_bytes())
    assert again.status_code == 200
    assert again.json()["entries"] == 0
    assert again.json()["known"] > 0
    assert dump(store) == before


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("has_header", [True, False])
def test_packed_bodies_are_read_whether_they_say_so_or_not(
    web: TestClient, store: Store, encoding: str, has_header: bool
) -> None:
    headers = {"Content-Encoding": encoding} if has_header else {}
    data = LOG.read_bytes()
    if encoding == "zstd":
        skippable_frame = b"\x5f\x2a\x4d\x18\x01\x00\x00\x00x"
        body = skippable_frame + pa.Codec("zstd").compress(data, asbytes=True)
    else:
        body = gzip.compress(data)
    plain = read_into(make_store(store.options.secrets / "plain.duckdb"), LOG, server="a")
    answer = web.post(named(LOG), content=body, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["bytes"] == plain.bytes


def test_a_body_in_chunks_needs_no_length(web: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        data = LOG.read_bytes()
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    assert web.post(named(LOG), content=pieces()).status_code == 201


def test_concurrent_posts_of_overlapping_logs_count_each_entry_once(
    run: CommandLine, tmp_path: Path
) -> None:
    paths = [*sorted(REAL.glob("*log*")), *LOGS]
    answers: list[int] = []

    def post(url: str, number: int) -> None:
        for path in paths[number:] + paths[:number]:
            posted = httpx.post(url + named(path), content=path.read_bytes(), timeout=LONG)
            answers.append(posted.status_code)

    run.environment["RINGSERVERSTATS_SECRET"] = SECRET.hex()
    with served(run, folder=tmp_path) as url:
        threads = [threading.Thread(target=post, args=(url, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(answers) == 4 * len(paths)
    assert set(answers) <= {200, 201}
    (tmp_path / "other").mkdir()
    other = make_store(tmp_path / "other" / "store.duckdb")
    read_into(other, *sorted(REAL.glob("*log*")), server="a")
    assert totals_of(run.store) == totals_of(other)
    assert_whole(run.store)


@pytest.mark.of_duckdb
@pytest.mark.parametrize(
    "path, body, headers, status",
    [
        ("/", b"", {}, 400),
        ("/", b"this is no log\n", {}, 400),
        ("/", b"\x00" * 1000, {}, 400),
        ("/", LOG.read_bytes().replace(b"\n", b""), {}, 400),  # as curl -d sends it
        ("/?server=../../etc", b"x", {}, 400),
        ("/?server=a&server=b", b"x", {}, 400),
        ("/?what=ever", b"x", {}, 400),
        ("/?name=notes.txt", b"x", {}, 400),
        ("/", b"plain", {"Content-Encoding": "gzip"}, 400),
        ("/", b"x", {"Content-Encoding": "br"}, 415),
        ("/", b"x", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ("/", b"x", {"Content-Length": "99999999999"}, 413),
    ],
)
def test_what_is_no_log_is_refused_with_a_reason(
    web: TestClient, path: str, body: bytes, headers: dict, status: int
) -> None:
    answer = web.post(path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_rejected_entries_come_back_with_line_and_reason(web: TestClient) -> None:
    good, bad = block(log_time=JUNE), block(log_time=JUNE + 3600)
    bad = bad.replace("END CLIENT", "END KLIENT")
    name = "/?server=a&name=txlog-20260630T0000-20260701T0000"
    answer = web.post(name, content=(bad + good).encode())
    assert answer.status_code == 201
    received = answer.json()
    assert received["entries"] == 1
    assert received["rejects"][0]["line"] == 1
    assert "END" in received["rejects"][0]["reason"]
    assert "192.0.2" not in answer.text


def blocks(numbers: Iterable[int]) -> bytes:
    return "".join(block(log_time=JUNE + n) for n in numbers).encode()


@pytest.mark.of_both
def test_a_post_without_a_server_is_not_counted_beside_that_servers_log(
    web: TestClient, store: Store, run: CommandLine
) -> None:
    interval = "name=txlog-20260630T0000-20260701T0000"
    assert web.post(f"/?server=node-a&{interval}", content=blocks(range(10))).status_code == 201
    before = totals_of(store)
    refused = web.post("/", content=blocks(range(4, 14)))
    assert refused.status_code == 409
    assert "6 of 10 new entries exist under server 'node-a'" in refused.json()["error"]
    assert totals_of(store) == before
    assert len(store.servers()) == 1
    web.post("/", content=blocks(range(4, 14)))  # as every night
    web.post(
        f"/?server=node-a&{interval}", content=blocks(range(10))
    )  # not those that were refused
    metrics = web.get("/metrics").text
    assert 'ringserverstats_rejects{server="node-a"} 10.0' in metrics
    (reject,) = json.loads(run("rejects", "--format", "json").stdout)
    assert (reject["server"], reject["file"], reject["lines"]) == ("node-a", "posted log", 0)
    assert "posted without a server" in reject["reason"]
    assert_whole(store)
    fixed = web.post(f"/?server=node-a&{interval}", content=blocks(range(4, 14)))
    assert (fixed.status_code, fixed.json()["entries"], fixed.json()["resolved"]) == (201, 4, 10)
    assert web.get("/metrics").text.count("ringserverstats_rejects{") == 1
    assert fixed.json()["notes"] == []
    assert "Nothing was rejected" in run("rejects").stdout


@pytest.mark.of_duckdb
def test_a_post_without_a_server_warns_and_can_be_counted_again(
    web: TestClient, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first = web.post("/?server=node-a", content=blocks(range(10))).json()["notes"]
    assert len(first) == 2
    assert "no GeoIP database is configured" in first[0]
    assert "no file name is given" in first[1]
    for log in (blocks(range(4)), blocks(range(5, 15))):  # too few, and no more than half
        counted = web.post("/", content=log)
        assert counted.status_code == 201
        assert "under another server" in counted.json()["notes"][0]
        assert "no server is named" in counted.json()["notes"][1]
    assert web.post("/", content=blocks(range(10))).status_code == 201  # 1 is new
    assert web.post("/", content=blocks(range(10))).status_code == 200
    web.post("/?server=node-a", content=blocks(range(100, 110)))
    with caplog.at_level("INFO", "ringserverstats.web"):
        assert web.post("/", content=blocks(range(100, 110))).status_code == 409
    assert "10 of 10 new entries exist under server 'node-a'" in caplog.text
    assert "status=409" in caplog.text
    again = web.post("/?again=yes", content=blocks(range(100, 110)))
    assert (again.status_code, again.json()["entries"]) == (201, 10)
    assert store.ask("SELECT * FROM reject").num_rows == 0
    named = web.post("/?server=node-b", content=blocks(range(100, 110)))
    assert named.status_code == 201
    for wrong in ("again=no", "again=", "server=", "name="):
        assert web.post(f"/?{wrong}", content=blocks([1])).status_code == 400
    assert_whole(store)


@pytest.mark.parametrize("batch", [10**6, 20])
def test_a_post_without_a_server_is_parsed_once(
    web: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Its rows, also those of many batches, wait in a file until they are confirmed."""
    web.post("/?server=node-a", content=blocks(range(10)))
    web.post("/?server=default", content=blocks([500]))
    before = dump(store)
    parsed: list[object] = []
    chunks_of = ingest.chunks
    monkeypatch.setattr(ingest, "BATCH", batch)
    monkeypatch.setattr(ingest, "chunks", lambda source: parsed.append(1) or chunks_of(source))
    assert web.post("/", content=blocks(range(4, 14))).status_code == 409
    assert len(parsed) == 1
    tables = dump(store)
    assert len(tables.pop("reject")) == 1
    assert tables == {name: rows for name, rows in before.items() if name != "reject"}
    other = web.post("/", content=blocks(range(100, 190)))
    assert (other.status_code, other.json()["entries"], other.json()["known"]) == (201, 90, 0)
    assert len(parsed) == 2
    again = web.post("/", content=blocks(range(100, 191)))
    assert (again.status_code, again.json()["entries"], again.json()["known"]) == (201, 1, 90)
    assert web.post("/", content=b"nothing to read\n").status_code == 400
    assert_whole(store)


@pytest.mark.of_duckdb
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_body_over_the_limit_leaves_nothing(store: Store, unpacked: bool) -> None:
    body = gzip.compress(b"0" * 3_000_000) if unpacked else b"0" * 2_000_001
    web = client_of(settings_of(store, post_limit="2MB"))
    answer = web.post("/", content=iter([body]))
    assert answer.status_code == 413
    assert not store.exists()


@pytest.mark.of_duckdb
def test_too_many_posts_at_once_are_refused(
    web: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "MAX_POSTS", 0)
    answer = web.post("/", content=b"x")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.of_duckdb
def test_one_token_takes_not_all_places(store: Store, settings: Settings) -> None:
    tokens = [bearer(add_token(store, name, ingest=True)) for name in ("slow", "other")]
    web = client_of(settings, at=ELSEWHERE)
    web.app.state.service.log_receiver._posts["token slow"] = receiver.MAX_POSTS_OF_SENDER
    statuses = [web.post(named(LOG), content=LOG.read_bytes(), headers=t) for t in tokens]
    assert [answer.status_code for answer in statuses] == [429, 201]


@pytest.mark.of_duckdb
def test_an_unavailable_store_is_reported(
    store: Store,
) -> None:
    away = settings_of(store, database="postgresql://nobody@127.0.0.1:1/none")
    answer = client_of(away).post(named(LOG), content=LOG.read_bytes())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert client_of(away).get("/readyz").status_code == 503
    assert client_of(away).get("/healthz").status_code == 200
    page = client_of(away).get("/", headers={"Accept": "text/html"})
    assert page.status_code == 503
    assert "127.0.0.1" not in page.text  # the address of the store stays secret


@pytest.mark.of_duckdb
@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 201),
        ({"Host": "127.0.0.1:8000"}, 201),
        ({"Host": "[::1]:8000"}, 201),
        ({"Host": "evil.example"}, 401),
        ({"Host": "localhost.evil.example"}, 401),
        ({"X-Forwarded-For": "127.0.0.1"}, 401),
        ({"Forwarded": "for=127.0.0.1"}, 401),
        ({"X-Real-IP": "127.0.0.1"}, 401),
        ({"X-Original-Forwarded-For": "127.0.0.1"}, 401),
        ({"X-Azure-Real-IP": "127.0.0.1"}, 401),
        ({"X-ProxyUser-Ip": "127.0.0.1"}, 401),
        ({"Via": "1.1 proxy"}, 401),
        ({"Origin": "http://localhost:8000"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example", "X-Forwarded-Host": "localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
    ],
)
def test_without_a_token_only_this_machine_itself_posts(
    web: TestClient, headers: dict, status: int
) -> None:
    answer = web.post(named(LOG), content=LOG.read_bytes(), headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert "ringserverstats token add" in answer.json()["error"]
        assert "Bearer" in answer.headers["www-authenticate"]


@pytest.mark.of_duckdb
def test_from_elsewhere_a_token_is_needed_unless_it_is_opened(store: Store) -> None:
    body = LOG.read_bytes()
    usual, opened = settings_of(store), settings_of(store, open_ingest=True)
    assert client_of(usual, at=ELSEWHERE).post("/", content=body).status_code == 401
    assert client_of(opened, at=ELSEWHERE).post("/", content=body).status_code == 201
    foreign = {"Origin": "https://evil.example"}
    opened_by_page = client_of(opened).post("/", content=body, headers=foreign)
    assert opened_by_page.status_code == 403


def test_tokens_let_in_until_they_are_revoked(store: Store, settings: Settings) -> None:
    token, owner = add_token(store, "node-a", ingest=True), add_token(store, "owner")
    body = LOG.read_bytes()
    web = client_of(settings, at=ELSEWHERE)
    assert web.post("/", content=body, headers=bearer(token)).status_code == 201
    assert web.post("/", content=body, headers=bearer(owner)).status_code == 403
    assert web.post("/", content=body, headers=bearer(token[:-1] + "x")).status_code == 401
    assert web.post("/", content=body, headers=bearer("")).status_code == 401
    assert client_of(settings).post("/", content=body).status_code == 401  # here too, from now on
    store.remove_token("node-a")
    later = client_of(settings, at=ELSEWHERE)
    assert later.post("/", content=body, headers=bearer(token)).status_code == 401


@pytest.mark.of_duckdb
def test_a_token_posts_logs_of_its_servers_only(store: Store, settings: Settings) -> None:
    single = bearer(add_token(store, "single", ingest=True, servers=("node-a",)))
    both = bearer(add_token(store, "both", ingest=True, servers=("node-a", "node-b")))
    web = client_of(settings, at=ELSEWHERE)
    for path, token, status in (
        ("/?server=other", single, 403),
        ("/?server=other", both, 403),
        ("/", both, 403),  # which of the two?
        ("/?name=other-txlog-20260630T0000-20260701T0000", both, 403),
        ("/?name=other-txlog-20260630T0000-20260701T0000", single, 403),
    ):
        refused = web.post(path, content=blocks(range(10)), headers=token)
        assert refused.status_code == status
        assert "this token can post logs of server node-a" in refused.json()["error"]
    assert store.servers() == []
    for path in ("/", "/?server=node-a", "/?name=txlog-20260630T0000-20260701T0000"):
        assert web.post(path, content=blocks(range(10)), headers=single).status_code in (200, 201)
    posted = web.post("/?server=node-b", content=blocks(range(10)), headers=both)
    assert posted.json()["entries"] == 10
    store.change_server("node-a", rename="renamed")
    for path in ("/", "/?server=renamed", "/?server=node-a"):
        assert web.post(path, content=blocks(range(10)), headers=single).json()["known"] == 10
    assert [server.name for server in store.servers()] == ["node-b", "renamed"]


def test_the_servers_of_a_token_are_listed(run: CommandLine) -> None:
    made = run("token", "add", "two", "--ingest", "--server", "node-a,node-b")
    assert "no server 'node-a' yet" in made.stderr
    for wrong in (
        ("--server", "node-a"),
        ("--ingest", "--server", ","),
        ("--ingest", "--server", "/"),
    ):
        assert run("token", "add", "other", *wrong).returncode == 2
    assert "node-a, node-b" in run("token", "list").stdout
    tokens = json.loads(run("info", "--json").stdout)["tokens"]
    assert tokens == [{"name": "two", "posts": "node-a, node-b", "reads": "what is public"}]
    assert "two: posts node-a, node-b" in run("info").stdout


def test_the_store_keeps_only_the_digest_of_a_token(run: CommandLine) -> None:
    made = run("token", "add", "node-a", "--ingest")
    assert made.returncode == 0
    token = made.stdout.strip()
    rows = run.store.ask("SELECT * FROM token").to_pylist()
    assert len(rows[0]["digest"]) == 64
    assert token not in json.dumps(rows, default=str)
    assert token not in run("token", "list").stdout
    assert run("token", "add", "node-a").returncode == 2
    assert run("token", "revoke", "node-a").returncode == 0
    assert run("token", "revoke", "node-a").returncode == 2
    assert "no tokens" in run("token", "list").stdout


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = make_store(tmp_path_factory.mktemp("web") / "store.duckdb", memory="1GB")
    read_into(store, DATA)
    store.set_registry(REGISTRY)
    return store


QUERIES = [
    {"by": "month,network", "measure": "bytes,clients"},
    {"by": "network,station", "network": "FR,X?", "top": "5", "sort": "clients"},
    {"by": "day", "from": "2018", "to": "2026-11", "direction": "TX,RX"},
    {"by": "client", "measure": "bytes,entries,connections"},
    {"by": "weekday,hour"},
    {"year": "2026", "measure": "bytes-per-day"},
    {},
]


@pytest.mark.of_duckdb
@pytest.mark.parametrize("query", QUERIES)
def test_the_api_answers_an_operator_as_the_command_does(
    sample: Store, query: dict, run: CommandLine
) -> None:
    web = client_of(settings_of(sample))
    operator = bearer(operator_of(sample))
    options = [part for name, value in query.items() for part in (f"--{name}", value)]
    run.environment["DATABASE_URI"] = f"duckdb://{sample._path}"
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(range(32)).hex()
    completed = run("stats", *options, "--format", "json")
    answer = web.get("/api/v1/stats", params=query, headers=operator)
    assert answer.status_code == 200
    assert answer.json() == json.loads(completed.stdout)
    as_csv = web.get("/api/v1/stats", params={**query, "format": "csv"}, headers=operator)
    assert as_csv.text == run("stats", *options, "--format", "csv").stdout
    as_parquet = web.get("/api/v1/stats", params={**query, "format": "parquet"}, headers=operator)
    rows = pa.parquet.read_table(pa.BufferReader(as_parquet.content)).to_pylist()
    assert json.loads(json.dumps(rows, default=int)) == answer.json()


OPERATORS: dict[str, str] = {}


def operator_of(store: Store) -> str:
    """A token of an operator, made once for a store."""
    label = store.label
    if label not in OPERATORS:
        OPERATORS[label] = add_token(store, "operator")
    return OPERATORS[label]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/stats?by=nothing",
        "/api/v1/stats?sort=bytes&sort=clients",
        "/api/v1/stats?top=0",
        "/api/v1/stats?top=-1",
        "/api/v1/stats?top=%D9%A1",
        "/api/v1/stats?from=yesterday",
        "/api/v1/stats?last=1000000y",
        "/api/v1/stats?format=xml",
        "/api/v1/stats?by=client",
        "/api/v1/coverage?by=year",
        "/api/v1/coverage?network=FR",
    ],
)
def test_an_invalid_query_is_reported(sample: Store, path: str) -> None:
    answer = client_of(settings_of(sample)).get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_everybody_and_owners_see_only_what_they_may(sample: Store) -> None:
    operator_of(sample)
    settings = settings_of(sample, embargo=("1T", "XP"), min_clients=3)
    web = client_of(settings)
    owner = bearer(OWNERS.setdefault("1T", add_token(sample, "owner-1t", networks=("1T",))))
    of_all = web.get("/api/v1/stats?by=network", headers=bearer(operator_of(sample))).json()
    names = {row["network"] for row in of_all if row["network"]}
    assert any(name.startswith("1T") for name in names)
    hidden = {name for name in names if name.startswith(("1T", "XP"))}
    public = {row["network"] for row in web.get("/api/v1/stats?by=network").json()}
    assert not any(name and name.startswith(("1T", "XP")) for name in public)
    own = {row["network"] for row in web.get("/api/v1/stats?by=network", headers=owner).json()}
    assert own == {name for name in names if name.startswith("1T")}
    total = sum(row["bytes"] for row in of_all if (row["network"] or "").startswith("1T"))
    assert web.get("/api/v1/stats", headers=owner).json()[0]["bytes"] == total
    other = web.get("/api/v1/stats?network=FR", headers=owner).json()[0]
    assert other["bytes"] == 0
    assert web.get("/api/v1/stats?by=client", headers=owner).status_code == 400
    assert web.get("/api/v1/rejects", headers=owner).status_code == 403
    assert web.get("/api/v1/rejects").status_code == 403
    assert web.get("/api/v1/rejects", headers=bearer(operator_of(sample))).status_code == 200
    assert "entries" not in web.get("/api/v1/coverage").json()[0]
    for path in ("/", "/tables/networks", "/tables/stations", "/network/FR"):
        page = web.get(path, headers={"Accept": "text/html"}, params=WHOLE).text
        assert not [name for name in hidden if f">{name}<" in page]
    assert "1T20" in web.get("/", headers=owner, params=WHOLE).text


OWNERS: dict[str, str] = {}
WHOLE = {"from": "2018", "to": "2026"}


def test_reading_may_need_a_token(sample: Store) -> None:
    operator_of(sample)  # before the service reads who may come in
    web = client_of(settings_of(sample, read_access="token"))
    for path in ("/api/v1/stats", "/api/v1/coverage", "/api/v1/servers", "/metrics"):
        assert web.get(path).status_code == 401
        assert web.get(path, headers=bearer(operator_of(sample))).status_code == 200
    page = web.get("/", headers={"Accept": "text/html"})
    assert page.status_code == 401
    assert 'name="token"' in page.text
    signed = web.post("/sign-in", data={"token": operator_of(sample)})
    assert signed.status_code == 303
    cookie = signed.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert web.get("/", params=WHOLE).status_code == 200  # the client keeps the cookie
    assert web.post("/sign-out").status_code == 303
    assert web.get("/").status_code == 401
    assert web.post("/sign-in", data={"token": "rss_none"}).status_code == 403


@pytest.mark.of_duckdb
def test_sign_in_works_behind_apache_which_replaces_the_host(sample: Store) -> None:
    web = client_of(settings_of(sample))
    sent = {"Origin": "http://statistics.example", "Host": "127.0.0.1:8000"}
    token = {"token": operator_of(sample)}
    assert web.post("/sign-in", data=token, headers=sent).status_code == 403
    proxied = {**sent, "X-Forwarded-Host": "statistics.example"}
    signed = web.post("/sign-in", data=token, headers=proxied)
    assert (signed.status_code, signed.headers["location"]) == (303, "/")


def test_a_root_path_is_a_path(run: CommandLine) -> None:
    for path in ("statistics", "/a b", "//evil.example", "/a?b", "https://evil.example/a"):
        run.environment["RINGSERVERSTATS_ROOT_PATH"] = path
        refused = run("info")
        assert refused.returncode == 2, path
        assert "root_path" in refused.stderr or "ROOT_PATH" in refused.stderr


def test_full_width_formulas_are_texts_in_csv() -> None:
    texts = [f"{chr(ord(sign) + 0xFEE0)}1" for sign in "=+-@"]
    guarded = without_formulas(pa.table({"agent": [*texts, "a=1"]}))["agent"].to_pylist()
    assert guarded == [*(f"'{text}" for text in texts), "a=1"]


@pytest.mark.of_duckdb
def test_a_request_with_two_lengths_is_refused(web: TestClient) -> None:
    lengths = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    answer = web.post("/", content=b"x", headers=lengths)
    assert (answer.status_code, answer.headers["connection"]) == (400, "close")


@pytest.mark.of_duckdb
def test_a_slash_at_the_end_is_redirected_without_a_host(sample: Store) -> None:
    for root in ("", "/statistics"):
        web = client_of(settings_of(sample, root_path=root))
        headers = {"Host": "evil.example"}
        for path, target in (
            ("/docs/", "/docs"),
            ("/network/FR/?last=30d", "/network/FR?last=30d"),
        ):
            answer = web.get(path, headers=headers)
            assert (answer.status_code, answer.headers["location"]) == (307, root + target)
        for path in ("/nothing/", "//evil.example//", "/api/v1//"):
            assert web.get("http://localhost:8000" + path).status_code == 404


@pytest.mark.of_duckdb
def test_notes_fit_into_a_header(sample: Store) -> None:
    classes = ",".join(["*", *(f"{chr(0x1F600)}{number:040}" for number in range(90))])
    answer = client_of(settings_of(sample)).get("/api/v1/stats", params={"class": classes})
    assert answer.status_code == 200
    assert 2000 < len(answer.headers["x-notes"]) <= 3000


@pytest.mark.of_duckdb
def test_pages_of_unknown_networks_and_stations_are_not_found(sample: Store) -> None:
    web = client_of(settings_of(sample, embargo=("G",)))
    operator = bearer(operator_of(sample))
    for path in ("/network/ZZ", "/station/FR/NOPE", "/station/ZZ/NOPE"):
        assert web.get(path).status_code == web.get(path, headers=operator).status_code == 404
    for path, status in (("/network/XP2014", 200), ("/network/FR", 200)):  # one is only registered
        assert web.get(path).status_code == status
    (station, *_) = web.get("/api/v1/stats?by=network,station&network=G", headers=operator).json()
    page = f"/station/G/{station['station']}"
    assert (web.get(page).status_code, web.get(page, headers=operator).status_code) == (404, 200)


@pytest.mark.of_duckdb
def test_errors_and_empty_parameters_are_as_described(sample: Store) -> None:
    web = client_of(settings_of(sample))
    paths = web.get("/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for parameter in methods.get("get", {}).get("parameters", ()):
            is_refused = web.get(path, params={parameter["name"]: ""}).status_code != 200
            schema = parameter["schema"]
            may_be_empty = not ({"minLength", "minimum", "enum"} & schema.keys())
            assert is_refused or may_be_empty, (path, parameter)
        assert web.put(path).status_code in (401, 405) or "put" in methods
        allowed = {method.upper() for method in methods} | {"HEAD"}
        answer = web.delete(path)
        assert set(answer.headers["allow"].split(", ")) | {"HEAD"} == allowed
    eida = paths["/eidaws/statistics/1/seedlink/public"]["get"]["responses"]["400"]
    answer = web.get("/eidaws/statistics/1/seedlink/public")
    assert answer.headers["content-type"].partition(";")[0] in eida["content"]


def test_a_wrong_method_gets_all_that_the_path_has(web: TestClient) -> None:
    answer = web.request("DELETE", "/")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST, PUT"
    assert web.post("/api/v1/stats").headers["allow"] == "GET, HEAD"


def test_a_token_that_posts_logs_does_not_read(sample: Store) -> None:
    token = bearer(add_token(sample, "feeder", ingest=True))
    private = client_of(settings_of(sample, read_access="token"))
    refused = private.get("/api/v1/stats", headers=token)
    assert refused.status_code == 403
    assert "can post logs but not read" in refused.text
    public = client_of(settings_of(sample))
    assert public.get("/api/v1/stats", headers=token).status_code == 200
    assert (
        public.get("/api/v1/stats?by=client", headers=token).status_code == 400
    )  # unknown to the public


def test_metrics_contain_pending_days_of_influxdb(store: Store, database: str) -> None:
    read_into(store, LOG, server="a")
    uri = {"uri": database} if not hasattr(store, "_path") else {}
    url = Secret("http://127.0.0.1:1?db=x")
    web = client_of(settings_of(store, influx_url=url, **uri))
    assert "ringserverstats_influxdb_days_due 0.0" in web.get("/metrics").text
    plain = client_of(settings_of(store, **uri))
    assert "influxdb" not in plain.get("/metrics").text


def test_metrics_are_those_of_the_store(sample: Store) -> None:
    text = client_of(settings_of(sample)).get("/metrics").text
    numbers = {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }
    rows = sample.ask(
        "SELECT v.name AS server, f.direction::text AS direction, sum(f.bytes) AS bytes"
        " FROM connection_by_day f JOIN server v USING (server) GROUP BY 1, 2"
    ).to_pylist()
    for row in rows:
        labels = f'direction="{row["direction"]}",server="{row["server"]}"'
        assert numbers[f"ringserverstats_bytes_total{{{labels}}}"] == row["bytes"]
    assert sum(
        value for name, value in numbers.items() if name.startswith("ringserverstats_entries_total")
    ) == len(sample.ask("SELECT entry FROM entry_ledger"))
    assert any(name.startswith("ringserverstats_lag_seconds") for name in numbers)


@pytest.mark.of_duckdb
@pytest.mark.parametrize("read_access", ["public", "token"])
def test_the_first_page_after_a_start_is_computed_before(sample: Store, read_access: str) -> None:
    headers = bearer(operator_of(sample)) if read_access == "token" else {}
    web = client_of(settings_of(sample, read_access=read_access))
    service = web.app.state.service
    service.chart_renderer.start = lambda: None
    service.chart_renderer.svg = lambda _: ["<svg></svg>"] * 2
    with web:
        wait_for(lambda: service.pages._entries)
        prepared = service.pages._entries.copy()
        assert web.get("/", headers=headers).status_code == 200
        assert service.pages._entries == prepared


def test_pages_are_recomputed_only_when_their_days_change(
    web: TestClient, store: Store, log: Callable[..., Path]
) -> None:
    read_into(store, log(block(log_time=JUNE)), server="a")
    service = web.app.state.service
    made: list[object] = []
    real = service.pages.get

    def counted(key: object, version: str, make: Callable[[], object]) -> object:
        return real(key, version, lambda: made.append(key) or make())

    service.pages.get = counted
    june = {"from": "2026-06-30", "to": "2026-06-30", "compare": "no"}
    first = web.get("/", params=june).text
    assert web.get("/", params=june).text == first
    assert len(made) == 1
    march = JUNE - 120 * 86_400
    other = log(block(log_time=march), "txlog-20260302T0000-20260303T0000")
    read_into(store, other, server="a")
    web.get("/", params=june)
    assert len(made) == 1
    later = log(block(log_time=JUNE + 7200), "txlog-20260630T0000-20260701T0000-2")
    read_into(store, later, server="a")
    assert web.get("/", params=june).text != first
    assert len(made) == 2
    store.set_registry(REGISTRY)
    web.get("/", params=june)
    assert len(made) == 3


def test_every_group_can_be_asked(sample: Store) -> None:
    web = client_of(settings_of(sample))
    for group in DIMENSIONS:
        answer = web.get("/api/v1/stats", params={"by": group})
        assert answer.status_code == (400 if group in PERSONAL else 200)


HOSTILE = "<script>alert(1)</script>"


def test_what_strangers_write_into_logs_is_only_text(
    web: TestClient, store: Store, log: Callable[..., Path]
) -> None:
    text = block(log_time=JUNE, agent=f"=HYPERLINK(1){HOSTILE}")
    read_into(store, log(text), server="a")
    headers = {"Accept": "text/html", **bearer(add_token(store, "operator"))}
    for path in ("/", "/tables/agents", "/docs"):
        assert HOSTILE not in web.get(path, headers=headers).text
    named = web.get("/tables/agents", headers=headers).text
    assert "&lt;script&gt;" in named
    wrong = web.get(f"/network/{HOSTILE}", headers={"Accept": "text/html"}).text
    assert HOSTILE not in wrong
    refused = web.get("/api/v1/stats", params={"by": HOSTILE})
    assert refused.headers["content-type"] == "application/json"
    as_csv = web.get("/api/v1/stats?by=agent&format=csv", headers=headers).text
    assert "'=HYPERLINK" in as_csv
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_head_requests_have_the_status_of_get(web: TestClient, store: Store) -> None:
    read_into(store, LOG, server="a")
    for path in ("/", "/docs", "/nothing", "/healthz"):
        assert web.head(path).status_code == web.get(path).status_code


@pytest.mark.of_duckdb
def test_head_requests_count_nothing(store: Store, settings: Settings) -> None:
    token = bearer(add_token(store, "node-a", ingest=True))
    web = client_of(settings)
    for path in (named(LOG), f"/{LOG.name}", "/"):
        answer = web.request("HEAD", path, content=LOG.read_bytes(), headers=token)
        assert answer.content == b""
        assert answer.status_code == web.get(path, headers=token).status_code
    assert len(store.ask("SELECT entry FROM entry_ledger")) == 0


@pytest.mark.of_duckdb
def test_the_store_is_not_read_for_files_and_health(store: Store) -> None:
    away = settings_of(store, database="postgresql://nobody@127.0.0.1:1/none", read_access="token")
    web = client_of(away)
    headers = bearer("rss_unknown")
    for path in ("/static/style.css", "/healthz", "/openapi.json", "/sign-in"):
        assert web.get(path, headers=headers).status_code == 200
    assert web.get("/docs", headers=headers).status_code == 200  # as for everybody
    assert web.get("/", headers=headers).status_code == 503


def test_addresses_that_are_no_pages_are_not_found(web: TestClient, store: Store) -> None:
    read_into(store, LOG, server="a")
    for path in (
        "/static/../service.py",
        "/static/%2e%2e/service.py",
        "/static/..%2fservice.py",
        "/tables/passwd",
        "/charts/activity.exe",
        "/nothing",
        "/network/*",
    ):
        answer = web.get(path)
        assert answer.status_code == 404
        assert "import" not in answer.text


@pytest.mark.parametrize("name", ["protocol", "network", "station", "agent", "server"])
def test_no_pattern_of_a_stranger_takes_long(sample: Store, name: str) -> None:
    web = client_of(settings_of(sample))
    begin = time.process_time()
    for value in ("*" * 60 + "x", "*a" * 90, "a" * 300, ",".join(map(str, range(600)))):
        assert web.get("/api/v1/stats", params={name: value}).status_code == 400
    assert web.get("/api/v1/stats", params={name: "*a*b*c*d*e*f*"}).status_code in (200, 400)
    assert time.process_time() - begin < 10


def test_totals_exclude_the_only_network_under_embargo(sample: Store) -> None:
    operator = bearer(operator_of(sample))
    web = client_of(settings_of(sample, embargo=("G",)))
    for by in ("server", "day", "protocol", "country"):
        split = web.get("/api/v1/stats", params={"by": f"{by},network"}).json()
        whole = web.get("/api/v1/stats", params={"by": by}).json()
        assert sum(row["bytes"] or 0 for row in whole) == sum(row["bytes"] for row in split)
        assert "G" not in {row["network"] for row in split}
    assert web.get("/metrics").status_code == 403
    assert web.get("/metrics", headers=operator).status_code == 200
    assert not [name for name in web.get("/api/v1/servers").json()[0] if "bytes" in name]


def test_an_owner_sees_no_totals_of_all_networks_if_reading_needs_a_token(sample: Store) -> None:
    owner = bearer(OWNERS.setdefault("G", add_token(sample, "owner-g", networks=("G",))))
    operator = bearer(operator_of(sample))
    web = client_of(settings_of(sample, read_access="token"))
    address = "/eidaws/statistics/1/seedlink/public?start=2026-06"
    assert web.get(address, headers=owner).status_code == 403
    assert web.get(address, headers=operator).status_code == 200


def test_every_answer_has_the_headers_that_keep_it_safe(
    sample: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = client_of(settings_of(sample))
    answers = [web.get(path) for path in ("/", "/nothing", "/api/v1/stats?by=x", "/healthz")]
    service = web.app.state.service
    monkeypatch.setattr(service, "snapshot", lambda: 1 / 0)
    broken = web.get("/")
    assert broken.status_code == 500
    assert "division" not in broken.text
    for answer in (*answers, broken):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "private" in answer.headers["cache-control"]
        assert "Authorization" in answer.headers["vary"]


def test_a_page_is_recomputed_when_an_empty_day_is_deleted(
    web: TestClient, store: Store, log: Callable[..., Path]
) -> None:
    read_into(store, log(block(log_time=JUNE)), server="a")
    read_into(store, log("", "txlog-20260629T0000-20260630T0000"), server="a")
    june = {"from": "2026-06-29", "to": "2026-06-30"}
    assert "2026-06-29: empty" in web.get("/", params=june).text
    store.delete("a", date(2026, 6, 29), date(2026, 6, 29), try_only=False)
    assert "2026-06-29: missing" in web.get("/", params=june).text


def test_periods_without_logs_are_not_compared(
    web: TestClient, store: Store, log: Callable[..., Path]
) -> None:
    for day in (29, 30):
        text = block(log_time=JUNE - (30 - day) * 86_400, host=f"h{day}.example")
        name = (
            f"txlog-202606{day}T0000-202606{day + 1}T0000"
            if day < 30
            else ("txlog-20260630T0000-20260701T0000")
        )
        read_into(store, log(text, name), server="a")
    assert 'class="change"><span' in web.get("/?from=2026-06-30&to=2026-06-30").text
    assert 'class="change"><span' not in web.get("/?from=2026-06-29&to=2026-06-30").text


@pytest.mark.of_both
def test_a_question_that_takes_too_long_is_stopped(store: Store) -> None:
    read_into(store, LOG, server="a")
    slow = (
        "SELECT count(*) AS n FROM generate_series(1, 3000000) a(x), generate_series(1, 900) b(y)"
    )
    hurried = another(store, query_timeout=0.2)
    begin = time.monotonic()
    with pytest.raises(StoreError, match="took longer than"):
        hurried.ask(slow + " WHERE (x * y) % 7 = 3")
    assert time.monotonic() - begin < LONG


@pytest.mark.of_duckdb
def test_senders_get_no_paths(store: Store, tmp_path: Path) -> None:
    read_into(store, LOG, server="a")
    (tmp_path / "rules.toml").write_text("this is no rule")
    broken = client_of(settings_of(store, rules=tmp_path / "rules.toml"))
    without = client_of(settings_of(store, geoip_city=tmp_path / "none.mmdb"))
    for web, status in ((broken, 503), (without, 200)):
        answer = web.post(named(LOG), content=LOG.read_bytes())
        assert answer.status_code == status
        assert str(tmp_path) not in answer.text


def test_who_writes_may_serve_and_who_reads_shows_pages(
    server: Server, database: str, tmp_path: Path
) -> None:
    owner = make_postgresql(database, tmp_path)
    for name in ("writer", "reader"):
        server.execute(
            f"CREATE ROLE ringserverstats_{name}",
            f"CREATE ROLE serving_{name} LOGIN IN ROLE ringserverstats_{name}",
        )
    try:
        owner.migrate()
        read_into(owner, LOG, server="a")
        other = next(path for path in sorted(REAL.glob("txlog*")) if path != LOG)
        for role, status in (("reader", 403), ("writer", 201)):
            uri = database.replace("owner@", f"serving_{role}@")
            web = client_of(settings_of(owner, uri=uri))
            for path in ("/", "/api/v1/stats?by=month", "/api/v1/servers", "/metrics", "/readyz"):
                assert web.get(path).status_code == 200
            answer = web.post(named(other), content=other.read_bytes())
            assert answer.status_code == status
            assert ("this service only reads" in answer.text) == (role == "reader")
    finally:
        database_name = conninfo_to_dict(database)["dbname"]
        for name in ("writer", "reader"):
            server.execute(f"DROP OWNED BY ringserverstats_{name}", database=database_name)
            server.execute(f"DROP ROLE serving_{name}", f"DROP ROLE ringserverstats_{name}")


def test_neither_probes_nor_others_wait_for_the_readers_of_one_address(sample: Store) -> None:
    free = threading.Event()
    web = client_of(settings_of(sample))
    other = TestClient(web.app, base_url="http://localhost:8000", client=("127.0.0.2", 1))
    service = web.app.state.service
    with start_blocking_portal() as web.portal, ThreadPoolExecutor(20) as pool:
        with service.snapshot() as store:
            version, rows = service.version(store, None, None), read_metrics(store)
        pool.submit(service.metrics.get, "metrics", version, lambda: (free.wait(LONG), rows)[1])
        wait_for(lambda: "metrics" in service.metrics._computations)
        try:
            readers = [pool.submit(web.get, "/metrics") for _ in range(12)]
            wait_for(lambda: service.metrics._computations["metrics"].threads == 7)
            other.portal = web.portal
            assert pool.submit(other.get, "/api/v1/servers").result(LONG).status_code == 200
            for path in ("/healthz", "/readyz"):
                assert pool.submit(web.get, path).result(LONG).status_code == 200
            assert not any(reader.done() for reader in readers)
        finally:
            free.set()
        assert {reader.result(LONG).status_code for reader in readers} == {200}


def test_suppressed_rows_are_noted(sample: Store) -> None:
    web = client_of(settings_of(sample, embargo=("G",)))
    notes = web.get("/api/v1/stats?from=2026-06-25&to=2026-07-02").headers["x-notes"]
    assert "embargo" in notes
    assert "14 missing of 16" in notes


@pytest.mark.parametrize("asked", ["", " ", "a\r\nX-Evil: 1", "\x00", "é "])
def test_what_was_asked_makes_no_header_of_its_own(sample: Store, asked: str) -> None:
    answer = client_of(settings_of(sample)).get("/api/v1/stats", params={"class": f"*,{asked}"})
    assert answer.status_code == 200
    notes = answer.headers["x-notes"]
    assert notes.isascii()
    assert notes.isprintable()
    assert notes == notes.strip()
    assert "x-evil" not in answer.headers


def test_pages_are_shown_below_a_path(sample: Store) -> None:
    web = client_of(settings_of(sample, root_path="/statistics/"))
    page = web.get("/", params=WHOLE).text
    assert 'href="/statistics/static/style.css' in page
    assert 'href="/static' not in page
    assert web.get("/static/style.css").status_code == 200
    signed = web.post("/sign-in", data={"token": operator_of(sample)})
    assert signed.headers["location"] == "/statistics/"
    assert "Path=/statistics/" in signed.headers["set-cookie"]
