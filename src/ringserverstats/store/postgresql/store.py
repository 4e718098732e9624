"""The store in a PostgreSQL database.

Each batch, query and correction has its own connection and transaction. docs/locks.md describes the
locks.
"""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.compute as pc
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ringserverstats.enrich.rows import Rows
from ringserverstats.errors import BusyError, RoleError, StoreError, UsageError
from ringserverstats.store.base import Ask, Identity, Store, Written
from ringserverstats.store.postgresql import timescaledb
from ringserverstats.store.postgresql.schema import (
    ALL_SERVERS,
    LOCKS,
    SENDING,
    Step,
    check,
    first_line,
    grant,
    is_migrated,
    migrate_step,
    printable,
    schema_version,
)
from ringserverstats.store.postgresql.session import PostgreSQLSession
from ringserverstats.store.servers import INSERT_IDENTITY
from ringserverstats.store.session import Session
from ringserverstats.store.sql_store import Options, SQLStore

# Errors are reported once, by this program.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

_ERASED_TABLES = ("client", "client_profile", "agent", "connection_by_day_built")
# Retried: two transactions that add the same row can also fail with a unique violation.
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
_ATTEMPTS = 5
_PAUSE = 0.05
#: What can change the text or the value of an answer, whatever the server's defaults are.
_ANSWERS = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}
_WORK_MEMORY = "64MB"
# Compress arrays of temporary tables by LZ4 if the server has it: pglz is slow.
_LZ4 = (
    "SELECT set_config(name, 'lz4', true) FROM pg_settings"
    " WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
)
# Memory for temporary tables: with less, a batch goes through files.
_TEMPORARY = "64MB"
_CONNECTING = 10  # seconds, unless the URI says otherwise
_RETRY_PAUSE = 0.2
# By their words, as libpq gives no code of a failed connection. Servers that speak another language
# are not waited for.
_FULL = re.compile("too many (clients|connections)|remaining connection slots|no more connections")
_REFUSED = re.compile("FATAL:(?!.*(starting up|shutting down|recovery))|password")


class PostgreSQLStore(SQLStore):
    """The store in the database ``uri``."""

    def __init__(self, uri: str, options: Options) -> None:
        super().__init__(options)
        self._info = connection_info(uri)
        self._months: set[date] = set()

    @property
    def label(self) -> str:
        return label_of(self._info)

    def exists(self) -> bool:
        with self._connection(reads=True) as connection:
            return is_migrated(connection) and _has_row(connection)

    def size(self) -> int:
        return int(self.ask("SELECT pg_database_size(current_database()) AS n", [])["n"][0].as_py())

    def _write(self, rows: Rows) -> Written:
        self._make_months(rows)
        for attempt in range(_ATTEMPTS):
            try:
                return super()._write(rows)
            except _ConflictError as error:  # the transaction was rolled back
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(str(error)) from None
                time.sleep(_PAUSE * 2**attempt)
        raise AssertionError

    def _before_deletion(self, before: date) -> None:
        with self._connect() as connection:
            if timescaledb.version(connection):  # its aggregates have them first, and keep them
                timescaledb.refresh(connection, before)
                timescaledb.set_policies(connection, before, _today())

    def _vacuum(self) -> None:
        with self._connection() as connection:
            for table in _ERASED_TABLES:  # their statistics hold values of columns
                connection.execute(f"ANALYZE {table}")
            connection.execute("UPDATE store SET vacuum_pending = false")
        self.options.notify(
            f"{self.label}: deleted rows stay in the server's files until VACUUM has run and other "
            "rows overwrite them. VACUUM (FULL, ANALYZE) removes them at once."
        )

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[Ask]:
        query_timeout = self.options.query_timeout if limited else 0
        with self._connection(reads=True) as connection:
            check(connection, self.label)
            connection.execute(f"SET LOCAL statement_timeout = {int(query_timeout * 1000)}")
            # The planner underestimates unnested rows, which parallel workers would pass on one by
            # one. With this cost they aggregate them, or do not start.
            connection.execute("SET LOCAL parallel_tuple_cost = 1")
            try:
                yield PostgreSQLSession(connection, has_hypertable=False).table
            except errors.QueryCanceled:
                if not query_timeout:
                    raise
                raise StoreError(
                    f"{self.label}: the query took longer than {query_timeout:g} s. Query a"
                    " shorter period, or raise RINGSERVERSTATS_QUERY_TIMEOUT."
                ) from None

    def backup(self, target: Path) -> None:  # noqa: ARG002
        raise UsageError(
            f"{self.label} is a PostgreSQL database, which pg_dump backs up; see docs/backup.md"
        )

    def restore(self, source: Path, *, ask: Callable[[Path], bytes] | None) -> None:  # noqa: ARG002
        raise UsageError(
            f"{self.label} is a PostgreSQL database, which pg_restore restores; see docs/backup.md"
        )

    def new_empty_like(self, path: Path) -> Store:
        from ringserverstats.store.duckdb.store import DuckDBStore

        return DuckDBStore.made_like(self, path)

    def features(self) -> dict[str, str]:
        with self._connection(reads=True) as connection:
            state = timescaledb.version(connection)
            version = connection.info.parameter_status("server_version") or ""
        if state is None:
            return {"server": f"PostgreSQL {version}", "timescaledb": "not used"}
        return {"server": f"PostgreSQL {version}", "timescaledb": state}

    def schema_version(self) -> int:
        with self._connection(reads=True) as connection:
            return schema_version(connection)

    def migrate(self) -> int:
        before = self.schema_version()
        self._apply_migrations()
        with self._connect() as connection:
            # Before TimescaleDB, whose setup may fail, and again for its tables.
            grant(connection)
            message = timescaledb.set_up(connection, self.options.timescaledb, _today())
            self.options.notify(message)
            grant(connection)
            connection.commit()
        return before

    def _apply_migrations(self) -> None:
        until = time.monotonic() + self.options.lock_timeout
        while True:
            with self._connection() as connection:
                step = migrate_step(connection, self.label)
            if step is Step.UP_TO_DATE:
                return
            if step is Step.YOYO_IS_MIGRATING:
                if time.monotonic() > until:
                    raise StoreError(
                        "another process is migrating this database with yoyo, or was killed while "
                        "it did; in that case: yoyo break-lock --database postgresql+psycopg://..."
                    )
                time.sleep(_RETRY_PAUSE)

    def _create(self, original: Identity | None = None) -> None:
        """Write the identity of the store, whose tables exist, if it has none."""
        store, secret_path = self._new_identity(original)
        created = 0
        try:
            with self._session(write=True) as session:
                created = session.execute(
                    f"{INSERT_IDENTITY} ON CONFLICT DO NOTHING",
                    list(vars(store).values()),
                )
        finally:
            if secret_path and not created:  # another process was faster, or it failed
                secret_path.unlink(missing_ok=True)
        if secret_path and created:
            self.options.notify(
                f"made a new store in {self.label} and its secret {secret_path}: back up both"
            )

    def _make_months(self, rows: Rows) -> None:
        """Create the partitions for the days of ``rows``."""
        if not len(rows.entries):
            return
        days = pc.unique(rows.entries["day"]).to_pylist()
        missing = {day.replace(day=1) for day in days} - self._months
        if not missing:
            return
        # Each in its own transaction: the server's lock table has room for few of them.
        for month in sorted(missing):
            with self._connection() as connection:
                check(connection, self.label)
                connection.execute("SELECT make_months(%s, %s)", [month, month])
        self._months |= missing

    @contextmanager
    def _session(
        self, *, write: bool = False, undo: bool = False, servers: set[int] | None = None
    ) -> Iterator[Session]:
        with self._connection(undo=undo) as connection:
            if write:
                _make_room(connection)
                _lock(connection, servers)
            # A hypertable may be created while this waits for the lock.
            has_hypertable = check(connection, self.label)
            if write and has_hypertable:  # a correction may change many compressed transfers
                connection.execute(
                    "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
                )
            yield PostgreSQLSession(connection, has_hypertable=has_hypertable)

    @contextmanager
    def _connection(
        self, *, undo: bool = False, reads: bool = False
    ) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection for one transaction and commit it at the end.

        Args:
            undo: roll it back instead.
            reads: it only reads, and sees one state of the store.
        """
        with self._connect(is_session=False) as connection:
            try:
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                if reads:
                    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                    connection.read_only = True
                _set(connection, _ANSWERS, "LOCAL")
                limits = {"lock_timeout": self._wait, "statement_timeout": 0}
                _set(connection, {**limits, "work_mem": _WORK_MEMORY, "jit": "off"}, "LOCAL")
                if not reads:
                    connection.execute(_LZ4)
                yield connection
                if undo:
                    connection.rollback()
                else:
                    self._commit(connection)
            except UnicodeError:
                raise UsageError(
                    "a text contains an invalid character, which PostgreSQL rejects"
                ) from None

    @contextmanager
    def sending(self) -> Iterator[None]:
        with self._connect(is_session=False) as connection:
            if not timescaledb.is_pooled(connection):
                connection.rollback()
                connection.autocommit = True
                _set(connection, {"lock_timeout": self._wait, "idle_session_timeout": 0}, "SESSION")
                connection.execute(f"SELECT pg_advisory_lock({LOCKS}, {SENDING})")
                yield
                return
        yield  # the lock of a session would stay with the pooler

    @contextmanager
    def _connect(self, *, is_session: bool = True) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection.

        Args:
            is_session: for several transactions, for which the settings hold. Through a pooler they
                hold for the first one, as they would remain in a session that others use.
        """
        connection = self._open_connection()
        try:
            if is_session:
                scope = "LOCAL" if timescaledb.is_pooled(connection) else "SESSION"
                _set(connection, {**_ANSWERS, "lock_timeout": self._wait}, scope)
            if is_session and scope == "SESSION":
                connection.commit()
            yield connection
        except psycopg.Error as error:
            raise self._translate_error(error) from None
        finally:
            connection.close()  # rolls back what is not committed

    def _open_connection(self) -> psycopg.Connection[Any]:
        """Connect. If all connections of the server are in use, wait for one.

        Raises:
            BusyError: none became free.
            StoreError: the server cannot be reached, or refuses the connection.
        """
        until = time.monotonic() + self.options.lock_timeout
        while True:
            try:
                # Prepared statements would remain in the connections of a pooler.
                return psycopg.connect(self._info, prepare_threshold=None)
            except psycopg.Error as error:
                if not _FULL.search(str(error)):
                    raise self._connection_error(error) from None
                if time.monotonic() > until:
                    raise BusyError(
                        f"{self.label} has had no free connection for"
                        f" {self.options.lock_timeout:g} s ({_reason(error)}). Try again, or raise "
                        "max_connections of the server."
                    ) from None
            time.sleep(_RETRY_PAUSE)

    def _connection_error(self, error: psycopg.Error) -> StoreError:
        if _REFUSED.search(str(error)):
            return StoreError(
                f"{self.label} refuses the connection ({_reason(error)}). Correct the role, its "
                "password or the database in DATABASE_URI or ~/.pgpass."
            )
        return StoreError(
            f"{self.label} cannot be reached ({_reason(error)}). Check DATABASE_URI, and whether "
            "the server is running."
        )

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.commit()
        except psycopg.OperationalError as error:
            if error.sqlstate and error.sqlstate[:2] != "08":  # the server says that it failed
                raise
            raise StoreError(
                f"{self.label}: {first_line(error)}; whether this step was stored is not known: "
                "run the same again, which counts nothing twice"
            ) from None

    @property
    def _wait(self) -> int:
        """The milliseconds to wait for a lock. 0 would be no limit."""
        return int(self.options.lock_timeout * 1000) or 1

    def _translate_error(self, error: psycopg.Error) -> StoreError:
        """Return ``error`` as an error of the store, with advice for the user."""
        reason = f"{self.label}: {first_line(error)}; nothing of this step was stored"
        if isinstance(error, errors.LockNotAvailable):
            return BusyError(
                f"{self.label} has been in use by another process for"
                f" {self.options.lock_timeout:g} s; try again, or raise"
                " RINGSERVERSTATS_LOCK_TIMEOUT"
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return RoleError(
                f"{self.label}: {first_line(error)}. Connect as the role that may: the owner to "
                "migrate, audit, correct, copy and add tokens; the writer to ingest and to receive "
                "logs; the reader to query."
            )
        if isinstance(error, errors.DiskFull):
            return StoreError(f"{reason}: the server's disk is full; make room, and run it again")
        if isinstance(error, _CONFLICTS):
            return _ConflictError(reason)
        return StoreError(reason)


def _reason(error: psycopg.Error) -> str:
    """Return the server's line of a failed connection, or the first one."""
    lines = str(error).strip().split("\n")
    return printable(next((line for line in lines if _REFUSED.search(line)), lines[0]))


def _set(connection: psycopg.Connection[Any], values: dict[str, Any], scope: str) -> None:
    sql = "; ".join(f"SET {scope} {name} = '{value}'" for name, value in values.items())
    connection.execute(sql.encode())


class _ConflictError(StoreError):
    """Another transaction was in conflict. A retry may succeed."""


def connection_info(uri: str) -> str:
    """Return the connection string of libpq for ``uri``.

    Raises:
        UsageError: it is invalid. The message does not quote it, as it may contain a password.
    """
    plain = re.sub(r"^[a-z+]+://", "postgresql://", uri)
    try:
        parameters: dict[str, Any] = dict(conninfo_to_dict(plain))
        parameters.setdefault("connect_timeout", _CONNECTING)
        parameters.setdefault("application_name", "ringserverstats")
        parameters["client_encoding"] = "UTF8"  # the encoding of texts in COPY
        has_bad_port = not re.fullmatch(r"[\d,]*", str(parameters.get("port", "")))
        # A password with characters that are not escaped spills over into other parameters.
        if has_bad_port or any("@" in str(parameters.get(name, "")) for name in ("host", "dbname")):
            raise ValueError
        return make_conninfo(**parameters)
    except (psycopg.Error, ValueError):
        raise UsageError(
            "the URI of the database cannot be read; it should look like "
            "postgresql://user@host:5432/database (signs such as @ / : in a password are written "
            "%40 %2F %3A)"
        ) from None


def label_of(info: str) -> str:
    """Return the name of the database in messages, without the password."""
    parameters = {name: str(value) for name, value in conninfo_to_dict(info).items()}
    user = f"{parameters['user']}@" if "user" in parameters else ""
    port = f":{parameters['port']}" if "port" in parameters else ""
    host = parameters.get("host", parameters.get("hostaddr", ""))
    return printable(f"postgresql://{user}{host}{port}/{parameters.get('dbname', '')}")


def _make_room(connection: psycopg.Connection[Any]) -> None:
    """Raise the memory for temporary tables, unless the session has used some before."""
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL temp_buffers = '{_TEMPORARY}'")
    except errors.InvalidParameterValue:
        pass  # a session of a pooler, in which others used them


def _lock(connection: psycopg.Connection[Any], servers: set[int] | None) -> None:
    """Lock the entries of ``servers``, or the whole store."""
    if servers is None:
        connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {ALL_SERVERS})")
        return
    connection.execute(f"SELECT pg_advisory_xact_lock_shared({LOCKS}, {ALL_SERVERS})")
    for server in sorted(servers):
        connection.execute(f"SELECT pg_advisory_xact_lock({LOCKS}, {int(server)})")


def _today() -> date:
    return datetime.now(UTC).date()


def _has_row(connection: psycopg.Connection[Any]) -> bool:
    return bool(connection.execute("SELECT count(*) FROM store").fetchall()[0][0])
