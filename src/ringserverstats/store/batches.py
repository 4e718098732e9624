"""One batch into a DuckDB store: what is new of it, and the rows of all tables.

All of it runs within the transaction of the caller.
"""

from collections import Counter
from datetime import date
from uuid import UUID

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.rows import Rows
from ringserverstats.store.base import FileRead, Written
from ringserverstats.store.sums import SUMS, statements

_ODD = np.int64(0x1E3779B97F4A7C15)  # spreads small numbers over 64 bits
# The new rows of a batch, each transfer with the columns of its entry.
_FRESH_ENTRY = (
    "CREATE OR REPLACE TEMP VIEW fresh_entry AS SELECT * REPLACE"
    " (direction::direction AS direction, protocol::protocol AS protocol) FROM given_entry"
)
_FRESH_TRANSFER = (
    "CREATE OR REPLACE TEMP VIEW fresh_transfer AS"
    " SELECT e.server, e.day, e.hour, e.direction, e.protocol, e.origin, e.connection, e.number,"
    " e.alone, t.stream, t.bytes, t.packets FROM given_transfer t JOIN fresh_entry e USING (row)"
)
_COVERS = ("server", "direction", "day", "first_minute", "last_minute", "first_day", "last_day")
_COVER = (
    "MERGE INTO covered AS old USING ("
    f"SELECT * REPLACE (direction::direction AS direction) FROM (SELECT {', '.join(_COVERS)},"
    " bool_or(whole) AS whole FROM given GROUP BY ALL)) AS new"
    f" ON {' AND '.join(f'old.{name} = new.{name}' for name in _COVERS)}"
    " WHEN MATCHED AND new.whole AND NOT old.whole THEN UPDATE SET whole = true"
    f" WHEN NOT MATCHED THEN INSERT ({', '.join(_COVERS)}, whole)"
    f" VALUES ({', '.join('new.' + name for name in _COVERS)}, new.whole)"
)
_REJECTED = ("server", "digest", "direction", "day", "file", "position", "line", "lines", "reason")
_REJECT = (
    "MERGE INTO reject AS old USING (SELECT DISTINCT ON (server, digest)"
    " * REPLACE (direction::direction AS direction) FROM given"
    " ORDER BY file, position, lines DESC) AS new"
    " ON old.server = new.server AND old.digest = new.digest"
    # Of a file with very many only how many, which grows.
    " WHEN MATCHED AND new.file = old.file AND new.lines > old.lines"
    " THEN UPDATE SET lines = new.lines, reason = new.reason"
    f" WHEN NOT MATCHED THEN INSERT ({', '.join(_REJECTED)}, version)"
    f" VALUES ({', '.join('new.' + name for name in _REJECTED)}, new.version)"
)


def first_seen(entries: pa.Table, earlier: pa.Table) -> tuple[npt.NDArray[np.bool_], int]:
    """Which rows of ``entries`` are the first of their entry and server, after ``earlier``.

    Returns:
        That, and how many stand before under another server.
    """
    if not len(entries):
        return np.zeros(0, np.bool_), 0
    both = pa.concat_tables([table.select(["server", "entry"]) for table in (earlier, entries)])
    server = both["server"].to_numpy()
    _, first, index = np.unique(_ids(both), return_index=True, return_inverse=True)
    new = np.zeros(len(both), np.bool_)
    _, rows = np.unique(index * (int(server.max(initial=0)) + 1) + server, return_index=True)
    new[rows] = True
    elsewhere = server != server[first][index]
    return new[len(earlier) :], int(elsewhere[len(earlier) :].sum())


def _ids(entries: pa.Table) -> npt.NDArray[np.void]:
    """The 128 bits of each entry, to compare and sort."""
    storage = entries["entry"].combine_chunks().storage
    ids: npt.NDArray[np.void] = np.frombuffer(storage.buffers()[1], "V16")
    return ids[storage.offset : storage.offset + len(storage)]


def find_new(
    connection: duckdb.DuckDBPyConnection, entries: pa.Table, earlier: pa.Table
) -> tuple[npt.NDArray[np.bool_], int]:
    """Which rows of ``entries`` the ledger does not know, and how many another server has."""
    new, elsewhere = first_seen(entries, earlier)
    if not len(entries):
        return new, elsewhere
    days = pc.min_max(entries["log_day"]).as_py()
    given = pa.table(
        {
            "row": pa.array(np.arange(len(entries))),
            **{name: entries[name] for name in ("server", "log_day", "entry")},
        }
    )
    connection.register("given", given)
    found = connection.execute(
        "SELECT given.row AS row, bool_or(seen.server = given.server) AS known,"
        " bool_or(seen.server <> given.server) AS elsewhere"
        " FROM given JOIN seen ON seen.log_day = given.log_day AND seen.entry = given.entry"
        " WHERE seen.log_day BETWEEN $1 AND $2 GROUP BY given.row",
        [days["min"], days["max"]],
    ).fetchnumpy()
    connection.unregister("given")
    new[found["row"][found["known"].astype(np.bool_)]] = False
    return new, elsewhere + int(found["elsewhere"].sum())


def written(
    rows: Rows, new: npt.NDArray[np.bool_], elsewhere: int, *, resolved: int = 0
) -> Written:
    """What writing the ``new`` ones of ``rows`` adds."""
    entries = rows.entries.filter(pa.array(new))
    return Written(
        known=len(new) - len(entries),
        elsewhere=elsewhere,
        entries=len(entries),
        transfers=int(pc.sum(entries["transfers"]).as_py() or 0),
        bytes=sum(entries["bytes"].to_pylist()),
        packets=sum(entries["packets"].to_pylist()),
        connections=np.unique(entries["connection"].to_numpy()),
        resolved=resolved,
    )


def insert(connection: duckdb.DuckDBPyConnection, rows: Rows, new: npt.NDArray[np.bool_]) -> None:
    """Write the ``new`` ones of ``rows`` into the ledger, the facts and all sums."""
    for table, given in (
        ("stream", rows.streams),
        ("agent", rows.agents),
        ("client", rows.clients),
        ("origin", rows.origins),
    ):
        _insert_names(connection, table, given)
    fresh = _fresh_entries(rows.entries, new)
    connection.register("given_entry", fresh)
    connection.execute(_FRESH_ENTRY)
    alone = pa.array(_alone(connection, fresh))
    connection.register("given_entry", fresh.append_column("alone", alone))
    connection.register("given_transfer", rows.transfers)
    connection.execute(_FRESH_ENTRY)
    connection.execute(_FRESH_TRANSFER)
    connection.execute(
        "INSERT INTO seen SELECT server, log_day, entry, day, bytes, packets, transfers"
        " FROM fresh_entry"
    )
    connection.execute(
        "INSERT INTO transfer SELECT server, day, hour, direction, protocol, origin, stream,"
        " number, connection, bytes, packets FROM fresh_transfer"
    )
    for one in SUMS:
        for sql in statements(one):
            connection.execute(sql)


def insert_notes(
    connection: duckdb.DuckDBPyConnection, rows: Rows, new: npt.NDArray[np.bool_]
) -> int:
    """Write what ``rows`` tell of logs: the days they cover, what of them was rejected.

    Returns:
        How many entries of which ``new`` tells were rejected before, and are so no longer.
    """
    if len(rows.covered):
        connection.register("given", rows.covered)
        connection.execute(_COVER)
    if len(rows.rejects):
        connection.register("given", rows.rejects)
        connection.execute(_REJECT)
    if not new.any():
        return 0
    connection.register("given", rows.entries.select(["server", "entry"]).filter(pa.array(new)))
    found = connection.execute(
        "DELETE FROM reject USING given"
        " WHERE reject.server = given.server AND reject.digest = given.entry"
    ).fetchall()
    return int(found[0][0])


def servers_of(rows: Rows) -> set[int]:
    """The numbers of all servers that ``rows`` tell of."""
    tables = (rows.entries, rows.covered, rows.rejects)
    return {number for table in tables for number in pc.unique(table["server"]).to_pylist()}


def find_misdated(
    connection: duckdb.DuckDBPyConnection, entries: pa.Table, new: npt.NDArray[np.bool_]
) -> tuple[int, frozenset[tuple[int, date]]]:
    """Known entries that are in the store on another day than ``entries`` say.

    That of a log which was read without its name, say, before the server's time zone was told.

    Returns:
        How many, and the servers and days of both readings.
    """
    known = entries.select(["server", "log_day", "entry", "day"]).filter(pa.array(~new))
    if not len(known):
        return 0, frozenset()
    days = pc.min_max(known["log_day"]).as_py()
    connection.register("given", known)
    rows = connection.execute(
        "SELECT given.server, given.day, seen.day, count(*) FROM given JOIN seen"
        " ON seen.log_day = given.log_day AND seen.entry = given.entry"
        " AND seen.server = given.server AND seen.day <> given.day"
        " WHERE seen.log_day BETWEEN $1 AND $2 GROUP BY ALL",
        [days["min"], days["max"]],
    ).fetchall()
    connection.unregister("given")
    rows += _misdated_within(entries)
    found = {(server, day) for server, *both, _ in rows for day in both}
    return sum(row[-1] for row in rows), frozenset(found)


def _misdated_within(entries: pa.Table) -> list[tuple[int, date, date, int]]:
    """Entries that stand twice in one batch, on two days: server, both days, how many."""
    _, first, index = np.unique(_ids(entries), return_index=True, return_inverse=True)
    server, day = entries["server"].to_numpy(), entries["day"].to_numpy()
    before = first[index]
    differs = np.flatnonzero((server == server[before]) & (day != day[before]))
    triples = zip(server[differs], day[differs], day[before[differs]], strict=True)
    counts = Counter((int(one), a.item(), b.item()) for one, a, b in triples)
    return [(*triple, count) for triple, count in counts.items()]


def doubt(connection: duckdb.DuckDBPyConnection, days: set[tuple[int, date]]) -> None:
    """Take the logs of these days, each of a server, for not read whole."""
    for server, day in sorted(days):
        connection.execute(
            "UPDATE covered SET whole = false WHERE server = $1 AND day = $2", [server, day]
        )


def known_rejects(
    connection: duckdb.DuckDBPyConnection,
) -> tuple[dict[tuple[int, str], bool], frozenset[tuple[int, bytes]]]:
    """The servers and files that have rejects, and the digests of all.

    Of each file, whether any is of what could not be read.
    """
    files = connection.execute("SELECT server, file, min(lines) FROM reject GROUP BY server, file")
    found = {(server, file): lines == 0 for server, file, lines in files.fetchall()}
    rows = connection.execute("SELECT server, digest FROM reject").fetchall()
    return found, frozenset((server, digest.bytes) for server, digest in rows)


def settle_rejects(connection: duckdb.DuckDBPyConnection, read: FileRead) -> int:
    """Forget rejects that are none any more, as ``read`` tells; returns how many."""
    own = [read.server, read.file]
    gone = connection.execute(
        "DELETE FROM reject WHERE server = $1 AND file = $2 AND lines = 0", own
    ).fetchall()[0][0]
    if read.digests is None:
        return int(gone)
    found = [str(UUID(bytes=digest)) for digest in read.digests]
    gone += connection.execute(
        "DELETE FROM reject WHERE server = $1 AND file = $2 AND position < $4"
        " AND NOT list_contains($3::UUID[], digest)",
        [*own, found, read.size],
    ).fetchall()[0][0]
    connection.execute(
        "UPDATE reject SET version = $4 WHERE server = $1 AND file = $2"
        " AND list_contains($3::UUID[], digest)",
        [*own, found, read.version],
    )
    return int(gone)


def _insert_names(connection: duckdb.DuckDBPyConnection, table: str, given: pa.Table) -> None:
    """Add the names that are not there yet. ``table`` names its key column too."""
    _, first = np.unique(given[table].to_numpy(), return_index=True)
    connection.register("given", given.take(pa.array(first)))
    connection.execute(f"INSERT INTO {table} SELECT * FROM given ANTI JOIN {table} USING ({table})")
    connection.unregister("given")


def _fresh_entries(entries: pa.Table, new: npt.NDArray[np.bool_]) -> pa.Table:
    """The new ones of ``entries``, each with its row and the number that its transfers have."""
    # The same log block under two servers is two entries.
    numbers = _ids(entries).view(np.int64)[::2] ^ (entries["server"].to_numpy() * _ODD)
    return (
        entries.append_column("row", pa.array(np.arange(len(entries), dtype=np.int32)))
        .append_column("number", pa.array(numbers))
        .filter(pa.array(new))
    )


def _alone(connection: duckdb.DuckDBPyConnection, fresh: pa.Table) -> npt.NDArray[np.bool_]:
    """Which new entries are the only ones ever of their day, server, protocol and origin."""
    days = pc.min_max(fresh["day"]).as_py()
    single = connection.execute(
        "SELECT any_value(row) AS row FROM fresh_entry"
        " ANTI JOIN (SELECT * FROM connection_by_day WHERE day BETWEEN $1 AND $2) old"
        " USING (day, server, direction, protocol, origin)"
        " GROUP BY day, server, direction, protocol, origin HAVING count(*) = 1",
        [days["min"], days["max"]],
    ).fetchnumpy()["row"]
    alone: npt.NDArray[np.bool_] = np.isin(fresh["row"].to_numpy(), single)
    alone[fresh["repeats"].to_numpy()] = False
    return alone
