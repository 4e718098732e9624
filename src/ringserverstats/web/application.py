"""The ASGI application: routes, middleware, error handlers and logging."""

import inspect
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import quote
from weakref import WeakValueDictionary

from anyio import CapacityLimiter, create_task_group, to_thread
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringserverstats.errors import RingserverStatsError, StoreError, UsageError
from ringserverstats.settings import Settings
from ringserverstats.web import api, chart_files, documentation, pages, sign_in
from ringserverstats.web.authorization import TokenBackend
from ringserverstats.web.endpoint import Access, Endpoint
from ringserverstats.web.responses import error_response, unavailable
from ringserverstats.web.service import Service

STATIC = Path(__file__).parent / "static"
#: Pages may load and run only what this service itself serves.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TWO_LENGTHS = "the request has both Content-Length and Transfer-Encoding"
_THREADS = 40
_READER_THREADS = 8  # handlers that run at the same time; others wait without a thread
_READER_THREADS_OF_SENDER = 6  # so that others are answered meanwhile
_PROBE_THREADS = 4  # of each handler without authentication, which does not wait for readers

log = logging.getLogger("ringserverstats.web")


class _LogNameConvertor(StringConvertor):
    """Lets PUT have routes for names of logs only: other paths have no PUT."""

    regex = "[^/]*log-[^/]*"


register_url_convertor("log", _LogNameConvertor())


def create(settings: Settings) -> Starlette:
    """Return the web service with these ``settings``, as an ASGI application."""
    service = Service(settings)
    _set_up_logging()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await to_thread.run_sync(service.start)
        async with create_task_group() as tasks:
            prepare = partial(to_thread.run_sync, abandon_on_cancel=True)
            tasks.start_soon(prepare, pages.prepare_dashboard, service)
            yield
            tasks.cancel_scope.cancel()
        await to_thread.run_sync(service.stop)

    async def handle_error(request: Request, error: Exception) -> Response:
        http_error = _http_error(error)
        if http_error.status_code == 405:  # Starlette names the methods of one route alone
            http_error.headers = {"Allow": ", ".join(_allowed(request))}
        if sign_in.wants_page(request):
            return sign_in.error_page(service, request, http_error)
        return error_response(http_error)

    app = _Application(
        routes=list(_routes(service)),
        lifespan=lifespan,
        middleware=[
            Middleware(BodyLengthMiddleware),
            Middleware(RootPathMiddleware, path=settings.root_path.rstrip("/")),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        ],
        exception_handlers=dict.fromkeys(
            (HTTPException, RingserverStatsError, Exception), handle_error
        ),
    )
    app.router.redirect_slashes = False  # it names a host, which a proxy may have replaced
    app.router.default = _redirect_or_404
    app.state.service = service
    return app


def _routes(service: Service) -> Iterator[BaseRoute]:
    limiter = CapacityLimiter(_READER_THREADS)
    senders = WeakValueDictionary[str, CapacityLimiter]()

    def authentication(*, is_optional: bool) -> list[Middleware]:
        backend = TokenBackend(service.tokens, service.settings, limiter, is_optional=is_optional)
        return [Middleware(AuthenticationMiddleware, backend=backend)]

    middleware = {
        Access.READER: authentication(is_optional=False),
        Access.OPTIONAL: authentication(is_optional=True),
    }
    yield Mount("/static", StaticFiles(directory=STATIC), name="static")
    for module in (pages, chart_files, sign_in, documentation, api):
        for endpoint in module.ENDPOINTS:
            yield Route(
                endpoint.path,
                _request_handler(
                    endpoint,
                    service,
                    CapacityLimiter(_PROBE_THREADS) if endpoint.access is Access.NONE else limiter,
                    senders if endpoint.access is not Access.NONE else WeakValueDictionary(),
                ),
                methods=list(endpoint.methods),
                middleware=middleware.get(endpoint.access),
            )


def _request_handler(
    endpoint: Endpoint,
    service: Service,
    limiter: CapacityLimiter,
    senders: WeakValueDictionary[str, CapacityLimiter],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that answers requests of ``endpoint``.

    Args:
        endpoint: the endpoint.
        service: the service.
        limiter: limits handlers that run at the same time.
        senders: limits those of each address.
    """
    handler, unlimited = endpoint.handler, CapacityLimiter(math.inf)

    async def handle(request: Request) -> Response:
        if inspect.iscoroutinefunction(handler):
            return cast(Response, await handler(service, request))
        address = request.client.host if request.client else ""
        of_sender = senders.setdefault(address, CapacityLimiter(_READER_THREADS_OF_SENDER))
        async with of_sender, limiter:
            if await request.is_disconnected():  # while it waited
                return Response(status_code=499)
            response = await to_thread.run_sync(handler, service, request, limiter=unlimited)
        return cast(Response, response)

    return handle


async def _redirect_or_404(scope: Scope, receive: Receive, send: Send) -> None:
    """Redirect from a path with a slash at its end to the page without."""
    request = Request(scope)
    path = scope["path"].rstrip("/")
    pages = [route for route in request.app.routes if isinstance(route, Route)]
    if not any(page.matches({**scope, "path": path})[0] == Match.FULL for page in pages):
        raise HTTPException(404, "this page does not exist")
    query = f"?{request.url.query}" if request.url.query else ""
    await RedirectResponse(quote(path) + query)(scope, receive, send)


def _allowed(request: Request) -> list[str]:
    """Return the methods of all routes that match the path of ``request``."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    matching = (route for route in routes if route.matches(request.scope)[0] != Match.NONE)
    return sorted({method for route in matching for method in route.methods or ()})


def _http_error(error: Exception) -> HTTPException:
    """Return the HTTP error for ``error``; log what the operator has to know."""
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, UsageError):
        return HTTPException(400, str(error))
    if isinstance(error, StoreError):
        log.warning("store unavailable: %s", error)
        return unavailable("the store is unavailable at present; try again later")
    log.error("failed", exc_info=error)
    return HTTPException(500, "internal error; the operator finds the reason in the log")


class BodyLengthMiddleware:
    """Refuses a request with two lengths, of which a proxy may have used the other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        app = self._app
        if scope["type"] == "http" and {"content-length", "transfer-encoding"} <= set(
            Headers(scope=scope)
        ):
            app = error_response(HTTPException(400, _TWO_LENGTHS, {"Connection": "close"}))
        await app(scope, receive, send)


class RootPathMiddleware:
    """Adds the path below which a proxy shows this service, and which the proxy removes."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        if self._path and scope["type"] == "http":
            scope = {**scope, "root_path": self._path, "path": self._path + scope["path"]}
        await self._app(scope, receive, send)


class SecurityHeadersMiddleware:
    """Adds the headers that every response has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_private = not scope["path"].startswith("/static/")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if is_private:
                    headers.setdefault("cache-control", "private, no-cache")
                    headers.add_vary_header("Cookie, Authorization")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _Application(Starlette):
    """Has the security headers outside of all else, so that error responses have them too."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeadersMiddleware(super().build_middleware_stack())


def _set_up_logging() -> None:
    """Write messages of this service to standard error, unless logging is configured.

    Access logs of the web server are switched off: they contain addresses of clients.
    """
    for name in ("uvicorn.access", "gunicorn.access"):
        logging.getLogger(name).disabled = True
    logger = logging.getLogger("ringserverstats")
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
