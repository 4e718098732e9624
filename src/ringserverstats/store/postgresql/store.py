"""The store in a PostgreSQL database.

Each batch, question and correction has a connection and a transaction of its own. docs/locks.md
says who waits for whom.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.compute as pc
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ringserverstats.enrich.rows import Rows
from ringserverstats.errors import BusyError, StoreError, UsageError
from ringserverstats.store.base import Ask, Identity, Pruned, Removed, Store, Written
from ringserverstats.store.postgresql import timescaledb
from ringserverstats.store.postgresql.schema import (
    ALL_SERVERS,
    LOCKS,
    SENDING,
    check,
    first_line,
    grant,
    is_migrated,
    migrate,
    printable,
    schema_version,
)
from ringserverstats.store.postgresql.session import PostgreSQLSession
from ringserverstats.store.session import Session
from ringserverstats.store.sql_store import Options, SQLStore

# What breaks is told once, by us.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)

_EARLIEST = date(2000, 1, 1)
_TOLD_OF = ("client", "client_profile", "agent", "connection_by_day")
# Two that add the same row, which neither saw, are in each other's way too.
_IN_THE_WAY = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
_ATTEMPTS = 5
_PAUSE = 0.05
_WORK_MEMORY = "64MB"
# How arrays of temporary tables get smaller, where the server can: the old way is slow.
_LZ4 = (
    "SELECT set_config(name, 'lz4', true) FROM pg_settings"
    " WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"
)
# Else what a batch gives to the server is written to temporary files on its way.
_TEMPORARY = "64MB"
_CONNECTING = 10  # seconds, unless the URI says otherwise


class PostgreSQLStore(SQLStore):
    """The store in the database ``uri``."""

    def __init__(self, uri: str, options: Options) -> None:
        super().__init__(options)
        self._info = connection_info(uri)
        self._months: set[date] = set()
        self._touched: set[date] = set()

    @property
    def label(self) -> str:
        return label_of(self._info)

    def exists(self) -> bool:
        with self._connection(reads=True) as connection:
            return is_migrated(connection) and _has_row(connection)

    def size(self) -> int:
        return int(self.ask("SELECT pg_database_size(current_database()) AS n", [])["n"][0].as_py())

    def write(self, rows: Rows) -> Written:
        self._make_months(rows)
        for attempt in range(_ATTEMPTS):
            try:
                done = super().write(rows)
                if done.entries:
                    self._touched |= set(pc.unique(rows.entries["day"]).to_pylist())
                return done
            except _AgainError as error:  # nothing of it was stored
                if attempt == _ATTEMPTS - 1:
                    raise StoreError(str(error)) from None
                time.sleep(_PAUSE * 2**attempt)
        raise AssertionError

    def delete(self, server: str, first: date, last: date, *, try_only: bool) -> Removed:
        gone = super().delete(server, first, last, try_only=try_only)
        if not try_only:
            self._refresh([(first, last)])
        return gone

    def merge_servers(self, name: str, into: str, *, once: bool, try_only: bool) -> Removed:
        twice = super().merge_servers(name, into, once=once, try_only=try_only)
        if not try_only:
            self._refresh([(_EARLIEST, _today())])
        return twice

    def prune(
        self,
        before: date,
        *,
        try_only: bool,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Pruned:
        if not try_only and self.prunable(before):
            # Else the aggregates would lose what is about to go.
            self._refresh([(_EARLIEST, before)])
            with self._connect() as connection:
                timescaledb.keep_aggregates(connection, before, _today())
        return super().prune(before, try_only=try_only, progress=progress)

    def _vacuum(self) -> None:
        with self._connection() as connection:
            for table in _TOLD_OF:  # whose statistics hold values of columns
                connection.execute(f"ANALYZE {table}")
            connection.execute("UPDATE store SET vacuum_pending = false")
        self.options.tell(
            f"{self.label}: what was taken out lies in the server's files until VACUUM has been "
            "there and other rows take its place; VACUUM (FULL, ANALYZE) leaves nothing"
        )

    def finish(self) -> None:
        self._refresh(timescaledb.spans_of(self._touched))
        self._touched = set()

    def _refresh(self, spans: Iterable[tuple[date, date]]) -> None:
        """What is asked with other tools may lag behind, but need not."""
        latest = _today() + timedelta(days=366)
        clamped = [(first, min(last, latest)) for first, last in spans if first <= latest]
        if not clamped:
            return
        with self._connect() as connection:
            try:
                connection.execute(f"SET lock_timeout = {self._wait}")
                timescaledb.refresh(connection, clamped, _today())
            except errors.InsufficientPrivilege:
                pass  # the owner's job does it within the hour
            except psycopg.Error as error:
                self.options.tell(
                    "what was read is stored, but the continuous aggregates are refreshed later, "
                    f"by TimescaleDB itself ({first_line(error)})"
                )

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[Ask]:
        query_timeout = self.options.query_timeout if limited else 0
        with self._connection(reads=True) as connection:
            check(connection, self.label)
            connection.execute(f"SET LOCAL statement_timeout = {int(query_timeout * 1000)}")
            # The planner takes what is unnested for few rows, which workers would hand over one by
            # one; this lets them sum up, or not start at all.
            connection.execute("SET LOCAL parallel_tuple_cost = 1")
            try:
                yield PostgreSQLSession(connection, has_hypertable=False).table
            except errors.QueryCanceled:
                if not query_timeout:
                    raise
                raise StoreError(
                    f"{self.label}: the question took longer than {query_timeout:g} s; ask for a "
                    "shorter period, or raise RINGSERVERSTATS_QUERY_TIMEOUT"
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

    @property
    def kept_since(self) -> date | None:
        with self._connection(reads=True) as connection:
            return timescaledb.kept_since(connection, _today()) if is_migrated(connection) else None

    def features(self) -> dict[str, str]:
        with self._connection(reads=True) as connection:
            found = timescaledb.state(connection)
            version = connection.info.parameter_status("server_version") or ""
        if found is None:
            return {"server": f"PostgreSQL {version}", "timescaledb": "not used"}
        kept = (
            f"transfers are kept {found.transfer_retention_days} days"
            if found.transfer_retention_days
            else "all is kept"
        )
        return {"server": f"PostgreSQL {version}", "timescaledb": f"{found.version}, {kept}"}

    def schema_version(self) -> int:
        with self._connection(reads=True) as connection:
            return schema_version(connection)

    def migrate(self) -> int:
        with self._connect() as connection:
            connection.execute(f"SET lock_timeout = {self._wait}")
            connection.commit()
            before = schema_version(connection)
            migrate(connection, self.label, lock_timeout=self.options.lock_timeout)
            keep = self.options.transfer_retention_days or None
            # Also where TimescaleDB, which brings more to grant, cannot be set up.
            grant(connection)
            connection.commit()
            told = timescaledb.set_up(connection, self.options.timescaledb, keep, _today())
            self.options.tell(told)
            grant(connection)
            connection.commit()
            return before

    def _create(self, original: Identity | None = None) -> None:
        """Say who the store is, where nobody did: its tables are there."""
        known, secret_path = self._new_identity(original)
        made = 0
        try:
            with self._session(write=True) as session:
                made = session.execute(
                    "INSERT INTO store (id, key_check, ipv6_prefix, generation, last_server)"
                    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    list(vars(known).values()),
                )
        finally:
            if secret_path and not made:  # another process was faster, or it failed
                secret_path.unlink(missing_ok=True)
        if secret_path and made:
            self.options.tell(
                f"made a new store in {self.label} and its secret {secret_path}: back up both"
            )

    def _make_months(self, rows: Rows) -> None:
        """Make partitions for the days of ``rows``, before the transaction that needs them."""
        if not len(rows.entries):
            return
        days = pc.unique(rows.entries["day"]).to_pylist()
        missing = {day.replace(day=1) for day in days} - self._months
        if not missing:
            return
        # Each in a transaction of its own: a server has room for the locks of few.
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
            # A hypertable may come while we wait for the lock.
            has_hypertable = check(connection, self.label)
            if write and has_hypertable:  # a correction may be of many compressed transfers
                connection.execute(
                    "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
                )
            yield PostgreSQLSession(connection, has_hypertable=has_hypertable)

    @contextmanager
    def _connection(
        self, *, undo: bool = False, reads: bool = False
    ) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one transaction, which is kept at the end.

        Args:
            reads: it only reads, and sees one state of the store.
        """
        with self._connect() as connection:
            try:
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
                if reads:
                    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                    connection.read_only = True
                connection.execute(f"SET LOCAL lock_timeout = {self._wait}")
                connection.execute("SET LOCAL statement_timeout = 0")
                connection.execute("SET LOCAL TIME ZONE 'UTC'")
                connection.execute(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
                connection.execute("SET LOCAL jit = off")
                if not reads:
                    connection.execute(_LZ4)
                yield connection
                if undo:
                    connection.rollback()
                else:
                    self._commit(connection)
            except UnicodeError:
                raise UsageError(
                    "a text holds what is no character, which PostgreSQL does not take"
                ) from None

    @contextmanager
    def sending(self) -> Iterator[None]:
        with self._connect() as connection:
            connection.execute(f"SET lock_timeout = {self._wait}")
            connection.execute(f"SELECT pg_advisory_lock({LOCKS}, {SENDING})")
            connection.commit()
            yield

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            # Prepared statements would stay behind in the connections of a pooler.
            connection = psycopg.connect(self._info, prepare_threshold=None)
        except psycopg.Error as error:
            raise StoreError(
                f"{self.label} cannot be reached ({first_line(error)}); check DATABASE_URI, and "
                "whether the server runs"
            ) from None
        try:
            yield connection
        except psycopg.Error as error:
            raise self._told(error) from None
        finally:
            connection.close()  # what is not committed is undone

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
        """Milliseconds to wait for a lock; 0 would be no limit."""
        return int(self.options.lock_timeout * 1000) or 1

    def _told(self, error: psycopg.Error) -> StoreError:
        """What the user should know of ``error``."""
        reason = f"{self.label}: {first_line(error)}; nothing of this step was stored"
        if isinstance(error, errors.LockNotAvailable):
            return BusyError(
                f"{self.label} has been in use by another process for {self.options.lock_timeout:g} s; "
                "try again, or raise RINGSERVERSTATS_LOCK_TIMEOUT"
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return StoreError(
                f"{self.label}: {first_line(error)}; use the role that may: the owner's to "
                "migrate, audit, correct and copy, the writer's to read logs, the reader's to ask"
            )
        if isinstance(error, errors.DiskFull):
            return StoreError(f"{reason}: the server's disk is full; make room, and run it again")
        if isinstance(error, _IN_THE_WAY):
            return _AgainError(reason)
        return StoreError(reason)


class _AgainError(StoreError):
    """Another transaction was in the way; the same may succeed now."""


def connection_info(uri: str) -> str:
    """What libpq connects by, with the name of this program.

    Raises:
        UsageError: ``uri`` is none; it is not shown, as it may hold a password.
    """
    plain = re.sub(r"^[a-z+]+://", "postgresql://", uri)
    try:
        told: dict[str, Any] = dict(conninfo_to_dict(plain))
        told.setdefault("connect_timeout", _CONNECTING)
        told.setdefault("application_name", "ringserverstats")
        told["client_encoding"] = "UTF8"  # as COPY is given texts
        is_odd = not re.fullmatch(r"[\d,]*", str(told.get("port", "")))
        # What looks like a part of it may be one of a password whose signs were not written so.
        if is_odd or any("@" in str(told.get(name, "")) for name in ("host", "user", "dbname")):
            raise ValueError
        return make_conninfo(**told)
    except (psycopg.Error, ValueError):
        raise UsageError(
            "the URI of the database cannot be read; it should look like "
            "postgresql://user@host:5432/database (signs such as @ / : in a password are written "
            "%40 %2F %3A)"
        ) from None


def label_of(info: str) -> str:
    """How messages call the database: never with a password."""
    told = {name: str(value) for name, value in conninfo_to_dict(info).items()}
    user = f"{told['user']}@" if "user" in told else ""
    port = f":{told['port']}" if "port" in told else ""
    host = told.get("host", told.get("hostaddr", ""))
    return printable(f"postgresql://{user}{host}{port}/{told.get('dbname', '')}")


def _make_room(connection: psycopg.Connection[Any]) -> None:
    """Let temporary tables have memory, where nothing lay in any yet."""
    try:
        with connection.transaction():
            connection.execute(f"SET LOCAL temp_buffers = '{_TEMPORARY}'")
    except errors.InvalidParameterValue:
        pass  # a pooler's session, in which others had some


def _lock(connection: psycopg.Connection[Any], servers: set[int] | None) -> None:
    """Hold all that this transaction changes: everything, or the entries of ``servers``."""
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
