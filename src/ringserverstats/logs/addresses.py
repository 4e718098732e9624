"""Addresses as they stand in logs."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

# Every piece of a log has the same ones again.
_KEPT = 1 << 12
# An address with a scope may be as long as a line, which is not kept.
_USUAL = 64


def address(text: bytes) -> IPv4Address | IPv6Address:
    """The address that ``text`` is.

    Raises:
        ValueError: it is none.
    """
    return _kept(text) if len(text) <= _USUAL else _read(text)


def _read(text: bytes) -> IPv4Address | IPv6Address:
    return ip_address(text.decode("ascii", "replace"))


_kept = lru_cache(_KEPT)(_read)
