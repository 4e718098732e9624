"""The registry of networks in a store, within the transaction of the caller."""

from collections.abc import Sequence

import pyarrow as pa

from ringserverstats.enrich.networks import Network, spans
from ringserverstats.store.base import Ask
from ringserverstats.store.session import Session
from ringserverstats.store.versions import raise_versions

_SPANS = "SELECT code, first_day, last_day, network FROM network_period"
_DAYS = "SELECT DISTINCT day FROM network_by_day WHERE network IN (SELECT code FROM given)"
_REGISTRY = pa.schema(
    [
        ("code", pa.string()),
        ("first_day", pa.date32()),
        ("last_day", pa.date32()),
        ("name", pa.string()),
        ("doi", pa.string()),
    ]
)
_NETWORK_ON = pa.schema(
    [
        *_REGISTRY,
        ("network", pa.string()),
        ("is_nearest", pa.bool_()),
    ]
)


def networks_of(ask: Ask) -> list[Network]:
    """All networks of a store's registry."""
    rows = ask(f"SELECT {', '.join(_REGISTRY.names)} FROM registry").to_pylist()
    return [Network(**row) for row in rows]


def set_registry(session: Session, networks: Sequence[Network]) -> None:
    """Let ``networks`` be all that there are, and codes stand for them, in all that is stored."""
    before = set(session.rows(_SPANS))
    for table, rows, schema in (
        ("registry", networks, _REGISTRY),
        ("network_period", spans(networks), _NETWORK_ON),
    ):
        session.execute(f"DELETE FROM {table}")
        session.register("given", pa.Table.from_pylist([vars(row) for row in rows], schema))
        names = ", ".join(schema.names)
        session.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM given")
    changed = sorted({span[0] for span in before ^ set(session.rows(_SPANS))})
    if changed:
        session.register("given", pa.table({"code": changed}))
        raise_versions(session, {day for (day,) in session.rows(_DAYS)}, corrects=True)
