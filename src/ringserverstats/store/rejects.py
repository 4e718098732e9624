"""Find and delete rejects within the transaction of the caller."""

from collections.abc import Sequence
from uuid import UUID

from ringserverstats.store.base import FileRead
from ringserverstats.store.session import Session


def known_rejects(
    session: Session,
) -> tuple[dict[tuple[int, str], bool], frozenset[tuple[int, bytes]]]:
    """Return the rejects of the store.

    Returns:
        For each server and file with rejects, whether a part of the file could not be read; and the
        server and digest of each reject.
    """
    files = session.rows("SELECT server, file, min(lines) FROM reject GROUP BY server, file")
    is_unread = {(server, file): lines == 0 for server, file, lines in files}
    rows = session.rows("SELECT server, digest FROM reject")
    return is_unread, frozenset((server, digest.bytes) for server, digest in rows)


def delete_rejects(session: Session, where: str, values: Sequence[object] = ()) -> int:
    """Delete rejects and return the number of their entries."""
    entries = session.rows(f"SELECT coalesce(sum(entries), 0) FROM reject WHERE {where}", values)
    if entries[0][0]:
        session.execute(f"DELETE FROM reject WHERE {where}", values)
    return int(entries[0][0])


def settle_rejects(session: Session, read: FileRead) -> int:
    """Delete rejects that the last reading of a file did not have, and return their entries."""
    file = [read.server, read.file]
    settled = delete_rejects(session, "server = $1 AND file = $2 AND lines = 0", file)
    if read.digests is None:
        return settled
    digests = [str(UUID(bytes=digest)) for digest in read.digests]
    settled += delete_rejects(
        session,
        "server = $1 AND file = $2 AND position < $4 AND NOT digest = ANY($3::uuid[])",
        [*file, digests, read.size],
    )
    session.execute(
        "UPDATE reject SET version = $4 WHERE server = $1 AND file = $2"
        " AND digest = ANY($3::uuid[])",
        [*file, digests, read.version],
    )
    return settled
