"""Pseudonyms of clients and users. Addresses are not passed on from ``enrich``."""

import hmac
from ipaddress import IPv4Address, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address


def unmapped(address: Address) -> Address:
    """Return ``address``, as IPv4 if it is IPv4-mapped IPv6 (RFC 4291, 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def normalise(address: Address, *, ipv6_prefix: int) -> str:
    """Return the address that identifies a client; of IPv6, only the first ``ipv6_prefix`` bits.

    The other bits may change daily (RFC 8981).
    """
    address = unmapped(address)
    if isinstance(address, IPv6Address):
        network = IPv6Network((int(address), ipv6_prefix), strict=False)
        return str(network.network_address)
    return str(address)


def client_pseudonym(client: Address | str, key: bytes, *, ipv6_prefix: int) -> str:
    """Return the pseudonym of a client's address, or of its host name if that is all there is."""
    text = client if isinstance(client, str) else normalise(client, ipv6_prefix=ipv6_prefix)
    return pseudonym(key, text)


def pseudonym(key: bytes, text: str) -> str:
    """Return 64 bits of HMAC-SHA256 (RFC 2104) as 16 hexadecimal digits."""
    return hmac.digest(key, text.encode("utf-8", "backslashreplace"), "sha256").hex()[:16]


def number(pseudonym: str) -> int:
    """Return the id of a pseudonym: the same 64 bits as a signed number."""
    return int.from_bytes(bytes.fromhex(pseudonym), "big", signed=True)
