"""Whether all tables of a store tell of the same entries.

Transfers are summed up anew and compared with each table of sums and with the ledger, month by
month, so that others can write in between. Names are compared with the ids that are made of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from ipaddress import ip_address
from typing import Any

from ringserverstats.enrich.agents import family
from ringserverstats.enrich.networks import Span, spans
from ringserverstats.enrich.pseudonyms import normalise, number, pseudonym
from ringserverstats.enrich.rows import AS_READ, agent_id, client_profile_id, stream_id
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.keys import Keys
from ringserverstats.logs.batch import LARGEST_NUMBER
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.registry import networks_of
from ringserverstats.store.rollups import ROLLUPS, Rollup, counted, month_of


@dataclass(frozen=True)
class Difference:
    """``rows`` of ``table`` are not what they should be: ``problem``.

    ``server`` and ``period`` (day or month) say where, if the table knows. ``stored`` is what these
    rows hold (``unit``), ``counted`` what the transfers say.
    """

    table: str
    problem: str
    rows: int
    server: str | None = None
    period: str | None = None
    unit: str | None = None
    stored: int | None = None
    counted: int | None = None


_MONTHS = " UNION ".join(
    f"SELECT date_trunc('month', {time})::date AS month FROM {table}"
    for table, time in [
        ("entry_ledger", "day"),
        ("transfer", "day"),
        *((s.table, s.time) for s in ROLLUPS),
    ]
)

_LEDGER = """
WITH counted AS (
    SELECT server, day, entry, count(*) AS transfers, sum(bytes) AS bytes, sum(packets) AS packets,
           min(direction) <> max(direction) OR min(protocol) <> max(protocol)
           OR min(client_profile) <> max(client_profile) OR min(connection) <> max(connection)
           OR min(hour) IS DISTINCT FROM max(hour) OR count(hour) NOT IN (0, count(*)) AS is_mixed
      FROM transfer WHERE day BETWEEN $1::date AND $2::date GROUP BY server, day, entry
), stored AS (
    SELECT server, day, entry_number(server, entry) AS entry, count(*) AS copies,
           sum(transfers) AS transfers, sum(bytes) AS bytes, sum(packets) AS packets
      FROM entry_ledger WHERE day BETWEEN $1::date AND $2::date
     GROUP BY server, day, entry_number(server, entry)
)
SELECT server, day::text AS period, count(*) AS rows,
       coalesce(sum(stored.bytes), 0) AS stored, coalesce(sum(counted.bytes), 0) AS counted
  FROM stored FULL JOIN counted USING (server, day, entry)
 WHERE coalesce(is_mixed, true) OR coalesce(copies, 0) <> 1
    OR stored.transfers <> counted.transfers OR stored.bytes <> counted.bytes
    OR stored.packets <> counted.packets
 GROUP BY server, day ORDER BY server, day
"""

#: Table, what is wrong, and a SELECT of the number of rows for which it is.
_CHECKS = (
    ("store", "there must be one row", "SELECT abs(count(*) - 1) FROM store"),
    (
        "store",
        "a server has a number over last_server",
        "SELECT greatest(0, (SELECT max(server) FROM server) - max(last_server)) FROM store",
    ),
    (
        "server",
        "number or name stands twice",
        "SELECT 2 * count(*) - count(DISTINCT server) - count(DISTINCT name) FROM server",
    ),
    *(
        (
            "server",
            f"{table} knows a server that is not there",
            f"SELECT count(DISTINCT server) FROM {table}"
            " WHERE server NOT IN (SELECT server FROM server)",
        )
        for table in (
            *("entry_ledger", "transfer", "log_interval", "reject", "imported_day"),
            *(one.table for one in ROLLUPS),
        )
    ),
    *(
        (
            name,
            "stands twice",
            f"SELECT count(*) FROM (SELECT {name} FROM {name} GROUP BY {name} HAVING count(*) > 1)"
            " twice",
        )
        for name in ("stream", "client_profile", "client", "agent")
    ),
    *(
        (
            name,
            problem,
            f"SELECT count(DISTINCT {name}) FROM {one}"
            f" WHERE {name} NOT IN (SELECT {name} FROM {other})",
        )
        for name, user in (
            ("stream", "by_month"),
            ("client_profile", "by_month"),
            ("client", "client_profile"),
            ("agent", "client_profile"),
        )
        for one, other, problem in (
            (user, name, f"{user} knows one that is not there"),
            (name, user, f"{user} knows nothing of it"),
        )
    ),
    (
        "entry_ledger",
        "log time and log day contradict each other",
        "SELECT count(*) FROM entry_ledger WHERE log_time::date <> log_day",
    ),
    (
        "log_interval",
        "stands twice",
        "SELECT count(*) FROM (SELECT 1 FROM log_interval GROUP BY server, direction, day, first_minute,"
        " last_minute, first_day, last_day HAVING count(*) > 1) twice",
    ),
    (
        "log_interval",
        "minutes or days that cannot be",
        "SELECT count(*) FROM log_interval WHERE NOT (0 <= first_minute AND first_minute < last_minute"
        " AND last_minute <= 1440 AND day BETWEEN first_day AND last_day)",
    ),
    (
        "reject",
        "stands twice",
        "SELECT count(*) FROM (SELECT 1 FROM reject GROUP BY server, digest HAVING count(*) > 1)"
        " twice",
    ),
    (
        "imported_day",
        "stands twice",
        "SELECT count(*) FROM (SELECT 1 FROM imported_day GROUP BY server, day HAVING count(*) > 1)"
        " twice",
    ),
    (
        "imported_day",
        "nothing was counted on that day",
        "SELECT count(*) FROM imported_day i WHERE NOT EXISTS"
        " (SELECT 1 FROM connection_by_day c WHERE c.server = i.server AND c.day = i.day)",
    ),
    (
        "pruned_month",
        "stands twice",
        "SELECT count(*) FROM (SELECT month FROM pruned_month GROUP BY month HAVING count(*) > 1) twice",
    ),
    (
        "registry",
        "stands twice",
        "SELECT count(*) FROM (SELECT 1 FROM registry GROUP BY code, first_day, last_day, name, doi"
        " HAVING count(*) > 1) twice",
    ),
    (
        "client_profile",
        "is of a month that is not pruned, or of another one",
        "SELECT count(DISTINCT o.client_profile) FROM client_profile o LEFT JOIN connection_by_day f"
        " ON f.client_profile = o.client_profile WHERE o.month IS NOT NULL AND (o.month NOT IN (SELECT month FROM"
        " pruned_month) OR date_trunc('month', f.day)::date <> o.month)",
    ),
    (
        "client_profile",
        "can be followed in months that are pruned",
        "SELECT count(DISTINCT o.client_profile) FROM client_profile o JOIN connection_by_day f"
        " ON f.client_profile = o.client_profile WHERE o.month IS NULL"
        " AND date_trunc('month', f.day)::date <= (SELECT max(month) FROM pruned_month)",
    ),
    (
        "reject",
        "is an entry that was counted",
        "SELECT count(*) FROM reject r JOIN entry_ledger s ON s.server = r.server AND s.entry = r.digest",
    ),
)


_SPANS = "SELECT code, first_day, last_day, network, name, doi, is_nearest FROM network_period"


def audit(
    store: Store, keys: Keys | None, *, progress: Callable[[int, int], None] = lambda *_: None
) -> list[Difference]:
    """All differences between the tables of ``store``.

    Args:
        store: of days whose transfers are not kept, names and ledger alone are looked at.
        keys: its keys; without them ids are not compared with what they are made of.
        progress: called with the months done and to do.
    """
    since = store.kept_since or date.min
    with store.reading() as ask:
        found = [*_tables(ask), *_names(ask, keys)]
        months = sorted(ask(_MONTHS)["month"].to_pylist())
    for done, month in enumerate(months):
        progress(done, len(months))
        with store.reading() as ask:
            rows = ask("SELECT server, name FROM server").to_pylist()
            servers = {row["server"]: row["name"] for row in rows}
            found += _month(ask, month, since, servers)
    progress(len(months), len(months))
    return found


def _month(ask: Ask, month: date, since: date, servers: dict[int, str]) -> Iterator[Difference]:
    """Differences of a month, of its days ``since`` which transfers are kept."""
    span = [max(month, since), month_of(month)[1]]
    sums = [one for one in ROLLUPS if one.time == "day" or month >= since]
    for table, unit, sql in [
        ("entry_ledger", "bytes", _LEDGER),
        *((one.table, next(iter(one.values)), _sum(one)) for one in sums),
    ]:
        if span[0] > span[1]:
            return
        for row in ask(sql, span).to_pylist():
            name = servers.get(row["server"], f"number {row['server']}")
            yield Difference(
                table=table,
                problem="not what the transfers say",
                rows=row["rows"],
                server=name,
                period=row["period"],
                unit=unit,
                stored=int(row["stored"]),
                counted=int(row["counted"]),
            )


def _sum(one: Rollup) -> str:
    """SQL of where the table of ``one`` differs from its sums made anew."""
    keys = ", ".join(one.keys)
    sides = ("stored", "counted")
    values = ", ".join(
        f"coalesce(sum({name}) FILTER (WHERE side = '{side}'), -1) AS {side}_{name}"
        for side in sides
        for name in one.values
    )
    differs = " OR ".join(f"stored_{name} <> counted_{name}" for name in one.values)
    unit = next(iter(one.values))
    columns = ", ".join([*one.keys, *one.values])
    return (
        f"SELECT server, {one.time}::text AS period, count(*) AS rows,"
        f" {', '.join(f'sum(greatest({side}_{unit}, 0)) AS {side}' for side in sides)} FROM ("
        f"SELECT {keys}, {values}, count(*) FILTER (WHERE side = 'stored') AS copies FROM ("
        f"SELECT 'stored' AS side, {columns} FROM {one.table}"
        f" WHERE {one.time} BETWEEN $1::date AND $2::date UNION ALL SELECT 'counted', {columns}"
        f" FROM ({counted(one, 'f.day BETWEEN $1::date AND $2::date')}) c) both_sides"
        f" GROUP BY {keys}) found WHERE {differs}"
        # PostgreSQL spreads a sum of more than 64 bits over several rows.
        f" OR copies > 1 AND greatest(stored_bytes, stored_packets) <= {LARGEST_NUMBER}"
        f" GROUP BY server, {one.time} ORDER BY server, {one.time}"
    )


def _tables(ask: Ask) -> Iterator[Difference]:
    for table, problem, sql in _CHECKS:
        rows = int(ask(sql).column(0)[0].as_py() or 0)
        if rows:
            yield Difference(table, problem, rows)


def _names(ask: Ask, keys: Keys | None) -> Iterator[Difference]:
    """What the columns of the small tables that are made of others are not."""
    made, kept = (
        Counter(spans(networks_of(ask))),
        Counter(Span(**row) for row in ask(_SPANS).to_pylist()),
    )
    if made != kept:
        wrong = sum(((made - kept) + (kept - made)).values())
        yield Difference("network_period", "is not what the registry says", wrong)
    prefix = int(ask("SELECT max(ipv6_prefix) AS n FROM store")["n"].to_pylist()[0] or 0)
    for table, is_right in (
        ("stream", _is_stream),
        ("agent", _is_agent),
        ("client", partial(_is_client, prefix=prefix)),
        ("client_profile", _is_origin),
    ):
        wrong = 0
        for row in ask(f"SELECT * FROM {table}").to_pylist():
            try:
                wrong += not is_right(row, keys)
            except ValueError:  # no hexadecimal number, no address
                wrong += 1
        if wrong:
            yield Difference(table, "is not what its id and name say", wrong)


def _is_stream(row: dict[str, Any], keys: Keys | None) -> bool:
    found = parse_stream(row["name"].encode())
    if keys and stream_id(keys, found.name) != row["stream"]:
        return False
    return vars(found) == {name: row[name] for name in vars(found)}


def _is_agent(row: dict[str, Any], keys: Keys | None) -> bool:
    if keys and agent_id(keys, row["name"]) != row["agent"]:
        return False
    return bool(family(row["name"]) == row["family"])


def _is_client(row: dict[str, Any], keys: Keys | None, *, prefix: int) -> bool:
    if keys and row["address"]:
        text = normalise(ip_address(row["address"]), ipv6_prefix=prefix)
        if pseudonym(keys.clients, text) != row["pseudonym"]:
            return False
    return bool(number(row["pseudonym"]) == row["client"])


def _is_origin(row: dict[str, Any], keys: Keys | None) -> bool:
    if keys is None or row["month"]:  # of pruned months it is made of nothing
        return True
    return bool(client_profile_id(keys, [row[name] for name in AS_READ]) == row["client_profile"])
