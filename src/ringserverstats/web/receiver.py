"""A log that is posted: written to a file while it comes, then read as any other file.

So a slow sender holds neither a thread nor the store, and a log that breaks off, is too large or
unpacks to too much leaves nothing.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.import_report import ImportReport
from ringserverstats.ingest import IngestOptions, ingest
from ringserverstats.logs.names import FileName, check_server_name, read_name
from ringserverstats.logs.source import Source, unpacked_size
from ringserverstats.opening import load_rules, open_geoip
from ringserverstats.web.authorization import check_ingest
from ringserverstats.web.responses import RefusedError, refused, told

if TYPE_CHECKING:
    from ringserverstats.web.service import Service

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_ENCODINGS = {"": b"", "identity": b"", "gzip": _GZIP, "x-gzip": _GZIP, "zstd": _ZSTD}
_PARAMETERS = ("server", "name")
_LABEL = "posted log"
_AWAY = (
    "the store is away, or this service is not set up right, which its operator's log tells; parts"
    " of the log may be counted already: send the same again later, which counts nothing twice"
)
#: Logs that are taken at the same time; of these some are read while the others come.
MOST_POSTS = 16
_MOST_READ = 2
_IDLE = 60  # seconds within which something has to come
_SLOWEST = 1000  # bytes a second, in the long run
_TOO_SLOW = "the log came too slowly, or no more; nothing of it was counted"
_PIECE = 1 << 20
_DRAINED = 16 << 20  # of a log that is refused, so that the sender comes to read why
_DRAINING = 10  # seconds

log = logging.getLogger("ringserverstats.web")


class LogReceiver:
    """Takes logs, some at a time."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._posts = 0
        self._reading = CapacityLimiter(_MOST_READ)

    async def __call__(self, request: Request) -> Response:
        """Count what is posted; the answer is the receipt."""
        body = _body(request)
        try:
            return await self._take(request, body)
        except RefusedError as error:
            await _drain(body)
            log.info("post refused status=%d", error.status)
            return refused(error.status, error.message)
        except ClientDisconnect:
            log.info("post broken off")
            return refused(400, "the log broke off; nothing of it was counted")
        except OSError as error:  # no room for the log, most likely
            log.warning("log not taken: %s", error.strerror)
            return refused(503, "there is no room for the log here just now")

    async def _take(self, request: Request, body: AsyncIterator[bytes]) -> Response:
        settings = self._service.settings
        tokens = await to_thread.run_sync(self._service.tokens)
        check_ingest(request, tokens, settings)
        server, name = _named(request)
        magic = _magic(request)
        _check_size(int(request.headers.get("content-length") or 0), settings.post_limit_bytes)
        if self._posts >= MOST_POSTS:
            raise RefusedError(429, "too many logs come at the same time; try again later")
        self._posts += 1
        try:
            with tempfile.TemporaryFile() as file:  # without a name, which a kill would leave
                size = await _spool(body, file, settings.post_limit_bytes)
                path = Path(f"/proc/self/fd/{file.fileno()}")
                await to_thread.run_sync(_check_content, path, magic, settings.post_limit_bytes)
                source = Source(path, name, size, server, _LABEL)
                report = await to_thread.run_sync(self._read, source, limiter=self._reading)
        finally:
            self._posts -= 1
        status = _status(report)
        log.info(
            "post read status=%d entries=%d known=%d rejected=%d",
            status,
            report.entries,
            report.known,
            report.rejected,
        )
        return told(_report_json(report, status), status)

    def _read(self, source: Source) -> ImportReport:
        settings = self._service.settings
        try:
            rules = load_rules(settings)
            geoip = open_geoip(settings)
            self._service.export_worker.begin()
            report = ingest(
                [source],
                self._service.store(),
                IngestOptions(
                    ipv6_prefix=settings.ipv6_prefix,
                    keep_hosts=settings.keep_hosts,
                    geoip=geoip,
                    rules=rules,
                ),
            )
        except (RingserverStatsError, OSError) as error:  # which name places here: not for senders
            log.warning("log not read: %s", error)
            raise RefusedError(503, _AWAY) from None
        finally:
            self._service.export_worker.wake()
        for problem in geoip.problems:
            log.warning("places: %s", problem)
        report.notes = [note for note in report.notes if note not in geoip.problems]
        return report


async def _body(request: Request) -> AsyncIterator[bytes]:
    """The pieces of a body; it is an error where they come too slowly."""
    pieces = request.stream().__aiter__()
    begin, size = time.monotonic(), 0
    while True:
        try:
            piece = await asyncio.wait_for(anext(pieces), _IDLE)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise RefusedError(408, _TOO_SLOW) from None
        size += len(piece)
        if size < _SLOWEST * (time.monotonic() - begin - _IDLE):
            raise RefusedError(408, _TOO_SLOW)
        yield piece


async def _drain(body: AsyncIterator[bytes]) -> None:
    """Take the beginning of what is not wanted: who still sends would not read the answer."""
    size, end = 0, time.monotonic() + _DRAINING
    try:
        async for piece in body:
            size += len(piece)
            if size > _DRAINED or time.monotonic() > end:
                return
    except (RefusedError, ClientDisconnect, RuntimeError):
        return


async def _spool(body: AsyncIterator[bytes], file: IO[bytes], most: int) -> int:
    """Write ``body`` into ``file``; returns its size in bytes."""
    size, held, pieces = 0, 0, list[bytes]()
    async for piece in body:
        size += len(piece)
        _check_size(size, most)
        pieces.append(piece)
        held += len(piece)
        if held >= _PIECE:
            await to_thread.run_sync(file.writelines, pieces)
            held, pieces = 0, []
    await to_thread.run_sync(file.writelines, pieces)
    await to_thread.run_sync(file.flush)
    return size


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedError(
            413,
            f"the log has more than {most:,} bytes; send it in parts, or let the operator raise "
            "RINGSERVERSTATS_POST_LIMIT",
        )


def _magic(request: Request) -> bytes:
    """With what the body has to begin, by the headers."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/"):
        raise RefusedError(
            415, "send the log itself, not a form: curl --data-binary @FILE, wget --post-file FILE"
        )
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _ENCODINGS:
        raise RefusedError(
            415, "the Content-Encoding is none that is known here; known: gzip, zstd"
        )
    return _ENCODINGS[encoding]


def _named(request: Request) -> tuple[str, FileName]:
    """The server and the log's name that the address tells; ``curl -T`` tells it by its path."""
    given = request.query_params
    for name in given:
        if name not in _PARAMETERS or len(given.getlist(name)) > 1:
            known = " and ".join(_PARAMETERS)
            raise RefusedError(400, f"{name[:40]!a} cannot be told here; {known} can, once each")
    server = given.get("server", "")
    name = given.get("name") or request.path_params.get("log", "")
    try:
        if server:
            check_server_name(server)
    except UsageError as error:
        raise RefusedError(400, str(error)) from None
    found = read_name(name.rpartition("/")[2])
    if name and found.start is None:
        raise RefusedError(
            400,
            "name tells no interval; write it as the log is called: "
            "txlog-20261124T0000-20261125T0000",
        )
    return server, found


def _check_content(path: Path, magic: bytes, most: int) -> None:
    with open(path, "rb") as file:
        begin = file.read(4)
    if not begin:
        raise RefusedError(
            400, "the body is empty; send a log: wget --post-file FILE, curl --data-binary @FILE"
        )
    if not begin.startswith(magic):
        raise RefusedError(400, "the body is not packed as its Content-Encoding says")
    _check_size(unpacked_size(path, most=most), most)


def _status(report: ImportReport) -> int:
    if report.entries:
        return 201
    was_read = report.known + report.empty + report.imported + report.access_lines
    return 200 if was_read else 400


def _report_json(report: ImportReport, status: int) -> dict[str, Any]:
    rejects = [
        {"line": one.line, "lines": one.lines, "reason": one.reason} for _, one in report.rejects
    ]
    found = {**vars(report), "rejects": rejects}
    if status == 400:
        found["error"] = (
            "no whole entry of a usage log is in it, and nothing was counted; curl sends a log as "
            "it is with --data-binary @FILE, not with -d"
        )
    return found
