"""Anonymise clients of old months: counts stay, but clients cannot be followed between months."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.agents import family
from ringserverstats.enrich.labels import UNKNOWN
from ringserverstats.enrich.pseudonyms import number
from ringserverstats.enrich.rows import AGENTS, CLIENT_PROFILES, CLIENTS, ENTRIES, Rows, agent_id
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import Int64s

#: Columns of a client profile that stay, besides client and agent.
_UNCHANGED = ("direction", "country", "country_name", "location_source", "class")
_REMOVED_LOCATION = {"city": UNKNOWN, "geohash": ""}
_PSEUDONYM_BYTES = 8

Row = Mapping[str, Any]


@dataclass
class AnonymousMonth:
    """Anonymised client profiles of one month, with a random pseudonym per client.

    Country and class stay, the agent becomes its family, all else is removed. ``replacements`` has
    the id of the anonymised profile for each original one.
    """

    keys: Keys
    month: date
    replacements: dict[int, int] = field(default_factory=dict)
    client_profiles: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    clients: dict[int, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, client_profile: Row, program: str) -> None:
        """Anonymise ``client_profile``, which has an agent of the family ``program``."""
        client = self._client(client_profile["client"])
        agent = self._agent(program)
        unchanged = {name: client_profile[name] for name in _UNCHANGED}
        anonymous = self.client_profiles.setdefault(
            (client, agent, *unchanged.values()),
            {
                **dict.fromkeys(CLIENT_PROFILES.names),
                **_REMOVED_LOCATION,
                **unchanged,
                "client_profile": _random(),
                "client": client,
                "agent": agent,
                "month": self.month,
            },
        )
        self.replacements[client_profile["client_profile"]] = anonymous["client_profile"]

    def _client(self, client: int) -> int:
        if client not in self.clients:
            pseudonym = secrets.token_hex(_PSEUDONYM_BYTES)
            self.clients[client] = {"client": number(pseudonym), "pseudonym": pseudonym}
        return int(self.clients[client]["client"])

    def _agent(self, program: str) -> int:
        if program not in self.agents:
            agent = {"agent": agent_id(self.keys, program), "name": program}
            self.agents[program] = {**agent, "family": family(program)}
        return int(self.agents[program]["agent"])

    @property
    def tables(self) -> dict[str, pa.Table]:
        """New rows of the tables agent, client and client_profile."""
        rows: dict[str, tuple[Sequence[Any], pa.Schema]] = {
            "agent": (list(self.agents.values()), AGENTS),
            "client": (list(self.clients.values()), CLIENTS),
            "client_profile": (list(self.client_profiles.values()), CLIENT_PROFILES),
        }
        return {name: pa.Table.from_pylist(given, schema) for name, (given, schema) in rows.items()}


def anonymise_rows(
    rows: Rows, new: npt.NDArray[np.bool_], before: date, keys: Keys
) -> tuple[Rows, set[date]]:
    """Anonymise the ``new`` entries of days before ``before``.

    Returns:
        ``rows`` with anonymised client profiles, and the months of these entries.
    """
    old = new & pc.less(rows.entries["day"], pa.scalar(before)).to_numpy()
    if not old.any():
        return rows, set()
    entry_month = rows.entries["day"].to_numpy().astype("datetime64[M]")
    profile = rows.entries["client_profile"].to_numpy().copy()
    connection = rows.entries["connection"].to_numpy().copy()
    months = []
    for first_day in np.unique(entry_month[old]):
        of_month = old & (entry_month == first_day)
        month = AnonymousMonth(keys, first_day.astype("datetime64[D]").item())
        profile[of_month] = _add_profiles(month, rows, profile[of_month])
        connection[of_month] = random_ids(connection[of_month])
        months.append(month)
    entries = rows.entries
    for name, values in (("client_profile", profile), ("connection", connection)):
        column = ENTRIES.get_field_index(name)
        entries = entries.set_column(column, ENTRIES.field(column), pa.array(values))
    tables = [month.tables for month in months]
    anonymous = replace(
        rows,
        entries=entries,
        agents=pa.concat_tables([rows.agents, *(each["agent"] for each in tables)]),
        clients=pa.concat_tables([rows.clients, *(each["client"] for each in tables)]),
        client_profiles=pa.concat_tables(
            [rows.client_profiles, *(each["client_profile"] for each in tables)]
        ),
    )
    return anonymous, {month.month for month in months}


def _add_profiles(month: AnonymousMonth, rows: Rows, profile: Int64s) -> Int64s:
    """Add the client profiles with the ids ``profile`` to ``month``; return the ids of these."""
    by_id = {row["client_profile"]: row for row in rows.client_profiles.to_pylist()}
    families = {row["agent"]: row["family"] for row in rows.agents.to_pylist()}
    unique, index = np.unique(profile, return_inverse=True)
    for original in unique.tolist():
        month.add(by_id[original], families[by_id[original]["agent"]])
    replacements = [month.replacements[original] for original in unique.tolist()]
    return np.array(replacements, np.int64)[index]


def random_ids(ids: Int64s) -> Int64s:
    """Replace ``ids`` by random ones, equal ids by equal ones."""
    unique, index = np.unique(ids, return_inverse=True)
    drawn: Int64s = np.frombuffer(secrets.token_bytes(8 * len(unique)), np.int64)
    return drawn[index]


def _random() -> int:
    return int.from_bytes(secrets.token_bytes(8), "big", signed=True)
