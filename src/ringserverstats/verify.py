"""Compare a store with logs.

The logs are ingested into a temporary empty store. Then the entries of both stores are compared day
by day, and their rejects and log intervals.
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

#: Differences that are kept as rows. Others are only counted.
MOST_FINDINGS = 10_000

MISSING, DIFFERENT, ONLY = "missing", "different", "only in the store"

# The entries of a server ($1) of the day $2, or logged from $3 to $4.
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
       r.day::text AS day, r.file, r.position, r.line, r.lines, r.reason, r.entries
  FROM reject r JOIN server v ON v.server = r.server
"""
_INTERVALS = """
SELECT v.name AS server, c.direction::text AS direction, c.day::text AS day, c.first_minute,
       c.last_minute, c.first_day::text AS first_day, c.last_day::text AS last_day, c.complete
  FROM log_interval c JOIN server v ON v.server = c.server
"""
_DAYS = """
SELECT f.server, v.name, f.day::text AS day, min(f.log_day)::text AS low,
       max(f.log_day)::text AS high
  FROM (SELECT server, day, log_day FROM entry_ledger
        UNION ALL SELECT server, day, day FROM log_interval) f
  JOIN server v ON v.server = f.server
 GROUP BY f.server, v.name, f.day ORDER BY v.name, f.day
"""
# The directions that the logs of a day cover: the whole day (no hour), or single hours.
_SCOPE = """
SELECT direction::text AS direction, NULL::integer AS hour FROM coverage
 WHERE server = $1 AND day = $2::date AND minutes = 1440
UNION SELECT c.direction::text, h.hour::integer
  FROM log_interval c JOIN generate_series(0, 23) AS h(hour)
    ON c.first_minute <= h.hour * 60 AND c.last_minute >= h.hour * 60 + 60
 WHERE c.server = $1 AND c.day = $2::date
"""


_LEDGER_COLUMNS = ("log_day", "day", "bytes", "packets", "transfers")
_INTERVAL_KEYS = (
    *("server", "direction", "day", "first_minute", "last_minute", "first_day", "last_day"),
)


@dataclass(frozen=True)
class Finding:
    """A difference between the store and the logs.

    Args:
        thing: entry, reject or coverage.
        state: `MISSING`, `DIFFERENT` or `ONLY`.
        differs: the names of the columns that differ.
        id: the id of the entry or the digest of the reject.
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
    """The result of a comparison.

    Args:
        report: the import report of the logs.
        days: the number of days of servers that were compared.
        partly: how many of them the logs cover neither wholly nor by the hour.
        counts: the number of differences by thing and state.
    """

    report: ImportReport
    days: int = 0
    partly: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """Count ``rows``, with the fields of `Finding` as columns, and keep `MOST_FINDINGS`."""
        self.counts.update(zip(*(rows[n].to_pylist() for n in ("thing", "state")), strict=True))
        room = MOST_FINDINGS - len(self.findings)
        self.findings += [Finding(**row) for row in rows.slice(0, room).to_pylist()]


@dataclass(frozen=True)
class _Comparison:
    """How to compare rows of the logs (``l``) with rows of the store (``s``).

    Args:
        thing: the kind of the rows.
        keys: the columns by which they are joined.
        differs: SQL of the names of the columns that differ, empty if none.
        columns: SQL of the other columns of the result.
        only: SQL of the condition for reporting rows that only the store has.
        where: SQL of the condition for reporting any row.
    """

    thing: str
    keys: tuple[str, ...]
    differs: str
    columns: str
    only: str
    where: str = "true"

    def select(self) -> str:
        """Return the SELECT of the differences between the tables ``logged`` and ``stored``."""
        same = " AND ".join(f"l.{name} = s.{name}" for name in self.keys)
        is_missing, is_only = f"s.{self.keys[0]} IS NULL", f"l.{self.keys[0]} IS NULL"
        return (
            f"SELECT '{self.thing}' AS thing, CASE WHEN {is_missing} THEN '{MISSING}'"
            f" WHEN {is_only} THEN '{ONLY}' ELSE '{DIFFERENT}' END AS state,"
            f" CASE WHEN NOT ({is_missing}) AND NOT ({is_only}) THEN {self.differs} END AS differs,"
            f" {self.columns} FROM logged l FULL JOIN stored s ON {same}"
            f" WHERE ({self.where}) AND CASE WHEN {is_missing} THEN true"
            f" WHEN {is_only} THEN {self.only} ELSE {self.differs} <> '' END ORDER BY ALL"
        )


class _Verification:
    """The comparison of two stores, by a DuckDB ``connection`` in memory."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, logs: Store, store: Store, result: Verified
    ) -> None:
        self._connection = connection
        self._logs = logs
        self._store = store
        self._result = result

    def compare_day(self, row: dict[str, object]) -> None:
        """Compare the entries of a server and day, a row of `_DAYS`."""
        server_day = [row["server"], row["day"]]
        span = [*server_day, row["low"], row["high"]]
        logged = self._logs.ask(_ENTRIES, span)
        scope = self._logs.ask(_SCOPE, server_day)
        self._result.partly += len(logged) > 0 and not len(scope)
        self._connection.register("scope", scope)
        columns = [name for name in logged.column_names if name not in ("entry", "log_time")]
        since = self._store.kept_since
        if since and str(row["day"]) < since.isoformat():
            columns = list(_LEDGER_COLUMNS)  # the transfers were deleted
        comparison = _Comparison(
            thing="entry",
            keys=("entry",),
            differs=_differences(columns, if_known=("log_time",)),
            columns="$2 AS server, coalesce(l.direction, s.direction) AS direction,"
            " coalesce(l.day, s.day) AS day, coalesce(l.entry, s.entry) AS id, NULL AS file,"
            " NULL AS line, l.bytes AS logged_bytes, s.bytes AS stored_bytes",
            only="s.day = $1 AND EXISTS (SELECT 1 FROM scope WHERE scope.direction = s.direction"
            " AND (scope.hour IS NULL OR scope.hour = s.hour))",
            where="coalesce(l.day, $1) = $1",
        )
        stored = self._store.ask(_ENTRIES, span)
        self._compare(comparison, logged, stored, [row["day"], row["name"]])

    def compare_rejects(self, files: list[str]) -> None:
        """Compare the rejects. Those that only the store has count if they are of ``files``.

        A reject that several files have is stored with its position in the first one.
        """
        values = ("lines", "entries", "reason")
        self._connection.register("read", pa.table({"file": pa.array(files, pa.string())}))
        comparison = _Comparison(
            thing="reject",
            keys=("server", "digest"),
            differs="CASE WHEN l.file = s.file"
            f" THEN {_differences(('direction', 'day', 'position', 'line', *values))}"
            f" ELSE {_differences(values)} END",
            columns="coalesce(l.server, s.server) AS server,"
            " coalesce(l.direction, s.direction) AS direction, coalesce(l.day, s.day) AS day,"
            " coalesce(l.digest, s.digest) AS id, coalesce(l.file, s.file) AS file,"
            " coalesce(l.line, s.line) AS line, NULL AS logged_bytes, NULL AS stored_bytes",
            only="s.file IN (FROM read)",
        )
        self._compare(comparison, self._logs.ask(_REJECTS), self._store.ask(_REJECTS))

    def compare_coverage(self) -> None:
        """Compare the log intervals. Other logs may cover more, so `ONLY` is not reported."""
        comparison = _Comparison(
            thing="coverage",
            keys=_INTERVAL_KEYS,
            differs=_differences(("complete",)),
            columns="l.server AS server, l.direction AS direction, l.day AS day, NULL AS id,"
            " NULL AS file, NULL AS line, NULL AS logged_bytes, NULL AS stored_bytes",
            only="false",
        )
        self._compare(comparison, self._logs.ask(_INTERVALS), self._store.ask(_INTERVALS))

    def _compare(
        self,
        comparison: _Comparison,
        logged: pa.Table,
        stored: pa.Table,
        parameters: Sequence[object] = (),
    ) -> None:
        self._connection.register("logged", logged)
        self._connection.register("stored", stored)
        rows = self._connection.sql(comparison.select(), params=list(parameters))
        self._result.add(rows.to_arrow_table())


def verify(
    sources: list[Source],
    store: Store,
    *,
    ipv6_prefix: int,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Verified:
    """Compare ``store`` with the logs ``sources``.

    Entries that only the store has are reported for the days and directions that the logs cover,
    wholly or by the hour.

    Raises:
        StoreError: one of the two stores cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="ringserverstats-") as folder:
        logs = store.new_empty_like(Path(folder) / "logs.duckdb")
        result = Verified(ingest(sources, logs, IngestOptions(ipv6_prefix), progress=progress))
        with duckdb.connect() as connection:
            verification = _Verification(connection, logs, store, result)
            for row in logs.ask(_DAYS).to_pylist():
                result.days += 1
                verification.compare_day(row)
            verification.compare_rejects(
                [source.stored_name for source in sources if source.path is not None]
            )
            verification.compare_coverage()
    return result


def _differences(columns: Sequence[str], if_known: Sequence[str] = ()) -> str:
    """Return SQL of the names of the columns that differ.

    Args:
        if_known: columns that are compared only if the store's value is not NULL.
    """
    stored = {name: f"s.{name}" for name in columns}
    stored |= {name: f"coalesce(s.{name}, l.{name})" for name in if_known}
    cases = ", ".join(
        f"CASE WHEN l.{name} IS DISTINCT FROM {value} THEN '{name}' END"
        for name, value in stored.items()
    )
    return f"concat_ws(', ', {cases})"
