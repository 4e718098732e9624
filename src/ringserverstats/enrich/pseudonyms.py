"""Pseudonyms instead of addresses. An address goes no further than this room."""

import hmac
from ipaddress import IPv4Address, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address


def unmapped(address: Address) -> Address:
    """``address``, and of IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) the IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def normalise(address: Address, *, ipv6_prefix: int) -> str:
    """The text that stands for a client: IPv4-mapped IPv6 is IPv4, IPv6 is its network.

    The rest of an IPv6 address may change daily (RFC 8981), and so tells no clients apart.
    """
    address = unmapped(address)
    if isinstance(address, IPv6Address):
        network = IPv6Network((int(address), ipv6_prefix), strict=False)
        return str(network.network_address)
    return str(address)


def alias_of(who: Address | str, key: bytes, *, ipv6_prefix: int) -> str:
    """The pseudonym of a client: of its address, or of its host name where that is all there is."""
    return pseudonym(key, who if isinstance(who, str) else normalise(who, ipv6_prefix=ipv6_prefix))


def pseudonym(key: bytes, text: str) -> str:
    """64 bits of HMAC-SHA256 (RFC 2104) as 16 hexadecimal digits."""
    return hmac.digest(key, text.encode("utf-8", "backslashreplace"), "sha256").hex()[:16]


def number(pseudonym: str) -> int:
    """The id of a pseudonym: the same 64 bits, signed."""
    return int.from_bytes(bytes.fromhex(pseudonym), "big", signed=True)
