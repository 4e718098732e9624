"""Write a batch (entries, log intervals, rejects) within the transaction of the caller."""

from collections import Counter
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.rows import Rows
from ringserverstats.store.base import CountedElsewhere, Written
from ringserverstats.store.refresh import add_to_sealed_days, mark_changed
from ringserverstats.store.rejects import delete_rejects
from ringserverstats.store.session import Session
from ringserverstats.store.tables import TABLES

_ODD = np.int64(0x1E3779B97F4A7C15)  # spreads small numbers over 64 bits
_INTERVAL = TABLES["log_interval"].key
_REJECT = TABLES["reject"].names


def _new_columns(columns: tuple[str, ...]) -> str:
    return ", ".join(f"new.{name}" for name in columns)


_MERGE_INTERVALS = f"""
MERGE INTO log_interval AS old
USING (SELECT server, direction::direction AS direction, {", ".join(_INTERVAL[2:])},
              bool_or(complete) AS complete
         FROM given GROUP BY 1, 2, 3, 4, 5, 6, 7) AS new
   ON {" AND ".join(f"old.{name} = new.{name}" for name in _INTERVAL)}
 WHEN MATCHED AND new.complete AND NOT old.complete THEN UPDATE SET complete = true
 WHEN NOT MATCHED THEN INSERT ({", ".join(_INTERVAL)}, complete)
      VALUES ({_new_columns(_INTERVAL)}, new.complete)
"""
_INSERT_IMPORTED = """
INSERT INTO imported_day (server, day) SELECT DISTINCT server, day FROM given
 WHERE (server, day) NOT IN (SELECT server, day FROM imported_day)
"""
# A file with very many rejects has one row with their number, which may grow.
_MERGE_REJECTS = f"""
MERGE INTO reject AS old
USING (SELECT DISTINCT ON (server, digest)
              {", ".join(_REJECT).replace("direction", "direction::direction AS direction")}
         FROM given ORDER BY server, digest, file, position, lines DESC) AS new
   ON old.server = new.server AND old.digest = new.digest
 WHEN MATCHED AND new.file = old.file AND new.lines > old.lines
      THEN UPDATE SET lines = new.lines, reason = new.reason, entries = new.entries
 WHEN NOT MATCHED THEN INSERT ({", ".join(_REJECT)})
      VALUES ({_new_columns(_REJECT)})
"""


def first_seen(entries: pa.Table, earlier: pa.Table) -> tuple[npt.NDArray[np.bool_], int]:
    """Find the first row of each entry and server.

    Args:
        entries: rows of schema `ENTRIES`.
        earlier: rows that come before them.

    Returns:
        Which rows of ``entries`` are first, and the number of rows that occur before with another
        server.
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
    """Return the 128 bits of each entry's id, to compare and sort."""
    storage = entries["entry"].combine_chunks().storage
    ids: npt.NDArray[np.void] = np.frombuffer(storage.buffers()[1], "V16")
    return ids[storage.offset : storage.offset + len(storage)]


_LEDGER_MATCHES = """
SELECT given.row AS row, e.server AS server, e.server = given.server AS known
  FROM given JOIN entry_ledger e ON e.log_day = given.log_day AND e.entry = given.entry
 WHERE e.log_day BETWEEN $1 AND $2
"""


def find_new(
    session: Session, entries: pa.Table, earlier: pa.Table
) -> tuple[npt.NDArray[np.bool_], int, tuple[CountedElsewhere, ...]]:
    """Find the rows of ``entries`` that are neither in the ledger nor in ``earlier``.

    Returns:
        Which rows are new, the number of rows that another server has, and those of them that are
        new, by that server.
    """
    new, elsewhere = first_seen(entries, earlier)
    if not len(entries):
        return new, elsewhere, ()
    days = pc.min_max(entries["log_day"]).as_py()
    given = pa.table(
        {
            "row": pa.array(np.arange(len(entries))),
            **{name: entries[name] for name in ("server", "log_day", "entry")},
        }
    )
    session.register("given", given)
    matches = session.table(_LEDGER_MATCHES, [days["min"], days["max"]])
    new[matches.filter(matches["known"])["row"].to_numpy()] = False
    others = matches.filter(pc.invert(matches["known"]))
    elsewhere += len(pc.unique(others["row"]))
    return new, elsewhere, _counted_elsewhere(entries, others, new)


def _counted_elsewhere(
    entries: pa.Table, matches: pa.Table, new: npt.NDArray[np.bool_]
) -> tuple[CountedElsewhere, ...]:
    """Return the ``new`` rows of ``entries`` in ``matches`` (columns row and server), by server."""
    counted = matches.filter(pa.array(new[matches["row"]]))
    if not len(counted):
        return ()
    uncounted = np.setdiff1d(np.flatnonzero(new), counted["row"].to_numpy())
    row = uncounted[0] if len(uncounted) else counted["row"][0].as_py()
    entry = entries["entry"][int(row)].as_py().bytes
    servers = counted.group_by("server").aggregate([("row", "count")])
    return tuple(
        CountedElsewhere(server, count, entry)
        for server, count in zip(*(column.to_pylist() for column in servers), strict=True)
    )


def write_summary(
    rows: Rows,
    new: npt.NDArray[np.bool_],
    elsewhere: int,
    counted_elsewhere: tuple[CountedElsewhere, ...] = (),
    *,
    imported: int = 0,
) -> Written:
    """Summarise the writing of a batch.

    Args:
        new: which entries of ``rows`` are written.
        elsewhere: the number of entries that another server has.
        counted_elsewhere: those of them that are new, by that server.
        imported: the number of entries that are not written because their day was imported.
    """
    entries = rows.entries.filter(pa.array(new))
    return Written(
        known=len(new) - len(entries) - imported,
        elsewhere=elsewhere,
        entries=len(entries),
        transfers=int(pc.sum(entries["transfers"]).as_py() or 0),
        bytes=sum(entries["bytes"].to_pylist()),
        packets=sum(entries["packets"].to_pylist()),
        connections=np.unique(entries["connection"].to_numpy()),
        imported=imported,
        counted_elsewhere=counted_elsewhere,
    )


def insert(session: Session, rows: Rows, new: npt.NDArray[np.bool_]) -> None:
    """Insert the ``new`` entries of ``rows`` into the ledger and the transfers.

    Those of sealed days, which have no transfers, are added to the rollups.
    """
    entries = _new_entries(rows.entries, new)
    transfers = _transfers_of(entries, rows.transfers)
    client_profiles = _used_rows(rows.client_profiles, "client_profile", entries["client_profile"])
    names = {
        "stream": _used_rows(rows.streams, "stream", transfers["stream"]),
        "agent": _used_rows(rows.agents, "agent", client_profiles["agent"]),
        "client": _used_rows(rows.clients, "client", client_profiles["client"]),
        "client_profile": client_profiles,
    }
    for table, used in names.items():
        session.add_names(table, used)
    kept_since = session.rows("SELECT kept_since FROM store")[0][0] or date.min
    is_kept = pc.greater_equal(entries["day"], pa.scalar(kept_since, pa.date32()))
    kept, late = entries.filter(is_kept), entries.filter(pc.invert(is_kept))
    if len(kept):
        session.add_entries(kept, _transfers_of(kept, transfers))
        mark_changed(session, kept)
    if len(late):
        session.add_to_ledger(late)
        add_to_sealed_days(session, late, _joined(late, _transfers_of(late, transfers)))


def _joined(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Return ``transfers``, which are in the order of ``entries``, with the columns of those."""
    row = np.searchsorted(entries["row"].to_numpy(), transfers["row"].to_numpy())
    of_entry = entries.drop_columns(["entry", "bytes", "packets"]).take(pa.array(row))
    of_entry = of_entry.rename_columns({"number": "entry"})
    columns = {name: of_entry[name] for name in of_entry.column_names}
    columns |= {name: transfers[name] for name in ("stream", "bytes", "packets")}
    return pa.table({name: columns[name] for name in TABLES["transfer"].names})


def _transfers_of(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Return the transfers of ``entries``, in their order."""
    rows, row = entries["row"].to_numpy(), transfers["row"].to_numpy()
    if entries["transfers"].to_numpy().sum() < len(transfers):
        index = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
        belongs = rows[index] == row
        transfers = transfers.filter(pa.array(belongs))
        row = row[belongs]
    if np.any(np.diff(row) < 0):
        transfers = transfers.take(pa.array(np.argsort(row, kind="stable")))
    return transfers


def _used_rows(table: pa.Table, key: str, used: pa.ChunkedArray) -> pa.Table:
    """Return the first row of ``table`` for each ``key`` in ``used``."""
    _, first = np.unique(table[key].to_numpy(), return_index=True)
    table = table.take(pa.array(first))
    return table.filter(pc.is_in(table[key], value_set=pc.unique(used)))


def insert_log_status(
    session: Session, rows: Rows, new: npt.NDArray[np.bool_]
) -> tuple[int, set[date | None]]:
    """Write the log intervals, imported days and rejects of ``rows``.

    A reject is deleted when its entry is among the ``new`` entries. That of a log that was refused
    (0 lines) has the id of an entry that is known, and is deleted when that is read again.

    Returns:
        The number of rejected entries that were deleted, and the days that changed (None: rejects
        without a day).
    """
    changed: set[date | None] = set()
    for table, statement in (
        (rows.log_intervals, _MERGE_INTERVALS),
        (rows.imported_days, _INSERT_IMPORTED),
        (rows.rejects, _MERGE_REJECTS),
    ):
        if len(table):
            session.register("given", table)
            if session.execute(statement):
                changed |= set(pc.unique(table["day"]).to_pylist())
    if not len(rows.entries):
        return 0, changed
    entries = rows.entries.filter(pa.array(new))
    changed |= set(pc.unique(entries["day"]).to_pylist())
    if session.rows("SELECT 1 FROM reject WHERE lines = 0 LIMIT 1"):
        entries = rows.entries
    if not len(entries):
        return 0, changed
    session.register("given", entries.select(["server", "entry"]))
    resolved = delete_rejects(
        session,
        "EXISTS (SELECT 1 FROM given WHERE given.entry = reject.digest"
        " AND (given.server = reject.server OR reject.lines = 0))",
    )
    return resolved, changed | ({None} if resolved else set())


def servers_of(rows: Rows) -> set[int]:
    """Return the numbers of all servers in ``rows``."""
    tables = (rows.entries, rows.log_intervals, rows.rejects, rows.imported_days)
    return {number for table in tables for number in pc.unique(table["server"]).to_pylist()}


def find_misdated(
    session: Session, entries: pa.Table, new: npt.NDArray[np.bool_]
) -> tuple[int, frozenset[tuple[int, date]]]:
    """Find known entries that the store has on another day than ``entries``.

    A log may have been read before without its file name, or without the server's time zone.

    Returns:
        Their number, and the servers and days of both.
    """
    known = entries.select(["server", "log_day", "entry", "day"]).filter(pa.array(~new))
    if not len(known):
        return 0, frozenset()
    days = pc.min_max(known["log_day"]).as_py()
    session.register("given", known)
    rows = session.rows(_MISDATED, [days["min"], days["max"]]) + _misdated_within(entries)
    server_days = {(server, day) for server, *pair, _ in rows for day in pair}
    return sum(row[-1] for row in rows), frozenset(server_days)


_MISDATED = """
SELECT given.server, given.day, e.day, count(*)
  FROM given JOIN entry_ledger e ON e.log_day = given.log_day AND e.entry = given.entry
       AND e.server = given.server AND e.day <> given.day
 WHERE e.log_day BETWEEN $1 AND $2 GROUP BY 1, 2, 3
"""


def _misdated_within(entries: pa.Table) -> list[tuple[int, date, date, int]]:
    """Return entries that a batch has on two days: server, both days, number."""
    _, first, index = np.unique(_ids(entries), return_index=True, return_inverse=True)
    server, day = entries["server"].to_numpy(), entries["day"].to_numpy()
    before = first[index]
    differs = np.flatnonzero((server == server[before]) & (day != day[before]))
    triples = zip(server[differs], day[differs], day[before[differs]], strict=True)
    counts = Counter((int(number), a.item(), b.item()) for number, a, b in triples)
    return [(*triple, count) for triple, count in counts.items()]


def mark_incomplete(session: Session, days: set[tuple[int, date]]) -> None:
    """Mark the log intervals of these servers and days as incomplete."""
    for server, day in sorted(days):
        session.execute(
            "UPDATE log_interval SET complete = false WHERE server = $1 AND day = $2", [server, day]
        )


def _new_entries(entries: pa.Table, new: npt.NDArray[np.bool_]) -> pa.Table:
    """Return the ``new`` entries with their ``row`` and ``number`` (``entry`` of transfers)."""
    # The same log block of two servers is two entries.
    numbers = _ids(entries).view(np.int64)[::2] ^ (entries["server"].to_numpy() * _ODD)
    return (
        entries.append_column("row", pa.array(np.arange(len(entries), dtype=np.int32)))
        .append_column("number", pa.array(numbers))
        .filter(pa.array(new))
    )
