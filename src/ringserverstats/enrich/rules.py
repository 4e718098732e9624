"""The operator's rules: which clients are what to the centre, and whose they are.

A rule holds where all that it names holds: one of its ``networks`` or ``domains``, one of its
``agents`` (with ``*`` and ``?``), one of its ``users``, its ``direction``. The first one that holds
and names a ``class`` decides the class, the first one that names an ``institution`` the
institution.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace
from publicsuffixlist import PublicSuffixList

from ringserverstats.enrich.labels import BY_DOMAIN, BY_OPERATOR, BY_RULE, EXTERNAL
from ringserverstats.enrich.pseudonyms import Address, pseudonym, unmapped
from ringserverstats.errors import UsageError

_SEPARATOR = ","
# Letters, digits and hyphens (RFC 952, RFC 1123); names in other scripts are told in these (xn--).
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?")
_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,100}$")]
_Domain = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,98}[A-Za-z0-9])?$")]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
_Name = Annotated[str, msgspec.Meta(pattern=r"^[^,\x00-\x1f\x7f]{1,100}$")]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """One rule. ``name`` stays when the rest changes, but for its networks and domains."""

    name: _Name
    class_: _Word | None = None
    institution: _Text | None = None
    networks: tuple[str, ...] = ()
    domains: tuple[_Domain, ...] = ()
    agents: tuple[_Text, ...] = ()
    users: tuple[_Text, ...] = ()
    direction: Literal["TX", "RX"] | None = None

    @property
    def is_of_address(self) -> bool:
        """Whether it asks for what is not kept: the address or the host name."""
        return bool(self.networks or self.domains)

    def held(self, kept: "Kept") -> bool:
        """Whether one of its networks or domains held, as far as what is kept tells."""
        return self.name in kept.names or kept.domain in [one.lower() for one in self.domains]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class Kept:
    """What is kept of who reads, as far as rules ask for it.

    ``matched_rules`` are the names of all rules whose networks or domains held when the log was read,
    joined by commas; ``user`` is a pseudonym.
    """

    matched_rules: str
    domain: str | None
    agent: str
    user: str | None
    direction: str | None
    organisation: str | None

    @property
    def names(self) -> list[str]:
        """Those of ``matched_rules``."""
        return self.matched_rules.split(_SEPARATOR) if self.matched_rules else []


class Rules:
    """Rules in their order."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        self._networks = [
            [ip_network(network, strict=False) for network in rule.networks] for rule in rules
        ]

    def in_pseudonyms(self, key: bytes) -> "Rules":
        """These, with users as a store with that key knows them."""
        return Rules(
            tuple(
                replace(rule, users=tuple(pseudonym(key, user) for user in rule.users))
                for rule in self.rules
            )
        )

    def matched_rules(self, address: Address | None, host: str) -> str:
        """The names of the rules whose networks or domains hold."""
        names = [
            rule.name
            for rule, networks in zip(self.rules, self._networks, strict=True)
            if _is_in(address, networks) or any(_is_below(host, one) for one in rule.domains)
        ]
        return _SEPARATOR.join(names)

    def class_of(self, kept: Kept) -> str:
        """The class of a client."""
        return next((rule.class_ for rule in self._holding(kept) if rule.class_), EXTERNAL)

    def institution_of(self, kept: Kept) -> tuple[str | None, str | None]:
        """Whose a client is, and where that is known from."""
        for rule in self._holding(kept):
            if rule.institution:
                return rule.institution, BY_RULE
        if kept.domain:
            return kept.domain, BY_DOMAIN
        return kept.organisation, BY_OPERATOR if kept.organisation else None

    def _holding(self, kept: Kept) -> Iterator[Rule]:
        for rule in self.rules:
            if (
                (not rule.is_of_address or rule.held(kept))
                and (not rule.agents or any(fnmatchcase(kept.agent, one) for one in rule.agents))
                and (not rule.users or kept.user in rule.users)
                and rule.direction in (None, kept.direction)
            ):
                yield rule


def load(path: Path | None) -> Rules:
    """The rules of a file; none without it.

    Raises:
        UsageError: it cannot be read, or is no file of rules; the message says where it is wrong.
    """
    if path is None:
        return Rules()
    try:
        told = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
        names = [rule.name for rule in told.rule]
        for rule in told.rule:
            if names.count(rule.name) > 1:
                raise ValueError(f"two rules are called {rule.name!r}")
            if rule.class_ is None and rule.institution is None:
                raise ValueError(f"the rule {rule.name!r} names no class and no institution")
        return Rules(told.rule)
    except OSError as error:
        raise UsageError(f"the rules {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # which msgspec's and tomllib's errors are
        raise UsageError(f"the rules {path} are wrong: {error}; see docs/clients.md") from None


def domain_of(host: str, address: Address | None) -> str | None:
    """The registrable domain of a host name (``ethz.ch`` of ``sc3.ethz.ch``), where it has one.

    None also of a name whose registrable part holds the address, and of what no registry gives out,
    as whoever connects chooses what its reverse name is.
    """
    domain: str | None = _suffixes().privatesuffix(host.rstrip(".").lower())
    if domain is None or not _DOMAIN.fullmatch(domain):
        return None
    if address is None or not any(map(str.isdigit, domain)):
        return domain
    parts = re.findall(r"[0-9a-f]+", str(unmapped(address)))
    return None if set(parts) <= set(re.findall(r"[0-9a-f]+", domain)) else domain


@cache
def _suffixes() -> PublicSuffixList:
    """Of registries alone: names that hosting firms give out may hold an address."""
    return PublicSuffixList(accept_unknown=False, only_icann=True)


def _is_in(address: Address | None, networks: list[IPv4Network | IPv6Network]) -> bool:
    return address is not None and any(unmapped(address) in network for network in networks)


def _is_below(host: str, domain: str) -> bool:
    host, domain = host.rstrip(".").lower(), domain.lower()
    return host == domain or host.endswith("." + domain)
