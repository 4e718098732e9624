"""The service: what answers which address, and what all answers have in common."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import date
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringserverstats.errors import RingserverStatsError, StoreError, UsageError
from ringserverstats.opening import open_store, public_policy
from ringserverstats.settings import Settings
from ringserverstats.store.base import Readable, Store, Token
from ringserverstats.store.snapshot import snapshot
from ringserverstats.store.versions import version
from ringserverstats.web import api, documentation, pages
from ringserverstats.web.access import Guest, guest_of
from ringserverstats.web.answers import RefusedError, refused
from ringserverstats.web.cache import Cache
from ringserverstats.web.drawing import Drawer
from ringserverstats.web.metrics import Measured
from ringserverstats.web.pages import Content
from ringserverstats.web.receiving import Receiver
from ringserverstats.web.view import Bounds, today

STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_PRIVATE = {b"cache-control": b"private, no-cache", b"vary": b"Cookie, Authorization"}
_LATER = 30  # seconds after which a store that is away may be back
_REMEMBERED = 1.0  # seconds for which tokens are, so that a revoked one is refused soon
_PAGES = 256  # that are kept
_DAYS = "SELECT min(day) AS first, max(day) AS last FROM connection_by_day"
_THREADS = 40

log = logging.getLogger("ringserverstats.web")


class Service:
    """What all requests share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.policy = public_policy(settings)
        self.pages: Cache[Content] = Cache(_PAGES)
        self.files: Cache[bytes] = Cache(_PAGES)
        self.orders: Cache[list[str]] = Cache(_PAGES)
        self.metrics: Cache[Measured] = Cache(1)
        self.drawer = Drawer()
        self._lock = threading.Lock()
        self._tokens: tuple[float, list[Token]] = (-_REMEMBERED, [])

    def store(self) -> Store:
        """The store, for one use."""
        return open_store(self.settings, answers=True, tell=log.info)

    @contextmanager
    def reading(self) -> Iterator[Readable]:
        """One state of the store."""
        with snapshot(self.store()) as found:
            yield found

    def tokens(self) -> list[Token]:
        """Who may come in; none where there is no store yet."""
        with self._lock:
            since, known = self._tokens
            if time.monotonic() - since < _REMEMBERED:
                return known
            store = self.store()
            known = store.tokens() if store.exists() else []
            self._tokens = time.monotonic(), known
            return known

    def guest(self, request: Request) -> Guest:
        """Who asks by ``request``.

        Raises:
            RefusedError: nobody who may read.
        """
        return guest_of(request, self.tokens(), self.settings)

    def bounds(self, store: Readable) -> Bounds:
        """The days of which the store knows anything."""
        row = store.ask(_DAYS).to_pylist()[0]
        return Bounds(row["first"] or today(), row["last"] or today())

    def version(self, store: Readable, first: date | None, last: date | None) -> str:
        """What changes whenever an answer about a period may be another."""
        return f"{today()} {version(store.ask, first, last)}"


def create(settings: Settings) -> Starlette:
    """The service with these ``settings``, as an ASGI application."""
    service = Service(settings)
    receiver = Receiver(service)
    for noisy in ("uvicorn.access", "gunicorn.access"):  # they would tell addresses of clients
        logging.getLogger(noisy).disabled = True

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await to_thread.run_sync(service.drawer.start)
        yield
        await to_thread.run_sync(service.drawer.stop)

    async def root(request: Request) -> Response:
        if request.method in ("POST", "PUT"):
            return await receiver(request)
        return await to_thread.run_sync(pages.dashboard, service, request)

    async def uploaded(request: Request) -> Response:
        """``curl -T LOG URL/`` puts the log's name behind the address."""
        if request.method == "GET":
            raise HTTPException(404, "there is no such page")
        return await receiver(request)

    def of(answer: Callable[[Service, Request], Response]) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            return answer(service, request)

        return endpoint

    routes = [
        Route("/", root, methods=["GET", "POST", "PUT"]),
        *(Route(path, of(answer), methods=["GET"]) for path, answer in pages.ROUTES.items()),
        Route("/sign-in", pages.signing_in(service), methods=["GET", "POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        *(Route(path, of(answer), methods=["GET"]) for path, answer in api.ROUTES.items()),
        *(
            Route(path, of(answer), methods=["GET"])
            for path, answer in documentation.ROUTES.items()
        ),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/{log}", uploaded, methods=["GET", "PUT"]),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(_Headers),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        ],
        exception_handlers={
            RefusedError: _told(service),
            RingserverStatsError: _told(service),
            HTTPException: _told(service),
            Exception: _told(service),
        },
    )
    app.state.service = service
    return app


def _told(service: Service) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers an error: a page to those who look at pages, else JSON."""

    async def answer(request: Request, error: Exception) -> Response:
        status, message = _status_of(error)
        retry = _LATER if status == 503 else None
        if pages.is_page(request):
            found = pages.error_page(service, request, status, message)
            if retry:
                found.headers["Retry-After"] = str(retry)
            return found
        found = refused(status, message, retry_after=retry)
        if isinstance(error, HTTPException):
            found.headers.update(error.headers or {})
        return found

    return answer


def _status_of(error: Exception) -> tuple[int, str]:
    if isinstance(error, RefusedError):
        return error.status, error.message
    if isinstance(error, UsageError):
        return 400, str(error)
    if isinstance(error, StoreError):
        log.warning("store away: %s", error)
        return 503, "the store is away just now; try again in a while"
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    log.error("failed", exc_info=error)
    return 500, "something went wrong here; the operator's log says what"


class _Headers:
    """Adds the headers that every answer has."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_static = scope["path"].startswith("/static/")
        usual = _HEADERS if is_static else {**_HEADERS, **_PRIVATE}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [(name, text) for name, text in usual.items() if name not in there]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, receive, sending)
