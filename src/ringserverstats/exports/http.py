"""The HTTP client of all exporters: urllib3 with limits.

It follows no redirect, because a token is meant for one host, and reads at most `MAX_RESPONSE`
bytes of a response. Requests go out again only if the caller gives a `Retry`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry, Timeout, parse_url

from ringserverstats import __version__

MAX_RESPONSE = 1 << 20
_REASONS = {
    "NameResolutionError": "unknown host",
    "NewConnectionError": "connection refused or host unreachable",
    "ConnectTimeoutError": "no response in time",
    "ReadTimeoutError": "no response in time",
    "SSLError": "TLS failed, or the certificate is not trusted",
    "ProtocolError": "the connection broke",
    "ProxyError": "the proxy failed",
    "ResponseError": "it still reports that it is busy",
}


class NoResponseError(Exception):
    """A request got no response; the message says why and contains nothing of the request."""


@dataclass(frozen=True)
class Response:
    """An HTTP response; ``body`` is cut after `MAX_RESPONSE` bytes."""

    status: int
    reason: str
    content_type: str
    body: bytes


class HTTPClient:
    """Sends requests with the same headers.

    Args:
        headers: sent with each request, such as a token.
        retries: which requests to repeat and when; None: none.
        connect_timeout: seconds to wait for a connection.
        proxy: URL of an HTTP proxy, as `proxy_of` returns it.

    Raises:
        NoResponseError: ``proxy`` cannot be used.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        retries: Retry | None = None,
        connect_timeout: float,
        proxy: str | None = None,
    ) -> None:
        self._headers = {"User-Agent": f"ringserverstats/{__version__}", **headers}
        self._retries = retries or Retry(0, redirect=False, raise_on_status=False)
        self._connect_timeout = connect_timeout
        self._pool = _proxy_manager(proxy) if proxy else urllib3.PoolManager()

    def request(
        self,
        method: str,
        url: str,
        body: bytes | IO[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float,
    ) -> Response:
        """Send a request and return the response, whatever its status.

        Args:
            method: such as ``PUT``.
            url: address with its query.
            body: bytes, or a file read from its position; that needs a Content-Length.
            headers: headers of this request alone.
            timeout: seconds to wait for the next bytes of the response.

        Raises:
            NoResponseError: there was no complete response.
        """
        try:
            response = self._pool.request(
                method,
                url,
                body=body,
                headers={**self._headers, **(headers or {})},
                retries=self._retries,
                timeout=Timeout(connect=self._connect_timeout, read=timeout),
                redirect=False,
                preload_content=False,
            )
            text = response.read(MAX_RESPONSE + 1)
            if len(text) > MAX_RESPONSE:
                response.close()
            else:
                response.release_conn()
        except MaxRetryError as error:
            raise NoResponseError(_reason(error.reason)) from None
        except HTTPError as error:
            raise NoResponseError(_reason(error)) from None
        return Response(
            response.status,
            response.reason or "",
            response.headers.get("Content-Type", ""),
            text[:MAX_RESPONSE],
        )


def proxy_of(url: str) -> str | None:
    """Return the proxy that the environment (https_proxy, no_proxy, ...) names for ``url``."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


def _proxy_manager(proxy: str) -> urllib3.ProxyManager:
    try:
        address = parse_url(proxy if "://" in proxy else f"http://{proxy}")
        auth = unquote(address.auth) if address.auth else None
        headers = urllib3.make_headers(proxy_basic_auth=auth)
        return urllib3.ProxyManager(str(address._replace(auth=None)), proxy_headers=headers)
    except (HTTPError, ValueError):  # their messages may hold a password
        raise NoResponseError("the proxy that the environment names is unusable") from None


def _reason(error: Exception | None) -> str:
    name = type(error).__name__
    return _REASONS.get(name, f"no response: {name}")
