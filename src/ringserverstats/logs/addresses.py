"""IP addresses in logs."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from ringserverstats.logs.caching import cache_short


@cache_short
def address(text: bytes) -> IPv4Address | IPv6Address:
    """Return ``text`` as an address.

    Raises:
        ValueError: it is not an IP address.
    """
    return ip_address(text.decode("ascii", "replace"))
