"""A client gets a new pseudonym that is made of nothing, within the transaction of the caller."""

import secrets

import pyarrow as pa

from ringserverstats.enrich.pseudonyms import number
from ringserverstats.enrich.rows import AS_READ, client_profile_id, moved_connections
from ringserverstats.keys import Keys
from ringserverstats.store.base import Removed
from ringserverstats.store.session import Session

_AMOUNTS = """
SELECT count(DISTINCT f.day), coalesce(sum(f.entries), 0), coalesce(sum(f.transfers), 0),
       coalesce(sum(f.bytes), 0), coalesce(sum(f.packets), 0)
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile WHERE o.client = $1
"""
_CONNECTIONS = """
SELECT DISTINCT f.server, f.connection
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile WHERE o.client = $1
"""


def forget(session: Session, pseudonym: str, keys: Keys) -> Removed:
    """Let nothing that is stored depend on the address that ``pseudonym`` is made of.

    Its entries stay in the ledger, whose ids tell of a client only to whoever has both the secret
    and the log's text.
    """
    before = number(pseudonym)
    amounts = session.rows(_AMOUNTS, [before])[0]
    alias = secrets.token_hex(8)
    after = number(alias)
    _rename_connections(session, before, after)
    _rename_origins(session, before, after, keys)
    session.execute("UPDATE store SET vacuum_pending = true")
    known = session.execute("DELETE FROM client WHERE client = $1", [before])
    if known:
        session.execute(
            "INSERT INTO client (client, pseudonym, address, host) VALUES ($1, $2, NULL, NULL)",
            [after, alias],
        )
    return Removed(*map(int, (*amounts, 0)))


def _rename_connections(session: Session, before: int, after: int) -> None:
    found = session.table(_CONNECTIONS, [before])
    server, connection = (found[name].to_numpy() for name in ("server", "connection"))
    becomes = moved_connections(connection, (server, before), (server, after))
    given = {"server": found["server"], "connection": found["connection"], "becomes": becomes}
    session.register("moved", pa.table(given))
    for table in (*session.facts, "connection_by_day"):
        session.execute(
            f"UPDATE {table} SET connection = moved.becomes FROM moved"
            f" WHERE moved.connection = {table}.connection AND moved.server = {table}.server"
        )


def _rename_origins(session: Session, before: int, after: int, keys: Keys) -> None:
    """Origins are made of their client, and of pseudonyms of users, which get new ones too."""
    rows = session.table("SELECT * FROM client_profile WHERE client = $1", [before]).to_pylist()
    users = {row["auth_user"]: secrets.token_hex(8) for row in rows if row["auth_user"]}
    moved = []
    for row in rows:
        now = row | {"client": after, "auth_user": users.get(row["auth_user"])}
        becomes = client_profile_id(keys, [now[name] for name in AS_READ])
        moved.append((row["client_profile"], becomes, now["auth_user"]))
    columns = list(zip(*moved, strict=True)) or [(), (), ()]
    kinds = (pa.int64(), pa.int64(), pa.string())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    session.register("moved", pa.table(arrays, names=["client_profile", "becomes", "auth_user"]))
    for table in (*session.facts, *session.profile_rollup_tables):
        session.execute(
            f"UPDATE {table} SET client_profile = moved.becomes FROM moved"
            f" WHERE moved.client_profile = {table}.client_profile"
        )
    session.execute(
        f"UPDATE client_profile SET client_profile = moved.becomes, client = {after}, auth_user = moved.auth_user"
        " FROM moved WHERE moved.client_profile = client_profile.client_profile"
    )
