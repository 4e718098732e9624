"""A month as a payload of EIDA's statistics: by stream and country, with sketches of clients.

What its fields mean: the service's OpenAPI description (1.0.0), and `eida-statistics-aggregator`
0.8.1 (``EidaStatistic.to_dict``, ``StatCollection.to_json``). What counts: `served`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
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
    answered,
    reading,
    reason_against,
    with_registers,
)
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.query import Query
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.rollups import month_of

#: One row for each stream (without its packet type) and country; ``registers`` as of `united`.
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

_PIECE = 5_000_000  # rows of sums by day, of which pairs of rows and clients are a part
_ROWS_AT_ONCE = 1000

_WHOLE = ("complete", "empty")
_KNOWN = """
SELECT (SELECT count(*) FROM connection_by_day
         WHERE direction = 'TX' AND day BETWEEN $1::date AND $2::date)
       + (SELECT count(*) FROM log_interval
           WHERE direction = 'TX' AND day BETWEEN $1::date AND $2::date) AS known,
       (SELECT count(*) FROM pruned_month WHERE month = $1::date) AS pruned,
       (SELECT min(day)::text FROM connection_by_day WHERE direction = 'TX') AS first_day,
       (SELECT max(day)::text FROM connection_by_day WHERE direction = 'TX') AS last_day
"""
_ENTRIES = """
SELECT coalesce(sum(f.entries), 0) AS entries FROM connection_by_day f WHERE {where}
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
    """Streams of one code (None: they have none) that are not in the figures, and ``reason``."""

    code: str | None
    reason: str
    streams: int
    bytes: int


@dataclass(frozen=True)
class Figures:
    """A month, of which ``month`` is the first day.

    ``days`` are those that the logs of all servers in service cover, as ISO dates; ``entries`` how
    many entries of these clients there are; ``rows`` is of schema `ROWS`, sorted.
    """

    month: date
    days: list[str]
    entries: int
    rows: pa.Table
    left_out: list[LeftOut]

    @property
    def bytes(self) -> int:
        """Of all rows."""
        return int(pc.sum(self.rows["bytes"]).as_py() or 0)

    @property
    def requests(self) -> int:
        """Of all rows."""
        return int(pc.sum(self.rows["requests"]).as_py() or 0)

    @property
    def score(self) -> int:
        """How many entries became one row, as the aggregator counts lines of its logs."""
        return round(self.entries / len(self.rows)) if len(self.rows) else 0


def figures(
    store: Store,
    month: date,
    *,
    classes: Sequence[str] = (EXTERNAL,),
    leave_out: Sequence[str] = (),
) -> Figures:
    """What was served in the month that begins with ``month``.

    Args:
        store: what is asked.
        month: its first day.
        classes: the classes of clients that count; ``*`` and ``?`` are wildcards.
        leave_out: networks that do not, by short or extended code, with the same wildcards.

    Raises:
        UsageError: the store knows nothing of the month, or not enough.
    """
    key = store.open(create=False).keys.sketches
    first, last = month_of(month)
    since = store.kept_since
    # Read first: a day is told to be covered only by what is in the figures.
    days = _covered_days(store, first, last)
    asked = reading(first, last, classes)
    with store.reading() as ask:
        _check(ask, first, last, since)
        entries = answered(ask, _ENTRIES, asked)["entries"][0].as_py()
        sizes, left_out = _chosen(answered(ask, _NETWORKS, asked), leave_out)
        rows = [
            with_registers(answered(ask, _ROWS, asked, networks=piece), key).cast(ROWS)
            for piece in _pieces(sizes)
        ]
    return Figures(
        first, days, int(entries), pa.concat_tables(rows or [ROWS.empty_table()]), left_out
    )


def _covered_days(store: Store, first: date, last: date) -> list[str]:
    """The days on which the logs of every server in service are whole."""
    asked = Query(first=first, last=last, filters={"direction": ("TX",)})
    found = coverage(store, asked)
    is_whole = pc.is_in(found["state"], pa.array(_WHOLE))
    days = pa.table({"day": found["day"], "is_whole": is_whole}).group_by("day")
    whole = days.aggregate([("is_whole", "all")])
    covered: list[str] = pc.filter(whole["day"], whole["is_whole_all"]).to_pylist()
    return sorted(covered)


def _check(ask: Ask, first: date, last: date, since: date | None) -> None:
    """Make sure that requests and clients of the month can be counted.

    Args:
        ask: asks the store.
        first: day of the month, and ``last`` its last one.
        since: from when on transfers are kept; None: all are.

    Raises:
        UsageError: they cannot.
    """
    known = ask(_KNOWN, [first.isoformat(), last.isoformat()]).to_pylist()[0]
    month = f"{first:%Y-%m}"
    if not known["known"]:
        held = f"{known['first_day']} to {known['last_day']}" if known["last_day"] else "no logs"
        raise UsageError(
            f"nothing is known of {month}: the store holds {held} of what was sent; read its logs "
            "with: ringserverstats ingest FILE..."
        )
    if known["pruned_month"] or (since is not None and since > first):
        told = f" (transfers are kept since {since})" if since else ""
        raise UsageError(
            f"single transfers of {month} are not kept any more{told}, so that requests and "
            "clients by stream cannot be counted; export a month of which all are kept"
        )


def _chosen(networks: pa.Table, leave_out: Sequence[str]) -> tuple[dict[str, int], list[LeftOut]]:
    """The networks that are in the figures, each with the size of its sums, and what is not."""
    sizes: dict[str, int] = {}
    left_out = []
    for row in networks.to_pylist():
        code, network = row["code"], row["network"]
        reason = reason_against(code, network, leave_out)
        if reason:
            left_out.append(LeftOut(code, reason, row["streams"], int(row["bytes"])))
        else:
            sizes[network] = sizes.get(network, 0) + row["size"]
    return sizes, left_out


def _pieces(sizes: dict[str, int]) -> Iterator[list[str]]:
    """The networks in their order, so many at once that what is read of them fits into memory."""
    piece, size = list[str](), 0
    for network in sorted(sizes):
        if piece and size + sizes[network] > _PIECE:
            yield piece
            piece, size = [], 0
        piece.append(network)
        size += sizes[network]
    if piece:
        yield piece


def payload(
    month: Figures, sketch: Callable[[bytes], str], generated_at: datetime
) -> Iterator[bytes]:
    """The JSON of ``month``, piece by piece.

    Args:
        month: its figures.
        sketch: of `ringserverstats.exports.eida.sketches.maker`.
        generated_at: the moment, in UTC.
    """
    head = {
        "generated_at": f"{generated_at:%Y-%m-%d %H:%M:%S}",
        "version": __version__,
        "days_coverage": month.days,
        "aggregation_score": month.score,
    }
    yield json.dumps(head).removesuffix("}").encode() + b', "stats": ['
    separator = "\n"
    for batch in month.rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        rows = (json.dumps(_stat(month.month, row, sketch)) for row in batch.to_pylist())
        yield (separator + ",\n".join(rows)).encode()
        separator = ",\n"
    yield b"\n]}\n"


def _stat(month: date, row: dict[str, Any], sketch: Callable[[bytes], str]) -> dict[str, Any]:
    """One row as the service takes it. A ringserver's log tells of no request that failed."""
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
