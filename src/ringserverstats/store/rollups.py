"""The rollups: aggregates of the transfers, each declared once.

The stored rows of a rollup, ``Rollup.built``, are those of built days. The view ``Rollup.table``
adds the transfers of all other days, so that its sums are right at any time. docs/rollups.md
explains the states of a day.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import date

_ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
_PERIODS = ("day", "month")
#: Values whose sums may exceed 64 bits.
AMOUNTS = ("bytes", "packets")
#: The hour, in rollups, of logs whose interval is longer than an hour.
NO_HOUR = -1
#: The SQL of a month.
MONTH = "date_trunc('month', day)::date"


@dataclass(frozen=True)
class Rollup:
    """A table of aggregates.

    Args:
        table: the view of all days.
        comment: one line for the documentation.
        source: the view of transfers with its columns: see `SOURCES`.
        keys: the key columns; the first one is ``day`` or ``month``.
        values: the columns that are added up.
        built_from: the rollup that it is built from; empty: ``source``.
        is_partitioned: PostgreSQL keeps each month in a partition.
    """

    table: str
    comment: str
    source: str
    keys: tuple[str, ...]
    values: tuple[str, ...] = (*AMOUNTS, "transfers")
    built_from: str = ""
    is_partitioned: bool = False

    @property
    def built(self) -> str:
        """The name of the rows of built days."""
        return f"{self.table}_built"

    @property
    def stored(self) -> str:
        """The table of PostgreSQL that holds the rows of built days."""
        return f"{self.table}_packed" if self.is_packed else self.built

    @property
    def time(self) -> str:
        """The key column that is a date: ``day`` or ``month``."""
        return self.keys[0]

    @property
    def is_monthly(self) -> bool:
        """Whether its rows are of months."""
        return self.time == "month"

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The key columns that a packed row holds once: the time and the columns of an entry."""
        return tuple(name for name in self.keys if name in (*_PERIODS, *_ENTRY_COLUMNS))

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
        return self.source != "entry_total"

    def build_select(self, where: str) -> str:
        """Return the SELECT of the rows to build, from rows for which ``where`` is true."""
        # A month is built from the view, as some days may have no rows by stream.
        of_days = self.built_from if self.is_monthly else f"{self.built_from}_built"
        return self.select(of_days if self.built_from else self.source, where)

    def select(self, source: str, where: str = "true") -> str:
        """Return the SELECT that aggregates the rows of ``source`` for which ``where`` is true."""
        keys = ", ".join(MONTH + " AS month" if name == "month" else name for name in self.keys)
        values = ", ".join(f"sum({name}) AS {name}" for name in self.values)
        group = ", ".join(str(number + 1) for number in range(len(self.keys)))
        return f"SELECT {keys}, {values} FROM {source} f WHERE {where} GROUP BY {group}"


def month_of(day: date) -> tuple[date, date]:
    """Return the first and the last day of the month of ``day``."""
    return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


#: Views of transfers, each with the view of those days that a rollup has no rows of.
SOURCES = {
    "stream_transfer": "unlisted_transfer",
    "station_transfer": "unbuilt_station",
    "entry_total": "unbuilt_entry",
}
_DAY, _MONTH = ("day", *_ENTRY_COLUMNS), ("month", *_ENTRY_COLUMNS)

#: In the order in which they are built.
ROLLUPS = (
    Rollup(
        "by_day",
        "Transfers by day and stream.",
        "stream_transfer",
        (*_DAY, "stream"),
        is_partitioned=True,
    ),
    Rollup(
        "station_by_day",
        "Transfers by day and station.",
        "station_transfer",
        (*_DAY, "network", "station"),
        is_partitioned=True,
    ),
    Rollup(
        "station_total_by_day",
        "Transfers by day and station, of all clients together.",
        "station_transfer",
        ("day", "server", "direction", "protocol", "network", "station"),
        built_from="station_by_day",
    ),
    Rollup(
        "network_by_day",
        "Transfers by day and network.",
        "station_transfer",
        (*_DAY, "network"),
        built_from="station_by_day",
        is_partitioned=True,
    ),
    Rollup(
        "connection_by_day",
        "Entries and transfers by day and connection, for queries without a stream.",
        "entry_total",
        (*_DAY, "connection"),
        values=(*AMOUNTS, "transfers", "entries"),
        is_partitioned=True,
    ),
    Rollup(
        "hour_by_day",
        "Transfers by day and hour.",
        "entry_total",
        ("day", "hour", *_ENTRY_COLUMNS),
    ),
    Rollup(
        "by_month",
        "Transfers by month and stream.",
        "stream_transfer",
        (*_MONTH, "stream"),
        built_from="by_day",
    ),
    Rollup(
        "station_by_month",
        "Transfers by month and station.",
        "station_transfer",
        (*_MONTH, "network", "station"),
        built_from="station_by_day",
    ),
)
BY_NAME = {rollup.table: rollup for rollup in ROLLUPS}
DAILY = tuple(rollup for rollup in ROLLUPS if not rollup.is_monthly)
MONTHLY = tuple(rollup for rollup in ROLLUPS if rollup.is_monthly)
#: The rollup by stream, which is stored only for days with far fewer rows than transfers.
BY_STREAM = ROLLUPS[0]


def public_views() -> str:
    """Return the SQL that creates the view `Rollup.table` of each rollup."""
    return "".join(_public_view(rollup) for rollup in ROLLUPS)


def _public_view(rollup: Rollup) -> str:
    columns = ", ".join(rollup.columns)
    other = f"SELECT {columns} FROM {SOURCES[rollup.source]}"
    if rollup.is_monthly:
        names = columns.replace("month", f"{MONTH} AS month")
        # Where no day is open, the join reads nothing; with the comparison, PostgreSQL reads only
        # the partitions of months that may be open.
        other = (
            f"SELECT {names} FROM {rollup.built_from} JOIN open_day USING (server, day)\n"
            " WHERE day >= (SELECT min(day) FROM open_day)"
        )
    return (
        f"CREATE VIEW {rollup.table} AS\n"
        f"SELECT {columns} FROM {rollup.built}\nUNION ALL\n{other};\n"
    )
