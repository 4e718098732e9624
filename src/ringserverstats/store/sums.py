"""The sums that are kept beside the facts, declared once and all written in the same way."""

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import date

from ringserverstats.logs.batch import LARGEST_NUMBER

_WHO = ("server", "direction", "protocol", "origin")
#: Stands in sums for the hour of a log that is of no single one.
NO_HOUR = -1


@dataclass(frozen=True)
class Sum:
    """A table of sums.

    ``source`` is the table of new rows that is added to it (a key of `SOURCES`),
    ``keys`` its key columns with their SQL over that source, ``values`` likewise what adds up.
    ``single``, where there is one, is the SQL of the values of one row of the source: the table is
    as fine as an entry, so that what comes of an entry that is alone with its keys (column
    ``alone`` of the source) need not be summed. In DuckDB that is the only one ever, whose rows are
    appended without a look for others; in PostgreSQL the only one of its batch.
    """

    table: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]
    single: dict[str, str] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """The key column that is a date."""
        return "month" if "month" in self.keys else "day"

    @property
    def who(self) -> tuple[str, ...]:
        """The key columns that a packed row has once."""
        return (self.time, *(name for name in _WHO if name in self.keys))

    @property
    def is_of_origins(self) -> bool:
        """Whether it tells who read, and not only what all took together."""
        return "origin" in self.keys

    @property
    def is_packed(self) -> bool:
        """PostgreSQL keeps it in arrays: all rows of the same time and ``who`` in one."""
        return self.source != "fresh_entry"

    @property
    def what(self) -> tuple[str, ...]:
        """The key columns that tell of what a client took."""
        return tuple(name for name in self.keys if name not in self.who)


def month_of(day: date) -> tuple[date, date]:
    """The first and the last day of the month of ``day``."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


_PLAIN = {name: name for name in _WHO}
_TOGETHER = {name: name for name in _WHO if name != "origin"}
_DAY, _MONTH = {"day": "day"}, {"month": "date_trunc('month', day)::date"}
_HOUR = {"hour": f"coalesce(hour, {NO_HOUR})"}  # of logs that are of no single hour
_STREAM, _NETWORK = {"stream": "stream"}, {"network": "network"}
_STATION = {**_NETWORK, "station": "station"}
_ONE = {"bytes": "bytes", "packets": "packets", "transfers": "1"}
_SEVERAL = {**_ONE, "transfers": "transfers"}
_OF_TRANSFERS = {name: f"sum({sql})" for name, sql in _ONE.items()}
_OF_OTHERS = {name: f"sum({sql})" for name, sql in _SEVERAL.items()}

#: DuckDB's SQL of the new rows of a batch: of its transfers, and of these by entry and station,
#: each with the columns of its entry. They come from ``fresh_entry``, ``given_transfer`` and
#: ``given_stream`` (in which stations have numbers, as texts are slow to group by). What is of one
#: entry has 64 bits, as all of it has.
FRESH = {
    "fresh_transfer": "SELECT e.* EXCLUDE (bytes, packets, transfers), t.stream, t.bytes, t.packets"
    " FROM given_transfer t JOIN fresh_entry e USING (row)",
    "fresh_station": "WITH named AS (SELECT stream, network, station, dense_rank() OVER"
    " (ORDER BY network, station) AS number FROM given_stream), summed AS ("
    "SELECT t.row, n.number, sum(t.bytes)::bigint AS bytes, sum(t.packets)::bigint AS packets,"
    " count(*) AS transfers FROM given_transfer t JOIN named n USING (stream) GROUP BY 1, 2)"
    " SELECT e.* EXCLUDE (number, bytes, packets, transfers), n.network, n.station, g.bytes,"
    " g.packets, g.transfers FROM summed g JOIN fresh_entry e USING (row)"
    " JOIN (SELECT DISTINCT number, network, station FROM named) n ON n.number = g.number",
}

#: The same rows, not of a batch but of all transfers (``f``).
SOURCES = {
    "fresh_transfer": "transfer f",
    "fresh_station": "(SELECT t.*, 1 AS transfers, s.network, s.station FROM transfer t"
    " LEFT JOIN stream s ON s.stream = t.stream) f",
    "fresh_entry": "(SELECT day, hour, server, direction, protocol, origin, connection, entry,"
    " sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers FROM transfer"
    " GROUP BY day, hour, server, direction, protocol, origin, connection, entry) f",
}

SUMS = (
    Sum("by_day", "fresh_transfer", {**_DAY, **_PLAIN, **_STREAM}, _OF_TRANSFERS, _ONE),
    Sum("by_month", "fresh_transfer", {**_MONTH, **_PLAIN, **_STREAM}, _OF_TRANSFERS),
    Sum("station_by_day", "fresh_station", {**_DAY, **_PLAIN, **_STATION}, _OF_OTHERS, _SEVERAL),
    Sum("station_by_month", "fresh_station", {**_MONTH, **_PLAIN, **_STATION}, _OF_OTHERS),
    Sum("station_total_by_day", "fresh_station", {**_DAY, **_TOGETHER, **_STATION}, _OF_OTHERS),
    Sum("network_by_day", "fresh_station", {**_DAY, **_PLAIN, **_NETWORK}, _OF_OTHERS),
    Sum(
        "connection_by_day",
        "fresh_entry",
        {**_DAY, **_PLAIN, "connection": "connection"},
        {**_OF_OTHERS, "entries": "count(*)"},
    ),
    Sum("hour_by_day", "fresh_entry", {**_DAY, **_HOUR, **_PLAIN}, _OF_OTHERS),
)


def statements(one: Sum) -> list[str]:
    """SQL that adds the new rows of ``one.source`` to the sums in ``one.table``."""
    columns = ", ".join([*one.keys, *one.values])
    # Codes may be NULL, which is no different from NULL here.
    same = " AND ".join(
        f"old.{name} {'IS NOT DISTINCT FROM' if name in one.what else '='} new.{name}"
        for name in one.keys
    )
    added = ", ".join(f"{name} = old.{name} + new.{name}" for name in one.values)
    merge = (
        f"MERGE INTO {one.table} AS old"
        f" USING ({grouped(one, one.source, 'NOT alone' if one.single else 'true')}) AS new"
        f" ON {same}"
        f" WHEN MATCHED THEN UPDATE SET {added}"
        f" WHEN NOT MATCHED THEN INSERT ({columns})"
        f" VALUES ({', '.join('new.' + name for name in [*one.keys, *one.values])})"
    )
    if not one.single:
        return [merge]
    own = ", ".join([*one.keys.values(), *one.single.values()])
    return [
        f"INSERT INTO {one.table} ({columns}) SELECT {own} FROM {one.source} WHERE alone",
        merge,
    ]


def counted(one: Sum, where: str) -> str:
    """SQL of the sums ``one`` as the transfers tell them, of those that ``where`` lets in."""
    return grouped(one, SOURCES[one.source], where)


def grouped(one: Sum, source: str, where: str) -> str:
    """SQL of the sums ``one`` over the rows of ``source`` that ``where`` lets in."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in one.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in one.values.items())
    group = ", ".join(str(number + 1) for number in range(len(one.keys)))
    return f"SELECT {keys}, {values} FROM {source} WHERE {where} GROUP BY {group}"


def packed(one: Sum, rows: str, *, pieces: str, wide: str) -> str:
    """SQL of ``rows`` (a SELECT of the keys and values of ``one``) packed into arrays.

    A place of an array has 64 bits, so that a sum of more is spread over several places.

    Args:
        pieces: SQL of a row for each whole number from 0 to that of `LARGEST_NUMBER` in the
            greater one of ``bytes`` and ``packets``.
        wide: the type of numbers of more than 64 bits.
    """
    who, what = ", ".join(one.who), ", ".join(one.what)
    amounts = ("bytes", "packets")
    largest = f"{LARGEST_NUMBER}"
    fits = " AND ".join(f"{name} <= {largest}" for name in amounts)
    whole = ", ".join(f"{name}::bigint AS {name}" for name in (*amounts, "transfers"))
    parts = ", ".join(
        f"least(greatest({name} - {largest}::{wide} * piece, 0), {largest})::bigint AS {name}"
        for name in amounts
    )
    arrays = ", ".join(
        f"array_agg({name}) AS {name}" for name in (*one.what, *amounts, "transfers")
    )
    return (
        f"WITH summed AS MATERIALIZED ({rows}), placed AS ("
        f"SELECT {who}, {what}, {whole} FROM summed WHERE {fits}"
        f" UNION ALL SELECT {who}, {what}, {parts},"
        " (CASE WHEN piece = 0 THEN transfers ELSE 0 END)::bigint AS transfers"
        f" FROM (SELECT *, {pieces} AS piece FROM summed WHERE NOT ({fits})) p)"
        f" SELECT {who}, {arrays} FROM placed GROUP BY {who}"
    )
