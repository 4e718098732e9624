"""One batch into a store: what is new of it, and what it tells of logs.

All of it runs within one transaction.
"""

from collections import Counter
from datetime import date
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.rows import Rows
from ringserverstats.logs.batch import DIRECTIONS
from ringserverstats.store.base import FileRead, Written
from ringserverstats.store.session import Session

_EPOCH = date(1970, 1, 1)
_ODD = np.int64(0x1E3779B97F4A7C15)  # spreads small numbers over 64 bits
_COVERS = ("server", "direction", "day", "first_minute", "last_minute", "first_day", "last_day")
_COVERS_GIVEN = "server, direction::direction AS direction, " + ", ".join(_COVERS[2:])
_COVER = (
    f"MERGE INTO log_interval AS old USING (SELECT {_COVERS_GIVEN}, bool_or(complete) AS complete FROM given"
    f" GROUP BY 1, 2, 3, 4, 5, 6, 7) AS new"
    f" ON {' AND '.join(f'old.{name} = new.{name}' for name in _COVERS)}"
    " WHEN MATCHED AND new.complete AND NOT old.complete THEN UPDATE SET complete = true"
    f" WHEN NOT MATCHED THEN INSERT ({', '.join(_COVERS)}, complete)"
    f" VALUES ({', '.join('new.' + name for name in _COVERS)}, new.complete)"
)
_IMPORT = (
    "INSERT INTO imported_day SELECT DISTINCT server, day FROM given"
    " WHERE (server, day) NOT IN (SELECT server, day FROM imported_day)"
)
_REJECTED = ("server", "digest", "direction", "day", "file", "position", "line", "lines", "reason")
_REJECT = (
    "MERGE INTO reject AS old USING (SELECT DISTINCT ON (server, digest) server, digest,"
    " direction::direction AS direction, day, file, position, line, lines, reason, version"
    " FROM given ORDER BY server, digest, file, position, lines DESC) AS new"
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
    session: Session, entries: pa.Table, earlier: pa.Table
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
    session.register("given", given)
    found = session.table(
        "SELECT given.row AS row, bool_or(entry_ledger.server = given.server) AS known,"
        " bool_or(entry_ledger.server <> given.server) AS elsewhere"
        " FROM given JOIN entry_ledger ON entry_ledger.log_day = given.log_day AND entry_ledger.entry = given.entry"
        " WHERE entry_ledger.log_day BETWEEN $1 AND $2 GROUP BY given.row",
        [days["min"], days["max"]],
    )
    known = found.filter(found["known"])["row"].to_numpy()
    new[known] = False
    return new, elsewhere + int(pc.sum(found["elsewhere"]).as_py() or 0)


def written(
    rows: Rows, new: npt.NDArray[np.bool_], elsewhere: int, *, imported: int = 0
) -> Written:
    """What writing the ``new`` ones of ``rows`` adds; ``imported`` others are not known either."""
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
    )


def insert(session: Session, rows: Rows, new: npt.NDArray[np.bool_]) -> None:
    """Write the ``new`` ones of ``rows`` into the ledger, the facts and all sums."""
    fresh = _fresh_entries(rows.entries, new)
    transfers = _of(fresh, rows.transfers)
    client_profiles = _those(rows.client_profiles, "client_profile", fresh["client_profile"])
    names = {
        "stream": _those(rows.streams, "stream", transfers["stream"]),
        "agent": _those(rows.agents, "agent", client_profiles["agent"]),
        "client": _those(rows.clients, "client", client_profiles["client"]),
        "client_profile": client_profiles,
    }
    for table, given in names.items():
        session.add_names(table, given)
    session.add_entries(fresh, transfers, names["stream"])


def _of(entries: pa.Table, transfers: pa.Table) -> pa.Table:
    """Those of ``transfers`` that are of ``entries``, in the order of these."""
    rows, row = entries["row"].to_numpy(), transfers["row"].to_numpy()
    if entries["transfers"].to_numpy().sum() < len(transfers):
        place = np.minimum(np.searchsorted(rows, row), len(rows) - 1)
        is_of_them = rows[place] == row
        transfers = transfers.filter(pa.array(is_of_them))
        row = row[is_of_them]
    if np.any(np.diff(row) < 0):
        transfers = transfers.take(pa.array(np.argsort(row, kind="stable")))
    return transfers


def _those(given: pa.Table, key: str, used: pa.ChunkedArray) -> pa.Table:
    """The first row of each ``key`` that is ``used``."""
    given = _unique(given, key)
    return given.filter(pc.is_in(given[key], value_set=pc.unique(used)))


def _unique(given: pa.Table, key: str) -> pa.Table:
    """The first row of each ``key``."""
    _, first = np.unique(given[key].to_numpy(), return_index=True)
    return given.take(pa.array(first))


def insert_notes(
    session: Session, rows: Rows, new: npt.NDArray[np.bool_]
) -> tuple[int, set[date | None]]:
    """Write what ``rows`` tell of logs: the days they cover, what of them was rejected.

    Returns:
        How many entries of which ``new`` tells were rejected before, and are so no longer; and days
        of which something changed, None for what has no day.
    """
    changed: set[date | None] = set()
    for given, statement in (
        (rows.log_intervals, _COVER),
        (rows.imported_days, _IMPORT),
        (rows.rejects, _REJECT),
    ):
        if len(given):
            session.register("given", given)
            if session.execute(statement):
                changed |= set(pc.unique(given["day"]).to_pylist())
    if not new.any():
        return 0, changed
    fresh = rows.entries.filter(pa.array(new))
    changed |= set(pc.unique(fresh["day"]).to_pylist())
    session.register("given", fresh.select(["server", "entry"]))
    resolved = session.execute(
        "DELETE FROM reject USING given"
        " WHERE reject.server = given.server AND reject.digest = given.entry"
    )
    return resolved, changed | ({None} if resolved else set())


def of_imported(session: Session, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which entries are of days whose history came from elsewhere, but not in ``rows``.

    That history is of what was sent, so what was received counts.
    """
    days = set(session.rows("SELECT server, day FROM imported_day"))
    days -= set(
        zip(*(rows.imported_days[name].to_pylist() for name in ("server", "day")), strict=True)
    )
    if not days or not len(rows.entries):
        return np.zeros(len(rows.entries), np.bool_)
    server = rows.entries["server"].to_numpy().astype(np.int64)
    day = rows.entries["day"].cast(pa.int32()).to_numpy()
    closed = [number << 32 | (one - _EPOCH).days for number, one in days]
    is_sent = pc.equal(rows.entries["direction"].cast(pa.string()), DIRECTIONS[0])
    found: npt.NDArray[np.bool_] = np.isin(server << 32 | day, closed) & is_sent.to_numpy()
    return found


#: Days of a server (``$1``) of which logs tell what was sent.
LOGGED = """
SELECT DISTINCT s.day FROM (
    SELECT day FROM connection_by_day WHERE server = $1 AND direction = 'TX'
    UNION SELECT day FROM log_interval WHERE server = $1 AND direction = 'TX'
) s WHERE s.day NOT IN (SELECT day FROM imported_day WHERE server = $1)
"""


def were_logged(session: Session, rows: Rows) -> bool:
    """Whether logs were read of days whose history ``rows`` are."""
    days = set(rows.imported_days["day"].to_pylist())
    return any(
        days & {day for (day,) in session.rows(LOGGED, [number])}
        for number in pc.unique(rows.imported_days["server"]).to_pylist()
    )


def servers_of(rows: Rows) -> set[int]:
    """The numbers of all servers that ``rows`` tell of."""
    tables = (rows.entries, rows.log_intervals, rows.rejects, rows.imported_days)
    return {number for table in tables for number in pc.unique(table["server"]).to_pylist()}


def find_misdated(
    session: Session, entries: pa.Table, new: npt.NDArray[np.bool_]
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
    session.register("given", known)
    rows = session.rows(
        "SELECT given.server, given.day, entry_ledger.day, count(*) FROM given JOIN entry_ledger"
        " ON entry_ledger.log_day = given.log_day AND entry_ledger.entry = given.entry"
        " AND entry_ledger.server = given.server AND entry_ledger.day <> given.day"
        " WHERE entry_ledger.log_day BETWEEN $1 AND $2 GROUP BY 1, 2, 3",
        [days["min"], days["max"]],
    )
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


def mark_incomplete(session: Session, days: set[tuple[int, date]]) -> None:
    """Take the logs of these days, each of a server, for not read whole."""
    for server, day in sorted(days):
        session.execute(
            "UPDATE log_interval SET complete = false WHERE server = $1 AND day = $2", [server, day]
        )


def known_rejects(
    session: Session,
) -> tuple[dict[tuple[int, str], bool], frozenset[tuple[int, bytes]]]:
    """The servers and files that have rejects, and the digests of all.

    Of each file, whether any is of what could not be read.
    """
    files = session.rows("SELECT server, file, min(lines) FROM reject GROUP BY server, file")
    found = {(server, file): lines == 0 for server, file, lines in files}
    rows = session.rows("SELECT server, digest FROM reject")
    return found, frozenset((server, digest.bytes) for server, digest in rows)


def settle_rejects(session: Session, read: FileRead) -> int:
    """Forget rejects that are none any more, as ``read`` tells; returns how many."""
    own = [read.server, read.file]
    gone = session.execute("DELETE FROM reject WHERE server = $1 AND file = $2 AND lines = 0", own)
    if read.digests is None:
        return gone
    found = [str(UUID(bytes=digest)) for digest in read.digests]
    gone += session.execute(
        "DELETE FROM reject WHERE server = $1 AND file = $2 AND position < $4"
        " AND NOT digest = ANY($3::uuid[])",
        [*own, found, read.size],
    )
    session.execute(
        "UPDATE reject SET version = $4 WHERE server = $1 AND file = $2"
        " AND digest = ANY($3::uuid[])",
        [*own, found, read.version],
    )
    return gone


def _fresh_entries(entries: pa.Table, new: npt.NDArray[np.bool_]) -> pa.Table:
    """The new ones of ``entries``, each with its row and the number that its transfers have."""
    # The same log block under two servers is two entries.
    numbers = _ids(entries).view(np.int64)[::2] ^ (entries["server"].to_numpy() * _ODD)
    return (
        entries.append_column("row", pa.array(np.arange(len(entries), dtype=np.int32)))
        .append_column("number", pa.array(numbers))
        .filter(pa.array(new))
    )
