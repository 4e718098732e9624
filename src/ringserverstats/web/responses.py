"""JSON responses, and HTTP errors with the headers that their status needs."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ringserverstats"'}
_RETRY = {"Retry-After": "30"}  # seconds


def json_response(content: Any, status: int = 200) -> Response:
    """Return ``content`` as indented JSON."""
    text = json.dumps(content, ensure_ascii=False, indent=1, default=str) + "\n"
    return Response(text, status, media_type="application/json")


def error_response(error: HTTPException) -> Response:
    """Return ``error`` as JSON, with its headers."""
    response = json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response


def unauthorized(message: str) -> HTTPException:
    """Return error 401, which asks for a token."""
    return HTTPException(401, message, _CHALLENGE)


def unavailable(message: str, status: int = 503) -> HTTPException:
    """Return an error after which the client may retry: 503, or 429."""
    return HTTPException(status, message, _RETRY)
