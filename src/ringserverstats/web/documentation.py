"""What the service can be asked, as OpenAPI 3.1 and as a page made of it."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from ringserverstats import __version__
from ringserverstats.statistics.coverage import PERIODS
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES
from ringserverstats.statistics.parameters import PERIOD
from ringserverstats.statistics.serialize import FORMATS
from ringserverstats.web import pages
from ringserverstats.web.api import TYPES
from ringserverstats.web.responses import told

if TYPE_CHECKING:
    from ringserverstats.web.service import Service

_PERIOD_HELP = {
    "from": ("First day: 2026, 2026-11 or 2026-11-24", "2026-11-01"),
    "to": ("Last day; 2026-11 holds all of November", "2026-11"),
    "month": ("Only this month", "2026-11"),
    "year": ("Only this year", "2026"),
    "last": ("Until today: 30d, 4w, 6m or 1y", "30d"),
}
_ERRORS = {
    "400": "A parameter is none, or its value is wrong",
    "401": "A token is needed, or the given one is not known",
    "403": "The token is not for this",
    "404": "There is nothing, or no store yet",
    "503": "The store is away; try again after the seconds of Retry-After",
}
_RECEIPT = {
    "201": "Entries were counted: the receipt",
    "200": "All was known before: the receipt",
    "400": "Nothing in it can be read",
    "408": "Nothing came for a minute",
    "413": "It is too large, or unpacks to too much",
    "415": "It is packed in a way that is not known, or a form",
    "429": "Too many logs come at the same time",
}
_EXAMPLES = {
    "by": "month,network",
    "measure": "bytes,clients",
    "network": "FR,R?",
    "station": "CI*",
    "country": "DE",
    "server": "node-a",
    "direction": "TX",
    "sort": "clients",
}


def _parameter(name: str, help_: str, *, example: Any = None, **schema: Any) -> dict[str, Any]:
    found = {"name": name, "in": "query", "description": help_, "schema": schema}
    return {**found, "example": example} if example is not None else found


def _text(name: str, help_: str, example: str | None = None) -> dict[str, Any]:
    return _parameter(name, help_, example=example, type="string")


def _period() -> list[dict[str, Any]]:
    return [_text(name, *_PERIOD_HELP[name]) for name in PERIOD]


def _filters(*names: str) -> list[dict[str, Any]]:
    return [
        _text(
            name,
            f"Only these {FILTERS[name].help} (a list with commas; * and ? are wildcards)",
            _EXAMPLES.get(name),
        )
        for name in names or FILTERS
    ]


def _format() -> dict[str, Any]:
    return _parameter("format", "Of the answer", type="string", enum=list(FORMATS), default="json")


def _answers(*, rows: str) -> dict[str, Any]:
    content: dict[str, Any] = {kind.partition(";")[0]: {} for kind in TYPES.values()}
    return {"200": {"description": rows, "content": content}, **_refusals()}


def _refusals() -> dict[str, Any]:
    return {
        status: {"description": text, "content": {"application/json": {}}}
        for status, text in _ERRORS.items()
    }


def _get(summary: str, parameters: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": parameters, "responses": answers}}


def _receiving() -> dict[str, Any]:
    operation = {
        "summary": "Receive a log",
        "description": "The body is the log, whatever its Content-Type; plain, gzip or zstd. The"
        " same log again changes nothing.",
        "parameters": [
            _text("server", "The server that wrote it; else by its name's prefix", "node-a"),
            _text("name", "The log's file name", "txlog-20261124T0000-20261125T0000"),
        ],
        "requestBody": {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
        "responses": {
            **_refusals(),
            **{
                status: {"description": text, "content": {"application/json": {}}}
                for status, text in _RECEIPT.items()
            },
        },
    }
    return {"post": operation, "put": operation}


@cache
def description() -> dict[str, Any]:
    """The OpenAPI description."""
    query = [
        _text("by", f"Group by, in this order: {', '.join(DIMENSIONS)}", _EXAMPLES["by"]),
        *_period(),
        *_filters(),
        _text("measure", f"Numbers to show: {', '.join(MEASURES)}", _EXAMPLES["measure"]),
        _text("sort", "A measure (largest first) or a group", _EXAMPLES["sort"]),
        _parameter("top", "Only the first rows", type="integer", minimum=1, maximum=999999999),
        _format(),
    ]
    by = _parameter("by", "Rows", type="string", enum=list(PERIODS))
    plain = {"200": {"description": "ok"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ringserverstats",
            "version": __version__,
            "description": "Who reads real-time seismic data, and how much. Days are the local"
            " dates of each server. Readers without a token get what is public: no single"
            " clients, no networks under embargo, no small counts; X-Notes says what is left out.",
        },
        "paths": {
            "/": _receiving(),
            "/api/v1/stats": _get("Any question", query, _answers(rows="Rows of the answer")),
            "/api/v1/coverage": _get(
                "Which days the logs cover",
                [by, *_period(), *_filters("server", "direction"), _format()],
                _answers(rows="Days or months by server"),
            ),
            "/api/v1/rejects": _get(
                "What was not counted, for the operator",
                [*_period(), *_filters("server"), _format()],
                _answers(rows="Places in logs"),
            ),
            "/api/v1/servers": _get("The servers", [_format()], _answers(rows="Servers")),
            "/eidaws/statistics/1/seedlink/public": _get(
                "The same as EIDA's statistics of dataselect have it",
                _eida(),
                {
                    "200": {"description": "Rows, as JSON or CSV"},
                    "501": {"description": "Sketches are not to be had here"},
                    **_refusals(),
                },
            ),
            "/eidaws/statistics/1/health": _get("EIDA's sign of health", [], plain),
            "/metrics": _get("Numbers for Prometheus", [], {**plain, **_refusals()}),
            "/healthz": _get("The process is there", [], plain),
            "/readyz": _get(
                "The store can be asked", [], {**plain, "503": {"description": "it cannot"}}
            ),
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _eida() -> list[dict[str, Any]]:
    return [
        _text("start", "First month", "2026-10"),
        _text("end", "Last month", "2026-11"),
        _text("node", "Names of nodes"),
        _text("network", "One network", "FR"),
        _text("country", "Countries"),
        _text("level", "node or network; finer codes are * then"),
        _text("details", "month or year, country", "month,country"),
        _text("format", "csv or json", "json"),
        _text("hllvalues", "true adds sketches of clients"),
    ]


def openapi(_service: "Service", _request: Request) -> Response:
    """The description for programs."""
    return told(description())


def docs(service: "Service", request: Request) -> Response:
    """The description for people."""
    return pages.documentation_page(service, request, description())


ROUTES: dict[str, Callable[["Service", Request], Response]] = {
    "/openapi.json": openapi,
    "/docs": docs,
}
