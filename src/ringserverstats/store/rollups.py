"""The sums that are kept beside the facts, declared once."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
#: Values whose sums may have more than 64 bits.
AMOUNTS = ("bytes", "packets")
#: Stands in sums for the hour of a log that is of no single one.
NO_HOUR = -1


@dataclass(frozen=True)
class Rollup:
    """A table of sums.

    ``source`` is what is summed up (a key of `SOURCES`), ``keys`` its key columns with their SQL
    over that source, ``values`` likewise what adds up.
    """

    table: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]

    @property
    def time(self) -> str:
        """The key column that is a date."""
        return "month" if "month" in self.keys else "day"

    @property
    def who(self) -> tuple[str, ...]:
        """The key columns that a packed row has once."""
        return (self.time, *(name for name in _ENTRY_COLUMNS if name in self.keys))

    @property
    def has_client_profile(self) -> bool:
        """Whether it tells who read, and not only what all took together."""
        return "client_profile" in self.keys

    @property
    def is_packed(self) -> bool:
        """PostgreSQL keeps it in arrays: all rows of the same time and ``who`` in one."""
        return self.source != "entries"

    @property
    def what(self) -> tuple[str, ...]:
        """The key columns that tell of what a client took."""
        return tuple(name for name in self.keys if name not in self.who)


def month_of(day: date) -> tuple[date, date]:
    """The first and the last day of the month of ``day``."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


_PLAIN = {name: name for name in _ENTRY_COLUMNS}
_TOGETHER = {name: name for name in _ENTRY_COLUMNS if name != "client_profile"}
_DAY, _MONTH = {"day": "day"}, {"month": "date_trunc('month', day)::date"}
_HOUR = {"hour": f"coalesce(hour, {NO_HOUR})"}  # of logs that are of no single hour
_STREAM, _NETWORK = {"stream": "stream"}, {"network": "network"}
_STATION = {**_NETWORK, "station": "station"}
_ONE = {"bytes": "bytes", "packets": "packets", "transfers": "1"}
_SEVERAL = {**_ONE, "transfers": "transfers"}
_OF_TRANSFERS = {name: f"sum({sql})" for name, sql in _ONE.items()}
_OF_OTHERS = {name: f"sum({sql})" for name, sql in _SEVERAL.items()}

#: What is summed up: all transfers (``f``), these with the codes of stations, or by entry.
SOURCES = {
    "transfers": "transfer f",
    "stations": "(SELECT t.*, 1 AS transfers, s.network, s.station FROM transfer t"
    " LEFT JOIN stream s ON s.stream = t.stream) f",
    "entries": "(SELECT day, hour, server, direction, protocol, client_profile, connection, entry,"
    " sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers FROM transfer"
    " GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry) f",
}

ROLLUPS = (
    Rollup("by_day", "transfers", {**_DAY, **_PLAIN, **_STREAM}, _OF_TRANSFERS),
    Rollup("by_month", "transfers", {**_MONTH, **_PLAIN, **_STREAM}, _OF_TRANSFERS),
    Rollup("station_by_day", "stations", {**_DAY, **_PLAIN, **_STATION}, _OF_OTHERS),
    Rollup("station_by_month", "stations", {**_MONTH, **_PLAIN, **_STATION}, _OF_OTHERS),
    Rollup("station_total_by_day", "stations", {**_DAY, **_TOGETHER, **_STATION}, _OF_OTHERS),
    Rollup("network_by_day", "stations", {**_DAY, **_PLAIN, **_NETWORK}, _OF_OTHERS),
    Rollup(
        "connection_by_day",
        "entries",
        {**_DAY, **_PLAIN, "connection": "connection"},
        {**_OF_OTHERS, "entries": "count(*)"},
    ),
    Rollup("hour_by_day", "entries", {**_DAY, **_HOUR, **_PLAIN}, _OF_OTHERS),
)

#: Has the rows of an entry that is alone with its keys as the transfers have them. Where one of the
#: sums with the same columns of who has rows of some keys, ``connection_by_day`` has too: whether
#: these are known is asked there.
FINEST_ROLLUP = ROLLUPS[0]


def counted(one: Rollup, where: str) -> str:
    """SQL of the sums ``one`` as the transfers tell them, of those that ``where`` lets in."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in one.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in one.values.items())
    group = ", ".join(str(number + 1) for number in range(len(one.keys)))
    return f"SELECT {keys}, {values} FROM {SOURCES[one.source]} WHERE {where} GROUP BY {group}"
