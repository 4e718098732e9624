"""What clients were sent of resolved networks, as EIDA's statistics count it.

A request is one stream that was served to one connection, once a month; entries would depend on how
often a server writes its log. Only reading counts, of networks whose extended code is known: both
what is written for EIDA (`eida`) and what is answered in its form (`eida_service`) come from here.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.labels import EXTERNAL
from ringserverstats.enrich.networks import is_temporary
from ringserverstats.exports.eida.sketches import hashes, registers, united
from ringserverstats.statistics.network_names import matches_network
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Ask

#: Ways of reading; who sent no command took nothing.
PROTOCOLS = ("SeedLink", "DataLink", "HTTP")
#: Why something is left out.
NO_CODES = "streams that are no source identifiers"
NOT_RESOLVED = "temporary networks that the registry does not tell of"
ASKED = "networks under embargo"

#: SQL of which network a stream's code stood for on the day of ``f``, and its joins.
NETWORK = "coalesce(n.network, s.network)"
CODES = """
JOIN stream s ON s.stream = f.stream
LEFT JOIN network_period n ON n.code = s.network AND f.day BETWEEN n.first_day AND n.last_day
"""
#: SQL that begins a SELECT from ``served``, in which each row is one request, of ``{networks}``.
#: Many transfers are summed by numbers first, which takes PostgreSQL half as long as by texts. A
#: country is two letters, or nothing; the words for what is not known are longer.
SERVED = f"""
WITH sent AS (
    SELECT date_trunc('month', f.day)::date AS month, f.stream, f.connection, f.client_profile,
           n.network AS meant, sum(f.bytes) AS bytes
      FROM transfer f {CODES}
     WHERE {{where}} AND {NETWORK} IN ({{networks}}) GROUP BY 1, 2, 3, 4, 5
), served AS (
    SELECT f.month, coalesce(f.meant, s.network) AS network, f.stream, f.connection, o.client,
           CASE WHEN length(o.country) = 2 THEN o.country ELSE '' END AS country,
           sum(f.bytes) AS bytes
      FROM sent f JOIN stream s ON s.stream = f.stream JOIN client_profile o ON o.client_profile = f.client_profile
     GROUP BY 1, 2, 3, 4, 5, 6
)
"""


def reading(first: date | None, last: date | None, classes: Sequence[str] = (EXTERNAL,)) -> Query:
    """The period, and who counts in it: readers of these ``classes``."""
    filters = {"direction": ("TX",), "protocol": PROTOCOLS, "class": tuple(classes)}
    return Query(first=first, last=last, filters=filters)


def answered(ask: Ask, sql: str, asked: Query, **listed: Sequence[str]) -> pa.Table:
    """The answer to ``sql``.

    Args:
        ask: asks the store.
        sql: has a place ``{where}``, and others for the lists of texts that have their names.
        asked: tells the period and the clients.
    """
    parameters: list[object] = []
    where = conditions(asked, "f.day", parameters)
    named = {}
    for name, texts in listed.items():
        places = range(len(parameters) + 1, len(parameters) + len(texts) + 1)
        named[name] = ", ".join(f"${place}::text" for place in places) or "NULL"
        parameters += texts
    return ask(sql.format(where=where, **named), parameters)


def reason_against(code: str | None, network: str | None, leave_out: Sequence[str]) -> str | None:
    """Why a code that stands for ``network`` is left out; None: it is not.

    A stream may have its code in small letters, by which no embargo is got round.
    """
    if code is None or network is None:
        return NO_CODES
    if matches_network(code.upper(), network.upper(), leave_out):
        return ASKED
    return NOT_RESOLVED if is_temporary(network.upper()) else None


def with_registers(found: pa.Table, key: bytes) -> pa.Table:
    """``found`` with the column ``registers`` in the place of ``members``.

    Args:
        found: has in ``members`` lists of clients, as texts, since stores hand over no arrays of
            numbers.
        key: of sketches.
    """
    lists = found["members"].combine_chunks()
    of_row = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    ids = pc.list_flatten(lists).cast(pa.int64()).to_numpy()
    clients, places = np.unique(ids, return_inverse=True)
    own = registers(hashes(clients, key))
    sketched = united(of_row, own[places], len(found))
    return found.drop_columns(["members"]).append_column("registers", sketched)
