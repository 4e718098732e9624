"""IP addresses in logs."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

# The same addresses occur in every piece of a log.
_CACHED = 1 << 12
# An address with a scope may be as long as a line, which is not cached.
_LONGEST_CACHED = 64


def address(text: bytes) -> IPv4Address | IPv6Address:
    """Return ``text`` as an address.

    Raises:
        ValueError: it is not an IP address.
    """
    return _cached(text) if len(text) <= _LONGEST_CACHED else _read(text)


def _read(text: bytes) -> IPv4Address | IPv6Address:
    return ip_address(text.decode("ascii", "replace"))


_cached = lru_cache(_CACHED)(_read)
