"""The operator's rules, which decide the class and the institution of a client.

A rule matches if all its conditions do: one of its ``networks`` or ``domains``, one of its
``agents`` (with ``*`` and ``?``), one of its ``users``, its ``direction``. The first matching rule
with a ``class`` decides the class, the first one with an ``institution`` the institution.
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
# Letters, digits and hyphens (RFC 952, RFC 1123); names in other scripts are encoded (xn--).
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?")
# Characters that are not shown, or change how others are shown: control, bidirectional, zero width.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
_Text = Annotated[str, msgspec.Meta(pattern=rf"^[^{_UNSEEN}]{{1,100}}$")]
_Domain = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,98}[A-Za-z0-9])?$")]
_Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
_Name = Annotated[str, msgspec.Meta(pattern=rf"^[^,{_UNSEEN}]{{1,100}}$")]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """One rule. Matches of its networks and domains are stored by its ``name``."""

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
        """Whether it needs the address or the host name, which are not stored."""
        return bool(self.networks or self.domains)

    def matched_address(self, client: "RuleInput") -> bool:
        """Return True if one of its networks or domains matched when the log was read."""
        return self.name in client.names or client.domain in [
            domain.lower() for domain in self.domains
        ]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class RuleInput:
    """Stored values of a client profile that rules test.

    ``matched_rules`` are the names of the rules with a network or domain that matched when the log
    was read, joined by commas. ``user`` is a pseudonym.
    """

    matched_rules: str
    domain: str | None
    agent: str
    user: str | None
    direction: str | None
    organisation: str | None

    @property
    def names(self) -> list[str]:
        """``matched_rules`` as a list."""
        return self.matched_rules.split(_SEPARATOR) if self.matched_rules else []


class Rules:
    """Rules in their order."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules
        self._networks = [
            [ip_network(network, strict=False) for network in rule.networks] for rule in rules
        ]

    def in_pseudonyms(self, key: bytes) -> "Rules":
        """Return these rules with their users as pseudonyms of the store with that key."""
        return Rules(
            tuple(
                replace(rule, users=tuple(pseudonym(key, user) for user in rule.users))
                for rule in self.rules
            )
        )

    def matched_rules(self, address: Address | None, host: str) -> str:
        """Return the names of the rules with a network or domain that matches."""
        names = [
            rule.name
            for rule, networks in zip(self.rules, self._networks, strict=True)
            if _is_in(address, networks) or any(_is_below(host, domain) for domain in rule.domains)
        ]
        return _SEPARATOR.join(names)

    def class_of(self, client: RuleInput) -> str:
        """Return the class of a client."""
        return next((rule.class_ for rule in self._matching(client) if rule.class_), EXTERNAL)

    def institution_of(self, client: RuleInput) -> tuple[str | None, str | None]:
        """Return the institution of a client, and its source."""
        for rule in self._matching(client):
            if rule.institution:
                return rule.institution, BY_RULE
        if client.domain:
            return client.domain, BY_DOMAIN
        return client.organisation, BY_OPERATOR if client.organisation else None

    def _matching(self, client: RuleInput) -> Iterator[Rule]:
        for rule in self.rules:
            if (
                (not rule.is_of_address or rule.matched_address(client))
                and (
                    not rule.agents or any(fnmatchcase(client.agent, name) for name in rule.agents)
                )
                and (not rule.users or client.user in rule.users)
                and rule.direction in (None, client.direction)
            ):
                yield rule


def load(path: Path | None) -> Rules:
    """Read a file of rules; no rules without a file.

    Raises:
        UsageError: the file cannot be read or is invalid; the message has the position.
    """
    if path is None:
        return Rules()
    try:
        rules = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File).rule
        names = [rule.name for rule in rules]
        for rule in rules:
            if names.count(rule.name) > 1:
                raise ValueError(f"two rules are called {rule.name!r}")
            if rule.class_ is None and rule.institution is None:
                raise ValueError(f"the rule {rule.name!r} has no class and no institution")
        return Rules(rules)
    except OSError as error:
        raise UsageError(f"the rules {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # which msgspec's and tomllib's errors are
        raise UsageError(f"the rules {path} are invalid: {error}. See docs/clients.md") from None


def domain_of(host: str, address: Address | None) -> str | None:
    """Return the registrable domain of a host name (``ethz.ch`` for ``sc3.ethz.ch``).

    None if there is no registered one, or if it contains the address: a client chooses its own
    reverse name.
    """
    labels = host.rstrip(".").lower().split(".")
    found = _suffixes().privatesuffix(".".join(map(_decoded, labels)))
    if found is None:
        return None
    domain = ".".join(labels[-found.count(".") - 1 :])
    if not _DOMAIN.fullmatch(domain):
        return None
    if address is None or not any(map(str.isdigit, domain)):
        return domain
    parts = re.findall(r"[0-9a-f]+", str(unmapped(address)))
    return None if set(parts) <= set(re.findall(r"[0-9a-f]+", domain)) else domain


@cache
def _suffixes() -> PublicSuffixList:
    """Only suffixes of registries: names from hosting companies may contain an address.

    Encoding its suffixes in other scripts would take three times as long as reading the list.
    """
    return PublicSuffixList(accept_unknown=False, only_icann=True, accept_encoded_idn=False)


def _decoded(label: str) -> str:
    """Return a label of a domain in its own script (``xn--55qx5d`` is ``公司``)."""
    try:
        return label.encode().decode("idna") if label.startswith("xn--") else label
    except UnicodeError:
        return label


def _is_in(address: Address | None, networks: list[IPv4Network | IPv6Network]) -> bool:
    return address is not None and any(unmapped(address) in network for network in networks)


def _is_below(host: str, domain: str) -> bool:
    host, domain = host.rstrip(".").lower(), domain.lower()
    return host == domain or host.endswith("." + domain)
