"""InfluxDB: 1.x by its /write and /query, 2.x (and what speaks as it does) by /api/v2.

Addresses are those of Grafana's and InfluxDB's own manuals: ``http://host:8086?db=NAME`` and
``https://host?org=NAME&bucket=NAME``.
"""

import gzip
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry, Timeout

from ringserverstats import __version__
from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ExportError, UsageError
from ringserverstats.exports.influxdb.points import FIELDS, MEASUREMENT

#: Days of a window of the sums that 1.x makes: it knows no months.
WINDOW = 30
_LEAST_KEPT = 93  # what sums points up looks back at most
#: What the sums over windows and months are split by.
KEPT = ("server", "direction", "network", "station", "class", "country")
WINDOWS, MONTHS = f"{MEASUREMENT}_{WINDOW}d", f"{MEASUREMENT}_by_month"
_CONNECT, _READ, _SUMMING = 5.0, 20.0, 300.0  # seconds to wait
_PAUSE = 0.5  # seconds before it is asked again, twice as many each time
_PACKED = 6  # of gzip's levels
_SHOWN = 300
_WORDS = {
    "NameResolutionError": "no host of that name",
    "NewConnectionError": "nothing listens there",
    "ConnectTimeoutError": "no answer in time",
    "ReadTimeoutError": "no answer in time",
    "SSLError": "no TLS there, or a certificate that is not known here",
    "ProtocolError": "the connection broke",
    "ResponseError": "it goes on to say that it is busy",
}
_NOT_THERE = (400, 404, 405, 501)
_AGAIN = (429, 500, 502, 503, 504)
_FORM = "http://host:8086?db=NAME (1.x) or https://host:8086?org=NAME&bucket=NAME (2.x and 3)"
_ONE_DAY = timedelta(days=1)


class InfluxDB(ABC):
    """A database of InfluxDB."""

    _if_not_there = ""

    def __init__(
        self, base: str, headers: Mapping[str, str], transfer_retention_days: int, name: str
    ) -> None:
        self._base = base
        self._keep_days = transfer_retention_days
        #: What messages call it, without user, password or token.
        self.name = name
        self._pool = urllib3.PoolManager(
            headers={"User-Agent": f"ringserverstats/{__version__}", **headers},
            retries=Retry(
                total=5,
                read=2,  # of one that hangs, so that a command ends after a minute
                backoff_factor=_PAUSE,
                status_forcelist=_AGAIN,
                allowed_methods=None,  # each request may be made again
                redirect=False,  # a token is meant for one place
                raise_on_status=False,
                retry_after_max=30,
            ),
        )

    @abstractmethod
    def write(self, lines: bytes) -> None:
        """Put points there, each in the place of one of the same time and tags.

        Raises:
            ExportError: not all were taken.
        """

    @abstractmethod
    def delete(self, first: date, last: date) -> bool:
        """Take all points of these days away; returns whether it can do that."""

    @abstractmethod
    def set_up(self) -> list[str]:
        """Make what sums points up for a longer time; returns what there is now, in words."""

    @abstractmethod
    def fill(self, first: date, last: date) -> None:
        """Make those sums anew that these days are in, where `set_up` made what they are in."""

    @property
    def definition(self) -> str:
        """Where points stand there."""
        return f"kept {self._keep_days} days" if self._keep_days else ""

    def is_kept(self, day: date) -> bool:
        """Whether points of ``day`` are kept there; older ones are refused."""
        return not self._keep_days or day >= _today() - timedelta(days=self._keep_days - 1)

    def _call(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str],
        body: bytes = b"",
        kind: str = "",
        *,
        wait: float | None = None,
    ) -> Any:
        headers = {**self._pool.headers, **({"Content-Type": kind} if kind else {})}
        if kind.startswith("text/plain"):
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, _PACKED, mtime=0)
        url = f"{self._base}{path}?{urlencode(fields)}"
        try:
            answer = self._pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=Timeout(connect=_CONNECT, read=wait or _READ),
            )
        except MaxRetryError as error:
            raise ExportError(f"{self.name} cannot be reached ({_why(error.reason)})") from None
        except HTTPError as error:
            raise ExportError(f"{self.name} cannot be reached ({_why(error)})") from None
        is_json = "json" in answer.headers.get("Content-Type", "json")
        told = _told(answer.data) if is_json or answer.status >= 300 else {}
        if answer.status >= 300 or (isinstance(told, dict) and told.get("error")):
            hint = self._if_not_there if answer.status == 404 else ""
            raise ExportError(
                f"{self.name} answered {answer.status}: {_reason(told)}{hint}", answer.status
            )
        return told


class _First(InfluxDB):
    """Of the releases 1.x."""

    _if_not_there = "; if the name is right, make it with: ringserverstats migrate"

    def __init__(
        self, base: str, headers: Mapping[str, str], transfer_retention_days: int, db: str
    ) -> None:
        super().__init__(base, headers, transfer_retention_days, f"InfluxDB {base}, database {db}")
        self._db = db
        self._policy = "ringserverstats" if transfer_retention_days else ""

    def write(self, lines: bytes) -> None:
        policy = {"rp": self._policy} if self._policy else {}
        fields = {"db": self._db, "precision": "s", **policy}
        self._call("POST", "/write", fields, lines, "text/plain; charset=utf-8")

    def delete(self, first: date, last: date) -> bool:
        self._ask(f'DELETE FROM "{MEASUREMENT}" WHERE {_span(first, last)}')
        return True

    def set_up(self) -> list[str]:
        self._ask(f"CREATE DATABASE {_quoted(self._db)}", db="")
        made = [f"{self.name}: is there, with sums over {WINDOW} days ({WINDOWS})"]
        if self._policy:
            words = f"RETENTION POLICY {self._policy} ON {_quoted(self._db)} DURATION"
            duration = f"{self._keep_days}d"
            self._ask(f"CREATE {words} {duration} REPLICATION 1")
            self._ask(f"ALTER {words} {duration}")
            made.append(f"points are kept for {self._keep_days} days")
        for name in self._queries() & {WINDOWS}:  # of which it would not say that it changed
            self._ask(f"DROP CONTINUOUS QUERY {name} ON {_quoted(self._db)}")
        self._ask(
            f"CREATE CONTINUOUS QUERY {WINDOWS} ON {_quoted(self._db)} RESAMPLE EVERY 1d FOR"
            f" {2 * WINDOW}d BEGIN {self._sum('')} END"
        )
        return made

    def fill(self, first: date, last: date) -> None:
        first, last = _window(first)[0], _window(last)[1]
        if not self.is_kept(first):  # of which a part is gone: the window stays as it is
            first = _window(_today() - timedelta(days=self._keep_days - 1))[1] + _ONE_DAY
        if first > last or WINDOWS not in self._queries():
            return
        self._ask(f'DELETE FROM "{WINDOWS}" WHERE {_span(first, last)}')
        self._ask(self._sum(f"WHERE {_span(first, last)}"), wait=_SUMMING)

    def _sum(self, where: str) -> str:
        sums = ", ".join(f"sum({name}) AS {name}" for name in FIELDS)
        source = f'"{self._policy}"."{MEASUREMENT}"' if self._policy else f'"{MEASUREMENT}"'
        tags = ", ".join(f'"{name}"' for name in KEPT)
        return (
            f'SELECT {sums} INTO "autogen"."{WINDOWS}" FROM {source} {where}'
            f" GROUP BY time({WINDOW}d), {tags}"
        )

    def _queries(self) -> set[str]:
        """The names of the continuous queries of the database."""
        (told, *_) = _list(self._ask("SHOW CONTINUOUS QUERIES"), "results") or [{}]
        own = [one for one in _list(told, "series") if one["name"] == self._db]
        return {row[0] for one in own for row in _list(one, "values")}

    def _ask(self, query: str, *, db: str | None = None, wait: float | None = None) -> Any:
        fields = {"db": self._db if db is None else db}
        body = urlencode({"q": query}).encode()
        kind = "application/x-www-form-urlencoded"
        told = self._call("POST", "/query", fields, body, kind, wait=wait)
        for one in _list(told, "results"):
            if "error" in one:
                raise ExportError(f"{self.name} answered: {_reason(one)}")
        return told


class _Second(InfluxDB):
    """Of the releases 2.x; 3 takes what is written likewise."""

    def __init__(
        self,
        base: str,
        headers: Mapping[str, str],
        transfer_retention_days: int,
        org: str,
        bucket: str,
    ) -> None:
        super().__init__(
            base, headers, transfer_retention_days, f"InfluxDB {base}, bucket {bucket}"
        )
        self._org, self._bucket = org, bucket

    def write(self, lines: bytes) -> None:
        fields = {"org": self._org, "bucket": self._bucket, "precision": "s"}
        self._call("POST", "/api/v2/write", fields, lines, "text/plain; charset=utf-8")

    def delete(self, first: date, last: date) -> bool:
        try:
            self._take_away(self._bucket, MEASUREMENT, first, last)
        except ExportError as error:
            if error.status in _NOT_THERE:  # as in release 3
                return False
            raise
        return True

    def _take_away(self, bucket: str, measurement: str, first: date, last: date) -> None:
        body = {
            "start": _midnight(first),
            "stop": f"{last}T23:59:59.999999999Z",  # which is in the span, too
            "predicate": f'_measurement="{measurement}"',
        }
        self._send("POST", "/api/v2/delete", {"org": self._org, "bucket": bucket}, body)

    def set_up(self) -> list[str]:
        found = _list(self._send("GET", "/api/v2/orgs", {"org": self._org}), "orgs")
        if not found:
            raise ExportError(f"{self.name} knows no organisation {self._org!a}")
        org = found[0]["id"]
        self._set_up_buckets(org)
        task = {
            "orgID": org,
            "flux": f'option task = {{name: "{MONTHS}", every: 1d, offset: 1h}}\n{self._months()}',
        }
        tasks = _list(self._send("GET", "/api/v2/tasks", {"orgID": org, "name": MONTHS}), "tasks")
        if tasks:
            self._send("PATCH", f"/api/v2/tasks/{tasks[0]['id']}", {}, task)
        else:
            self._send("POST", "/api/v2/tasks", {}, task)
        return [f"{self.name}: sums by month (bucket {self._of_months})"]

    def _set_up_buckets(self, org: str) -> None:
        """Make the bucket of the sums, and let that of the points keep them for as long as told."""
        named = {"orgID": org, "name": self._of_months}
        if not self._buckets(named):
            self._send("POST", "/api/v2/buckets", {}, {**named, "retentionRules": []})
        if self._keep_days:
            rules = [{"type": "expire", "everySeconds": self._keep_days * 86_400}]
            for one in self._buckets({"orgID": org, "name": self._bucket}):
                path = f"/api/v2/buckets/{one['id']}"
                self._send("PATCH", path, {}, {"retentionRules": rules})

    def _buckets(self, fields: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            return _list(self._send("GET", "/api/v2/buckets", fields), "buckets")
        except ExportError as error:
            if error.status not in _NOT_THERE:
                raise
            return []

    def fill(self, first: date, last: date) -> None:
        first, end = first.replace(day=1), (last.replace(day=1) + 31 * _ONE_DAY).replace(day=1)
        if not self.is_kept(first):  # of which a part is gone: the month stays as it is
            edge = _today() - timedelta(days=self._keep_days - 1)
            first = (edge.replace(day=1) + 31 * _ONE_DAY).replace(day=1)
        if first >= end or not self._buckets({"org": self._org, "name": self._of_months}):
            return
        self._take_away(self._of_months, MONTHS, first, end - _ONE_DAY)
        query = self._months(f"start: {_midnight(first)}, stop: {_midnight(end)}")
        body = {"query": query, "type": "flux"}
        self._send("POST", "/api/v2/query", {"org": self._org}, body, wait=_SUMMING)

    @property
    def _of_months(self) -> str:
        return f"{self._bucket}_by_month"

    def _months(self, span: str = "") -> str:
        """Flux that sums up months: those of ``span``, or this one and the one before."""
        imports, begin = "", span
        if not span:
            imports = 'import "date"\n'
            begin = "start: date.truncate(t: date.sub(d: 1mo, from: now()), unit: 1mo)"
        columns = ", ".join(f'"{name}"' for name in ("_field", *KEPT))
        return (
            f"{imports}from(bucket: {json.dumps(self._bucket)})\n"
            f"  |> range({begin})\n"
            f'  |> filter(fn: (r) => r._measurement == "{MEASUREMENT}")\n'
            f"  |> group(columns: [{columns}])\n"
            '  |> aggregateWindow(every: 1mo, fn: sum, timeSrc: "_start", createEmpty: false)\n'
            f'  |> set(key: "_measurement", value: "{MONTHS}")\n'
            f"  |> to(bucket: {json.dumps(self._of_months)}, org: {json.dumps(self._org)})\n"
            "  |> filter(fn: (r) => false)\n"  # else all that was written is answered
        )

    def _send(
        self,
        method: str,
        path: str,
        fields: Mapping[str, str],
        body: object = None,
        *,
        wait: float | None = None,
    ) -> Any:
        raw = b"" if body is None else json.dumps(body).encode()
        kind = "" if body is None else "application/json"
        return self._call(method, path, fields, raw, kind, wait=wait)


def open_influxdb(url: str, token: str | None, *, transfer_retention_days: int = 0) -> InfluxDB:
    """What ``url`` names, which may hold a user and password of 1.x.

    Args:
        url: see the module.
        token: of 2.x.
        transfer_retention_days: days that points are kept there; 0 is as it has it.

    Raises:
        UsageError: it names none.
    """
    wrong = UsageError(f"the setting influx_url is no address of an InfluxDB; write {_FORM}")
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        told = {name: values[-1] for name, values in parse_qs(parts.query).items()}
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
    if 0 < transfer_retention_days < _LEAST_KEPT:
        raise UsageError(
            f"the setting influx_keep_days is too small; what sums points up looks back at them: "
            f"write 0, or {_LEAST_KEPT} and more"
        )
    if "db" in told:
        return _First(base, headers, transfer_retention_days, told["db"])
    if {"org", "bucket"} <= told.keys():
        return _Second(base, headers, transfer_retention_days, told["org"], told["bucket"])
    raise wrong


def _today() -> date:
    return datetime.now(UTC).date()


def _midnight(day: date) -> str:
    return f"{datetime.combine(day, time()):%Y-%m-%dT%H:%M:%S}Z"


def _span(first: date, last: date) -> str:
    return f"time >= '{_midnight(first)}' AND time < '{_midnight(last + _ONE_DAY)}'"


def _window(day: date) -> tuple[date, date]:
    """The first and last day of the window of 30 days that ``day`` is in, as 1.x counts them."""
    epoch = date(1970, 1, 1)
    first = day - timedelta(days=(day - epoch).days % WINDOW)
    return first, first + timedelta(days=WINDOW - 1)


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _told(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw.strip() else {}
    except ValueError:
        return {"error": raw[:_SHOWN].decode("utf-8", "replace")} if raw else {}


def _why(error: Exception | None) -> str:
    """Why there was no answer, in words."""
    name = type(error).__name__
    return _WORDS.get(name, f"no answer: {name}")


def _list(told: Any, name: str) -> list[Any]:
    """What an answer lists under ``name``."""
    found = told.get(name) if isinstance(told, dict) else None
    return found if isinstance(found, list) else []


def _reason(told: Any) -> str:
    """What is wrong, in its words; strangers' names in them do nothing to a terminal."""
    words = told if isinstance(told, dict) else {}
    reason = str(words.get("error") or words.get("message") or "no reason")
    return visible(reason.encode("utf-8", "replace"))[:_SHOWN]
