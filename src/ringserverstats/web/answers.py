"""Answers in JSON, and why something is refused."""

import json
from typing import Any

from starlette.responses import Response

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ringserverstats"'}


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


def refused(status: int, message: str, *, retry_after: int | None = None) -> Response:
    """Why nothing was done."""
    answer = told({"error": message}, status)
    if status == 401:
        answer.headers.update(_CHALLENGE)
    if retry_after is not None:
        answer.headers["Retry-After"] = str(retry_after)
    return answer
