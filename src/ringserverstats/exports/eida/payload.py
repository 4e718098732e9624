"""A month as a payload of EIDA's statistics: by stream and country, with sketches of clients.

Sources of its fields: the service's OpenAPI description (1.0.0), and `eida-statistics-aggregator`
0.8.1 (``EidaStatistic.to_dict``, ``StatCollection.to_json``). Module `served` defines what counts.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats import __version__
from ringserverstats.enrich.labels import EXTERNAL
from ringserverstats.errors import UsageError
from ringserverstats.exports.eida.served import (
    CODES,
    NETWORK,
    SERVED,
    exclusion_reason,
    query_served,
    reader_query,
    with_registers,
)
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.rollups import month_of

#: One row per stream (without packet type) and country; ``registers`` as `merge_registers` returns.
ROWS = pa.schema(
    [
        ("network", pa.string()),
        ("station", pa.string()),
        ("location", pa.string()),
        ("channel", pa.string()),
        ("country", pa.string()),
        ("bytes", pa.decimal128(38, 0)),
        ("requests", pa.int64()),
        ("registers", pa.large_binary()),
    ]
)

#: Reason for leaving streams out: the columns of the service's table dataselect_stats.
UNSTORABLE = "streams that the service cannot store (long codes, or sums over 2^63-1)"
_MOST_LETTERS = {"network": 6, "station": 5, "location": 2, "channel": 3}
_MOST_BYTES = Decimal(2**63 - 1)
_MOST_REQUESTS = 2**31 - 1

_MAX_DAILY_ROWS = 5_000_000  # of rollups, in one query
_BATCH = 1000  # rows

_COVERED = ("complete", "empty")
_MONTH = """
SELECT (SELECT count(*) FROM connection_by_day
         WHERE direction = 'TX' AND day BETWEEN $1::date AND $2::date)
       + (SELECT count(*) FROM log_interval
           WHERE direction = 'TX' AND day BETWEEN $1::date AND $2::date) AS known_rows,
       (SELECT count(*) FROM pruned_month WHERE month = $1::date) AS pruned_months,
       (SELECT min(day)::text FROM connection_by_day WHERE direction = 'TX') AS first_day,
       (SELECT max(day)::text FROM connection_by_day WHERE direction = 'TX') AS last_day
"""
_ENTRIES = f"""
SELECT count(*) AS entries FROM (
    SELECT DISTINCT f.server, f.entry FROM transfer f {CODES}
     WHERE {{where}} AND {NETWORK} IN ({{networks}})
) counted
"""
_NETWORKS = f"""
SELECT s.network AS code, {NETWORK} AS network, count(DISTINCT f.stream) AS streams,
       sum(f.bytes) AS bytes, count(*) AS size
  FROM by_day f {CODES} WHERE {{where}} GROUP BY 1, 2 ORDER BY 2, 1
"""
_ROWS = f"""{SERVED}, taken AS (
    SELECT p.network, s.station, s.location, s.channel, p.country, p.client,
           sum(p.bytes) AS bytes, count(*) AS requests
      FROM served p JOIN stream s ON s.stream = p.stream GROUP BY 1, 2, 3, 4, 5, 6
)
SELECT network, station, location, channel, country, sum(bytes) AS bytes,
       sum(requests) AS requests, array_agg(client::text) AS members
  FROM taken GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
"""


@dataclass(frozen=True)
class LeftOut:
    """Streams of one network code (None: without codes) that are left out, and the ``reason``."""

    code: str | None
    reason: str
    streams: int
    bytes: int


@dataclass(frozen=True)
class Figures:
    """The statistics of a month.

    Args:
        month: its first day.
        days: ISO dates of the days that the logs of all servers in service cover.
        entries: number of log entries with a stream that counts.
        rows: of schema `ROWS`, sorted.
        left_out: streams that are not in ``rows``.
    """

    month: date
    days: list[str]
    entries: int
    rows: pa.Table
    left_out: list[LeftOut]

    @property
    def bytes(self) -> int:
        """Bytes of all rows."""
        return int(pc.sum(self.rows["bytes"]).as_py() or 0)

    @property
    def requests(self) -> int:
        """Requests of all rows."""
        return int(pc.sum(self.rows["requests"]).as_py() or 0)

    @property
    def score(self) -> int:
        """Log entries per row, rounded, as the aggregator counts the lines of its logs."""
        return round(self.entries / len(self.rows)) if len(self.rows) else 0


def figures(
    store: Store,
    month: date,
    *,
    classes: Sequence[str] = (EXTERNAL,),
    leave_out: Sequence[str] = (),
) -> Figures:
    """Return the statistics of a month.

    Args:
        store: the store.
        month: first day of the month.
        classes: classes of clients that count; ``*`` and ``?`` are wildcards.
        leave_out: networks that do not count, by short or extended code, with the same wildcards.

    Raises:
        UsageError: the store has no logs of the month, or not all of its transfers.
    """
    key = store.open(create=False).keys.sketches
    first, last = month_of(month)
    since = store.kept_since
    # Read before the rows: a day counts as covered only if its logs are in the rows.
    days = _covered_days(store, first, last)
    query = reader_query(first, last, classes)
    with store.reading() as ask:
        _check(ask, first, last, since)
        sizes, left_out = _select_networks(query_served(ask, _NETWORKS, query), leave_out)
        entries = query_served(ask, _ENTRIES, query, networks=list(sizes))["entries"][0].as_py()
        tables = [
            with_registers(query_served(ask, _ROWS, query, networks=networks), key).cast(ROWS)
            for networks in _batches(sizes)
        ]
    rows = pa.concat_tables(tables or [ROWS.empty_table()])
    is_storable = _is_storable(rows)
    left_out += _unstorable_networks(rows.filter(pc.invert(is_storable)))
    return Figures(first, days, int(entries), rows.filter(is_storable), left_out)


def _is_storable(rows: pa.Table) -> pa.ChunkedArray:
    """Return which ``rows`` the service can store. It refuses a month with any other row."""
    conditions = [
        *(pc.less_equal(pc.utf8_length(rows[name]), most) for name, most in _MOST_LETTERS.items()),
        pc.less_equal(rows["bytes"], pa.scalar(_MOST_BYTES, ROWS.field("bytes").type)),
        pc.less_equal(rows["requests"], _MOST_REQUESTS),
    ]
    return reduce(pc.and_, conditions)


def _unstorable_networks(rows: pa.Table) -> list[LeftOut]:
    streams = rows.group_by(list(_MOST_LETTERS)).aggregate([("bytes", "sum")])
    networks = streams.group_by("network").aggregate([("station", "count"), ("bytes_sum", "sum")])
    return [
        LeftOut(row["network"], UNSTORABLE, row["station_count"], int(row["bytes_sum_sum"]))
        for row in networks.sort_by("network").to_pylist()
    ]


def _covered_days(store: Store, first: date, last: date) -> list[str]:
    """Return the days that the logs of every server in service cover completely."""
    query = Query(first=first, last=last, filters={"direction": ("TX",)})
    states = coverage(store, query)
    is_covered = pc.is_in(states["state"], pa.array(_COVERED))
    days = pa.table({"day": states["day"], "is_covered": is_covered}).group_by("day")
    by_day = days.aggregate([("is_covered", "all")])
    covered: list[str] = pc.filter(by_day["day"], by_day["is_covered_all"]).to_pylist()
    return sorted(covered)


def _check(ask: Ask, first: date, last: date, since: date | None) -> None:
    """Check that requests and clients of a month can be counted.

    Args:
        ask: queries the store.
        first: first day of the month.
        last: last day of the month.
        since: first day whose transfers are kept; None: all are.

    Raises:
        UsageError: they cannot.
    """
    row = ask(_MONTH, [first.isoformat(), last.isoformat()]).to_pylist()[0]
    month = f"{first:%Y-%m}"
    if not row["known_rows"]:
        held = f"{row['first_day']} to {row['last_day']}" if row["last_day"] else "no logs"
        raise UsageError(
            f"there are no logs of {month}: the store has {held} of sent data (TX). Read the logs "
            "with: ringserverstats ingest FILE..."
        )
    if row["pruned_months"] or (since is not None and since > first):
        kept = f" (transfers are kept since {since})" if since else ""
        raise UsageError(
            f"individual transfers of {month} are not kept any more{kept}, so that requests and "
            "clients by stream cannot be counted. Export a month of which all are kept."
        )


def _select_networks(
    networks: pa.Table, leave_out: Sequence[str]
) -> tuple[dict[str, int], list[LeftOut]]:
    """Return the networks that count with the sizes of their rollups, and what is left out."""
    sizes: dict[str, int] = {}
    left_out = []
    for row in networks.to_pylist():
        code, network = row["code"], row["network"]
        reason = exclusion_reason(code, network, leave_out)
        if reason:
            left_out.append(LeftOut(code, reason, row["streams"], int(row["bytes"])))
        else:
            sizes[network] = sizes.get(network, 0) + row["size"]
    return sizes, left_out


def _batches(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Yield the networks in order, in batches whose rows fit into memory."""
    batch, size = list[str](), 0
    for network in sorted(sizes):
        if batch and size + sizes[network] > _MAX_DAILY_ROWS:
            yield batch
            batch, size = [], 0
        batch.append(network)
        size += sizes[network]
    if batch:
        yield batch


def payload(
    month: Figures, sketch: Callable[[bytes], str], generated_at: datetime
) -> Iterator[bytes]:
    """Yield the JSON of ``month``.

    Args:
        month: the statistics.
        sketch: returns the sketch of a row's registers, as `sketches.load_encoder` does.
        generated_at: time in UTC.
    """
    head = {
        "generated_at": f"{generated_at:%Y-%m-%d %H:%M:%S}",
        "version": __version__,
        "days_coverage": month.days,
        "aggregation_score": month.score,
    }
    yield json.dumps(head).removesuffix("}").encode() + b', "stats": ['
    separator = "\n"
    for batch in month.rows.to_batches(max_chunksize=_BATCH):
        rows = (json.dumps(_stat(month.month, row, sketch)) for row in batch.to_pylist())
        yield (separator + ",\n".join(rows)).encode()
        separator = ",\n"
    yield b"\n]}\n"


def _stat(month: date, row: dict[str, Any], sketch: Callable[[bytes], str]) -> dict[str, Any]:
    """Return a row as the service expects it. Logs of ringserver contain no failed requests."""
    codes = ("network", "station", "location", "channel", "country")
    return {
        "month": month.isoformat(),
        **{name: row[name] for name in codes},
        "bytes": int(row["bytes"]),
        "nb_requests": row["requests"],
        "nb_successful_requests": row["requests"],
        "nb_unsuccessful_requests": 0,
        "clients": sketch(row["registers"]),
    }
