"""A payload sent to a statistics service, which PUT makes replace what is there.

Of the service's source (June 2026): it reads the token from ``Authentication``, its description
says ``Authorization``, so both are sent. Whose token it is decides the node.
"""

import http.client
import urllib.error
import urllib.request
from typing import IO
from urllib.parse import urlsplit

from ringserverstats import __version__
from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ServiceError, UsageError

_LONGEST_TOKEN = 1000
_LONGEST_ANSWER = 1 << 20  # so much that a token which is cut at its end is not shown
_SHOWN = 200
_TIMEOUT = 600  # seconds, as the aggregator waits


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Gives up where it is sent elsewhere: the token is meant for one place.

    Of a PUT the library follows none by itself; the token is not to depend on that.
    """

    def redirect_request(self, *_: object) -> None:
        return None


def check_url(url: str) -> str:
    """``url`` without its query, as messages show it.

    Raises:
        UsageError: nothing can be sent there.
    """
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("--url is no address of a service; write https://HOST/PATH")
    if "@" in parts.netloc:
        raise UsageError(
            "--url holds a user or password, which every user of this machine can see; the token "
            "comes from the setting eida_token"
        )
    return parts._replace(query="", fragment="").geturl()


def check_token(token: str | None) -> str:
    """``token``, if it can be sent; it is never shown.

    Raises:
        UsageError: there is none, or it holds what no header can.
    """
    if not token:
        raise UsageError(
            "sending needs the token that the service gave to your node: set "
            "RINGSERVERSTATS_EIDA_TOKEN, or eida_token in ringserverstats.toml"
        )
    is_plain = token.isascii() and token.isprintable() and " " not in token
    if not is_plain or len(token) > _LONGEST_TOKEN:
        raise UsageError(
            f"the setting eida_token is no token: one line of up to {_LONGEST_TOKEN} letters, "
            "digits and signs, without blanks"
        )
    return token


def send(url: str, token: str, body: IO[bytes], size: int) -> str:
    """Put ``body``, JSON packed by gzip, in the place of what is there.

    Args:
        url: of the service, and ``token`` that it gave, both checked.
        token: see ``url``.
        body: to be read from where it is.
        size: its length in bytes.

    Returns:
        Status, reason and the beginning of what the service answers, printable.

    Raises:
        ServiceError: it cannot be reached, or says no.
    """
    headers = {
        "Authentication": f"Bearer {token}",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
        "Content-Length": str(size),
        "User-Agent": f"ringserverstats/{__version__}",
    }
    request = urllib.request.Request(url, body, headers, method="PUT")  # noqa: S310 - http(s)
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return _shown(f"{answer.status} {answer.reason}", answer.read(_LONGEST_ANSWER), token)
    except urllib.error.HTTPError as error:
        with error:
            told = _shown(f"{error.code} {error.reason}", _text_of(error), token)
        raise ServiceError(f"{check_url(url)} answers {told}; {_next_step(error.code)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        told = _shown(str(reason), b"", token)
        raise ServiceError(
            f"{check_url(url)} cannot be reached, or broke off ({told}); look there whether it "
            "took the figures before you send them again"
        ) from None


def _text_of(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_LONGEST_ANSWER)
    except (OSError, http.client.HTTPException):
        return b""


def _shown(status: str, text: bytes, token: str) -> str:
    """What a service said, without the token that it may repeat, and cut."""
    said = visible(b" ".join([status.encode("utf-8", "backslashreplace"), *text.split()]))
    return said.replace(token, "***")[:_SHOWN]


def _next_step(status: int) -> str:
    if 300 <= status < 400:
        return "it is elsewhere, where the token is not sent: name the right --url"
    if status in (401, 403):
        return "check the setting eida_token"
    return "nothing was taken, as far as it says"
