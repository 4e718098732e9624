"""The service: what answers which address, and what all answers have in common."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from datetime import date
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringserverstats.errors import RingserverStatsError, StoreError, UsageError
from ringserverstats.opening import open_store, public_policy
from ringserverstats.settings import Settings
from ringserverstats.store.base import Readable, Store, Token
from ringserverstats.store.schema import NEWEST
from ringserverstats.store.snapshot import snapshot
from ringserverstats.store.versions import version
from ringserverstats.web import api, documentation, pages
from ringserverstats.web.authorization import Principal, principal_of
from ringserverstats.web.cache import Cache
from ringserverstats.web.chart_renderer import ChartRenderer
from ringserverstats.web.export_worker import ExportWorker
from ringserverstats.web.metrics import Measured
from ringserverstats.web.pages import Content
from ringserverstats.web.receiver import LogReceiver
from ringserverstats.web.responses import RefusedError, refused, with_hints
from ringserverstats.web.view import Bounds, today

STATIC = Path(__file__).parent / "static"
#: What pages may load and do: what this service itself has, and nothing else.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_PRIVATE = {b"cache-control": b"private, no-cache", b"vary": b"Cookie, Authorization"}
_REMEMBERED = 1.0  # seconds for which tokens are, so that a revoked one is refused soon
_ERRORS = (RefusedError, RingserverStatsError, HTTPException, Exception)
_PAGES = 256  # that are kept
_DAYS = "SELECT min(day) AS first, max(day) AS last FROM connection_by_day"
_THREADS = 40
_READERS = 8  # that are answered at the same time; others wait, and hold no thread

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
        self.chart_renderer = ChartRenderer()
        self.export_worker = ExportWorker(self)
        self._lock = threading.Lock()
        self._tokens: tuple[float, list[Token]] = (-_REMEMBERED, [])
        self._coming: Future[list[Token]] | None = None

    def store(self) -> Store:
        """The store, for one use."""
        return open_store(self.settings, for_queries=True, notify=log.warning)

    def existing(self) -> Store:
        """The store, for one use.

        Raises:
            HTTPException: there is none yet.
        """
        store = self.store()
        if not store.exists():
            raise HTTPException(404, "there is nothing here yet: no log was read")
        return store

    @contextmanager
    def reading(self) -> Iterator[Readable]:
        """One state of the store; see `existing`."""
        with snapshot(self.existing()) as found:
            yield found

    def prepare(self) -> None:
        """Bring a store that an older version made up to date, as far as that may be done here."""
        try:
            store = self.store()
            if store.exists() and store.schema_version() < NEWEST:
                store.migrate()
        except RingserverStatsError as error:
            log.error("the store is not ready: %s", error)

    def tokens(self) -> list[Token]:
        """Who may come in; none where there is no store yet."""
        with self._lock:
            since, known = self._tokens
            if time.monotonic() - since < _REMEMBERED:
                return known
            coming, is_mine = self._coming or Future(), self._coming is None
            self._coming = coming
        if is_mine:  # all who come meanwhile wait for the same answer
            self._read_tokens(coming)
        return coming.result()

    def _read_tokens(self, coming: "Future[list[Token]]") -> None:
        try:
            store = self.store()
            known = store.tokens() if store.exists() else []
            self._tokens = time.monotonic(), known
            self._coming = None
            coming.set_result(known)
        except BaseException as error:
            self._coming = None
            coming.set_exception(error)

    def principal(self, request: Request) -> Principal:
        """Who asks by ``request``.

        Raises:
            RefusedError: nobody who may read.
        """
        return principal_of(request, self.tokens(), self.settings)

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
    _set_up_log()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        await to_thread.run_sync(service.chart_renderer.start)
        await to_thread.run_sync(service.prepare)
        await to_thread.run_sync(service.export_worker.start)
        yield
        service.export_worker.stop()
        await to_thread.run_sync(service.chart_renderer.stop)

    app = _Application(
        routes=_routes(service),
        lifespan=lifespan,
        middleware=[
            Middleware(_Below, path=settings.root_path.rstrip("/")),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5),
        ],
        exception_handlers=dict.fromkeys(_ERRORS, _told(service)),
    )
    app.state.service = service
    return app


def _routes(service: Service) -> list[BaseRoute]:
    """What answers which address."""
    receiver = LogReceiver(service)
    readers = CapacityLimiter(_READERS)

    def of(
        answer: Callable[[Service, Request], Response],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await to_thread.run_sync(answer, service, request, limiter=readers)

        return endpoint

    async def root(request: Request) -> Response:
        return await (of(pages.dashboard) if request.method == "GET" else receiver)(request)

    async def uploaded(request: Request) -> Response:
        """``curl -T LOG URL/`` puts the log's name behind the address."""
        if request.method == "GET":
            raise HTTPException(404, "there is no such page")
        return await receiver(request)

    return [
        Route("/", root, methods=["GET", "POST", "PUT"]),
        *(
            Route(path, of(answer), methods=["GET"])
            for room in (pages, api, documentation)
            for path, answer in room.ROUTES.items()
        ),
        *(Route(path, api.health, methods=["GET"]) for path in api.HEALTH),
        Route("/sign-in", pages.signing_in(service), methods=["GET", "POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/{log}", uploaded, methods=["GET", "PUT"]),
    ]


def _told(service: Service) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What answers an error: a page to those who look at pages, else JSON."""

    async def answer(request: Request, error: Exception) -> Response:
        status, message = _status_of(error)
        if pages.is_page(request):
            return with_hints(pages.error_page(service, request, status, message))
        found = refused(status, message)
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


class _Below:
    """Tells pages under which path a proxy shows them; the proxy takes it away."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does below the path."""
        if self._path and scope["type"] == "http":
            scope = {**scope, "root_path": self._path, "path": self._path + scope["path"]}
        await self._app(scope, receive, send)


class _Application(Starlette):
    """One whose answers all have the headers, also those to what went wrong."""

    def build_middleware_stack(self) -> ASGIApp:
        return _Headers(super().build_middleware_stack())


def _set_up_log() -> None:
    """Let the operator see what this service tells, unless logging was set up already.

    Not what servers tell of each request: that would hold addresses of clients.
    """
    for noisy in ("uvicorn.access", "gunicorn.access"):
        logging.getLogger(noisy).disabled = True
    top = logging.getLogger("ringserverstats")
    if not top.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        top.addHandler(handler)
        top.setLevel(logging.INFO)


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
                given = [(name.lower(), text) for name, text in message["headers"]]
                there = {name for name, _ in given}
                # What answers vary by adds up.
                added = [
                    (name, text)
                    for name, text in usual.items()
                    if name not in there or name == b"vary"
                ]
                message["headers"] = [*given, *added]
            await send(message)

        await self._app(scope, receive, sending)
