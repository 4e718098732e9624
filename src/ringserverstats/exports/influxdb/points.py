"""A day as points in InfluxDB's line protocol: one point for each time and set of tags.

A day's points are at its midnight, those of logs by the hour at that hour: in the server's local
time, written as if it were UTC. So the date of a point is the day of all other results, each day is
a span of 24 hours, and daylight saving time never maps two hours to one time. A public database has
no hours, which have few clients.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.statistics.publish import Policy, public_result_in
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_in
from ringserverstats.store.base import Readable

MEASUREMENT = "ringserverevents"
FIELDS = ("bytes", "packets", "transfers")
#: Tags by dimension.
TAGS = {
    "server": "server",
    "direction": "direction",
    "network": "network",
    "station": "station",
    "location": "location",
    "channel": "channel",
    "class": "class",
    "country": "country",
    "city": "city",
    "geohash": "geohash",
    "agent-family": "agent",
    "client": "hosthash",
}
#: Dimensions that identify individual clients, or small groups.
_IDENTIFYING = ("city", "geohash", "agent-family", "client")
_DAY = 86_400
_MAX_INTEGER = 2**63 - 1
_BATCH = 10_000  # points per request
_HOURS = "SELECT count(*) AS hours FROM hour_by_day WHERE day = $1::date AND hour >= 0"


@dataclass(frozen=True)
class PointOptions:
    """Which data of clients points contain.

    Args:
        hosthash: include the pseudonyms.
        policy: what is withheld because everybody can read the database; None: nothing.
    """

    hosthash: bool = True
    policy: Policy | None = None

    @property
    def definition(self) -> str:
        """The options as one text; points of another definition have to be exported again."""
        tags = ",".join(TAGS[name] for name in self.dimensions)
        if self.policy is None:
            return tags
        limit = f"min_clients={self.policy.min_clients}" if self.policy.limits_all else ""
        return " ".join([tags, "by day", limit, *sorted(self.policy.embargoed)])

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that are tags."""
        left_out = _IDENTIFYING if self.policy else () if self.hosthash else ("client",)
        return tuple(name for name in TAGS if name not in left_out)


@dataclass(frozen=True)
class Points:
    """The points of a day: ``lines`` in batches, their number, and how many exceed a field."""

    lines: Iterable[bytes]
    count: int
    too_large: int


NO_POINTS = Points((), 0, 0)


def points_of(state: Readable, day: date, options: PointOptions) -> Points:
    """Return the points of ``day`` from one state of a store."""
    if options.policy:
        query = Query(options.dimensions, first=day, last=day, measures=FIELDS)
        rows = public_result_in(state.ask, query, options.policy).rows
        return _points(rows.filter(pc.is_valid(rows["bytes"])), day, options.dimensions)
    since = state.kept_since  # earlier days have no hours of streams
    is_hourly = (since is None or day >= since) and state.ask(_HOURS, [day])["hours"][0].as_py() > 0
    dimensions = (*(["hour"] if is_hourly else []), *options.dimensions)
    query = Query(dimensions, first=day, last=day, measures=FIELDS)
    return _points(run_in(state.ask, query), day, dimensions)


def _points(rows: pa.Table, day: date, dimensions: Sequence[str]) -> Points:
    time = np.full(len(rows), (day - date(1970, 1, 1)).days * _DAY)
    if "hour" in dimensions:
        time += 3600 * rows["hour"].cast(pa.int64()).fill_null(0).to_numpy()
    columns = {TAGS[name]: _escape(rows[name]) for name in dimensions if name != "hour"}
    keys = [*columns, "time"]
    amounts = {name: rows[name].cast(pa.decimal128(38, 0)) for name in FIELDS}
    # Different names may be escaped alike; their amounts are added, or one would replace the other.
    table = pa.table({**columns, "time": time, **amounts}).group_by(keys)
    table = table.aggregate([(name, "sum") for name in FIELDS])
    largest = pc.max_element_wise(*(table[f"{name}_sum"] for name in FIELDS))
    fits = table.filter(pc.less_equal(largest, pa.scalar(_MAX_INTEGER, pa.decimal128(38, 0))))
    return Points(_lines(fits, list(columns)), len(fits), len(table) - len(fits))


def _escape(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a tag in line protocol."""
    encoded = column.combine_chunks().dictionary_encode()
    words = encoded.dictionary.fill_null("")
    # Line protocol allows no backslash before an escaped character, and no line end.
    words = pc.replace_substring_regex(words, r"[\\\x00-\x1f\x7f]", "/")
    words = pc.replace_substring_regex(words, r"([,= ])", r"\\\1")
    return words.take(encoded.indices).fill_null("")


def _lines(rows: pa.Table, tags: Sequence[str]) -> Iterator[bytes]:
    for start in range(0, len(rows), _BATCH):
        part = rows.slice(start, _BATCH).combine_chunks()
        pieces: list[pa.Array | pa.Scalar] = [pa.scalar(MEASUREMENT)]
        for tag in sorted(tags):  # the order in which InfluxDB stores them
            values = part[tag].combine_chunks()
            texts = pc.binary_join_element_wise(f",{tag}=", values, "")
            pieces.append(pc.if_else(pc.equal(values, ""), "", texts))
        for number, name in enumerate(FIELDS):
            texts = part[f"{name}_sum"].combine_chunks().cast(pa.int64()).cast(pa.string())
            pieces += [f"{' ,'[number > 0]}{name}=", texts, "i"]
        pieces += [" ", part["time"].combine_chunks().cast(pa.string()), "\n", ""]
        lines = pc.binary_join_element_wise(*pieces)
        _, ends, text = lines.buffers()
        yield bytes(text[: np.frombuffer(ends, np.int32)[len(lines)]])
