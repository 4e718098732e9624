"""The HTTP client of the exporters: limits, redirects, proxies, and no secret in a message."""

import gzip
import io
from collections.abc import Iterator

import pytest
from influx import Recording, recording

from ringserverstats.errors import ExportError, ServiceError
from ringserverstats.exports.eida.upload import upload
from ringserverstats.exports.http import MAX_RESPONSE, HTTPClient, NoResponseError
from ringserverstats.exports.influxdb import client as influxdb
from ringserverstats.exports.influxdb.client import open_influxdb

TOKEN = "s3cret-token"  # noqa: S105 - of a service that lives for a test
BODY = gzip.compress(b"{}")


@pytest.fixture
def service() -> Iterator[Recording]:
    with recording() as service:
        yield service


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_long_response_is_cut_and_the_next_one_is_whole(service: Recording) -> None:
    client = HTTPClient({}, connect_timeout=5)
    service.answers = [(200, {}, "x" * 3 * MAX_RESPONSE), (200, {}, "short")]
    assert len(client.request("GET", service.url, timeout=5).body) == MAX_RESPONSE
    assert client.request("GET", service.url, timeout=5).body == b'"short"'


def test_a_slow_response_times_out_and_is_not_requested_again(service: Recording) -> None:
    service.slow = b"slow"
    client = HTTPClient({}, connect_timeout=5)
    with pytest.raises(NoResponseError, match="no response in time"):
        client.request("PUT", service.url, b"slow", timeout=0.2)
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_influxdb_gets_no_token_by_a_redirect(service: Recording, status: int) -> None:
    with recording() as other:
        service.otherwise = (status, {"Location": other.url}, None)
        database = open_influxdb(f"{service.url}?org=o&bucket=b", TOKEN)
        with pytest.raises(ExportError, match=f"answered {status}") as error:
            database.write(b"a bytes=1i")
        assert other.requests == []
    assert len(service.requests) == 1
    assert TOKEN in service.requests[0].headers["authorization"]
    assert TOKEN not in str(error.value)


def test_a_long_error_of_influxdb_is_cut(service: Recording) -> None:
    service.otherwise = (400, {}, {"error": "wrong\x1b[31m " + "x" * 2 * MAX_RESPONSE})
    with pytest.raises(ExportError) as error:
        open_influxdb(f"{service.url}?db=x", None).write(b"a bytes=1i")
    assert len(str(error.value)) < 500
    assert "\x1b" not in str(error.value)


def test_the_password_of_an_influxdb_that_is_away_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(influxdb, "_BACKOFF", 0.01)
    database = open_influxdb("http://me:hunter2@127.0.0.1:1?db=x", None)
    with pytest.raises(ExportError, match="cannot be reached") as error:
        database.write(b"a bytes=1i")
    assert "hunter2" not in str(error.value)
    assert error.value.status == 0


def test_an_upload_goes_through_the_proxy_of_the_environment(
    service: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.otherwise = (200, {}, "stored")
    url = "http://statistics.example/submit"
    monkeypatch.setenv("http_proxy", service.url.replace("http://", "http://user:p%3Aw@"))
    assert "200 OK" in upload(url, TOKEN, io.BytesIO(BODY), len(BODY))
    (request,) = service.requests
    assert (request.method, request.path) == ("PUT", "/submit")
    assert request.headers["host"] == "statistics.example"
    assert request.headers["proxy-authorization"] == "Basic dXNlcjpwOnc="
    monkeypatch.setenv("no_proxy", "statistics.example")
    with pytest.raises(ServiceError, match="cannot be reached"):
        upload(url, TOKEN, io.BytesIO(BODY), len(BODY))
    assert len(service.requests) == 1
    monkeypatch.delenv("no_proxy")
    for proxy in ("socks5h://user:sekret@localhost:1", "http://user:sekret@localhost:99999"):
        monkeypatch.setenv("http_proxy", proxy)
        with pytest.raises(ServiceError, match="cannot be reached") as refused:
            upload(url, TOKEN, io.BytesIO(BODY), len(BODY))
        assert "sekret" not in str(refused.value)
