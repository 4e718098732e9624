"""The OpenAPI 3.1 description of all endpoints, and a page made from it."""

from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from ringserverstats import __version__
from ringserverstats.web import api, pages
from ringserverstats.web.endpoint import Access, Endpoint
from ringserverstats.web.rendering import Heading, render
from ringserverstats.web.responses import json_response
from ringserverstats.web.service import Service

_IN_EXAMPLES = ("by", "last", "start", "network", "measure")


@cache
def description() -> dict[str, Any]:
    """Return the OpenAPI description."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in (*api.ENDPOINTS, *pages.ENDPOINTS):
        if endpoint.summary:
            methods = paths.setdefault(endpoint.path, {})
            methods.update({name.lower(): endpoint.operation() for name in endpoint.methods})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ringserverstats",
            "version": __version__,
            "description": "Usage statistics of real-time seismic data. Days are local dates of"
            " each server. Without a token, results contain public data only: no individual"
            " clients, no embargoed networks, no rows of few clients. X-Notes lists what is"
            " suppressed.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def openapi(_: Service, __: Request) -> Response:
    """Return the description as JSON."""
    return json_response(description())


def docs(service: Service, request: Request) -> Response:
    """Return the description as a page."""
    return render(
        service,
        request,
        "docs.html",
        Heading("API"),
        principal=request.user,
        description=description(),
        url=f"{request.url.scheme}://{request.url.netloc}",
        example=_example,
    )


def _example(operation: Mapping[str, Any]) -> str:
    """Return an example query string of an operation."""
    examples = {
        parameter["name"]: parameter["example"]
        for parameter in operation["parameters"]
        if parameter["name"] in _IN_EXAMPLES and "example" in parameter
    }
    return f"?{urlencode(examples, safe=',*')}" if examples else ""


ENDPOINTS = (
    Endpoint("/openapi.json", openapi, access=Access.NONE),
    Endpoint("/docs", docs, access=Access.OPTIONAL),
)
