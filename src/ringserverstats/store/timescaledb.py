"""What TimescaleDB adds to a store in PostgreSQL, where it is there.

Transfers become rows of a hypertable, which it compresses, and drops when they are older than the
operator wants; and two continuous aggregates over them, for Grafana and for those who ask with SQL
of their own. Our sums stay the truth: these know nothing of transfers that were dropped.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg

AUTO, YES, NO = "auto", "yes", "no"
#: The aggregates and their buckets, which are days and months.
AGGREGATES = {"transfers_by_day": "1 day", "transfers_by_month": "1 month"}

_CHUNK_DAYS = 7
_COMPRESS_AFTER = 14  # days; late logs come in the first of them
_IS_THERE = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
_CAN_BE = "SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"
_COLUMNS = (
    "entry, origin, connection, server, day, direction, protocol, hour, stream, bytes, packets"
)
_TABLE = """
CREATE TABLE transfer_rows (
    entry bigint NOT NULL,
    origin bigint NOT NULL,
    connection bigint NOT NULL,
    stream bigint NOT NULL,
    bytes bigint NOT NULL,
    packets bigint NOT NULL,
    server integer NOT NULL,
    day date NOT NULL,
    direction direction NOT NULL,
    protocol protocol NOT NULL,
    hour smallint
)
"""
_VIEW = """
CREATE OR REPLACE VIEW transfer AS
SELECT server, day, hour, direction, protocol, origin, stream, entry, connection, bytes, packets
  FROM transfer_rows
"""
_COMPRESSION = """
ALTER TABLE transfer_rows SET (
    timescaledb.compress, timescaledb.compress_segmentby = 'server',
    timescaledb.compress_orderby = 'origin, stream, day'
)
"""
_AGGREGATE = """
CREATE MATERIALIZED VIEW {name}
WITH (timescaledb.continuous, timescaledb.materialized_only = true) AS
SELECT time_bucket('{bucket}', f.day) AS {column}, f.server, f.direction, f.protocol, s.network,
       s.station, sum(f.bytes) AS bytes, sum(f.packets) AS packets, count(*) AS transfers
  FROM transfer_rows f JOIN stream s ON s.stream = f.stream
 GROUP BY 1, 2, 3, 4, 5, 6
WITH NO DATA
"""


@dataclass(frozen=True)
class Told:
    """What is on: the version of the extension, or why it is not used; days that are kept."""

    version: str | None
    why_not: str = ""
    keep_days: int | None = None


def told(connection: psycopg.Connection[Any]) -> Told:
    """What is on now."""
    if not _count(connection, _IS_THERE):
        return Told(None, "not installed in this database")
    version = _one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    if _one(connection, "SELECT to_regclass('transfer_rows')") is None:
        return Told(None, "installed, but not set up: ringserverstats migrate")
    return Told(version, keep_days=_keep_days(connection))


def kept_since(connection: psycopg.Connection[Any], today: date) -> date | None:
    """The first day whose transfers are there for sure; None: all are."""
    if _one(connection, "SELECT to_regclass('transfer_rows')") is None:
        return None
    days = _keep_days(connection)
    return None if days is None else today - timedelta(days=days)
