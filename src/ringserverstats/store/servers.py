"""The identity of a store and its servers. Functions run in the transaction of the caller."""

import uuid
from dataclasses import astuple, dataclass, fields
from datetime import date

from ringserverstats.errors import StoreError, UsageError
from ringserverstats.store.base import Identity, Server
from ringserverstats.store.session import Session
from ringserverstats.store.tables import TABLES

_IDENTITY = ", ".join(field.name for field in fields(Identity))
INSERT_IDENTITY = f"INSERT INTO store ({_IDENTITY}) VALUES ($1, $2, $3, $4, $5)"


def identity(session: Session) -> Identity:
    """Return the row of the table ``store``.

    Raises:
        StoreError: the table has not exactly one row.
    """
    rows = session.rows(f"SELECT {_IDENTITY} FROM store")
    if len(rows) != 1:
        raise StoreError(
            "the store is damaged: its table `store` has not one row; restore a backup with: "
            "ringserverstats restore FILE"
        )
    return Identity(*rows[0])


def new_generation(session: Session, server: int | None = None) -> None:
    """Invalidate caches, and what processes looked up for ``server`` (None: for all)."""
    generation = str(uuid.uuid4())
    session.execute("UPDATE store SET generation = $1", [generation])
    session.execute(
        "UPDATE server SET generation = $1 WHERE server = coalesce($2::integer, server)",
        [generation, server],
    )


def all_servers(session: Session) -> list[Server]:
    """Return all servers by name."""
    rows = session.rows(f"SELECT {', '.join(TABLES['server'].names)} FROM server ORDER BY name")
    return [
        Server(number, name, timezone, tuple(former_names), tuple(paths), *service)
        for number, name, timezone, former_names, paths, *service in rows
    ]


def named(session: Session, name: str) -> Server:
    """Return the server whose present name is ``name``.

    Raises:
        UsageError: it does not exist.
    """
    servers = all_servers(session)
    server = next((server for server in servers if server.name == name), None)
    if server is None:
        known = ", ".join(server.name for server in servers) or "none"
        raise UsageError(f"there is no server {name!r} (known: {known})")
    return server


def add_server(session: Session, name: str, timezone: str) -> Server:
    """Add a server, or return the one that has or had this name. No number is used again."""
    for server in all_servers(session):
        if server.is_called(name):
            return server
    rows = session.rows("UPDATE store SET last_server = last_server + 1 RETURNING last_server")
    server = Server(int(rows[0][0]), name, timezone)
    _insert(session, server)
    return server


def copy_servers(session: Session, original: Identity, servers: list[Server]) -> None:
    """Replace the servers by those of another store, with their numbers.

    Raises:
        StoreError: logs of a server were read that the other store does not have.
    """
    numbers = {server.number for server in servers}
    unknown = [
        server.name
        for server in all_servers(session)
        if server.number not in numbers and _was_read(session, server)
    ]
    if unknown:
        raise StoreError(
            f"the copy has a server that the store does not have ({unknown[0]!r}), so logs were "
            "read into it: use it instead of the store, or copy into another one"
        )
    session.execute("DELETE FROM server")
    for server in servers:
        _insert(session, server)
    session.execute(
        "UPDATE store SET generation = $1, last_server = $2",
        [original.generation, original.last_server],
    )


def _insert(session: Session, server: Server) -> None:
    values = [list(value) if isinstance(value, tuple) else value for value in astuple(server)]
    session.execute(TABLES["server"].insert, values)


@dataclass(frozen=True)
class ServerChanges:
    """New properties of a server; None: unchanged. ``service``: first and last day of service."""

    rename: str | None = None
    timezone: str | None = None
    paths: tuple[str, ...] | None = None
    service: tuple[date | None, date | None] | None = None


def change_server(session: Session, name: str, changes: ServerChanges) -> None:
    """Change properties of the server ``name``.

    Raises:
        UsageError: the server does not exist, or the new name is taken.
    """
    server = named(session, name)
    columns: dict[str, object] = {}
    if changes.paths is not None:
        columns["paths"] = list(changes.paths)
    if changes.service is not None:
        columns["first_day"], columns["last_day"] = changes.service
    if changes.timezone:
        columns["timezone"] = changes.timezone
        if server.timezone not in ("", changes.timezone):  # logs may count as complete too early
            session.execute(
                "UPDATE log_interval SET complete = false WHERE server = $1", [server.number]
            )
    if changes.rename and changes.rename != name:
        others = [other for other in all_servers(session) if other.number != server.number]
        if any(other.is_called(changes.rename) for other in others):
            raise UsageError(
                f"there is a server that is or was called {changes.rename!r}; take another name"
            )
        columns["name"] = changes.rename
        columns["former_names"] = [
            *(former for former in server.former_names if former != changes.rename),
            name,
        ]
    for column, value in columns.items():
        session.execute(
            f"UPDATE server SET {column} = $2 WHERE server = $1", [server.number, value]
        )


def remove_server(session: Session, name: str) -> None:
    """Remove the server ``name``.

    Raises:
        UsageError: logs of it were read.
    """
    server = named(session, name)
    if _was_read(session, server):
        raise UsageError(
            f"logs of server {name!r} were read; to forget them first: ringserverstats delete "
            f"--server {name} --from 2000 --to 2100, or merge it into another server"
        )
    session.execute("DELETE FROM server WHERE server = $1", [server.number])


def _was_read(session: Session, server: Server) -> bool:
    """Return whether the store has anything of ``server``."""
    return any(
        session.rows(f"SELECT count(*) FROM {table} WHERE server = $1", [server.number])[0][0]
        for table in ("entry_ledger", "log_interval", "reject")
    )
