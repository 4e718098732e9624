"""The tokens of the web service, of which the store keeps only digests.

A token has 256 random bits, so a plain SHA-256 (FIPS 180-4) does not reveal it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence

from ringserverstats.errors import UsageError
from ringserverstats.store.base import Ask, Token
from ringserverstats.store.session import Session
from ringserverstats.store.tables import TABLES

_PREFIX = "rss_"  # by which people and secret scanners recognise it
_BYTES = 32
_LISTS = ("networks", "servers")
_ALL = f"SELECT {', '.join(TABLES['token'].names)} FROM token ORDER BY name"


def make_token() -> str:
    """Return a new token, to be shown once."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(token: str) -> str:
    """Return the digest that the store keeps of ``token``."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def all_tokens(ask: Ask) -> list[Token]:
    """Return all tokens by name."""
    return [
        Token(**{**row, **{name: tuple(row[name]) for name in _LISTS}})
        for row in ask(_ALL).to_pylist()
    ]


def find_token(tokens: Sequence[Token], given: str) -> Token | None:
    """Return that one of ``tokens`` which is ``given``, in a time that does not depend on it."""
    digest = digest_of(given)
    match = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            match = token
    return match


def add_token(session: Session, token: Token) -> None:
    """Add ``token``.

    Raises:
        UsageError: its name is taken.
    """
    if session.rows("SELECT name FROM token WHERE name = $1", [token.name]):
        raise UsageError(
            f"there is a token {token.name!r} already; revoke it first, or take another name: "
            f"ringserverstats token revoke {token.name}"
        )
    row = {**vars(token), **{name: list(getattr(token, name)) for name in _LISTS}}
    session.execute(TABLES["token"].insert, [row[name] for name in TABLES["token"].names])


def remove_token(session: Session, name: str) -> None:
    """Remove the token ``name``.

    Raises:
        UsageError: it does not exist.
    """
    if not session.execute("DELETE FROM token WHERE name = $1", [name]):
        raise UsageError(f"there is no token {name!r}; see: ringserverstats token list")
