"""Authentication and authorization: who sends a request, and what they may read or post."""

import ipaddress
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from ringserverstats.errors import RingserverStatsError
from ringserverstats.settings import Settings
from ringserverstats.statistics.publish import Role
from ringserverstats.store.base import Store, Token
from ringserverstats.store.tokens import find_token
from ringserverstats.web.responses import unauthorized

#: The cookie in which a browser keeps the token.
COOKIE = "ringserverstats"
_PROXY_HEADERS = ("forwarded", "real-ip", "proxyuser", "client-ip", "connecting-ip")  # parts
_SAME_SITE = ("same-origin", "none")
_HOW_TO = "create a token with: ringserverstats token add NAME --ingest"
_MAX_AGE = 1.0  # seconds for which the list of tokens is cached; a revoked one is valid for as long


@dataclass(frozen=True)
class Principal(BaseUser):
    """The sender of a request.

    Args:
        name: name of the token; empty without a token.
        role: what the sender may read.
    """

    name: str
    role: Role


#: A sender without a token.
ANONYMOUS = Principal("", Role())


class TokenCache:
    """The tokens of the store, read at most once a second."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open_store = open_store
        self._lock = threading.Lock()
        self._expires = time.monotonic()
        self._tokens: Future[list[Token]] = Future()
        self._tokens.set_result([])

    def get(self) -> list[Token]:
        """Return all tokens; none if there is no store.

        Raises:
            StoreError: the store is unavailable. All who wait for the tokens get this error.
        """
        with self._lock:
            is_stale = self._tokens.done() and time.monotonic() >= self._expires
            if is_stale:
                self._tokens = Future()
            tokens = self._tokens
        if is_stale:
            self._read(tokens)
        return tokens.result()

    def _read(self, tokens: "Future[list[Token]]") -> None:
        try:
            store = self._open_store()
            rows = store.tokens() if store.exists() else []
            self._expires = time.monotonic() + _MAX_AGE
            tokens.set_result(rows)
        except BaseException as error:
            tokens.set_exception(error)


@dataclass(frozen=True)
class TokenBackend(AuthenticationBackend):
    """Sets ``request.user`` to the `Principal` of the bearer token or the sign-in cookie.

    Args:
        tokens: the tokens of the store.
        settings: whether reading needs a token.
        limiter: limits the threads that wait for the store.
        is_optional: a sender who may not read counts as `ANONYMOUS`, instead of an error.
    """

    tokens: TokenCache
    settings: Settings
    limiter: CapacityLimiter
    is_optional: bool = False

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, Principal]:
        """Return the sender of a request.

        Raises:
            HTTPException: the token is invalid, may not read, or is missing.
            StoreError: the store is unavailable.
        """
        try:
            tokens = await to_thread.run_sync(self.tokens.get, limiter=self.limiter)
            principal = _principal_of(conn, tokens, self.settings)
        except (HTTPException, RingserverStatsError):
            if not self.is_optional:
                raise
            principal = ANONYMOUS
        return AuthCredentials(), principal


def _principal_of(conn: HTTPConnection, tokens: list[Token], settings: Settings) -> Principal:
    secret = _token_of(conn)
    if secret:
        token = find_token(tokens, secret)
        if token is None:
            raise unauthorized("this token is unknown or was revoked")
        is_operator = not token.may_ingest and not token.networks
        if is_operator or token.networks or settings.read_access == "public":
            return Principal(token.name, Role(is_operator, token.networks))
        raise HTTPException(403, "this token can post logs but not read")
    if settings.read_access == "token":
        raise unauthorized("reading needs a token; ask the operator for one")
    return ANONYMOUS


def _token_of(conn: HTTPConnection) -> str:
    """Return the token of the Authorization header, else of the cookie, else an empty string."""
    scheme, _, token = conn.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    return conn.cookies.get(COOKIE, "")


def check_ingest(request: Request, tokens: list[Token], settings: Settings) -> Token | None:
    """Return the token of the sender of ``request``, who may post a log; None: without a token.

    Raises:
        HTTPException: the sender may not.
    """
    if is_cross_site(request):
        raise HTTPException(403, "a page of another site sent this request; it is refused")
    secret = _token_of(request)
    if secret:
        token = find_token(tokens, secret)
        if token is None:
            raise unauthorized(f"this token is unknown or was revoked; {_HOW_TO}")
        if not token.may_ingest:
            raise HTTPException(403, f"this token can read but not post logs; {_HOW_TO}")
        return token
    if not settings.open_ingest:
        _check_local(request, tokens)
    return None


def _check_local(request: Request, tokens: list[Token]) -> None:
    if any(token.may_ingest for token in tokens):
        raise unauthorized(f"posting needs a token (Authorization: Bearer TOKEN); {_HOW_TO}")
    if not _is_local(request):
        raise unauthorized(
            "without a token, only this machine itself can post logs; on it, "
            f"{_HOW_TO}, and send it as Authorization: Bearer TOKEN"
        )


def is_cross_site(request: Request) -> bool:
    """Return True if a browser sends ``request`` for a page of another site.

    A proxy may have replaced the host (Apache does); no page can set X-Forwarded-Host.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # no page can set this header; a proxy may have changed the host
        return site not in _SAME_SITE
    origin = request.headers.get("origin")
    if origin is None:
        return False
    hosts = [request.headers.get(name, "") for name in ("host", "x-forwarded-host")]
    return origin.partition("://")[2] not in [host.split(",")[0].strip() for host in hosts if host]


def _is_local(request: Request) -> bool:
    """Return True if ``request`` comes from this machine itself, through no proxy.

    The Host header is checked as well: a page can let its own host name resolve to this machine.
    """
    for name in request.headers:
        if name == "via" or any(part in name for part in _PROXY_HEADERS):
            return False
    if request.client is None or request.scope["http_version"] == "1.0":  # used by old proxies
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return _is_loopback(request.client.host) and (host == "localhost" or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
