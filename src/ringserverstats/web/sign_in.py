"""Signing in and out, and error pages: who needs a token is shown where to enter it."""

import asyncio
from urllib.parse import parse_qs, urlsplit

from anyio import to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ringserverstats.store.tokens import find_token
from ringserverstats.web.authorization import COOKIE, is_cross_site
from ringserverstats.web.endpoint import Access, Endpoint
from ringserverstats.web.rendering import Heading, base_path, render
from ringserverstats.web.service import Service

_MAX_AGE = 31 * 86_400  # seconds
_MAX_FORM = 10_000  # bytes
_FORM_TIMEOUT = 10  # seconds


async def sign_in(service: Service, request: Request) -> Response:
    """Return the sign-in page, or set the cookie for a token that is posted."""
    if request.method != "POST":
        return _sign_in_page(service, request)
    secret = await _read_token(request)
    tokens = await to_thread.run_sync(service.tokens.get)
    if is_cross_site(request):
        raise HTTPException(403, "sign in on the page of this service")
    token = find_token(tokens, secret)
    if token is None:
        return _sign_in_page(service, request, "This token is unknown or was revoked.", 403)
    if token.may_ingest and not token.networks:
        return _sign_in_page(service, request, "This token can post logs but not read.", 403)
    response = RedirectResponse(base_path(request) + "/", 303)
    response.set_cookie(
        COOKIE,
        secret,
        max_age=_MAX_AGE,
        path=base_path(request) + "/",
        secure=request.headers.get("origin", str(request.url)).startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return response


async def _read_token(request: Request) -> str:
    body = b""
    try:
        async with asyncio.timeout(_FORM_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    raise HTTPException(413, "the form is too large")
    except TimeoutError:
        raise HTTPException(408, "the form arrived too slowly") from None
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()


def _sign_in_page(
    service: Service, request: Request, problem: str = "", status: int = 200
) -> Response:
    response = render(service, request, "sign_in.html", Heading("Sign in"), problem=problem)
    response.status_code = status
    return response


async def sign_out(_: Service, request: Request) -> Response:
    """Delete the cookie."""
    if is_cross_site(request):
        raise HTTPException(403, "sign out on the page of this service")
    response = RedirectResponse(base_path(request) + "/", 303)
    response.delete_cookie(COOKIE, path=base_path(request) + "/")
    return response


def wants_page(request: Request) -> bool:
    """Return True if a browser shows the response to ``request``."""
    accepted = request.headers.get("accept", "")
    path = urlsplit(str(request.url)).path
    return request.method == "GET" and "text/html" in accepted and "/api/" not in path


def error_page(service: Service, request: Request, error: HTTPException) -> Response:
    """Return a page with the message of ``error``; for 401 the sign-in page."""
    message = error.detail[:1].upper() + error.detail[1:].rstrip(".") + "."
    if error.status_code == 401:
        response = _sign_in_page(service, request, message, 401)
        if COOKIE in request.cookies:
            response.delete_cookie(COOKIE, path=base_path(request) + "/")
    else:
        heading = Heading("Not found" if error.status_code == 404 else "Error")
        response = render(service, request, "error.html", heading, message=message)
        response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


ENDPOINTS = (
    Endpoint("/sign-in", sign_in, methods=("GET", "POST"), access=Access.NONE),
    Endpoint("/sign-out", sign_out, methods=("POST",), access=Access.NONE),
)
