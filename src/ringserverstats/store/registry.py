"""The network registry of a store. Functions run in the transaction of the caller."""

from collections.abc import Sequence

import pyarrow as pa

from ringserverstats.enrich.networks import Network, spans
from ringserverstats.store.base import Ask
from ringserverstats.store.session import Session
from ringserverstats.store.tables import TABLES
from ringserverstats.store.versions import raise_versions

_PERIODS = "SELECT code, first_day, last_day, network FROM network_period"
_DAYS = "SELECT DISTINCT day FROM network_by_day WHERE network IN (SELECT code FROM given)"


def networks_of(ask: Ask) -> list[Network]:
    """Return all networks of the registry."""
    rows = ask(f"SELECT {', '.join(TABLES['registry'].names)} FROM registry").to_pylist()
    return [Network(**row) for row in rows]


def set_registry(session: Session, networks: Sequence[Network]) -> None:
    """Replace the registry by ``networks``; codes in all stored rows stand for these."""
    before = set(session.rows(_PERIODS))
    for name, networks_or_periods in (("registry", networks), ("network_period", spans(networks))):
        session.execute(f"DELETE FROM {name}")
        rows = [vars(row) for row in networks_or_periods]
        session.register("given", pa.Table.from_pylist(rows, TABLES[name].schema))
        columns = ", ".join(TABLES[name].names)
        session.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM given")
    changed = sorted({code for code, *_ in before ^ set(session.rows(_PERIODS))})
    if changed:
        session.register("given", pa.table({"code": changed}))
        raise_versions(session, {day for (day,) in session.rows(_DAYS)}, corrects=True)
