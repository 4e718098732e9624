"""Who may come into the web service: tokens, of which the store keeps digests alone.

A token has 256 random bits, so that a plain SHA-256 (FIPS 180-4) of it tells nothing.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from ringserverstats.errors import UsageError
from ringserverstats.store.base import Ask, Token
from ringserverstats.store.session import Session

_PREFIX = "rss_"  # by which people and programs that look for secrets know it
_BYTES = 32
_ALL = "SELECT name, digest, may_ingest, networks, created FROM token ORDER BY name"


def make_token() -> str:
    """A new token, to be shown once."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(token: str) -> str:
    """What is kept of ``token``."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def all_tokens(ask: Ask) -> list[Token]:
    """All tokens by name."""
    rows = ask(_ALL).to_pylist()
    return [Token(**{**row, "networks": tuple(row["networks"])}) for row in rows]


def find_token(tokens: Sequence[Token], given: str) -> Token | None:
    """The one of ``tokens`` that is ``given``; takes as long for any that is none."""
    digest = digest_of(given)
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def add_token(session: Session, token: Token) -> None:
    """Let ``token`` in.

    Raises:
        UsageError: its name is taken.
    """
    if session.rows("SELECT name FROM token WHERE name = $1", [token.name]):
        raise UsageError(
            f"there is a token {token.name!r} already; revoke it first, or take another name: "
            f"ringserverstats token revoke {token.name}"
        )
    session.execute(
        "INSERT INTO token (name, digest, may_ingest, networks, created) VALUES ($1, $2, $3, $4, $5)",
        [token.name, token.digest, token.may_ingest, list(token.networks), token.created],
    )


def remove_token(session: Session, name: str) -> None:
    """Let the token called ``name`` in no longer.

    Raises:
        UsageError: there is none.
    """
    if not session.execute("DELETE FROM token WHERE name = $1", [name]):
        raise UsageError(f"there is no token {name!r}; see: ringserverstats token list")
