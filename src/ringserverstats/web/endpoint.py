"""Declares an endpoint once: its route and its entry in the OpenAPI description."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ringserverstats.web.service import Service

_ERRORS = {
    "400": "A parameter is unknown or invalid",
    "401": "A token is missing or invalid",
    "403": "The token does not permit this",
    "404": "Not found, or no log has been imported yet",
    "503": "The store is unavailable; retry after the seconds in Retry-After",
}


class Access(Enum):
    """How the sender of a request is identified."""

    #: By token; who may not read gets an error.
    READER = auto()
    #: By token; who may not read is anonymous.
    OPTIONAL = auto()
    #: By token or local address, in the handler.
    INGEST = auto()
    #: Not at all.
    NONE = auto()


@dataclass(frozen=True)
class Endpoint:
    """An address and its handler.

    Args:
        handler: returns the response; runs in a thread unless it is a coroutine function.
        summary: one line for the OpenAPI description; empty: not listed there.
        parameters: OpenAPI parameter objects; ``body`` is a request body object.
        responses: descriptions by status, besides the usual errors.
        media_types: of responses that are not errors; default: JSON.
        error_media_types: of errors.
    """

    path: str
    handler: Callable[[Service, Request], Response | Awaitable[Response]]
    summary: str = ""
    description: str = ""
    parameters: Sequence[Mapping[str, Any]] = ()
    responses: Mapping[str, str] = field(default_factory=lambda: {"200": "OK"})
    media_types: Sequence[str] = ()
    error_media_types: Sequence[str] = ("application/json",)
    body: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("GET",)
    access: Access = Access.READER

    def operation(self) -> dict[str, Any]:
        """Return the OpenAPI operation object."""
        texts = {**({} if self.access is Access.NONE else _ERRORS), **self.responses}
        optional = {"description": self.description, "requestBody": self.body}
        return {
            "summary": self.summary,
            **{name: value for name, value in optional.items() if value},
            "parameters": list(self.parameters),
            "responses": {
                status: self._response(status, texts[status]) for status in sorted(texts)
            },
        }

    def _response(self, status: str, text: str) -> dict[str, Any]:
        media_types = self.media_types or ("application/json",)
        if status in _ERRORS:
            media_types = self.error_media_types
        return {"description": text, "content": {name: {} for name in media_types}}
