"""Who a store is, and the servers that it knows, within the transaction of the caller."""

import uuid
from datetime import date

from ringserverstats.errors import StoreError, UsageError
from ringserverstats.store.base import Identity, Server
from ringserverstats.store.session import Session


def identity(session: Session) -> Identity:
    """The row of table ``store``.

    Raises:
        StoreError: there is not one.
    """
    rows = session.rows("SELECT id, key_check, ipv6_prefix, generation, last_server FROM store")
    if len(rows) != 1:
        raise StoreError(
            "the store is damaged: its table `store` has not one row; restore a backup with: "
            "ringserverstats restore FILE"
        )
    return Identity(*rows[0])


def new_generation(session: Session) -> None:
    """Let what other processes know of the store no longer hold."""
    session.execute("UPDATE store SET generation = $1", [str(uuid.uuid4())])


def all_servers(session: Session) -> list[Server]:
    """All servers by name."""
    rows = session.rows(
        "SELECT server, name, timezone, former_names, paths, first_day, last_day FROM server"
        " ORDER BY name"
    )
    return [
        Server(number, name, timezone, tuple(former_names or ()), tuple(paths or ()), *service)
        for number, name, timezone, former_names, paths, *service in rows
    ]


def named(session: Session, name: str) -> Server:
    """The server called ``name`` now.

    Raises:
        UsageError: there is none.
    """
    servers = all_servers(session)
    found = next((server for server in servers if server.name == name), None)
    if found is None:
        known = ", ".join(server.name for server in servers) or "none"
        raise UsageError(f"there is no server {name!r} (known: {known})")
    return found


def add_server(session: Session, name: str, timezone: str) -> Server:
    """Add a server, or return the one that has or had this name. A number is given once ever."""
    for server in all_servers(session):
        if server.is_called(name):
            return server
    number = session.rows("UPDATE store SET last_server = last_server + 1 RETURNING last_server")[
        0
    ][0]
    made = Server(int(number), name, timezone)
    _insert(session, made)
    return made


def copy_servers(session: Session, original: Identity, servers: list[Server]) -> None:
    """Let the servers be those of another store, with their numbers.

    Raises:
        StoreError: there is one that the other store does not have.
    """
    numbers = {server.number for server in servers}
    strangers = [
        one.name
        for one in all_servers(session)
        if one.number not in numbers and _was_read(session, one)
    ]
    if strangers:
        raise StoreError(
            f"the copy has a server that the store does not have ({strangers[0]!r}), so logs were "
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
    session.execute(
        "INSERT INTO server (server, name, timezone, former_names, paths, first_day, last_day)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        [
            server.number,
            server.name,
            server.timezone,
            list(server.former_names),
            list(server.paths),
            server.first_day,
            server.last_day,
        ],
    )


def change_server(
    session: Session,
    name: str,
    *,
    rename: str | None,
    timezone: str | None,
    paths: tuple[str, ...] | None,
    service: tuple[date | None, date | None] | None,
) -> None:
    """Give the server called ``name`` another name, time zone, other paths or days of service.

    Raises:
        UsageError: there is none, or the new name is taken.
    """
    found = named(session, name)
    if paths is not None:
        session.execute(
            "UPDATE server SET paths = $2 WHERE server = $1", [found.number, list(paths)]
        )
    if service is not None:
        session.execute(
            "UPDATE server SET first_day = $2, last_day = $3 WHERE server = $1",
            [found.number, *service],
        )
    if timezone:
        session.execute(
            "UPDATE server SET timezone = $2 WHERE server = $1", [found.number, timezone]
        )
        if found.timezone not in ("", timezone):  # logs may have been taken for whole too early
            session.execute(
                "UPDATE log_interval SET complete = false WHERE server = $1", [found.number]
            )
    if rename and rename != name:
        others = [one for one in all_servers(session) if one.number != found.number]
        if any(server.is_called(rename) for server in others):
            raise UsageError(
                f"there is a server that is or was called {rename!r}; take another name"
            )
        former_names = [*(old for old in found.former_names if old != rename), name]
        session.execute(
            "UPDATE server SET name = $2, former_names = $3 WHERE server = $1",
            [found.number, rename, former_names],
        )


def remove_server(session: Session, name: str) -> None:
    """Forget the server called ``name``.

    Raises:
        UsageError: something was read of it.
    """
    found = named(session, name)
    if _was_read(session, found):
        raise UsageError(
            f"logs of server {name!r} were read; to forget them first: ringserverstats delete "
            f"--server {name} --from 2000 --to 2100, or merge it into another server"
        )
    session.execute("DELETE FROM server WHERE server = $1", [found.number])


def _was_read(session: Session, server: Server) -> bool:
    """Whether anything was read of ``server``."""
    return any(
        session.rows(f"SELECT count(*) FROM {table} WHERE server = $1", [server.number])[0][0]
        for table in ("entry_ledger", "log_interval", "reject")
    )
