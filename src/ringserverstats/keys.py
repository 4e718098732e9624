"""The store's secret, and the keys derived from it.

The secret is in the configuration folder, never beside the data: from a copy of the data alone,
pseudonyms cannot be reversed by trying all addresses. Without the secret, new pseudonyms do not
match old ones, and every log counts again.
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
    """One key for each use, so that one reveals nothing about the others."""

    entries: bytes
    names: bytes
    clients: bytes
    users: bytes
    sketches: bytes
    check: str


def derive(secret: bytes) -> Keys:
    """Derive each key by HKDF-Expand (RFC 5869, section 2.3) of one block."""

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
    """Parse the secret of a file or setting: 64 hexadecimal digits.

    Raises:
        UsageError: it is invalid.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise UsageError(
            "the secret is not 64 hexadecimal digits. Restore the file from its backup, or create "
            "one for a new store: openssl rand -hex 32"
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
            f"the secret of this store cannot be read ({path}: {error.strerror}). Restore it from "
            "its backup, or set RINGSERVERSTATS_SECRET"
        ) from None


def make_secret(path: Path) -> bytes:
    """Create the secret of a new store in the file ``path``, readable only by its owner.

    Raises:
        StoreError: the file cannot be written.
    """
    secret = token_hex(SECRET_BYTES)
    write_secret(path, secret)
    return read_secret(secret)


def write_secret(path: Path, secret: str) -> None:
    """Write a secret, in hexadecimal digits, to the new file ``path``.

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
            f"the secret of the store cannot be written ({path}: {error.strerror}). Set "
            "RINGSERVERSTATS_CONFIG_FOLDER to a writable folder"
        ) from None
