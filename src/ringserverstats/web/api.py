"""Endpoints for programs: statistics, EIDA, metrics, health, and the import of logs."""

import time
from functools import partial
from typing import Any

import pyarrow as pa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from ringserverstats import __version__
from ringserverstats.errors import RingserverStatsError, UsageError
from ringserverstats.exports.eida import statistics_service
from ringserverstats.statistics.coverage import PERIODS, coverage
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS, DIMENSIONS, FILTERS, MEASURES
from ringserverstats.statistics.footnotes import (
    log_footnotes,
    result_footnotes,
    running_footnotes,
)
from ringserverstats.statistics.gaps import gaps, with_all_groups
from ringserverstats.statistics.packets import packetless_days
from ringserverstats.statistics.parameters import PERIOD, query_of
from ringserverstats.statistics.publish import QueryContext
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.serialize import FORMATS
from ringserverstats.web.endpoint import Access, Endpoint
from ringserverstats.web.metrics import metrics_text, read_metrics
from ringserverstats.web.responses import json_response
from ringserverstats.web.service import Service
from ringserverstats.web.view import query_parameters, today

_SERVERS = """
SELECT v.name AS server, coalesce(nullif(v.timezone, ''), 'UTC') AS timezone,
       min(f.day)::text AS first_day, max(f.day)::text AS last_day
  FROM server v LEFT JOIN connection_by_day f ON f.server = v.server GROUP BY 1, 2 ORDER BY 1
"""
_MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "parquet": "application/vnd.apache.parquet",
}
_MAX_NOTES = 3000  # bytes; nginx accepts headers of 4096 in total
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def stats(service: Service, request: Request) -> Response:
    """Return the result of any query."""
    parameters, _, format_ = _parameters(request)
    query = query_of(parameters, today())
    with service.snapshot() as store:
        context = QueryContext(store, request.user.role, service.policy)
        groups = gaps(store, query)
        result = with_all_groups(query, context.result(query), groups)
        notes = [
            *running_footnotes(query, result.rows, today()),
            *log_footnotes(context, query, groups),
            *result_footnotes(context, query, result, packetless_days(context, query)),
        ]
    texts = [*(note.text for note in notes), *result.notes, *result.suppressed]
    return _table_response(result.rows, format_, "stats", texts)


def coverage_rows(service: Service, request: Request) -> Response:
    """Return which days the logs cover."""
    parameters, by, format_ = _parameters(request, "by", allowed=(*PERIOD, *COVERAGE_FILTERS))
    query = query_of(parameters, today())
    with service.snapshot() as store:
        rows = coverage(store, query, by=by or PERIODS[0])
    if not request.user.role.is_operator:  # these counts include all networks
        rows = rows.drop_columns(["entries", "rejects"])
    return _table_response(rows, format_, "coverage")


def reject_rows(service: Service, request: Request) -> Response:
    """Return rejected log entries; for the operator, as rows contain file names."""
    if not request.user.role.is_operator:
        raise HTTPException(403, "only the operator can see rejected log entries")
    parameters, _, format_ = _parameters(request, allowed=(*PERIOD, *COVERAGE_FILTERS))
    filters = [name for name in COVERAGE_FILTERS if name in parameters]  # no default direction
    query = query_of(parameters, today()).only(*filters)
    with service.snapshot() as store:
        rows = rejects(store, query)
    return _table_response(rows, format_, "rejects")


def servers(service: Service, request: Request) -> Response:
    """Return the servers, with time zone and first and last day."""
    _, _, format_ = _parameters(request, allowed=())
    with service.snapshot() as store:
        return _table_response(store.ask(_SERVERS), format_, "servers")


def _parameters(
    request: Request, extra: str = "", *, allowed: tuple[str, ...] | None = None
) -> tuple[dict[str, list[str]], str, str]:
    """Return the parameters of a query, the value of parameter ``extra``, and the format.

    Raises:
        UsageError: a parameter is not ``allowed`` (None: all are), repeated or invalid.
    """
    parameters = query_parameters(request)
    for name in (extra, "format", *PERIOD):
        if "" in parameters.get(name, []):
            raise UsageError(f"{name} is empty; leave it out, or give a value")
    values = {}
    for name in (extra, "format"):
        texts = parameters.pop(name, [])
        if len(texts) > 1:
            raise UsageError(f"{name} is given more than once")
        values[name] = texts[0] if texts else ""
    format_ = values["format"] or "json"
    if format_ not in FORMATS:
        raise UsageError(f"unknown format {format_!a}; allowed: {', '.join(FORMATS)}")
    if allowed is not None:
        for name in parameters.keys() - {*allowed}:
            names = ", ".join((*allowed, "format"))
            raise UsageError(f"unknown parameter {name!a}; allowed: {names}")
    return parameters, values[extra], format_


def _table_response(
    rows: pa.Table, format_: str, name: str, notes: list[str] | None = None
) -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}.{format_}"'}
    if notes:
        # They contain text of the request: escape line ends, and strip blanks, for a valid header.
        text = "; ".join(notes).encode("unicode_escape").decode().strip()
        cut = f"{text[: _MAX_NOTES - 3].rstrip()}..."
        headers["X-Notes"] = text if len(text) <= _MAX_NOTES else cut
    return StreamingResponse(
        FORMATS[format_](rows), media_type=_MEDIA_TYPES[format_], headers=headers
    )


def eida(service: Service, request: Request) -> Response:
    """Return statistics in the form of EIDA's dataselect statistics."""
    if request.user.role.networks and service.settings.read_access != "public":
        raise HTTPException(403, "this covers all networks; your token covers some")
    reply = statistics_service.respond(
        service.existing_store(),
        request.url.query,
        node=service.settings.eida_node,
        policy=service.policy,
        today=today(),
    )
    return StreamingResponse(reply.body, reply.status, media_type=reply.media_type)


def metrics(service: Service, request: Request) -> Response:
    """Return metrics for Prometheus."""
    role = request.user.role
    is_limited = role.networks or service.policy.embargoed or service.policy.limits_all
    if not role.is_operator and is_limited:
        raise HTTPException(403, "metrics cover all networks; only the operator can see them")
    with service.snapshot() as store:
        version = service.version(store, None, None)
        pending = service.export_worker.pending(store)  # not part of the version
        rows = service.metrics.get("metrics", version, lambda: read_metrics(store))
    return PlainTextResponse(metrics_text(rows, time.time(), pending), media_type=_PROMETHEUS)


async def health(_: Service, __: Request) -> Response:
    """Return status 200: the process runs."""
    return json_response({"status": "ok", "version": __version__})


def ready(service: Service, _: Request) -> Response:
    """Return status 200 if the store can be queried, else 503."""
    try:
        store = service.open_store()
        if not store.exists():
            return json_response({"status": "ok, no log has been imported yet"})
        with store.reading(limited=True) as ask:
            ask("SELECT id FROM store")
    except RingserverStatsError:
        return json_response({"status": "the store is unavailable"}, 503)
    return json_response({"status": "ok"})


async def receive_log(service: Service, request: Request) -> Response:
    """Import the log in the body."""
    return await service.log_receiver.receive(request)


def _parameter(name: str, help_: str, example: str = "", **schema: Any) -> dict[str, Any]:
    """Return an OpenAPI parameter object."""
    parameter = {"name": name, "in": "query", "description": help_}
    examples = {"example": example} if example else {}
    return {**parameter, "schema": {"type": "string", **schema}, **examples}


_nonempty_parameter = partial(_parameter, minLength=1)
_EXAMPLES = {
    "network": "FR,R?",
    "station": "CI*",
    "country": "DE",
    "server": "node-a",
    "direction": "TX",
}
_PERIOD = [
    _nonempty_parameter("from", "First day: 2026, 2026-Q4, 2026-11 or 2026-11-24", "2026-11-01"),
    _nonempty_parameter("to", "Last day; 2026-11 includes all of November", "2026-11"),
    _nonempty_parameter("month", "Only this month", "2026-11"),
    _nonempty_parameter("quarter", "Only this quarter", "2026-Q4"),
    _nonempty_parameter("year", "Only this year", "2026"),
    _nonempty_parameter(
        "last",
        "Until today: 30d, 4w, 6m (this month and the five before it), 4q or 1y (12m)",
        "30d",
    ),
    _nonempty_parameter("last-month", "Only last month", enum=["yes"]),
    _nonempty_parameter("yesterday", "Only yesterday", enum=["yes"]),
]
_FILTERS = {
    name: _parameter(
        name,
        f"Only these {filter_.help} (separated by commas; * and ? are wildcards)",
        _EXAMPLES.get(name, ""),
        **({"minLength": 1} if filter_.values else {}),
    )
    for name, filter_ in FILTERS.items()
}
_FORMAT = _parameter("format", "Output format", enum=list(FORMATS), default="json")


_table_endpoint = partial(
    Endpoint, media_types=[media_type.partition(";")[0] for media_type in _MEDIA_TYPES.values()]
)


ENDPOINTS = (
    Endpoint(
        "/",
        receive_log,
        "Import a log",
        description="The body is the log, with any Content-Type; plain, gzip or zstd. To post the"
        " same log again changes nothing. Name its server and its file.",
        parameters=[
            _parameter(
                "server", "Server that wrote it; default: prefix of the file name", "node-a"
            ),
            _parameter("name", "File name of the log", "txlog-20261124T0000-20261125T0000"),
            _parameter("again", "Count the log even if another server has it", enum=["yes"]),
        ],
        body={"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        responses={
            "201": "Entries were counted: the import report",
            "200": "All entries were known before: the import report",
            "400": "The body contains no readable log entry",
            "409": "It names no server, and another one has over half of its new entries: nothing "
            "was counted. Add server, or again=yes",
            "408": "No data arrived for a minute",
            "413": "The log is too large, compressed or uncompressed",
            "415": "The compression is unknown, or the body is a form",
            "429": "Too many logs arrive at the same time",
        },
        methods=("POST", "PUT"),
        access=Access.INGEST,
    ),
    Endpoint("/{log:log}", receive_log, methods=("PUT",), access=Access.INGEST),  # curl -T LOG URL/
    _table_endpoint(
        "/api/v1/stats",
        stats,
        "Query statistics",
        parameters=[
            _parameter(
                "by", f"Dimensions, in this order: {', '.join(DIMENSIONS)}", "month,network"
            ),
            *_PERIOD,
            *_FILTERS.values(),
            _parameter("measure", f"Measures: {', '.join(MEASURES)}", "bytes,clients"),
            _parameter("sort", "A measure (largest first) or a dimension", "clients"),
            _parameter(
                "top",
                "Only the first rows. By time and another dimension: the largest of the period"
                " in each time, all others as one row, other",
                type="integer",
                minimum=1,
                maximum=999999999,
            ),
            _FORMAT,
        ],
        responses={"200": "Rows of the result"},
    ),
    _table_endpoint(
        "/api/v1/coverage",
        coverage_rows,
        "List which days the logs cover",
        parameters=[
            _parameter("by", "Time of one row", enum=list(PERIODS)),
            *_PERIOD,
            _FILTERS["server"],
            _FILTERS["direction"],
            _FORMAT,
        ],
        responses={"200": "Days or months by server"},
    ),
    _table_endpoint(
        "/api/v1/rejects",
        reject_rows,
        "List rejected log entries, for the operator",
        parameters=[
            *_PERIOD,
            _FILTERS["server"],
            _parameter("direction", "TX or RX; default: all, also without a direction", "TX"),
            _FORMAT,
        ],
        responses={"200": "Rejected log entries"},
    ),
    _table_endpoint("/api/v1/servers", servers, "List servers", parameters=[_FORMAT]),
    Endpoint(
        "/eidaws/statistics/1/seedlink/public",
        eida,
        "Query statistics in the form of EIDA's dataselect statistics",
        parameters=[
            _nonempty_parameter("start", "First month", "2026-10"),
            _nonempty_parameter("end", "Last month", "2026-11"),
            _nonempty_parameter("node", "Names of nodes"),
            _nonempty_parameter("network", "One network", "FR"),
            _nonempty_parameter("country", "Countries"),
            _nonempty_parameter("level", "node or network; finer codes are then *"),
            _nonempty_parameter("details", "month or year, country", "month,country"),
            _nonempty_parameter("format", "csv or json", "json"),
            _nonempty_parameter("hllvalues", "true adds sketches of clients"),
        ],
        responses={"200": "Rows, as JSON or CSV", "501": "Sketches are not available here"},
        media_types=["application/json", "text/csv"],
        error_media_types=["application/json", "text/csv"],
    ),
    Endpoint("/eidaws/statistics/1/health", health, "Check EIDA's service", access=Access.NONE),
    Endpoint("/metrics", metrics, "Metrics for Prometheus", media_types=["text/plain"]),
    Endpoint("/healthz", health, "Check that the process runs", access=Access.NONE),
    Endpoint(
        "/readyz",
        ready,
        "Check that the store can be queried",
        responses={"200": "It can", "503": "It cannot"},
        access=Access.NONE,
    ),
)
