"""Receives logs over HTTP: writes each to a temporary file, then imports it as any other file.

So a slow sender holds neither a thread nor the store, and a log that is incomplete, too large or
unpacks to too much leaves nothing behind.
"""

import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ringserverstats.enrich.log_status import refused_rows
from ringserverstats.enrich.rows import Rows
from ringserverstats.errors import RingserverStatsError, RoleError, UsageError
from ringserverstats.import_report import ImportReport
from ringserverstats.ingest import IngestOptions, ingest
from ringserverstats.logs.names import FileName, check_server_name, read_name
from ringserverstats.logs.source import Source, compression, unpacked_size
from ringserverstats.opening import load_rules, open_geoip
from ringserverstats.settings import Settings
from ringserverstats.store.base import Server, Store, Token
from ringserverstats.web.authorization import TokenCache, check_ingest
from ringserverstats.web.export_worker import ExportWorker
from ringserverstats.web.responses import json_response, unavailable

#: The format of the body by its Content-Encoding; empty: any.
_ENCODINGS = {"": "", "identity": "", "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
_PARAMETERS = ("server", "name", "again")
_ADDRESS = "/?server=NAME&name=txlog-20261124T0000-20261125T0000"
#: Entries of another server's log by which a log without a server is refused, and of how many.
_MIN_COUNTED_ELSEWHERE = 5
_MIN_SHARE_ELSEWHERE = 0.5
_LABEL = "posted log"
_UNAVAILABLE = (
    "the store is unavailable, or this service is configured wrongly: see its log. Parts of the "
    "log may be counted already: send the same log again later, nothing is counted twice"
)
_READ_ONLY = (
    "this service only reads: its role in the database may not store logs. Nothing was counted"
)
#: Logs that are received at the same time, those of one sender, and those that are imported.
MAX_POSTS = 16
MAX_POSTS_OF_SENDER = 4
_MAX_IMPORTS = 2
_IDLE_TIMEOUT = 60  # seconds
_MIN_RATE = 1000  # bytes per second, averaged
_TOO_SLOW = "the log arrived too slowly; nothing of it was counted"
_BUFFER = 1 << 20  # bytes
_MAX_DRAINED = 16 << 20  # bytes of a refused log that are read, so that its sender gets the reason
_DRAIN_TIMEOUT = 10  # seconds

log = logging.getLogger("ringserverstats.web")


@dataclass
class LogReceiver:
    """Receives and imports logs, a limited number at a time."""

    settings: Settings
    open_store: Callable[[], Store]
    tokens: TokenCache
    export_worker: ExportWorker
    _posts: Counter[str] = field(default_factory=Counter)
    _imports: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_MAX_IMPORTS))

    async def receive(self, request: Request) -> Response:
        """Import the log in the body of ``request`` and return the import report.

        Raises:
            HTTPException: the log is refused or incomplete, or cannot be stored.
        """
        body = _read_body(request)
        try:
            report = await self._receive(request, body)
        except HTTPException as error:
            await _drain(body)
            log.info("post refused status=%d", error.status_code)
            raise
        except ClientDisconnect:
            log.info("post aborted by its sender")
            raise HTTPException(400, "the log is incomplete; nothing of it was counted") from None
        except OSError as error:  # most likely the disk is full
            log.warning("post not stored: %s", error.strerror)
            raise unavailable("there is no disk space for the log at present") from None
        status = _status_of(report)
        log.info(
            "post imported status=%d entries=%d known=%d rejected=%d",
            status,
            report.entries,
            report.known,
            report.rejected,
        )
        return json_response(_report_json(report, status), status)

    async def _receive(self, request: Request, body: AsyncIterator[bytes]) -> ImportReport:
        limit = self.settings.post_limit_bytes
        tokens = await to_thread.run_sync(self.tokens.get)
        token = check_ingest(request, tokens, self.settings)
        server, name = _server_and_name(request)
        if token and len(token.servers) == 1 and not name.prefix:
            server = server or token.servers[0]
        expected = _expected_format(request)
        _check_size(int(request.headers.get("content-length") or 0), limit)
        sender = f"token {token.name}" if token else _address(request)
        if self._posts.total() >= MAX_POSTS or self._posts[sender] >= MAX_POSTS_OF_SENDER:
            raise unavailable("too many logs arrive at the same time; try again later", 429)
        self._posts[sender] += 1
        try:
            with tempfile.TemporaryFile() as file:  # without a name: nothing is left after a kill
                size = await _spool(body, file, limit)
                path = Path(f"/proc/self/fd/{file.fileno()}")
                await to_thread.run_sync(_check_content, path, expected, limit)
                source = Source(path, name, size, server, _LABEL)
                again = "again" in request.query_params
                import_ = partial(self._import, source, token, again=again)
                return await to_thread.run_sync(import_, limiter=self._imports)
        finally:
            self._posts -= Counter([sender])

    def _import(self, source: Source, token: Token | None, *, again: bool) -> ImportReport:
        settings = self.settings
        try:
            rules = load_rules(settings)
            geoip = open_geoip(settings)
            self.export_worker.register()
            store = self.open_store()
            options = IngestOptions(
                ipv6_prefix=settings.ipv6_prefix,
                keep_hosts=settings.keep_hosts,
                geoip=geoip,
                rules=rules,
                refresh=False,  # the service does that once the day does not change any more
            )
            check = partial(_check_counted_elsewhere, source, store)
            confirm = None if again or _names_server(source) else check
            # A log that is refused must not create a server.
            is_trial = not _check_server(source, store, token)
            report = ingest([source], store, replace(options, dry_run=is_trial), confirm=confirm)
            if is_trial and _status_of(report) != 400:
                report = ingest([source], store, options)
        except RoleError as error:
            log.warning("log not imported: %s", error)
            raise HTTPException(403, _READ_ONLY) from None
        except (RingserverStatsError, OSError) as error:  # may name paths: not for senders
            log.warning("log not imported: %s", error)
            raise unavailable(_UNAVAILABLE) from None
        finally:
            self.export_worker.wake()
        for problem in geoip.problems:
            log.warning("GeoIP: %s", problem)
        report.notes = [note for note in report.notes if note not in geoip.problems]
        report.notes += _missing_names(source)
        return report


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


async def _read_body(request: Request) -> AsyncIterator[bytes]:
    """Yield the chunks of a body.

    Raises:
        HTTPException: they arrive too slowly.
    """
    chunks = request.stream().__aiter__()
    start, size = time.monotonic(), 0
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks), _IDLE_TIMEOUT)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, _TOO_SLOW) from None
        size += len(chunk)
        if size < _MIN_RATE * (time.monotonic() - start - _IDLE_TIMEOUT):
            raise HTTPException(408, _TOO_SLOW)
        yield chunk


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Read the start of a refused log: a sender that still sends would not read the response."""
    size, end = 0, time.monotonic() + _DRAIN_TIMEOUT
    try:
        async for chunk in body:
            size += len(chunk)
            if size > _MAX_DRAINED or time.monotonic() > end:
                return
    except (HTTPException, ClientDisconnect, RuntimeError):
        return


async def _spool(body: AsyncIterator[bytes], file: IO[bytes], limit: int) -> int:
    """Write ``body`` into ``file``; return its size in bytes."""
    size, buffered, chunks = 0, 0, list[bytes]()
    async for chunk in body:
        size += len(chunk)
        _check_size(size, limit)
        chunks.append(chunk)
        buffered += len(chunk)
        if buffered >= _BUFFER:
            await to_thread.run_sync(file.writelines, chunks)
            buffered, chunks = 0, []
    await to_thread.run_sync(file.writelines, chunks)
    await to_thread.run_sync(file.flush)
    return size


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise HTTPException(
            413,
            f"the log has more than {limit:,} bytes; send it in parts, or ask the operator to "
            "raise RINGSERVERSTATS_POST_LIMIT",
        )


def _expected_format(request: Request) -> str:
    """Return the compression of the body by its Content-Encoding; empty: any."""
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith("multipart/"):
        raise HTTPException(
            415,
            "send the log as the body, not as a form: curl --data-binary @FILE, "
            "wget --post-file FILE",
        )
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise HTTPException(415, "unknown Content-Encoding; supported: gzip, zstd")
    return _ENCODINGS[encoding]


def _server_and_name(request: Request) -> tuple[str, FileName]:
    """Return the server and the log's file name from the query; ``curl -T`` has it in the path."""
    parameters = request.query_params
    for parameter in parameters:
        if parameter not in _PARAMETERS or len(parameters.getlist(parameter)) > 1:
            allowed = ", ".join(_PARAMETERS)
            message = f"parameter {parameter[:40]!a} is unknown or repeated; allowed: {allowed}"
            raise HTTPException(400, message)
        if not parameters[parameter]:
            raise HTTPException(400, f"parameter {parameter} is empty")
    if parameters.get("again", "yes") != "yes":
        raise HTTPException(400, "again can only be yes: count entries that another server has")
    server = parameters.get("server", "")
    name = parameters.get("name") or request.path_params.get("log", "")
    file_name = read_name(name.rpartition("/")[2])
    if name and file_name.start is None:
        raise HTTPException(
            400,
            "name contains no interval; use the file name of the log: "
            "txlog-20261124T0000-20261125T0000",
        )
    return server, file_name


def _check_server(source: Source, store: Store, token: Token | None) -> bool:
    """Return True if the server of ``source`` exists.

    Raises:
        HTTPException: it does not, and its name is not valid; or ``token`` is for other servers.
    """
    name = source.server_name
    existing = next((server for server in store.servers() if server.is_called(name)), None)
    if token and not token.may_post(existing or Server(0, name, "")):
        raise HTTPException(
            403,
            f"this token can post logs of server {' and '.join(token.servers)} only, not of "
            f"{name!a}. Name the server: {_ADDRESS}",
        )
    if existing:
        return True
    try:
        check_server_name(name)
    except UsageError as error:
        raise HTTPException(400, str(error)) from None
    return False


def _names_server(source: Source) -> bool:
    return bool(source.server or source.name.prefix)


def _check_counted_elsewhere(source: Source, store: Store, report: ImportReport) -> None:
    """Check that a log that names no server is not the log of another server.

    Args:
        source: the log.
        store: the store.
        report: the counts before anything is stored.

    Raises:
        HTTPException: over half of its new entries are counted for one other server. It is listed
            as a reject of that server.
    """
    found = report.counted_elsewhere
    if found is None or found.entries < _MIN_COUNTED_ELSEWHERE:
        return
    if found.entries <= _MIN_SHARE_ELSEWHERE * report.entries:
        return
    server = next(one.name for one in store.servers() if one.number == found.server)
    reason = (
        f"posted without a server: {found.entries} of {report.entries} new entries exist under "
        f"server {server!r}"
    )
    rows = refused_rows(
        source,
        server=found.server,
        entry=found.entry,
        entries=report.entries,
        reason=reason,
    )
    store.write(Rows(rejects=rows))
    log.warning("post refused: %s", reason)
    raise HTTPException(
        409,
        f"{reason}, and would count twice; nothing was counted. Name the server: {_ADDRESS}. To "
        f"count them for server {source.server_name!r} too, add again=yes",
    )


def _missing_names(source: Source) -> Iterator[str]:
    """Yield notes on the names that were not posted with the log."""
    if not _names_server(source):
        yield (
            f"no server is named: the entries count for server {source.server_name!r}, and again "
            f"if their log is read under another name. Post to {_ADDRESS}"
        )
    if not source.name.start:
        yield (
            "no file name is given: days are guessed, and no day is known to be complete. Post to "
            f"{_ADDRESS}"
        )


def _check_content(path: Path, expected: str, limit: int) -> None:
    with open(path, "rb") as file:
        start = file.read(6)
    if not start:
        raise HTTPException(
            400, "the body is empty; send a log: wget --post-file FILE, curl --data-binary @FILE"
        )
    if expected and compression(start) != expected:
        raise HTTPException(400, "the body is not compressed as its Content-Encoding says")
    _check_size(unpacked_size(path, most=limit), limit)


def _status_of(report: ImportReport) -> int:
    if report.entries:
        return 201
    was_read = report.known + report.empty + report.imported + report.access_lines
    return 200 if was_read else 400


def _report_json(report: ImportReport, status: int) -> dict[str, Any]:
    rejects = [
        {"line": reject.line, "lines": reject.lines, "reason": reject.reason}
        for _, reject in report.rejects
    ]
    content = {**report.shown, "rejects": rejects}
    if status == 400:
        content["error"] = (
            "the body contains no complete log entry, and nothing was counted; with curl, send a "
            "log with --data-binary @FILE, not with -d"
        )
    return content
