"""The rollup tables: aggregates of the transfers, each declared once."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
#: Values whose sums may exceed 64 bits.
AMOUNTS = ("bytes", "packets")
#: The hour, in rollups, of logs whose interval is longer than an hour.
NO_HOUR = -1


@dataclass(frozen=True)
class Rollup:
    """A table of aggregates.

    Args:
        table: its name.
        comment: one line for the documentation.
        source: what is aggregated, a key of `SOURCES`.
        keys: SQL of each key column over the source.
        values: SQL of each aggregate over the source.
        is_partitioned: PostgreSQL keeps each month in a partition.
    """

    table: str
    comment: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]
    is_partitioned: bool = False

    @property
    def time(self) -> str:
        """The key column that is a date: ``day`` or ``month``."""
        return "month" if "month" in self.keys else "day"

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The key columns that a packed row holds once: the time and the columns of an entry."""
        return (self.time, *(name for name in _ENTRY_COLUMNS if name in self.keys))

    @property
    def item_keys(self) -> tuple[str, ...]:
        """The other key columns, which a packed row holds in arrays: stream, network, ..."""
        return tuple(name for name in self.keys if name not in self.group_keys)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.keys, *self.values)

    @property
    def has_client_profile(self) -> bool:
        """Whether the table distinguishes client profiles."""
        return "client_profile" in self.keys

    @property
    def is_packed(self) -> bool:
        """Whether PostgreSQL keeps all rows with the same `group_keys` as arrays in one row."""
        return self.source != "entries"


def month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of the month of ``day``."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


_PROFILE = {name: name for name in _ENTRY_COLUMNS}
_ALL_CLIENTS = {name: name for name in _ENTRY_COLUMNS if name != "client_profile"}
_DAY, _MONTH = {"day": "day"}, {"month": "date_trunc('month', day)::date"}
_HOUR = {"hour": f"coalesce(hour, {NO_HOUR})"}
_STREAM, _NETWORK = {"stream": "stream"}, {"network": "network"}
_STATION = {**_NETWORK, "station": "station"}
_OF_TRANSFERS = {"bytes": "sum(bytes)", "packets": "sum(packets)", "transfers": "sum(1)"}
_OF_SUMS = {**_OF_TRANSFERS, "transfers": "sum(transfers)"}

#: What is aggregated (``f``): all transfers, transfers with their station codes, or entries.
SOURCES = {
    "transfers": "transfer f",
    "stations": "(SELECT t.*, 1 AS transfers, s.network, s.station FROM transfer t"
    " LEFT JOIN stream s ON s.stream = t.stream) f",
    "entries": "(SELECT day, hour, server, direction, protocol, client_profile, connection, entry,"
    " sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers FROM transfer"
    " GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry) f",
}

ROLLUPS = (
    Rollup(
        "by_day",
        "Transfers by day and stream.",
        "transfers",
        {**_DAY, **_PROFILE, **_STREAM},
        _OF_TRANSFERS,
        is_partitioned=True,
    ),
    Rollup(
        "by_month",
        "Transfers by month and stream.",
        "transfers",
        {**_MONTH, **_PROFILE, **_STREAM},
        _OF_TRANSFERS,
    ),
    Rollup(
        "station_by_day",
        "Transfers by day and station.",
        "stations",
        {**_DAY, **_PROFILE, **_STATION},
        _OF_SUMS,
        is_partitioned=True,
    ),
    Rollup(
        "station_by_month",
        "Transfers by month and station.",
        "stations",
        {**_MONTH, **_PROFILE, **_STATION},
        _OF_SUMS,
    ),
    Rollup(
        "station_total_by_day",
        "Transfers by day and station, of all clients together.",
        "stations",
        {**_DAY, **_ALL_CLIENTS, **_STATION},
        _OF_SUMS,
    ),
    Rollup(
        "network_by_day",
        "Transfers by day and network.",
        "stations",
        {**_DAY, **_PROFILE, **_NETWORK},
        _OF_SUMS,
        is_partitioned=True,
    ),
    Rollup(
        "connection_by_day",
        "Entries and transfers by day and connection, for queries without a stream.",
        "entries",
        {**_DAY, **_PROFILE, "connection": "connection"},
        {**_OF_SUMS, "entries": "count(*)"},
        is_partitioned=True,
    ),
    Rollup(
        "hour_by_day",
        "Transfers by day and hour.",
        "entries",
        {**_DAY, **_HOUR, **_PROFILE},
        _OF_SUMS,
    ),
)

#: Its rows of an entry that is alone with its keys equal the transfers. Where a rollup with the
#: same `group_keys` has rows of some keys, ``connection_by_day`` has rows of them too, so a batch looks
#: up known keys only there.
FINEST_ROLLUP = ROLLUPS[0]


def rollup_select(rollup: Rollup, where: str) -> str:
    """Return the SELECT that computes ``rollup`` from the transfers for which ``where`` is true."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in rollup.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in rollup.values.items())
    group = ", ".join(str(number + 1) for number in range(len(rollup.keys)))
    return f"SELECT {keys}, {values} FROM {SOURCES[rollup.source]} WHERE {where} GROUP BY {group}"
