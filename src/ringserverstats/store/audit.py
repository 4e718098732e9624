"""Check that the tables of a store are consistent.

The rollups and the ledger are compared with the transfers, some months at a time, so that other
processes can write in between. Names are compared with the ids that are derived from them.
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
from ringserverstats.store.rollups import BY_STREAM, MONTH, ROLLUPS, Rollup, month_of


@dataclass(frozen=True)
class Difference:
    """An inconsistency.

    Args:
        rows: the number of rows of ``table`` that have the ``problem``.
        server: the server, if the table has one.
        period: the day or month, if the table has one.
        unit: the column that ``stored`` and ``counted`` are of.
        stored: the total of the rows.
        counted: the total of the transfers.
    """

    table: str
    problem: str
    rows: int
    server: str | None = None
    period: str | None = None
    unit: str | None = None
    stored: int | None = None
    counted: int | None = None


_PART = 1_000_000  # transfers of the months that are compared at a time
_MONTHS = " UNION ".join(
    f"SELECT date_trunc('month', {time})::date AS month FROM {table}"
    for table, time in [
        ("entry_ledger", "day"),
        ("transfer", "day"),
        *((rollup.built, rollup.time) for rollup in ROLLUPS),
    ]
)
_TRANSFERS = f"SELECT {MONTH} AS month, sum(transfers) AS transfers FROM server_day GROUP BY 1"

_LEDGER = """
WITH counted AS (
    SELECT server, day, entry, count(*) AS transfers, sum(bytes) AS bytes, sum(packets) AS packets,
           min(direction) <> max(direction) OR min(protocol) <> max(protocol)
           OR min(client_profile) <> max(client_profile) OR min(connection) <> max(connection)
           OR min(hour) IS DISTINCT FROM max(hour) OR count(hour) NOT IN (0, count(*)) AS is_mixed
      FROM transfer WHERE day BETWEEN $1::date AND $2::date
       AND day >= (SELECT coalesce(max(kept_since), '0001-01-01') FROM store)
     GROUP BY server, day, entry
), stored AS (
    SELECT server, day, entry_number(server, entry) AS entry, count(*) AS copies,
           sum(transfers) AS transfers, sum(bytes) AS bytes, sum(packets) AS packets
      FROM entry_ledger WHERE day BETWEEN $1::date AND $2::date
       AND day >= (SELECT coalesce(max(kept_since), '0001-01-01') FROM store)
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

# The totals of each server and day, and on days without transfers those of each rollup by day.
_SERVER_DAY = """
SELECT server, period, 1 AS rows, coalesce(s.bytes, 0) AS stored, coalesce(c.bytes, 0) AS counted
  FROM (SELECT server, day::text AS period, entries, transfers, bytes, packets FROM server_day
         WHERE day BETWEEN $1::date AND $2::date) s
  FULL JOIN (SELECT server, day::text AS period, count(*) AS entries, sum(transfers) AS transfers,
                    sum(bytes) AS bytes, sum(packets) AS packets
               FROM entry_ledger WHERE day BETWEEN $1::date AND $2::date GROUP BY server, day) c
 USING (server, period)
 WHERE (s.entries, s.transfers, s.bytes, s.packets)
       IS DISTINCT FROM (c.entries, c.transfers, c.bytes, c.packets)
 ORDER BY server, period
"""
_KEPT_SINCE = "(SELECT coalesce(max(kept_since), date '0001-01-01') FROM store)"
_LIMITS = "$1::date AND $2::date"
_SPAN = f"day BETWEEN {_LIMITS}"
_IN_MONTHS = f"(server, {MONTH}) IN (SELECT server, month FROM built_month)"
_SEALED = f"""
SELECT server, period, 1 AS rows, coalesce(s.bytes, 0) AS stored, coalesce(c.bytes, 0) AS counted
  FROM (SELECT server, day::text AS period, sum(transfers) AS transfers, sum(bytes) AS bytes,
               sum(packets) AS packets FROM {{table}} f
         WHERE {_SPAN} AND day < {_KEPT_SINCE} GROUP BY server, day) s
  FULL JOIN (SELECT server, day::text AS period, sum(transfers) AS transfers, sum(bytes) AS bytes,
                    sum(packets) AS packets FROM entry_ledger f
              WHERE {_SPAN} AND day < {_KEPT_SINCE} GROUP BY server, day) c
 USING (server, period)
 WHERE (s.transfers, s.bytes, s.packets) IS DISTINCT FROM (c.transfers, c.bytes, c.packets)
 ORDER BY server, period
"""

_REFERENCES = (
    ("stream", "by_month"),
    ("client_profile", "by_month"),
    ("client", "client_profile"),
    ("agent", "client_profile"),
)
_WITH_SERVER = (
    *("entry_ledger", "transfer", "log_interval", "reject", "imported_day"),
    *("server_day", "built_month"),
    *(rollup.built for rollup in ROLLUPS),
)
#: Tables and the columns that identify their rows.
_UNIQUE = {
    **{table: table for table, _ in _REFERENCES},
    "log_interval": "server, direction, day, first_minute, last_minute, first_day, last_day",
    "reject": "server, digest",
    "imported_day": "server, day",
    "server_day": "server, day",
    "built_month": "server, month",
    "pruned_month": "month",
    "registry": "code, first_day, last_day, name, doi",
}

#: Table, problem, and a SELECT of the number of rows that have it.
_CHECKS = (
    ("store", "there must be one row", "SELECT abs(count(*) - 1) FROM store"),
    (
        "store",
        "a server has a number over last_server",
        "SELECT greatest(0, (SELECT max(server) FROM server) - max(last_server)) FROM store",
    ),
    (
        "server",
        "duplicate number or name",
        "SELECT 2 * count(*) - count(DISTINCT server) - count(DISTINCT name) FROM server",
    ),
    *(
        (
            "server",
            f"{table} refers to a server that does not exist",
            f"SELECT count(DISTINCT server) FROM {table}"
            " WHERE server NOT IN (SELECT server FROM server)",
        )
        for table in _WITH_SERVER
    ),
    *(
        (
            table,
            "duplicate row",
            f"SELECT count(*) FROM"
            f" (SELECT 1 FROM {table} GROUP BY {columns} HAVING count(*) > 1) duplicate",
        )
        for table, columns in _UNIQUE.items()
    ),
    *(
        (
            name,
            problem,
            f"SELECT count(DISTINCT {name}) FROM {table}"
            f" WHERE {name} NOT IN (SELECT {name} FROM {other})",
        )
        for name, user in _REFERENCES
        for table, other, problem in (
            (user, name, f"{user} refers to a row that does not exist"),
            (name, user, f"{user} does not refer to it"),
        )
    ),
    (
        "entry_ledger",
        "log time and log day contradict each other",
        "SELECT count(*) FROM entry_ledger WHERE log_time::date <> log_day",
    ),
    (
        "log_interval",
        "impossible minutes or days",
        "SELECT count(*) FROM log_interval WHERE NOT (0 <= first_minute"
        " AND first_minute < last_minute AND last_minute <= 1440"
        " AND day BETWEEN first_day AND last_day)",
    ),
    (
        "built_month",
        "has a day that is not built",
        "SELECT count(*) FROM built_month m WHERE EXISTS (SELECT 1 FROM server_day d"
        f" WHERE d.server = m.server AND {MONTH} = m.month AND d.changed <> d.built)",
    ),
    (
        "imported_day",
        "no entry was counted on that day",
        "SELECT count(*) FROM imported_day i WHERE NOT EXISTS"
        " (SELECT 1 FROM connection_by_day c WHERE c.server = i.server AND c.day = i.day)",
    ),
    (
        "client_profile",
        "belongs to a month that is not pruned, or has data of another month",
        "SELECT count(DISTINCT o.client_profile) FROM client_profile o"
        " LEFT JOIN connection_by_day f ON f.client_profile = o.client_profile"
        " WHERE o.month IS NOT NULL AND (o.month NOT IN (SELECT month FROM pruned_month)"
        " OR date_trunc('month', f.day)::date <> o.month)",
    ),
    (
        "client_profile",
        "is not anonymous in a pruned month",
        "SELECT count(DISTINCT o.client_profile) FROM client_profile o JOIN connection_by_day f"
        " ON f.client_profile = o.client_profile WHERE o.month IS NULL"
        " AND date_trunc('month', f.day)::date <= (SELECT max(month) FROM pruned_month)",
    ),
    (
        "reject",
        "is an entry that was counted",
        "SELECT count(*) FROM reject r JOIN entry_ledger e"
        " ON e.server = r.server AND e.entry = r.digest WHERE r.lines > 0",
    ),
)


_SPANS = "SELECT code, first_day, last_day, network, name, doi, is_nearest FROM network_period"


def audit(
    store: Store, keys: Keys | None, *, progress: Callable[[int, int], None] = lambda *_: None
) -> list[Difference]:
    """Return the inconsistencies of ``store``.

    Args:
        keys: its keys. None: do not check ids.
        progress: called with the number of steps done and in total.
    """
    with store.reading() as ask:
        differences = [*_check_tables(ask), *_check_names(ask, keys)]
        periods = list(_periods(ask))
    for done, period in enumerate(periods):
        progress(done, len(periods))
        with store.reading() as ask:
            differences += _check_period(ask, *period)
    progress(len(periods), len(periods))
    return differences


def shared_entries(store: Store) -> list[tuple[str, str, int]]:
    """Return pairs of servers and the number of entries that count for both of them."""
    with store.reading() as ask:
        rows = ask(_SHARED_ENTRIES).to_pylist()
    return [(row["server"], row["other"], row["entries"]) for row in rows]


def _periods(ask: Ask) -> Iterator[tuple[date, date]]:
    """Yield the first and last day of whole months with few transfers, or of one with more."""
    transfers = {row["month"]: row["transfers"] for row in ask(_TRANSFERS).to_pylist()}
    months: list[date] = []
    total = 0
    for month in sorted(ask(_MONTHS)["month"].to_pylist()):
        if months and total + transfers.get(month, 0) > _PART:
            yield months[0], month_of(months[-1])[1]
            months, total = [], 0
        months.append(month)
        total += transfers.get(month, 0)
    if months:
        yield months[0], month_of(months[-1])[1]


def _check_period(ask: Ask, first: date, last: date) -> Iterator[Difference]:
    """Compare the tables of whole months.

    Rollups by day are compared with the transfers, or on days without these with the ledger, and
    rollups by month with those by day.
    """
    span = [first, last]
    since = ask(f"SELECT {_KEPT_SINCE} AS day")["day"][0].as_py()
    servers = {row["server"]: row["name"] for row in ask(_SERVERS).to_pylist()}
    checks = [
        ("entry_ledger", "does not match the transfers", "bytes", _LEDGER),
        ("server_day", "does not match the ledger", "bytes", _SERVER_DAY),
        *(
            (rollup.built, f"does not match {other}", rollup.values[0], sql)
            for rollup in ROLLUPS
            for other, sql in _rollup_checks(
                rollup, has_sealed=first < since, has_transfers=last >= since
            )
        ),
    ]
    for table, problem, unit, sql in checks:
        for row in ask(sql, span).to_pylist():
            yield Difference(
                table=table,
                problem=problem,
                rows=row["rows"],
                server=servers.get(row["server"], f"number {row['server']}"),
                period=row["period"],
                unit=unit,
                stored=int(row["stored"]),
                counted=int(row["counted"]),
            )


def _rollup_checks(
    rollup: Rollup, *, has_sealed: bool, has_transfers: bool
) -> Iterator[tuple[str, str]]:
    """Yield with what rows ``rollup`` is compared, and the SELECT of servers and periods.

    Args:
        has_sealed: transfers of some days of the period are deleted.
        has_transfers: it has other days.
    """
    stored = f"SELECT {', '.join(rollup.columns)} FROM {rollup.built} f WHERE f.{_SPAN}"
    if rollup.is_monthly:
        counted = rollup.select(rollup.built_from, f"f.day BETWEEN {_LIMITS} AND {_IN_MONTHS}")
        yield "the days", _difference_select(rollup, stored.replace("f.day", "f.month"), counted)
        return
    kept = f"f.day >= {_KEPT_SINCE}"
    listed = " AND has_streams" if rollup is BY_STREAM else ""
    days = f"(server, day) IN (SELECT server, day FROM server_day WHERE changed = built{listed})"
    counted = rollup.select(rollup.source, f"f.{_SPAN} AND {kept} AND {days}")
    if has_transfers:
        yield "the transfers", _difference_select(rollup, f"{stored} AND {kept}", counted)
    if has_sealed:
        yield "the ledger", _SEALED.format(table=rollup.built)


_SERVERS = "SELECT server, name FROM server"
_SHARED_ENTRIES = """
SELECT v.name AS server, w.name AS other, count(*) AS entries
  FROM entry_ledger e
  JOIN entry_ledger o ON o.log_day = e.log_day AND o.entry = e.entry AND o.server > e.server
  JOIN server v ON v.server = e.server
  JOIN server w ON w.server = o.server
 GROUP BY v.name, w.name ORDER BY v.name, w.name
"""


def _difference_select(rollup: Rollup, stored: str, counted: str) -> str:
    """Return the SELECT of the servers and periods in which two SELECTs of ``rollup`` differ."""
    keys, columns, unit = ", ".join(rollup.keys), ", ".join(rollup.columns), rollup.values[0]
    sides = ("stored", "counted")
    values = ", ".join(
        f"coalesce(sum({name}) FILTER (WHERE side = '{side}'), -1) AS {side}_{name}"
        for side in sides
        for name in rollup.values
    )
    differs = " OR ".join(f"stored_{name} <> counted_{name}" for name in rollup.values)
    totals = ", ".join(f"sum(greatest({side}_{unit}, 0)) AS {side}" for side in sides)
    return (
        f"SELECT server, {rollup.time}::text AS period, count(*) AS rows, {totals} FROM ("
        f"SELECT {keys}, {values}, count(*) FILTER (WHERE side = 'stored') AS copies FROM ("
        f"SELECT 'stored' AS side, {columns} FROM ({stored}) s"
        f" UNION ALL SELECT 'counted', {columns} FROM ({counted}) c) both_sides"
        f" GROUP BY {keys}) compared WHERE {differs}"
        # PostgreSQL splits a sum of more than 64 bits over several rows.
        f" OR copies > 1 AND greatest(stored_bytes, stored_packets) <= {LARGEST_NUMBER}"
        f" GROUP BY server, {rollup.time} ORDER BY server, {rollup.time}"
    )


def _check_tables(ask: Ask) -> Iterator[Difference]:
    """Run `_CHECKS`, as one statement: small stores take most of the time to plan many."""
    counts = (
        f"SELECT {number} AS number, ({sql}) AS n" for number, (*_, sql) in enumerate(_CHECKS)
    )
    for row in ask(" UNION ALL ".join(counts)).to_pylist():
        if row["n"]:
            table, problem, _ = _CHECKS[row["number"]]
            yield Difference(table, problem, int(row["n"]))


def _check_names(ask: Ask, keys: Keys | None) -> Iterator[Difference]:
    """Check the columns of small tables that are derived from others."""
    expected = Counter(spans(networks_of(ask)))
    stored = Counter(Span(**row) for row in ask(_SPANS).to_pylist())
    if expected != stored:
        wrong = sum(((expected - stored) + (stored - expected)).values())
        yield Difference("network_period", "does not match the registry", wrong)
    prefix = int(ask("SELECT max(ipv6_prefix) AS n FROM store")["n"].to_pylist()[0] or 0)
    for table, is_right in (
        ("stream", _is_stream),
        ("agent", _is_agent),
        ("client", partial(_is_client, prefix=prefix)),
        ("client_profile", _is_client_profile),
    ):
        wrong = 0
        for row in ask(f"SELECT * FROM {table}").to_pylist():
            try:
                wrong += not is_right(row, keys)
            except ValueError:  # not a hexadecimal number, not an address
                wrong += 1
        if wrong:
            yield Difference(table, "does not match its id or name", wrong)


def _is_stream(row: dict[str, Any], keys: Keys | None) -> bool:
    stream = parse_stream(row["name"].encode())
    if keys and stream_id(keys, stream.name) != row["stream"]:
        return False
    return vars(stream) == {name: row[name] for name in vars(stream)}


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


def _is_client_profile(row: dict[str, Any], keys: Keys | None) -> bool:
    if keys is None or row["month"]:  # random in pruned months
        return True
    return bool(client_profile_id(keys, [row[name] for name in AS_READ]) == row["client_profile"])
