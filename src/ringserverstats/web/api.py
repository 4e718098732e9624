"""Answers for programs: questions, coverage, rejects, servers, EIDA's form, metrics, health."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from ringserverstats import __version__
from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.exports.eida import statistics_service
from ringserverstats.statistics.coverage import PERIODS, coverage, gaps
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS
from ringserverstats.statistics.footnotes import client_footnotes, log_footnotes, network_footnotes
from ringserverstats.statistics.parameters import PERIOD, query_of
from ringserverstats.statistics.publish import result_for
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.serialize import FORMATS
from ringserverstats.web.metrics import measured, metrics_text
from ringserverstats.web.responses import RefusedError, told
from ringserverstats.web.view import today, words_of

if TYPE_CHECKING:
    from ringserverstats.web.service import Service

_SERVERS = """
SELECT v.name AS server, coalesce(nullif(v.timezone, ''), 'UTC') AS timezone,
       min(f.day)::text AS first_day, max(f.day)::text AS last_day
  FROM server v LEFT JOIN connection_by_day f ON f.server = v.server GROUP BY 1, 2 ORDER BY 1
"""
#: Media types of formats.
TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "parquet": "application/vnd.apache.parquet",
}


def _split(request: Request, *own: str) -> tuple[dict[str, list[str]], dict[str, str], str]:
    """The words of a question, those of ``own`` besides, and the format."""
    words = words_of(request)
    found = {}
    for name in (*own, "format"):
        texts = words.pop(name, [])
        if len(texts) > 1:
            raise UsageError(f"{name} is told twice; tell it once")
        found[name] = texts[0] if texts else ""
    format_ = found.pop("format") or "json"
    if format_ not in FORMATS:
        raise UsageError(f"there is no format {format_!a}; known: {', '.join(FORMATS)}")
    return words, found, format_


def _answered(rows: pa.Table, format_: str, name: str, notes: list[str]) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}.{format_}"'}
    if notes:
        # They tell what was asked: with a line's end, or a space at its own, it would be no header.
        headers["X-Notes"] = "; ".join(notes).encode("unicode_escape").decode().strip()
    return StreamingResponse(FORMATS[format_](rows), media_type=TYPES[format_], headers=headers)


def stats(service: "Service", request: Request) -> Response:
    """Any question."""
    principal = service.principal(request)
    words, _, format_ = _split(request)
    query = query_of(words, today())
    store = service.existing()  # not of one reading: what follows holds it no longer than needed
    answer = result_for(principal.reader, store, query, service.policy)
    is_operator = principal.reader.is_operator
    notes = [
        *log_footnotes(store, query, gaps(store, query), with_rejects=is_operator),
        *client_footnotes(store, query),
        *network_footnotes(answer.nearest),
    ]
    texts = [*(note.text for note in notes), *answer.suppressed]
    return _answered(answer.rows, format_, "stats", texts)


def coverage_of(service: "Service", request: Request) -> Response:
    """Which days the logs cover."""
    principal = service.principal(request)
    words, own, format_ = _split(request, "by")
    query = query_of(_only(words, *PERIOD, *COVERAGE_FILTERS), today())
    with service.reading() as store:
        rows = coverage(store, query, by=own["by"] or PERIODS[0])
    if not principal.reader.is_operator:  # who may know of some networks alone is told no sums
        rows = rows.drop_columns(["entries", "rejects"])
    return _answered(rows, format_, "coverage", [])


def rejected(service: "Service", request: Request) -> Response:
    """What was not counted, and why; for the operator, as files are named."""
    if not service.principal(request).reader.is_operator:
        raise RefusedError(403, "what was rejected is for the operator alone")
    words, _, format_ = _split(request)
    query = query_of(_only(words, *PERIOD, "server"), today())
    with service.reading() as store:
        rows = rejects(store, query)
    return _answered(rows, format_, "rejects", [])


def servers(service: "Service", request: Request) -> Response:
    """The servers, and the days that are known of each."""
    service.principal(request)
    words, _, format_ = _split(request)
    _only(words)
    with service.reading() as store:
        return _answered(store.ask(_SERVERS), format_, "servers", [])


def _only(words: dict[str, list[str]], *names: str) -> dict[str, list[str]]:
    for name in words:
        if name not in names:
            known = ", ".join((*names, "format"))
            raise UsageError(f"there is no parameter {name!a} here; known: {known}")
    return words


def eida(service: "Service", request: Request) -> Response:
    """What EIDA's statistics of dataselect answer, of real-time data."""
    if service.principal(request).reader.networks and service.settings.read_access != "public":
        raise RefusedError(403, "this tells of all networks, your token of some")
    reply = statistics_service.respond(
        service.existing(),
        request.url.query,
        node=service.settings.eida_node,
        policy=service.policy,
        today=today(),
    )
    return StreamingResponse(reply.body, reply.status, media_type=reply.media_type)


def metrics(service: "Service", request: Request) -> Response:
    """The store in numbers, for Prometheus."""
    reader = service.principal(request).reader
    if not reader.is_operator and (reader.networks or service.policy.embargoed):
        raise RefusedError(403, "these are sums over all networks: for the operator")
    with service.reading() as store:
        version = service.version(store, None, None)
        due = service.export_worker.due(store)  # which no version tells
        found = service.metrics.get("metrics", version, lambda: measured(store))
    text = metrics_text(found, time.time(), due)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def health(_: Request) -> Response:
    """The process is there."""
    return told({"status": "ok", "version": __version__})


def ready(service: "Service", _: Request) -> Response:
    """The store can be asked."""
    try:
        store = service.store()
        is_there = store.exists()
        if is_there:
            with store.reading(limited=True) as ask:
                ask("SELECT id FROM store")
    except RingserverStatsError:
        return told({"status": "the store is away"}, 503)
    return told({"status": "ok" if is_there else "ok, and there is no store yet"})


ROUTES: dict[str, Callable[["Service", Request], Response]] = {
    "/api/v1/stats": stats,
    "/api/v1/coverage": coverage_of,
    "/api/v1/rejects": rejected,
    "/api/v1/servers": servers,
    "/eidaws/statistics/1/seedlink/public": eida,
    "/metrics": metrics,
    "/readyz": ready,
}
#: Where `health` answers.
HEALTH = ("/healthz", "/eidaws/statistics/1/health")
