"""Send a payload to a statistics service, which replaces what it has (PUT).

The service's source (June 2026) reads the token from ``Authentication``, its description says
``Authorization``, so both are sent. The token decides to which node the figures belong.
"""

from typing import IO
from urllib.parse import urlsplit

from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ServiceError, UsageError
from ringserverstats.exports.http import HTTPClient, NoResponseError, proxy_of

_MAX_TOKEN = 1000
_MAX_SHOWN = 200  # characters of a response
_CONNECT_TIMEOUT = 30  # seconds
_TIMEOUT = 600  # seconds, as the aggregator waits


def check_url(url: str) -> str:
    """Return ``url`` without its query, for messages.

    Raises:
        UsageError: it is not an http(s) URL, or contains a user or password.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError("--url is not the address of a service; write https://HOST/PATH")
    if "@" in parts.netloc:
        raise UsageError(
            "--url contains a user or password, which every user of this machine can see; put the "
            "token into the setting eida_token"
        )
    return parts._replace(query="", fragment="").geturl()


def check_token(token: str | None) -> str:
    """Return ``token``; messages never show it.

    Raises:
        UsageError: it is missing, or not a valid header.
    """
    if not token:
        raise UsageError(
            "sending needs the token that the service gave to your node: set "
            "RINGSERVERSTATS_EIDA_TOKEN, or eida_token in ringserverstats.toml"
        )
    is_plain = token.isascii() and token.isprintable() and " " not in token
    if not is_plain or len(token) > _MAX_TOKEN:
        raise UsageError(
            f"the setting eida_token is not a token: one line of up to {_MAX_TOKEN} letters, "
            "digits and signs, without blanks"
        )
    return token


def upload(url: str, token: str, body: IO[bytes], size: int) -> str:
    """Send ``body`` once; the service replaces the rows that it has.

    Args:
        url: of the service; `check_url` accepted it.
        token: from the service; `check_token` accepted it.
        body: JSON, read from its position. The service cannot read gzip.
        size: its length in bytes.

    Returns:
        Status, reason and the beginning of the response, printable.

    Raises:
        ServiceError: the service cannot be reached, or refused the payload.
    """
    headers = {
        "Authentication": f"Bearer {token}",
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Content-Length": str(size),
    }
    try:
        # urllib3 waits as long for each part that it sends as for the connection.
        client = HTTPClient(headers, connect_timeout=_TIMEOUT, proxy=proxy_of(url))
        response = client.request("PUT", url, body, timeout=_TIMEOUT)
    except NoResponseError as error:
        raise ServiceError(
            f"{check_url(url)} cannot be reached, or the connection broke ({error}). Check there "
            "whether it has the figures before you send them again."
        ) from None
    message = _printable(response.status, response.reason, response.body, token)
    if response.status >= 300:
        raise ServiceError(f"{check_url(url)} answers {message}; {_next_step(response.status)}")
    return message


def _printable(status: int, reason: str, body: bytes, token: str) -> str:
    """Return what a service answered, cut, without the token that it may repeat."""
    head = f"{status} {reason}".encode("utf-8", "backslashreplace")
    return visible(b" ".join([head, *body.split()])).replace(token, "***")[:_MAX_SHOWN]


def _next_step(status: int) -> str:
    if status < 400:
        return "redirects are not followed, because the token is meant for one host: correct --url"
    if status in (401, 403):
        return "check the setting eida_token"
    return "nothing was stored, as far as it reports"
