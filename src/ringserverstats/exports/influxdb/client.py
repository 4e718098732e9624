"""Clients of InfluxDB: 1.x by /write and /query, 2.x and compatible services by /api/v2.

Addresses are written as in Grafana's and InfluxDB's manuals: ``http://host:8086?db=NAME`` and
``https://host?org=NAME&bucket=NAME``.
"""

import gzip
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import urllib3
from urllib3.util import Retry

from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ExportError, UsageError
from ringserverstats.exports.http import HTTPClient, NoResponseError
from ringserverstats.exports.influxdb.points import FIELDS, MEASUREMENT

#: Days of a window of the totals of 1.x, because InfluxQL has no months.
WINDOW = 30
_MIN_KEEP_DAYS = 93  # the totals read points of up to this age
#: Tags of the totals.
TOTAL_TAGS = ("server", "direction", "network", "station", "class", "country")
WINDOWS, MONTHS = f"{MEASUREMENT}_{WINDOW}d", f"{MEASUREMENT}_by_month"
_CONNECT_TIMEOUT, _TIMEOUT, _TOTALS_TIMEOUT = 5.0, 20.0, 300.0  # seconds
_BACKOFF = 0.5  # seconds before the first retry, doubled for each next one
_GZIP_LEVEL = 6
_MAX_SHOWN = 300  # characters of a response
_UNSUPPORTED = (400, 404, 405, 501)
_BUSY = (429, 500, 502, 503, 504)
_ADDRESSES = "http://host:8086?db=NAME (1.x) or https://host:8086?org=NAME&bucket=NAME (2.x and 3)"
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Connection:
    """How to reach an InfluxDB: base URL, headers with a token or password, days to keep points."""

    base: str
    headers: Mapping[str, str]
    keep_days: int


class InfluxDB(ABC):
    """A database or bucket of InfluxDB."""

    _not_found_hint = ""

    def __init__(self, connection: Connection, name: str) -> None:
        self._base, self._keep_days = connection.base, connection.keep_days
        #: Its name in messages, without user, password or token.
        self.name = f"InfluxDB {connection.base}, {name}"
        self._http = HTTPClient(
            connection.headers,
            retries=Retry(
                total=5,
                read=2,  # if it hangs, so that a command ends after a minute
                backoff_factor=_BACKOFF,
                status_forcelist=_BUSY,
                allowed_methods=None,  # all requests are idempotent
                redirect=False,
                raise_on_status=False,
                retry_after_max=30,
            ),
            connect_timeout=_CONNECT_TIMEOUT,
        )

    @abstractmethod
    def write(self, lines: bytes) -> None:
        """Write points; each replaces one of the same time and tags.

        Raises:
            ExportError: some points were not written.
        """

    @abstractmethod
    def delete(self, first: date, last: date) -> bool:
        """Delete all points of these days; return False if this release cannot."""

    @abstractmethod
    def set_up(self) -> list[str]:
        """Create what computes totals of longer times; return messages for the user."""

    @abstractmethod
    def rebuild_totals(self, first: date, last: date) -> None:
        """Rebuild the totals that contain these days, if `set_up` created them."""

    @property
    def definition(self) -> str:
        """Where points are stored, as one text."""
        return f"kept {self._keep_days} days" if self._keep_days else ""

    def is_kept(self, day: date) -> bool:
        """Return whether InfluxDB keeps points of ``day``; it refuses older ones."""
        return not self._keep_days or day >= self._first_kept

    @property
    def _first_kept(self) -> date:
        return _today() - timedelta(days=self._keep_days - 1)

    def _request(
        self, method: str, url: str, body: bytes = b"", kind: str = "", *, timeout: float = 0
    ) -> Any:
        """Send a request and return the JSON of the response; {} if it is not JSON.

        Args:
            method: such as ``POST``.
            url: path and query.
            body: is compressed if ``kind`` is text.
            kind: media type of ``body``.
            timeout: seconds; 0 is the usual timeout.

        Raises:
            ExportError: there was no response, or it reports an error.
        """
        headers = {"Content-Type": kind} if kind else {}
        if kind.startswith("text/plain"):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        try:
            response = self._http.request(
                method, f"{self._base}{url}", body, headers, timeout=timeout or _TIMEOUT
            )
        except NoResponseError as error:
            raise ExportError(f"{self.name} cannot be reached ({error})") from None
        is_error = response.status >= 300
        is_json = not response.content_type or "json" in response.content_type
        content = _parse(response.body) if is_json or is_error else {}
        if is_error or (isinstance(content, dict) and content.get("error")):
            hint = self._not_found_hint if response.status == 404 else ""
            raise ExportError(
                f"{self.name} answered {response.status}: {_error_of(content)}{hint}",
                response.status,
            )
        return content


class _InfluxDB1(InfluxDB):
    """Releases 1.x."""

    _not_found_hint = "; if the name is correct, create it with: ringserverstats migrate"

    def __init__(self, connection: Connection, db: str) -> None:
        super().__init__(connection, f"database {db}")
        self._db = db
        self._policy = "ringserverstats" if connection.keep_days else ""

    def write(self, lines: bytes) -> None:
        policy = {"rp": self._policy} if self._policy else {}
        query = urlencode({"db": self._db, "precision": "s", **policy})
        self._request("POST", f"/write?{query}", lines, "text/plain; charset=utf-8")

    def delete(self, first: date, last: date) -> bool:
        self._query(f'DELETE FROM "{MEASUREMENT}" WHERE {_time_condition(first, last)}')
        return True

    def set_up(self) -> list[str]:
        self._query(f"CREATE DATABASE {_quoted(self._db)}", db="")
        messages = [f"{self.name}: is ready, with totals of {WINDOW} days ({WINDOWS})"]
        if self._policy:
            words = f"RETENTION POLICY {self._policy} ON {_quoted(self._db)} DURATION"
            duration = f"{self._keep_days}d"
            self._query(f"CREATE {words} {duration} REPLICATION 1")
            self._query(f"ALTER {words} {duration}")
            messages.append(f"points are kept for {self._keep_days} days")
        for name in self._continuous_queries() & {WINDOWS}:  # it cannot be altered
            self._query(f"DROP CONTINUOUS QUERY {name} ON {_quoted(self._db)}")
        self._query(
            f"CREATE CONTINUOUS QUERY {WINDOWS} ON {_quoted(self._db)} RESAMPLE EVERY 1d FOR"
            f" {2 * WINDOW}d BEGIN {self._select_totals('')} END"
        )
        return messages

    def rebuild_totals(self, first: date, last: date) -> None:
        first, last = _window(first)[0], _window(last)[1]
        if not self.is_kept(first):  # a part of its points is gone: keep the window as it is
            first = _window(self._first_kept)[1] + _ONE_DAY
        if first > last or WINDOWS not in self._continuous_queries():
            return
        condition = _time_condition(first, last)
        self._query(f'DELETE FROM "{WINDOWS}" WHERE {condition}')
        self._query(self._select_totals(f"WHERE {condition}"), timeout=_TOTALS_TIMEOUT)

    def _select_totals(self, where: str) -> str:
        sums = ", ".join(f"sum({name}) AS {name}" for name in FIELDS)
        source = f'"{self._policy}"."{MEASUREMENT}"' if self._policy else f'"{MEASUREMENT}"'
        tags = ", ".join(f'"{name}"' for name in TOTAL_TAGS)
        return (
            f'SELECT {sums} INTO "autogen"."{WINDOWS}" FROM {source} {where}'
            f" GROUP BY time({WINDOW}d), {tags}"
        )

    def _continuous_queries(self) -> set[str]:
        """Return the names of the continuous queries of the database."""
        (result, *_) = _list(self._query("SHOW CONTINUOUS QUERIES"), "results") or [{}]
        series = [entry for entry in _list(result, "series") if entry["name"] == self._db]
        return {row[0] for entry in series for row in _list(entry, "values")}

    def _query(self, query: str, *, db: str | None = None, timeout: float = 0) -> Any:
        url = "/query?" + urlencode({"db": self._db if db is None else db})
        body = urlencode({"q": query}).encode()
        kind = "application/x-www-form-urlencoded"
        content = self._request("POST", url, body, kind, timeout=timeout)
        for result in _list(content, "results"):
            if "error" in result:
                raise ExportError(f"{self.name} answered: {_error_of(result)}")
        return content


class _InfluxDB2(InfluxDB):
    """Releases 2.x; 3 accepts the same writes."""

    def __init__(self, connection: Connection, org: str, bucket: str) -> None:
        super().__init__(connection, f"bucket {bucket}")
        self._org, self._bucket = org, bucket

    def write(self, lines: bytes) -> None:
        query = urlencode({"org": self._org, "bucket": self._bucket, "precision": "s"})
        self._request("POST", f"/api/v2/write?{query}", lines, "text/plain; charset=utf-8")

    def delete(self, first: date, last: date) -> bool:
        try:
            self._delete_from(self._bucket, MEASUREMENT, first, last)
        except ExportError as error:
            if error.status in _UNSUPPORTED:  # as in release 3
                return False
            raise
        return True

    def _delete_from(self, bucket: str, measurement: str, first: date, last: date) -> None:
        body = {
            "start": _midnight(first),
            "stop": f"{last}T23:59:59.999999999Z",  # inclusive
            "predicate": f'_measurement="{measurement}"',
        }
        self._call("POST", "/api/v2/delete", {"org": self._org, "bucket": bucket}, body)

    def set_up(self) -> list[str]:
        orgs = _list(self._call("GET", "/api/v2/orgs", {"org": self._org}), "orgs")
        if not orgs:
            raise ExportError(f"{self.name} has no organisation {self._org!a}")
        org = orgs[0]["id"]
        self._set_up_buckets(org)
        task = {
            "orgID": org,
            "flux": f'option task = {{name: "{MONTHS}", every: 1d, offset: 1h}}\n{self._flux()}',
        }
        tasks = _list(self._call("GET", "/api/v2/tasks", {"orgID": org, "name": MONTHS}), "tasks")
        if tasks:
            self._call("PATCH", f"/api/v2/tasks/{tasks[0]['id']}", {}, task)
        else:
            self._call("POST", "/api/v2/tasks", {}, task)
        return [f"{self.name}: totals by month (bucket {self._monthly_bucket})"]

    def _set_up_buckets(self, org: str) -> None:
        """Create the bucket of the totals, and set the retention of that of the points."""
        monthly = {"orgID": org, "name": self._monthly_bucket}
        if not self._buckets(monthly):
            self._call("POST", "/api/v2/buckets", {}, {**monthly, "retentionRules": []})
        if self._keep_days:
            rules = [{"type": "expire", "everySeconds": self._keep_days * 86_400}]
            for bucket in self._buckets({"orgID": org, "name": self._bucket}):
                path = f"/api/v2/buckets/{bucket['id']}"
                self._call("PATCH", path, {}, {"retentionRules": rules})

    def _buckets(self, fields: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            return _list(self._call("GET", "/api/v2/buckets", fields), "buckets")
        except ExportError as error:
            if error.status not in _UNSUPPORTED:
                raise
            return []

    def rebuild_totals(self, first: date, last: date) -> None:
        first, end = first.replace(day=1), _next_month(last)
        if not self.is_kept(first):  # a part of its points is gone: keep the month as it is
            first = _next_month(self._first_kept)
        if first >= end or not self._buckets({"org": self._org, "name": self._monthly_bucket}):
            return
        self._delete_from(self._monthly_bucket, MONTHS, first, end - _ONE_DAY)
        query = self._flux(f"start: {_midnight(first)}, stop: {_midnight(end)}")
        body = {"query": query, "type": "flux"}
        fields = {"org": self._org}
        self._call("POST", "/api/v2/query", fields, body, timeout=_TOTALS_TIMEOUT)

    @property
    def _monthly_bucket(self) -> str:
        return f"{self._bucket}_by_month"

    def _flux(self, span: str = "") -> str:
        """Return Flux that computes totals by month, of ``span`` or of the last two months."""
        imports, begin = "", span
        if not span:
            imports = 'import "date"\n'
            begin = "start: date.truncate(t: date.sub(d: 1mo, from: now()), unit: 1mo)"
        columns = ", ".join(f'"{name}"' for name in ("_field", *TOTAL_TAGS))
        return (
            f"{imports}from(bucket: {json.dumps(self._bucket)})\n"
            f"  |> range({begin})\n"
            f'  |> filter(fn: (r) => r._measurement == "{MEASUREMENT}")\n'
            f"  |> group(columns: [{columns}])\n"
            '  |> aggregateWindow(every: 1mo, fn: sum, timeSrc: "_start", createEmpty: false)\n'
            f'  |> set(key: "_measurement", value: "{MONTHS}")\n'
            f"  |> to(bucket: {json.dumps(self._monthly_bucket)}, org: {json.dumps(self._org)})\n"
            "  |> filter(fn: (r) => false)\n"  # otherwise the response contains all totals
        )

    def _call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str],
        body: object = None,
        *,
        timeout: float = 0,
    ) -> Any:
        """Send ``body`` as JSON and return the JSON of the response."""
        raw = b"" if body is None else json.dumps(body).encode()
        kind = "" if body is None else "application/json"
        return self._request(method, f"{path}?{urlencode(fields)}", raw, kind, timeout=timeout)


def open_influxdb(url: str, token: str | None, *, keep_days: int = 0) -> InfluxDB:
    """Return the client of the InfluxDB at ``url``.

    Args:
        url: see the module; for 1.x it may contain a user and password.
        token: of 2.x and 3.
        keep_days: days that InfluxDB keeps points; 0 leaves its own configuration.

    Raises:
        UsageError: ``url`` or ``keep_days`` is invalid.
    """
    wrong = UsageError(f"the setting influx_url is not an address of InfluxDB; write {_ADDRESSES}")
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        fields = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    except ValueError:
        raise wrong from None
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
        raise wrong
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"
    headers = {}
    if token:
        headers["Authorization"] = f"Token {token}"
    elif parts.username:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers = urllib3.make_headers(basic_auth=user)
    if 0 < keep_days < _MIN_KEEP_DAYS:
        raise UsageError(
            "the setting influx_keep_days is too small, because totals of longer times read old "
            f"points; write 0, or {_MIN_KEEP_DAYS} or more"
        )
    connection = Connection(base, headers, keep_days)
    if "db" in fields:
        return _InfluxDB1(connection, fields["db"])
    if {"org", "bucket"} <= fields.keys():
        return _InfluxDB2(connection, fields["org"], fields["bucket"])
    raise wrong


def _today() -> date:
    return datetime.now(UTC).date()


def _next_month(day: date) -> date:
    return (day.replace(day=1) + 31 * _ONE_DAY).replace(day=1)


def _midnight(day: date) -> str:
    return f"{datetime.combine(day, time()):%Y-%m-%dT%H:%M:%S}Z"


def _time_condition(first: date, last: date) -> str:
    return f"time >= '{_midnight(first)}' AND time < '{_midnight(last + _ONE_DAY)}'"


def _window(day: date) -> tuple[date, date]:
    """Return the first and last day of the window of 30 days of 1.x that contains ``day``."""
    epoch = date(1970, 1, 1)
    first = day - timedelta(days=(day - epoch).days % WINDOW)
    return first, first + timedelta(days=WINDOW - 1)


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parse(body: bytes) -> Any:
    """Return the JSON of a response; another text as an error."""
    try:
        return json.loads(body) if body.strip() else {}
    except ValueError:
        return {"error": body[:_MAX_SHOWN].decode("utf-8", "replace")}


def _list(content: Any, name: str) -> list[Any]:
    """Return the list ``name`` of a response; empty if it has none."""
    items = content.get(name) if isinstance(content, dict) else None
    return items if isinstance(items, list) else []


def _error_of(content: Any) -> str:
    """Return the error that a response reports, printable: it may contain names from logs."""
    fields = content if isinstance(content, dict) else {}
    reason = str(fields.get("error") or fields.get("message") or "no reason")
    return visible(reason.encode("utf-8", "replace"))[:_MAX_SHOWN]
