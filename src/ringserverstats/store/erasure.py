"""Erase the pseudonym of a client, within the transaction of the caller."""

import secrets

import pyarrow as pa

from ringserverstats.enrich.pseudonyms import number
from ringserverstats.enrich.rows import AS_READ, client_profile_id, moved_connections
from ringserverstats.keys import Keys
from ringserverstats.store.base import Removed
from ringserverstats.store.rollups import ROLLUPS
from ringserverstats.store.session import Session

_AMOUNTS = """
SELECT count(DISTINCT f.day), coalesce(sum(f.entries), 0), coalesce(sum(f.transfers), 0),
       coalesce(sum(f.bytes), 0), coalesce(sum(f.packets), 0)
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
 WHERE o.client = $1
"""
_CONNECTIONS = """
SELECT DISTINCT f.server, f.connection
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
 WHERE o.client = $1
"""
_MOVED = pa.schema(
    [("client_profile", pa.int64()), ("becomes", pa.int64()), ("auth_user", pa.string())]
)


def forget(session: Session, pseudonym: str, keys: Keys) -> Removed:
    """Replace ``pseudonym`` and the ids that depend on it by random ones.

    The ledger keeps its entries. Their ids identify a client only to those who have both the secret
    and the text of the log.

    Returns:
        The amounts of the client, all 0 if it is unknown.
    """
    before = number(pseudonym)
    amounts = session.rows(_AMOUNTS, [before])[0]
    alias = secrets.token_hex(8)
    after = number(alias)
    _replace_connections(session, before, after)
    _replace_profiles(session, before, after, keys)
    session.execute("UPDATE store SET vacuum_pending = true")
    deleted = session.execute("DELETE FROM client WHERE client = $1", [before])
    if deleted:
        session.execute(
            "INSERT INTO client (client, pseudonym, address, host) VALUES ($1, $2, NULL, NULL)",
            [after, alias],
        )
    return Removed(*map(int, (*amounts, 0)))


def _replace_connections(session: Session, before: int, after: int) -> None:
    connections = session.table(_CONNECTIONS, [before])
    server, connection = (connections[name].to_numpy() for name in ("server", "connection"))
    becomes = moved_connections(connection, (server, before), (server, after))
    session.register("moved", connections.append_column("becomes", pa.array(becomes)))
    for table in (*session.facts, "connection_by_day_built"):
        session.execute(
            f"UPDATE {table} SET connection = moved.becomes FROM moved"
            f" WHERE moved.connection = {table}.connection AND moved.server = {table}.server"
        )


def _replace_profiles(session: Session, before: int, after: int, keys: Keys) -> None:
    """Replace the client's profiles, whose ids depend on the client and on users' pseudonyms."""
    rows = session.table("SELECT * FROM client_profile WHERE client = $1", [before]).to_pylist()
    users = {row["auth_user"]: secrets.token_hex(8) for row in rows if row["auth_user"]}
    moved = []
    for row in rows:
        profile = row | {"client": after, "auth_user": users.get(row["auth_user"])}
        profile["becomes"] = client_profile_id(keys, [profile[name] for name in AS_READ])
        moved.append({name: profile[name] for name in _MOVED.names})
    session.register("moved", pa.Table.from_pylist(moved, _MOVED))
    rollups = [session.stored(rollup) for rollup in ROLLUPS if rollup.has_client_profile]
    for table in (*session.facts, *rollups):
        session.execute(
            f"UPDATE {table} SET client_profile = moved.becomes FROM moved"
            f" WHERE moved.client_profile = {table}.client_profile"
        )
    session.execute(
        f"UPDATE client_profile SET client_profile = moved.becomes, client = {after},"
        " auth_user = moved.auth_user FROM moved"
        " WHERE moved.client_profile = client_profile.client_profile"
    )
