"""The store's secret, and the keys derived from it.

The secret lies in the configuration folder, never beside the data: a copy of the data alone tells
no address, as pseudonyms cannot be tried out without it. Losing it ends the linkage of old and new
pseudonyms and makes every log look new.
"""

import hmac
import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

from ringserverstats.errors import MissingSecretError, StoreError, UsageError

SECRET_BYTES = 32


@dataclass(frozen=True)
class Keys:
    """One key for each use, so that none tells anything of another."""

    entries: bytes
    names: bytes
    clients: bytes
    users: bytes
    sketches: bytes
    check: str


def derive(secret: bytes) -> Keys:
    """HKDF-Expand (RFC 5869, section 2.3) of one block for each key."""

    def expand(purpose: str) -> bytes:
        return hmac.digest(secret, f"ringserverstats {purpose}".encode() + b"\x01", "sha256")

    return Keys(
        entries=expand("entries"),
        names=expand("names"),
        clients=expand("clients"),
        users=expand("users"),
        sketches=expand("sketches"),
        check=expand("check").hex()[:16],
    )


def read_secret(text: str) -> bytes:
    """The secret as it is written in its file or setting: 64 hexadecimal digits.

    Raises:
        UsageError: it is not.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise UsageError(
            "the secret is not 64 hexadecimal digits; restore the file from its backup, or make a "
            "new one for a new store with: openssl rand -hex 32"
        )
    return secret


def load_secret(path: Path) -> bytes:
    """Read the secret file of an existing store.

    Raises:
        MissingSecretError: it is missing or cannot be read.
    """
    try:
        return read_secret(path.read_text(encoding="ascii", errors="replace"))
    except OSError as error:
        raise MissingSecretError(
            f"the secret of this store cannot be read ({path}: {error.strerror}); restore it from "
            "its backup or set RINGSERVERSTATS_SECRET"
        ) from None


def make_secret(path: Path) -> bytes:
    """Make the secret of a new store in ``path``, readable by its owner alone.

    Raises:
        StoreError: the file cannot be written.
    """
    secret = token_hex(SECRET_BYTES)
    write_secret(path, secret)
    return read_secret(secret)


def write_secret(path: Path, secret: str) -> None:
    """Write a secret, in hexadecimal digits, into the new file ``path``.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise StoreError(
            f"the secret of the store cannot be written ({path}: {error.strerror}); set "
            "RINGSERVERSTATS_CONFIG_FOLDER to a folder that can be"
        ) from None
