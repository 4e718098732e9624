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
from ringserverstats.enrich.clients import number
from ringserverstats.enrich.rows import AGENTS, CLIENTS, ENTRIES, ORIGINS, Rows, agent_id
from ringserverstats.enrich.words import UNKNOWN
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import Int64s

#: What stays of an origin beside its client and agent.
_KEPT = ("direction", "country", "country_name", "place_source", "class")
_COARSE = {"city": UNKNOWN, "geohash": ""}
_PSEUDONYM_BYTES = 8

Row = Mapping[str, Any]


@dataclass
class Coarse:
    """The origins of one month, coarse: for each client a random pseudonym of this month.

    Their country and class stay, their agent becomes its family, all else goes. ``becomes`` tells
    of each origin that was given its coarse one, the tables what has to be known of these.
    """

    keys: Keys
    month: date
    becomes: dict[int, int] = field(default_factory=dict)
    origins: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    clients: dict[int, dict[str, Any]] = field(default_factory=dict)
    agents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, origin: Row, program: str) -> None:
        """Make ``origin`` coarse, whose agent is of the family ``program``."""
        client = self._client(origin["client"])
        agent = self._agent(program)
        kept = {name: origin[name] for name in _KEPT}
        coarse = self.origins.setdefault(
            (client, agent, *kept.values()),
            {
                **dict.fromkeys(ORIGINS.names),
                **_COARSE,
                **kept,
                "origin": _random(),
                "client": client,
                "agent": agent,
                "month": self.month,
            },
        )
        self.becomes[origin["origin"]] = coarse["origin"]

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
        """Agents, clients and origins, by the names of their tables."""
        given: dict[str, tuple[Sequence[Any], pa.Schema]] = {
            "agent": (list(self.agents.values()), AGENTS),
            "client": (list(self.clients.values()), CLIENTS),
            "origin": (list(self.origins.values()), ORIGINS),
        }
        return {name: pa.Table.from_pylist(rows, schema) for name, (rows, schema) in given.items()}


def pruned_rows(
    rows: Rows, new: npt.NDArray[np.bool_], before: date, keys: Keys
) -> tuple[Rows, set[date]]:
    """``rows`` in which the ``new`` entries of days ``before`` have coarse origins.

    Returns:
        That, and the months of these entries.
    """
    old = new & pc.less(rows.entries["day"], pa.scalar(before)).to_numpy()
    if not old.any():
        return rows, set()
    months = rows.entries["day"].to_numpy().astype("datetime64[M]")
    origin = rows.entries["origin"].to_numpy().copy()
    connection = rows.entries["connection"].to_numpy().copy()
    by_id = {row["origin"]: row for row in rows.origins.to_pylist()}
    families = {row["agent"]: row["family"] for row in rows.agents.to_pylist()}
    found = []
    for month in np.unique(months[old]):
        own = old & (months == month)
        coarse = Coarse(keys, month.astype("datetime64[D]").item())
        unique, place = np.unique(origin[own], return_inverse=True)
        for one in unique.tolist():
            coarse.add(by_id[one], families[by_id[one]["agent"]])
        becomes = np.array([coarse.becomes[one] for one in unique.tolist()], np.int64)
        origin[own] = becomes[place]
        connection[own] = random_ids(connection[own])
        found.append(coarse)
    entries = rows.entries
    for name, values in (("origin", origin), ("connection", connection)):
        place = ENTRIES.get_field_index(name)
        entries = entries.set_column(place, ENTRIES.field(place), pa.array(values))
    made = [coarse.tables for coarse in found]
    return (
        replace(
            rows,
            entries=entries,
            agents=pa.concat_tables([rows.agents, *(one["agent"] for one in made)]),
            clients=pa.concat_tables([rows.clients, *(one["client"] for one in made)]),
            origins=pa.concat_tables([rows.origins, *(one["origin"] for one in made)]),
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
