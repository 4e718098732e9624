"""The rollup tables that are kept beside the transfers, each declared once."""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
#: Values that may exceed 64 bits when they are added up.
AMOUNTS = ("bytes", "packets")
#: The hour, in rollups, of a log that covers no single hour.
NO_HOUR = -1


@dataclass(frozen=True)
class Rollup:
    """A rollup table.

    Args:
        table: its name.
        source: what is added up, a key of `SOURCES`.
        keys: its key columns, each with its SQL over the source.
        values: its value columns, each with the SQL of an aggregate over the source.
    """

    table: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]

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
        """True if client profiles have rows of their own."""
        return "client_profile" in self.keys

    @property
    def is_packed(self) -> bool:
        """True if PostgreSQL keeps all rows with the same `group_keys` as one row of arrays."""
        return self.source != "entries"


def month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of the month of ``day``."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


_BY_PROFILE = {name: name for name in _ENTRY_COLUMNS}
_ALL_PROFILES = {name: name for name in _ENTRY_COLUMNS if name != "client_profile"}
_DAY, _MONTH = {"day": "day"}, {"month": "date_trunc('month', day)::date"}
_HOUR = {"hour": f"coalesce(hour, {NO_HOUR})"}
_STREAM, _NETWORK = {"stream": "stream"}, {"network": "network"}
_STATION = {**_NETWORK, "station": "station"}
_AMOUNT_SUMS = {name: f"sum({name})" for name in AMOUNTS}
_OF_TRANSFERS = {**_AMOUNT_SUMS, "transfers": "sum(1)"}
_OF_OTHERS = {**_AMOUNT_SUMS, "transfers": "sum(transfers)"}

#: SQL of each source, with the alias ``f``: transfers, transfers with station codes, entries.
SOURCES = {
    "transfers": "transfer f",
    "stations": "(SELECT t.*, 1 AS transfers, s.network, s.station FROM transfer t"
    " LEFT JOIN stream s ON s.stream = t.stream) f",
    "entries": "(SELECT day, hour, server, direction, protocol, client_profile, connection, entry,"
    " sum(bytes) AS bytes, sum(packets) AS packets, count(*) AS transfers FROM transfer"
    " GROUP BY day, hour, server, direction, protocol, client_profile, connection, entry) f",
}

ROLLUPS = (
    Rollup("by_day", "transfers", {**_DAY, **_BY_PROFILE, **_STREAM}, _OF_TRANSFERS),
    Rollup("by_month", "transfers", {**_MONTH, **_BY_PROFILE, **_STREAM}, _OF_TRANSFERS),
    Rollup("station_by_day", "stations", {**_DAY, **_BY_PROFILE, **_STATION}, _OF_OTHERS),
    Rollup("station_by_month", "stations", {**_MONTH, **_BY_PROFILE, **_STATION}, _OF_OTHERS),
    Rollup("station_total_by_day", "stations", {**_DAY, **_ALL_PROFILES, **_STATION}, _OF_OTHERS),
    Rollup("network_by_day", "stations", {**_DAY, **_BY_PROFILE, **_NETWORK}, _OF_OTHERS),
    Rollup(
        "connection_by_day",
        "entries",
        {**_DAY, **_BY_PROFILE, "connection": "connection"},
        {**_OF_OTHERS, "entries": "count(*)"},
    ),
    Rollup("hour_by_day", "entries", {**_DAY, **_HOUR, **_BY_PROFILE}, _OF_OTHERS),
)

#: The rollup that an entry alone with its group keys enters with its transfers as rows. A rollup
#: with the same group keys has rows for some values of them only if ``connection_by_day`` has, so
#: that table shows which are known.
FINEST_ROLLUP = ROLLUPS[0]


def rollup_select(rollup: Rollup, where: str) -> str:
    """Return the SELECT of ``rollup`` from the transfers ``f`` for which ``where`` holds."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in rollup.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in rollup.values.items())
    group = ", ".join(str(number + 1) for number in range(len(rollup.keys)))
    return f"SELECT {keys}, {values} FROM {SOURCES[rollup.source]} WHERE {where} GROUP BY {group}"
