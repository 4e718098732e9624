"""Who asks, and what they may: by token, or as everybody."""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from ringserverstats.settings import Settings
from ringserverstats.statistics.publish import Role
from ringserverstats.store.base import Token
from ringserverstats.store.tokens import find_token
from ringserverstats.web.responses import RefusedError

#: The cookie in which a browser keeps the token.
COOKIE = "ringserverstats"
_FORWARDED = ("forwarded", "x-real-ip", "via", "true-client-ip", "x-client-ip", "cf-connecting-ip")
_FORWARDED_ALL = ("x-forwarded-", "x-cluster-")
_OWN_SITES = ("same-origin", "none")
_MAKE = "make a token with: ringserverstats token add NAME --ingest"


@dataclass(frozen=True)
class Principal:
    """Who asks: ``name`` is that of the token, empty for everybody."""

    name: str
    reader: Role


def token_of(request: Request) -> str:
    """The token that comes with ``request``; empty where there is none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    return request.cookies.get(COOKIE, "")


def principal_of(request: Request, tokens: list[Token], settings: Settings) -> Principal:
    """Who asks by ``request``.

    Raises:
        RefusedError: the token is none, or one is needed.
    """
    given = token_of(request)
    if given:
        token = find_token(tokens, given)
        if token is None:
            raise RefusedError(401, "this token is not known, or was revoked")
        is_operator = not token.may_ingest and not token.networks
        if is_operator or token.networks or settings.read_access == "public":
            return Principal(token.name, Role(is_operator, token.networks))
        raise RefusedError(403, "this token may post logs, and read nothing")
    if settings.read_access == "token":
        raise RefusedError(401, "reading needs a token here; ask the operator for one")
    return Principal("", Role())


def check_ingest(request: Request, tokens: list[Token], settings: Settings) -> None:
    """Make sure that ``request`` may post a log.

    Raises:
        RefusedError: it may not.
    """
    if is_foreign(request):
        raise RefusedError(403, "a page of another site sends this; logs are not taken from there")
    given = token_of(request)
    if given:
        token = find_token(tokens, given)
        if token is None:
            raise RefusedError(401, f"this token is not known, or was revoked; {_MAKE}")
        if not token.may_ingest:
            raise RefusedError(403, f"this token may read, but post no logs; {_MAKE}")
        return
    if settings.open_ingest:
        return
    if any(token.may_ingest for token in tokens):
        raise RefusedError(401, f"posting needs a token (Authorization: Bearer TOKEN); {_MAKE}")
    if not _is_local(request):
        raise RefusedError(
            401,
            "without a token logs are taken from this machine alone; on it, "
            f"{_MAKE}, and send it as Authorization: Bearer TOKEN",
        )


def is_foreign(request: Request) -> bool:
    """Whether a browser sends ``request`` for a page of another site, which any page can."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # which no page can set; a proxy may have changed the host
        return site not in _OWN_SITES
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")


def _is_local(request: Request) -> bool:
    """Whether ``request`` comes from this machine itself, and through no proxy.

    The name of the host is looked at because a page may let a name of its own mean this machine.
    """
    names = request.headers.keys()
    if any(name in _FORWARDED or name.startswith(_FORWARDED_ALL) for name in names):
        return False
    if request.client is None or request.scope["http_version"] == "1.0":  # as old proxies speak
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
