"""Which addresses have the same entry in a database, found without the library that decodes it."""

import random
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import maxminddb
import pytest
from conftest import ASN, CITY
from hypothesis import given
from hypothesis import strategies as st
from maxminddb.reader import Metadata

from ringserverstats.enrich.geoip import GeoIP, locations_of
from ringserverstats.enrich.mmdb_tree import Tree
from ringserverstats.enrich.pseudonyms import Address

#: Below these are networks of the test databases.
KNOWN = (0x51024500, 0x027DA000, 0x59A01400, 0xD8A05300, 0x20010218 << 96, 0x20010220 << 96)
ADDRESSES = st.one_of(
    st.ip_addresses(),
    st.builds(
        lambda known, rest: ip_address(known | rest), st.sampled_from(KNOWN), st.integers(0, 0xFF)
    ),
)


def metadata(nodes: int, bits: int, version: int) -> Metadata:
    return Metadata(
        node_count=nodes,
        record_size=bits,
        ip_version=version,
        database_type="",
        languages=[],
        binary_format_major_version=2,
        binary_format_minor_version=0,
        build_epoch=0,
        description={},
    )


def packed(node: tuple[int, int], bits: int) -> bytes:
    """As the specification has it: 28 bits are three bytes and half of the one in the middle."""
    left, right = node
    if bits != 28:
        return left.to_bytes(bits // 8, "big") + right.to_bytes(bits // 8, "big")
    middle = (left >> 24) << 4 | right >> 24
    return (
        (left & 0xFFFFFF).to_bytes(3, "big")
        + bytes([middle])
        + (right & 0xFFFFFF).to_bytes(3, "big")
    )


def one_by_one(nodes: list[tuple[int, int]], version: int, address: Address) -> int:
    bits = f"{int(address):0{address.max_prefixlen}b}"
    if version == 6 and address.version == 4:
        bits = "0" * 96 + bits
    node = 0
    for bit in bits:
        if node >= len(nodes):
            break
        node = nodes[node][int(bit)]
    return node


@given(st.data(), st.sampled_from([24, 28, 32]), st.sampled_from([4, 6]))
def test_a_tree_is_gone_through_as_its_format_tells(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, bits: int, version: int
) -> None:
    side = st.one_of(st.integers(1, 12), st.integers(0, 2**bits - 1))
    nodes = data.draw(st.lists(st.tuples(side, side), min_size=1, max_size=12))
    addresses = data.draw(st.lists(st.ip_addresses(v=4) if version == 4 else st.ip_addresses()))
    path = tmp_path_factory.mktemp("tree") / "tree"
    path.write_bytes(b"".join(packed(node, bits) for node in nodes))
    with path.open("rb") as file:
        tree = Tree(file.fileno(), metadata(len(nodes), bits, version))
    assert tree.entries(addresses) == [one_by_one(nodes, version, address) for address in addresses]


@given(st.lists(ADDRESSES, max_size=20))
def test_addresses_of_one_entry_have_the_same_in_the_library(addresses: list[Address]) -> None:
    for path in (CITY, ASN):
        with maxminddb.open_database(path) as library, path.open("rb") as file:
            tree = Tree(file.fileno(), library.metadata())
            by_entry = {}
            for address, entry in zip(addresses, tree.entries(addresses), strict=True):
                decoded = library.get(address)
                assert by_entry.setdefault(entry, decoded) == decoded


def test_places_are_the_same_together_and_one_by_one() -> None:
    rng = random.Random(1)
    addresses = [ip_address(rng.choice(KNOWN) | rng.getrandbits(8)) for _ in range(1_000)]
    together = locations_of(addresses, GeoIP(CITY, ASN, precision=5))
    others = GeoIP(CITY, ASN, precision=5)
    assert together == [locations_of([address], others)[0] for address in addresses]
    assert len(set(together)) > 5


def test_a_file_that_is_shorter_than_its_tree(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    path.write_bytes(b"\0" * 10)
    with path.open("rb") as file, pytest.raises(ValueError, match="buffer"):
        Tree(file.fileno(), metadata(2, 24, 4))


def test_ipv6_shares_nothing_in_a_tree_of_ipv4(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    path.write_bytes(packed((17, 18), 24))
    with path.open("rb") as file:
        tree = Tree(file.fileno(), metadata(1, 24, 4))
    both = [IPv4Address("1.2.3.4"), IPv6Address("::1"), IPv4Address("200.2.3.4")]
    assert tree.entries(both) == [17, -1, 18]


def encoded(value: object) -> bytes:
    """Texts of up to 28 bytes, small numbers, maps and no list of the format's data section."""
    if isinstance(value, dict):
        parts = (encoded(part) for pair in value.items() for part in pair)
        return bytes([7 << 5 | len(value)]) + b"".join(parts)
    if isinstance(value, str):
        return bytes([2 << 5 | len(value)]) + value.encode()
    if isinstance(value, list):
        return b"\0\4"
    kind, number = value if isinstance(value, tuple) else (5, value)
    first = bytes([kind << 5 | 2]) if kind < 8 else bytes([2, kind - 7])
    return first + number.to_bytes(2, "big")


def test_ipv6_is_unknown_to_a_database_of_ipv4_which_is_not_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ipv4.mmdb"
    header = {"node_count": (6, 1), "record_size": 24, "ip_version": 4, "database_type": "City"}
    header |= {"binary_format_major_version": 2, "binary_format_minor_version": 0}
    header |= {"build_epoch": (9, 9), "description": {}, "languages": []}
    tree, country = packed((17, 17), 24), {"country": {"iso_code": "FR"}}
    path.write_bytes(
        tree + bytes(16) + encoded(country) + b"\xab\xcd\xefMaxMind.com" + encoded(header)
    )
    geoip = GeoIP(path, None, precision=5)
    locations = locations_of([ip_address("2a00::1"), ip_address("9.9.9.9")], geoip)
    assert [location.country for location in locations] == ["unknown", "FR"]
    assert geoip.problems == []
