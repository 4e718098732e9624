"""The store against logs: does it still say what they say?

The logs are read into an empty store of its own, by the one way that logs are read, and then both
stores are compared: their entries day by day, their rejects, their coverage.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from ringserverstats.import_report import ImportReport
from ringserverstats.ingest import IngestOptions, Progress, ingest
from ringserverstats.logs.source import Source
from ringserverstats.store.base import Store

#: Findings that are kept one by one; more are counted.
MOST_FINDINGS = 10_000

MISSING, DIFFERENT, ONLY = "missing", "different", "only in the store"

# What both stores say of the entries of a server ($1) and day ($2), or logged from $3 to $4.
_ENTRIES = """
SELECT s.entry::text AS entry, s.log_day::text AS log_day, s.day::text AS day, s.bytes, s.packets,
       s.transfers, t.direction, t.protocol, t.hour, t.connection, t.client, t.agent, t.auth_user,
       t.facts_day, t.streams, s.log_time::text AS log_time
  FROM entry_ledger s LEFT JOIN (
    SELECT f.entry, min(f.direction::text) AS direction, min(f.protocol::text) AS protocol,
           min(f.hour) AS hour, min(f.connection) AS connection, min(c.pseudonym) AS client,
           min(a.name) AS agent, min(o.auth_user) AS auth_user, min(f.day)::text AS facts_day,
           md5(string_agg(n.name || ' ' || f.bytes::text || ' ' || f.packets::text, chr(10)
               ORDER BY n.name, f.bytes, f.packets)) AS streams
      FROM transfer f
      LEFT JOIN client_profile o USING (client_profile) LEFT JOIN client c USING (client)
      LEFT JOIN agent a USING (agent) LEFT JOIN stream n USING (stream)
     WHERE f.server = $1 AND f.day IN (SELECT day FROM entry_ledger WHERE server = $1
           AND (day = $2::date OR log_day BETWEEN $3::date AND $4::date)) GROUP BY f.entry
  ) t ON t.entry = entry_number(s.server, s.entry)
 WHERE s.server = $1 AND (s.day = $2::date OR s.log_day BETWEEN $3::date AND $4::date)
"""
_REJECTS = """
SELECT r.digest::text AS digest, v.name AS server, r.direction::text AS direction,
       r.day::text AS day, r.file, r.position, r.line, r.lines, r.reason
  FROM reject r JOIN server v ON v.server = r.server
"""
_COVERED = """
SELECT v.name AS server, c.direction::text AS direction, c.day::text AS day, c.first_minute,
       c.last_minute, c.first_day::text AS first_day, c.last_day::text AS last_day, c.complete
  FROM log_interval c JOIN server v ON v.server = c.server
"""
_DAYS = """
SELECT f.server, v.name, f.day::text AS day, min(f.log_day)::text AS low,
       max(f.log_day)::text AS high
  FROM (SELECT server, day, log_day FROM entry_ledger UNION ALL SELECT server, day, day FROM log_interval) f
  JOIN server v ON v.server = f.server
 GROUP BY f.server, v.name, f.day ORDER BY v.name, f.day
"""
# Directions that the logs of a day cover, whole (no hour), or by the hour.
_SCOPE = """
SELECT direction::text AS direction, NULL::integer AS hour FROM coverage
 WHERE server = $1 AND day = $2::date AND minutes = 1440
UNION SELECT c.direction::text, h.hour::integer
  FROM log_interval c JOIN generate_series(0, 23) AS h(hour)
    ON c.first_minute <= h.hour * 60 AND c.last_minute >= h.hour * 60 + 60
 WHERE c.server = $1 AND c.day = $2::date
"""


_OF_LEDGER = ("log_day", "day", "bytes", "packets", "transfers")


@dataclass(frozen=True)
class Finding:
    """A thing (entry, reject, coverage) of which the store does not say what the logs say.

    ``state`` is one of `MISSING`, `DIFFERENT`, `ONLY`; ``differs`` tells what is different, ``id``
    is the entry or digest in the store.
    """

    thing: str
    state: str
    server: str
    direction: str | None
    day: str | None
    differs: str | None
    id: str | None
    file: str | None = None
    line: int | None = None
    logged_bytes: int | None = None
    stored_bytes: int | None = None


@dataclass
class Verified:
    """What was compared (``report`` of reading the logs), and what was found."""

    report: ImportReport
    days: int = 0
    partly: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """Count ``rows``, whose columns are fields of `Finding`; keep those there is room for."""
        self.counts.update(zip(*(rows[n].to_pylist() for n in ("thing", "state")), strict=True))
        room = MOST_FINDINGS - len(self.findings)
        self.findings += [Finding(**row) for row in rows.slice(0, room).to_pylist()]


def verify(
    sources: list[Source],
    store: Store,
    *,
    ipv6_prefix: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Verified:
    """Compare ``store`` with the logs ``sources``.

    Entries that only the store has are looked for in the days and directions that the logs cover;
    days that they cover only partly (and not by the hour) are counted as such.

    Raises:
        StoreError: one of the two stores cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="ringserverstats-") as folder:
        logs = store.new_empty_like(Path(folder) / "logs.duckdb")
        result = Verified(ingest(sources, logs, IngestOptions(ipv6_prefix), progress=progress))
        with duckdb.connect() as connection:
            for row in logs.ask(_DAYS, []).to_pylist():
                result.days += 1
                _compare_day(connection, logs, store, row, result)
            _compare_rejects(connection, logs, store, sources, result)
            _compare_coverage(connection, logs, store, result)
    return result


def _compare_day(
    connection: duckdb.DuckDBPyConnection,
    logs: Store,
    store: Store,
    row: dict[str, object],
    result: Verified,
) -> None:
    """The entries of one server and day."""
    place = [row["server"], row["day"]]
    span = [*place, row["low"], row["high"]]
    logged = logs.ask(_ENTRIES, span)
    scope = logs.ask(_SCOPE, place)
    result.partly += len(logged) > 0 and not len(scope)
    connection.register("scope", scope)
    own = [name for name in logged.column_names if name not in ("entry", "log_time")]
    if store.kept_since and str(row["day"]) < store.kept_since.isoformat():
        own = list(_OF_LEDGER)  # the transfers are no longer there
    result.add(
        _compared(
            connection,
            logged,
            store.ask(_ENTRIES, span),
            thing="entry",
            keys=("entry",),
            differs=_differences(own, if_known=("log_time",)),
            only="s.day = $1 AND EXISTS (SELECT 1 FROM scope WHERE scope.direction = s.direction"
            " AND (scope.hour IS NULL OR scope.hour = s.hour))",
            where="coalesce(l.day, $1) = $1",
            columns="$2 AS server, coalesce(l.direction, s.direction) AS direction,"
            " coalesce(l.day, s.day) AS day, coalesce(l.entry, s.entry) AS id, NULL AS file,"
            " NULL AS line, l.bytes AS logged_bytes, s.bytes AS stored_bytes",
            parameters=[row["day"], row["name"]],
        )
    )


def _compare_rejects(
    connection: duckdb.DuckDBPyConnection,
    logs: Store,
    store: Store,
    sources: list[Source],
    result: Verified,
) -> None:
    """A reject that another file had too is kept with the place of the first one."""
    place = ("direction", "day", "position", "line")
    own = ("lines", "reason")
    files = [source.stored_name for source in sources if source.path is not None]
    connection.register("read", pa.table({"file": pa.array(files, pa.string())}))
    result.add(
        _compared(
            connection,
            logs.ask(_REJECTS, []),
            store.ask(_REJECTS, []),
            thing="reject",
            keys=("server", "digest"),
            differs=f"CASE WHEN l.file = s.file THEN {_differences((*place, *own))}"
            f" ELSE {_differences(own)} END",
            only="s.file IN (FROM read)",
            where="true",
            columns="coalesce(l.server, s.server) AS server,"
            " coalesce(l.direction, s.direction) AS direction, coalesce(l.day, s.day) AS day,"
            " coalesce(l.digest, s.digest) AS id, coalesce(l.file, s.file) AS file,"
            " coalesce(l.line, s.line) AS line, NULL AS logged_bytes, NULL AS stored_bytes",
        )
    )


def _compare_coverage(
    connection: duckdb.DuckDBPyConnection, logs: Store, store: Store, result: Verified
) -> None:
    """Other logs may cover more of a day, so nothing is only in the store."""
    result.add(
        _compared(
            connection,
            logs.ask(_COVERED, []),
            store.ask(_COVERED, []),
            thing="coverage",
            keys=(
                "server",
                "direction",
                "day",
                "first_minute",
                "last_minute",
                "first_day",
                "last_day",
            ),
            differs=_differences(("complete",)),
            only="false",
            where="true",
            columns="l.server AS server, l.direction AS direction, l.day AS day, NULL AS id,"
            " NULL AS file, NULL AS line, NULL AS logged_bytes, NULL AS stored_bytes",
        )
    )


def _differences(columns: Sequence[str], if_known: Sequence[str] = ()) -> str:
    """SQL of the names of those ``columns`` that differ; ``if_known`` may be empty in the store."""
    stored = {name: f"s.{name}" for name in columns}
    stored |= {name: f"coalesce(s.{name}, l.{name})" for name in if_known}
    cases = ", ".join(
        f"CASE WHEN l.{name} IS DISTINCT FROM {own} THEN '{name}' END"
        for name, own in stored.items()
    )
    return f"concat_ws(', ', {cases})"


def _compared(
    connection: duckdb.DuckDBPyConnection,
    logged: pa.Table,
    stored: pa.Table,
    *,
    thing: str,
    keys: Sequence[str],
    differs: str,
    only: str,
    where: str,
    columns: str,
    parameters: Sequence[object] = (),
) -> pa.Table:
    """What ``logged`` (``l``) and ``stored`` (``s``), rows with the same ``keys``, do not share.

    Args:
        differs: SQL of what differs, empty for nothing.
        only: SQL of which rows that are only stored are told; ``where`` of which rows at all.
        columns: SQL of the other columns of the answer.
    """
    connection.register("logged", logged)
    connection.register("stored", stored)
    same = " AND ".join(f"l.{name} = s.{name}" for name in keys)
    return connection.sql(
        f"SELECT '{thing}' AS thing, CASE WHEN s.{keys[0]} IS NULL THEN '{MISSING}'"
        f" WHEN l.{keys[0]} IS NULL THEN '{ONLY}' ELSE '{DIFFERENT}' END AS state,"
        f" CASE WHEN s.{keys[0]} IS NOT NULL AND l.{keys[0]} IS NOT NULL THEN {differs} END"
        f" AS differs, {columns} FROM logged l FULL JOIN stored s ON {same}"
        f" WHERE ({where}) AND CASE WHEN s.{keys[0]} IS NULL THEN true"
        f" WHEN l.{keys[0]} IS NULL THEN {only} ELSE {differs} <> '' END ORDER BY ALL",
        params=list(parameters),
    ).to_arrow_table()
