"""Every table of the store, declared once.

From here come the CREATE statements of a new store, the packed tables and views of PostgreSQL, its
grants, the column lists of INSERT statements and docs/tables.md.
"""

from dataclasses import dataclass, replace

import pyarrow as pa

from ringserverstats.store.rollups import AMOUNTS, ROLLUPS, Rollup

DUCKDB, POSTGRESQL = "duckdb", "postgresql"
_IN_POSTGRESQL = {"hugeint": "numeric", "tinyint": "smallint"}
_ARROW = {
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("s"),
    "uuid": pa.uuid(),
    "text": pa.string(),
    "text[]": pa.list_(pa.string()),
    "direction": pa.string(),
    "protocol": pa.string(),
}
_EIGHT_BYTES = ("bigint", "timestamp")  # first in a packed row, so that nothing is padded
_SMALL = ("tinyint", "smallint")
_KEY_ORDER = (
    *("day", "month", "hour", "server", "client_profile", "connection", "direction", "protocol"),
)


@dataclass(frozen=True)
class Column:
    """A column: its name, type, and description.

    Args:
        is_nullable: it may be NULL.
        default: SQL of its default value, if it has one.
        is_private: the roles of writer and reader may not read it.
        is_stored_only: only the table in PostgreSQL has it, not its view, nor DuckDB.
    """

    name: str
    type: str
    comment: str
    is_nullable: bool = False
    default: str = ""
    is_private: bool = False
    is_stored_only: bool = False

    def sql(self, engine: str, *, is_array: bool = False) -> str:
        """Return the definition of the column in a CREATE TABLE statement."""
        kind = self.type
        if engine == POSTGRESQL:
            kind = _IN_POSTGRESQL.get(kind, kind)
        if is_array:  # a sum that exceeds 64 bits is several elements
            kind = f"{kind.replace('numeric', 'bigint')}[]"
        if engine == POSTGRESQL and kind.startswith("text"):
            kind += ' COLLATE "C"'  # compared by bytes, as in DuckDB
        null = "" if self.is_nullable and not is_array else " NOT NULL"
        default = f" DEFAULT {self.default}" if self.default else ""
        return f"{self.name} {kind}{null}{default}"


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: its name, or in PostgreSQL that of the view over its packed rows.
        key: columns of its primary key in PostgreSQL.
        has_key_in_duckdb: DuckDB has the key too, in memory, so only where the table is small.
        unique: a column with a constraint of its own in PostgreSQL.
        writer: what the role ringserverstats_writer may do, beside SELECT.
        is_readable: the roles of writer and reader may read the packed table itself.
        arrays: the columns that are arrays in PostgreSQL's packed table.
        packed: the name of PostgreSQL's packed table, if it has ``arrays``.
        packed_view: the view of all packed rows that others may read, if not ``packed`` itself.
        is_partitioned: PostgreSQL keeps each month in a partition.
        index: columns of an index in PostgreSQL, and its condition.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    has_key_in_duckdb: bool = False
    unique: str = ""
    writer: str = ""
    is_readable: bool = True
    arrays: tuple[str, ...] = ()
    packed: str = ""
    packed_view: str = ""
    is_partitioned: bool = False
    index: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns that both engines have."""
        return tuple(column.name for column in self.columns if not column.is_stored_only)

    @property
    def stored(self) -> str:
        """The name of the table that PostgreSQL stores the rows in."""
        return self.packed or self.name

    @property
    def packed_names(self) -> tuple[str, ...]:
        """The names of the columns of a packed row that are no arrays."""
        names = (column.name for column in self._packed_columns)
        return tuple(name for name in names if name not in self.arrays)

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of rows of the table."""
        columns = (column for column in self.columns if not column.is_stored_only)
        return pa.schema([(column.name, _ARROW[column.type]) for column in columns])

    @property
    def insert(self) -> str:
        """The INSERT statement of one row, with a parameter for each of `names`."""
        places = ", ".join(f"${number + 1}" for number in range(len(self.names)))
        return f"INSERT INTO {self.name} ({', '.join(self.names)}) VALUES ({places})"

    @property
    def _packed_columns(self) -> list[Column]:
        def place(column: Column) -> tuple[bool, bool, bool]:
            is_array = column.name in self.arrays
            return is_array, column.type not in _EIGHT_BYTES, column.type in _SMALL

        return sorted(self.columns, key=place)

    def create(self, engine: str) -> str:
        """Return the statements that create the table, and in PostgreSQL its view."""
        if engine == DUCKDB:
            columns = [c.sql(engine) for c in self.columns if not c.is_stored_only]
            keys = [f"PRIMARY KEY ({', '.join(self.key)})"] if self.has_key_in_duckdb else []
            return f"CREATE TABLE {self.name} ({', '.join(columns + keys)});\n"
        stored = self._packed_columns if self.arrays else self.columns
        lines = [column.sql(engine, is_array=column.name in self.arrays) for column in stored]
        lines += [f"PRIMARY KEY ({', '.join(self.key)})"] if self.key else []
        lines += [f"UNIQUE ({self.unique})"] if self.unique else []
        partition = " PARTITION BY RANGE (day)" if self.is_partitioned else ""
        sql = f"CREATE TABLE {self.stored} ({', '.join(lines)}){partition};\n"
        if "stream" in self.arrays:  # ids do not compress
            sql += f"ALTER TABLE {self.stored} ALTER stream SET STORAGE EXTERNAL;\n"
        if self.index:
            sql += f"CREATE INDEX ON {self.stored} {self.index};\n"
        if self.packed_view:
            sql += f"CREATE VIEW {self.packed_view} AS {self.packed_rows(self.stored)};\n"
        if self.arrays:
            sql += f"CREATE VIEW {self.name} AS {self.unpacked()};\n"
        return sql

    def packed_rows(self, *tables: str) -> str:
        """Return the SELECT of the packed rows of ``tables``."""
        names = ", ".join(c.name for c in self._packed_columns if not c.is_stored_only)
        return " UNION ALL ".join(f"SELECT {names} FROM {table}" for table in tables)

    def unpacked(self, *tables: str, names: tuple[str, ...] = ()) -> str:
        """Return the SELECT of the unpacked rows.

        Args:
            tables: packed tables; by default all of them.
            names: columns to select; by default all of `names`.
        """
        words = ", ".join(
            f"unnest({name}) AS {name}" if name in self.arrays else name
            for name in names or self.names
        )
        packed = tables or (self.packed_view or self.stored,)
        return " UNION ALL ".join(f"SELECT {words} FROM {table}" for table in packed)


_SERVER = Column("server", "integer", "Number of the server.")
_DAY = Column("day", "date", "Local date of the server.")
_DIRECTION = Column("direction", "direction", "TX (sent to the client) or RX (received from it).")
_BYTES = Column("bytes", "bigint", "Payload of the records, in bytes.")
_PACKETS = Column("packets", "bigint", "Number of records.")
_EXPORTER = Column("exporter", "text", "Where the days go, without secrets.")
_NETWORK = (
    Column("code", "text", "Code of the network."),
    Column("first_day", "date", "First day of operation."),
    Column("last_day", "date", "Last day of operation; NULL: still operating.", is_nullable=True),
    Column("name", "text", "Name of the network."),
    Column("doi", "text", "DOI of the network.", is_nullable=True),
)


def _optional(name: str, kind: str, comment: str) -> Column:
    return Column(name, kind, comment, is_nullable=True)


_TRANSFER = Table(
    "transfer",
    "The facts: one row per transfer.",
    (
        _SERVER,
        _DAY,
        _optional("hour", "tinyint", "Local hour; NULL unless the log interval is an hour."),
        _DIRECTION,
        Column("protocol", "protocol", "DataLink, SeedLink, HTTP or Unknown."),
        Column("client_profile", "bigint", "Id, see `client_profile`."),
        Column("stream", "bigint", "Id, see `stream`."),
        Column("entry", "bigint", "`entry_number(server, entry_ledger.entry)` of its log entry."),
        Column("connection", "bigint", "Id of the connection: server, client, connect time."),
        _BYTES,
        _PACKETS,
        replace(
            _optional("log_time", "timestamp", "UTC; only in `transfer_packed`."),
            is_stored_only=True,
        ),
    ),
    writer="INSERT",
    is_readable=False,
    arrays=("stream", "bytes", "packets"),
    packed="transfer_packed",
    packed_view="stored_transfer",
    is_partitioned=True,
    index="(day, server)",
)
_ROLLUP_COLUMNS = {
    **{column.name: column for column in _TRANSFER.columns},
    "month": Column("month", "date", "First day of the month."),
    "hour": Column("hour", "tinyint", "Local hour; -1 unless the log interval is an hour."),
    "network": _optional("network", "text", "Network code; NULL if the stream has no codes."),
    "station": _optional("station", "text", "Station code; NULL if the stream has no codes."),
    **{
        name: replace(column, type="hugeint")
        for name, column in zip(AMOUNTS, (_BYTES, _PACKETS), strict=True)
    },
    "transfers": Column("transfers", "bigint", "Number of transfers."),
    "entries": Column("entries", "bigint", "Number of log entries."),
}


def _rollup(rollup: Rollup) -> Table:
    """Return the table of ``rollup``."""
    once = rollup.group_keys if rollup.is_packed else rollup.keys
    return Table(
        rollup.built,
        f"{rollup.comment} Only built [days or months](rollups.md); `{rollup.table}` has all.",
        tuple(_ROLLUP_COLUMNS[name] for name in (*rollup.keys, *rollup.values)),
        key=tuple(name for name in _KEY_ORDER if name in once),
        writer="INSERT, DELETE",
        arrays=(*rollup.item_keys, *rollup.values) if rollup.is_packed else (),
        packed=rollup.stored if rollup.is_packed else "",
        is_partitioned=rollup.is_partitioned,
    )


_ALL = (
    _TRANSFER,
    *map(_rollup, ROLLUPS),
    Table(
        "entry_ledger",
        "One row per log entry that was ever counted.",
        (
            _SERVER,
            Column("log_day", "date", "UTC date of its log time."),
            Column("entry", "uuid", "128 bits of a keyed digest of the entry."),
            _DAY,
            replace(_BYTES, comment="Total of its transfers, in bytes."),
            replace(_PACKETS, comment="Total of its transfers."),
            Column("transfers", "integer", "Number of its transfers."),
            _optional("log_time", "timestamp", "UTC; NULL if read by an early version."),
        ),
        key=("server", "log_day", "entry"),
        writer="INSERT",
    ),
    Table(
        "server_day",
        "One row per server and day with entries: their totals, and whether its rollups are built.",
        (
            _SERVER,
            _DAY,
            Column("changed", "bigint", "Incremented by each change of the day's entries."),
            Column("built", "bigint", "`changed` when the rollups of the day were built, or 0."),
            Column("has_streams", "boolean", "`by_day_built` has rows of the day."),
            Column("entries", "bigint", "Number of entries."),
            Column("transfers", "bigint", "Number of transfers."),
            replace(_ROLLUP_COLUMNS["bytes"], comment="Total of the transfers, in bytes."),
            replace(_ROLLUP_COLUMNS["packets"], comment="Total of the transfers."),
            Column("changed_at", "timestamp", "UTC time of the last change."),
        ),
        key=("server", "day"),
        has_key_in_duckdb=True,
        writer="INSERT, UPDATE, DELETE",
        index="(day, server) WHERE changed <> built",
    ),
    Table(
        "built_month",
        "One row per server and month that is built.",
        (_SERVER, _ROLLUP_COLUMNS["month"]),
        key=("server", "month"),
        writer="INSERT, DELETE",
    ),
    Table(
        "stream",
        "Streams.",
        (
            Column("stream", "bigint", "Id."),
            Column("name", "text", "Whole stream id."),
            _optional("network", "text", "Network code; NULL if the name is no source identifier."),
            _optional("station", "text", "Station code; NULL likewise."),
            _optional("location", "text", "Location code; NULL likewise."),
            _optional("channel", "text", "Channel code; NULL likewise."),
            _optional("type", "text", "Packet type: MSEED, MSEED3, JSON, ..."),
        ),
        key=("stream",),
        writer="INSERT",
    ),
    Table(
        "agent",
        "Client programs.",
        (
            Column("agent", "bigint", "Id."),
            Column("name", "text", "The program as the client names it, sanitised."),
            Column("family", "text", "The name without its version."),
        ),
        key=("agent",),
        writer="INSERT",
    ),
    Table(
        "client",
        "Clients.",
        (
            Column("client", "bigint", "Id: the pseudonym as a number."),
            Column("pseudonym", "text", "16 hexadecimal digits."),
            Column(
                "address",
                "text",
                "NULL unless `keep_hosts` is set.",
                is_nullable=True,
                is_private=True,
            ),
            Column(
                "host",
                "text",
                "NULL unless `keep_hosts` is set.",
                is_nullable=True,
                is_private=True,
            ),
        ),
        key=("client",),
        writer="INSERT",
    ),
    Table(
        "client_profile",
        "Combinations of client, agent, location and class. The id is a digest of the columns up to"
        " `matched_rules`, as they were when the log was read.",
        (
            Column("client_profile", "bigint", "Id."),
            Column("client", "bigint", "Id, see `client`."),
            Column("agent", "bigint", "Id, see `agent`."),
            _optional("auth_user", "text", "Pseudonym of the user name, if the client logged in."),
            _optional("direction", "text", "TX or RX, like that of its entries."),
            _optional("country", "text", "ISO code, `unknown` or `private network`."),
            _optional("country_name", "text", "English name, `unknown` or `private network`."),
            _optional("city", "text", "English name, `unknown` or `private network`."),
            _optional("latitude", "double precision", "Degrees; NULL if unknown."),
            _optional("longitude", "double precision", "Degrees; NULL if unknown."),
            _optional("geohash", "text", "Cell of the location; empty if unknown."),
            _optional("asn", "bigint", "Number of the autonomous system; NULL if unknown."),
            _optional("organisation", "text", "Operator of the autonomous system."),
            _optional("location_source", "text", "Kind of the GeoIP database."),
            _optional("domain", "text", "Registrable domain of the host name."),
            _optional("matched_rules", "text", "Matching rules by network or domain, with commas."),
            _optional("class", "text", "Class by [the rules](clients.md)."),
            _optional("institution", "text", "Institution."),
            _optional("institution_source", "text", "`rules`, `domain` or `network operator`."),
            _optional(
                "month", "date", "The only month of a [pruned](privacy.md#how-long) profile."
            ),
        ),
        key=("client_profile",),
        writer="INSERT",
    ),
    Table(
        "server",
        "Servers.",
        (
            Column("server", "integer", "Number; never used again."),
            Column("name", "text", "Name."),
            Column("timezone", "text", "Area/City; empty if not configured."),
            Column("former_names", "text[]", "Earlier names, which its logs may still have."),
            Column("paths", "text[]", "Patterns of the files that `ingest` reads by default."),
            _optional("first_day", "date", "First day of service, if configured."),
            _optional("last_day", "date", "Last day of service, if configured."),
            Column("generation", "text", "Changed by each correction of the server.", default="''"),
        ),
        key=("server",),
        unique="name",
        writer="INSERT, UPDATE, DELETE",
    ),
    Table(
        "log_interval",
        "One row per day of the interval of each log that was read.",
        (
            _SERVER,
            _DIRECTION,
            _DAY,
            Column("first_minute", "smallint", "First minute of the day, from 0."),
            Column("last_minute", "smallint", "Last minute of the day, up to 1440."),
            Column("first_day", "date", "First day of the whole interval."),
            Column("last_day", "date", "Last day of the whole interval."),
            Column("complete", "boolean", "Read to its end, after its interval was over."),
        ),
        key=(
            *("server", "direction", "day", "first_minute", "last_minute", "first_day", "last_day"),
        ),
        writer="INSERT, UPDATE, DELETE",
    ),
    Table(
        "reject",
        "Rejected log entries, without their text.",
        (
            _SERVER,
            Column(
                "digest", "uuid", "Keyed digest of the rejected bytes, made as that of an entry."
            ),
            _optional("direction", "direction", "By the name of the file."),
            _optional("day", "date", "By the name of the file."),
            Column("file", "text", "The file."),
            Column("position", "bigint", "Offset in the decompressed file, in bytes."),
            Column("line", "bigint", "Number of its first line."),
            Column(
                "lines",
                "bigint",
                "Number of its lines; 0 if the file could not be read, or was refused.",
            ),
            Column("reason", "text", "Why it was rejected."),
            Column("version", "text", "Version of the program that rejected it."),
            Column("entries", "bigint", "Number of entries; many of one file are one row."),
        ),
        key=("server", "digest"),
        writer="INSERT, UPDATE, DELETE",
    ),
    Table(
        "imported_day",
        "Days imported from release 0.17. TX entries of logs of these days are not counted.",
        (_SERVER, _DAY),
        key=("server", "day"),
        writer="INSERT",
    ),
    Table("registry", "Networks of the registry.", _NETWORK, writer="INSERT, DELETE"),
    Table(
        "network_period",
        "The network that a code stands for, by period.",
        (
            replace(_NETWORK[0], comment="Code of a stream, short or extended."),
            replace(_NETWORK[1], comment="First day of the period."),
            replace(_NETWORK[2], comment="Last day of the period.", is_nullable=False),
            Column("network", "text", "Extended code of the network."),
            *_NETWORK[3:],
            Column(
                "is_nearest", "boolean", "No network with this code was operating: the nearest."
            ),
        ),
        key=("code", "first_day"),
        writer="INSERT, DELETE",
    ),
    Table(
        "pruned_month",
        "Months that were [pruned](privacy.md#how-long).",
        (
            Column("month", "date", "First day of the month."),
            Column(
                "has_late_logs", "boolean", "Logs came later, so numbers of clients are maxima."
            ),
        ),
        key=("month",),
        writer="INSERT, UPDATE",
    ),
    Table(
        "token",
        "Tokens of the web service.",
        (
            Column("name", "text", "Name."),
            Column("digest", "text", "SHA-256 of the token, in hexadecimal digits."),
            Column("may_ingest", "boolean", "It may post logs."),
            Column("networks", "text[]", "The only networks that it may read; empty: all."),
            Column("created", "date", "When it was created."),
            Column("servers", "text[]", "The only servers that it may post logs of; empty: all."),
        ),
        key=("name",),
    ),
    Table(
        "day_version",
        "A version of each day, for caches and exporters.",
        (
            Column("day", "date", "A day; 1970-01-01 stands for all."),
            Column("version", "bigint", "Incremented by each change of the day."),
            Column(
                "corrected", "bigint", "Version of the last change that removed or renamed rows."
            ),
        ),
        key=("day",),
        has_key_in_duckdb=True,
        writer="INSERT, UPDATE",
    ),
    Table(
        "exporter",
        "Destinations of the InfluxDB exporter.",
        (
            _EXPORTER,
            Column("definition", "text", "What is exported of a day."),
            Column("clear_first", "boolean", "It had another definition: clear each day first."),
        ),
        key=("exporter",),
        has_key_in_duckdb=True,
        writer="INSERT, UPDATE",
    ),
    Table(
        "exported_day",
        "Days that were exported.",
        (_EXPORTER, _DAY, Column("version", "bigint", "Version of the day that was exported.")),
        key=("exporter", "day"),
        has_key_in_duckdb=True,
        writer="INSERT, UPDATE, DELETE",
    ),
    Table(
        "pending_export",
        "Months to aggregate again at the destination.",
        (_EXPORTER, Column("month", "date", "First day of the month.")),
        key=("exporter", "month"),
        has_key_in_duckdb=True,
        writer="INSERT, UPDATE, DELETE",
    ),
    Table(
        "store",
        "The store itself, in one row.",
        (
            Column("id", "text", "Name of the file of its secret."),
            Column("key_check", "text", "Check value of the secret."),
            Column("ipv6_prefix", "integer", "Bits of an IPv6 address that identify a client."),
            Column("generation", "text", "Changed by each correction or restore, for caches."),
            Column("last_server", "integer", "Greatest number that a server ever had."),
            _optional("kept_since", "date", "Transfers of days before are not kept."),
            Column(
                "singleton",
                "boolean",
                "Only in PostgreSQL; allows no second row.",
                default="true CHECK (singleton)",
                is_stored_only=True,
            ),
            Column(
                "vacuum_pending",
                "boolean",
                "Rows removed by `prune` or `forget` may still be in the files.",
                default="false",
            ),
        ),
        key=("singleton",),
        writer="INSERT, UPDATE",
    ),
)
#: All tables by name.
TABLES = {table.name: table for table in _ALL}
#: The columns of the view `logged_transfer`.
LOGGED_TRANSFER = ("day", "log_time", "client_profile", "direction", "stream", "bytes")
