"""Answers in JSON, and why something is refused."""

import json
from typing import Any

from starlette.responses import Response

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ringserverstats"'}

_LATER_AGAIN = (429, 503)
_LATER = 30  # seconds


class RefusedError(Exception):
    """Nothing is done for a request; ``status`` is HTTP's, ``message`` says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def told(content: Any, status: int = 200) -> Response:
    """``content`` as JSON that people can read too."""
    text = json.dumps(content, ensure_ascii=False, indent=1, default=str) + "\n"
    return Response(text, status, media_type="application/json")


def refused(status: int, message: str) -> Response:
    """Why nothing was done."""
    return with_hints(told({"error": message}, status))


def with_hints(answer: Response) -> Response:
    """``answer`` with the headers that tell a program what to do: send a token, come later."""
    if answer.status_code == 401:
        answer.headers.update(_CHALLENGE)
    if answer.status_code in _LATER_AGAIN:
        answer.headers["Retry-After"] = str(_LATER)
    return answer
