"""Clients of months that are long ago: counted, but nobody can be followed from month to month."""

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

#: What stays of an client_profile beside its client and agent.
_KEPT = ("direction", "country", "country_name", "location_source", "class")
_COARSE = {"city": UNKNOWN, "geohash": ""}
_PSEUDONYM_BYTES = 8

Row = Mapping[str, Any]


@dataclass
class Coarse:
    """The client_profiles of one month, coarse: for each client a random pseudonym of this month.

    Their country and class stay, their agent becomes its family, all else goes. ``becomes`` tells
    of each client_profile that was given its coarse one, the tables what has to be known of these.
    """

    keys: Keys
    month: date
    becomes: dict[int, int] = field(default_factory=dict)
    client_profiles: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    clients: dict[int, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, client_profile: Row, program: str) -> None:
        """Make ``client_profile`` coarse, whose agent is of the family ``program``."""
        client = self._client(client_profile["client"])
        agent = self._agent(program)
        kept = {name: client_profile[name] for name in _KEPT}
        coarse = self.client_profiles.setdefault(
            (client, agent, *kept.values()),
            {
                **dict.fromkeys(CLIENT_PROFILES.names),
                **_COARSE,
                **kept,
                "client_profile": _random(),
                "client": client,
                "agent": agent,
                "month": self.month,
            },
        )
        self.becomes[client_profile["client_profile"]] = coarse["client_profile"]

    def _client(self, client: int) -> int:
        if client not in self.clients:
            alias = secrets.token_hex(_PSEUDONYM_BYTES)
            self.clients[client] = {"client": number(alias), "pseudonym": alias}
        return int(self.clients[client]["client"])

    def _agent(self, program: str) -> int:
        if program not in self.agents:
            agent = {"agent": agent_id(self.keys, program), "name": program}
            self.agents[program] = {**agent, "family": family(program)}
        return int(self.agents[program]["agent"])

    @property
    def tables(self) -> dict[str, pa.Table]:
        """Agents, clients and client_profiles, by the names of their tables."""
        given: dict[str, tuple[Sequence[Any], pa.Schema]] = {
            "agent": (list(self.agents.values()), AGENTS),
            "client": (list(self.clients.values()), CLIENTS),
            "client_profile": (list(self.client_profiles.values()), CLIENT_PROFILES),
        }
        return {name: pa.Table.from_pylist(rows, schema) for name, (rows, schema) in given.items()}


def pruned_rows(
    rows: Rows, new: npt.NDArray[np.bool_], before: date, keys: Keys
) -> tuple[Rows, set[date]]:
    """``rows`` in which the ``new`` entries of days ``before`` have coarse client_profiles.

    Returns:
        That, and the months of these entries.
    """
    old = new & pc.less(rows.entries["day"], pa.scalar(before)).to_numpy()
    if not old.any():
        return rows, set()
    months = rows.entries["day"].to_numpy().astype("datetime64[M]")
    client_profile = rows.entries["client_profile"].to_numpy().copy()
    connection = rows.entries["connection"].to_numpy().copy()
    by_id = {row["client_profile"]: row for row in rows.client_profiles.to_pylist()}
    families = {row["agent"]: row["family"] for row in rows.agents.to_pylist()}
    found = []
    for month in np.unique(months[old]):
        own = old & (months == month)
        coarse = Coarse(keys, month.astype("datetime64[D]").item())
        unique, place = np.unique(client_profile[own], return_inverse=True)
        for one in unique.tolist():
            coarse.add(by_id[one], families[by_id[one]["agent"]])
        becomes = np.array([coarse.becomes[one] for one in unique.tolist()], np.int64)
        client_profile[own] = becomes[place]
        connection[own] = random_ids(connection[own])
        found.append(coarse)
    entries = rows.entries
    for name, values in (("client_profile", client_profile), ("connection", connection)):
        place = ENTRIES.get_field_index(name)
        entries = entries.set_column(place, ENTRIES.field(place), pa.array(values))
    made = [coarse.tables for coarse in found]
    return (
        replace(
            rows,
            entries=entries,
            agents=pa.concat_tables([rows.agents, *(one["agent"] for one in made)]),
            clients=pa.concat_tables([rows.clients, *(one["client"] for one in made)]),
            client_profiles=pa.concat_tables(
                [rows.client_profiles, *(one["client_profile"] for one in made)]
            ),
        ),
        {coarse.month for coarse in found},
    )


def random_ids(ids: Int64s) -> Int64s:
    """Random ones instead of ``ids``, the same for the same."""
    unique, place = np.unique(ids, return_inverse=True)
    drawn: Int64s = np.frombuffer(secrets.token_bytes(8 * len(unique)), np.int64)
    return drawn[place]


def _random() -> int:
    return int.from_bytes(secrets.token_bytes(8), "big", signed=True)
