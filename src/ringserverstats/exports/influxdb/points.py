"""A day as points in InfluxDB's line protocol: one for each time and set of tags.

A day's points stand at its midnight, those of logs by the hour at that hour: in the server's local
time, written as if it were UTC. So a point's date is the day that all other answers tell, each day
is one span of 24 hours, and no change of clocks lets two of them fall together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.statistics.publish import Policy
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_in
from ringserverstats.store.base import Readable

MEASUREMENT = "ringserverevents"
FIELDS = ("bytes", "packets", "transfers")
#: Tags by the groups that they are of.
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
#: Of these, what tells of single clients, or of few.
_IDENTIFYING = ("city", "geohash", "agent-family", "client")
_DAY = 86_400
_LARGEST = 2**63 - 1
_BATCH = 10_000  # points that are sent at once
_HOURS = "SELECT count(*) AS hours FROM hour_by_day WHERE day = $1::date AND hour >= 0"


@dataclass(frozen=True)
class Rules:
    """What of clients goes to the exporter.

    Args:
        hosthash: their pseudonyms.
        policy: of what may be told to everybody, where everybody can read it; else None.
    """

    hosthash: bool = True
    policy: Policy | None = None

    @property
    def definition(self) -> str:
        """What it is told, as one text: where that is another one, points of before do not fit."""
        embargoed = sorted(self.policy.embargoed) if self.policy else []
        return " ".join([",".join(TAGS[name] for name in self.groups), *embargoed])

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are tags."""
        left_out = _IDENTIFYING if self.policy else () if self.hosthash else ("client",)
        return tuple(name for name in TAGS if name not in left_out)


@dataclass(frozen=True)
class Points:
    """The points of a day: ``lines`` in pieces, how many, and those too large for a field."""

    lines: Iterable[bytes]
    count: int
    too_large: int


NOTHING = Points((), 0, 0)


def points_of(state: Readable, day: date, rules: Rules) -> Points:
    """The points of ``day``, of one state of a store."""
    since = state.kept_since  # of days before no hours of streams are known
    is_hourly = (since is None or day >= since) and state.ask(_HOURS, [day])["hours"][0].as_py() > 0
    groups = (*(["hour"] if is_hourly else []), *rules.groups)
    embargoed = rules.policy.embargoed if rules.policy else ()
    # Without what no split tells: else a total less its split would tell it.
    filters: dict[str, tuple[str, ...]] = {"network": ("*",)} if embargoed else {}
    query = Query(dimensions=groups, first=day, last=day, filters=filters, measures=FIELDS)
    return _points(run_in(state.ask, query, embargoed=embargoed), day, groups)


def _points(rows: pa.Table, day: date, groups: Sequence[str]) -> Points:
    time = np.full(len(rows), (day - date(1970, 1, 1)).days * _DAY)
    if "hour" in groups:
        time += 3600 * rows["hour"].cast(pa.int64()).fill_null(0).to_numpy()
    columns = {TAGS[name]: _written(rows[name]) for name in groups if name != "hour"}
    keys = [*columns, "time"]
    amounts = {name: rows[name].cast(pa.decimal128(38, 0)) for name in FIELDS}
    # Again, as names that differ may be written alike, and one point would replace the other.
    table = pa.table({**columns, "time": time, **amounts}).group_by(keys)
    table = table.aggregate([(name, "sum") for name in FIELDS])
    largest = pc.max_element_wise(*(table[f"{name}_sum"] for name in FIELDS))
    whole = table.filter(pc.less_equal(largest, pa.scalar(_LARGEST, pa.decimal128(38, 0))))
    return Points(_lines(whole, list(columns)), len(whole), len(table) - len(whole))


def _written(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values of a tag as they are written; unique ones are looked at once."""
    found = column.combine_chunks().dictionary_encode()
    words = found.dictionary.fill_null("")
    # A backslash may not stand before what is escaped, nor a line end anywhere.
    words = pc.replace_substring_regex(words, r"[\\\x00-\x1f\x7f]", "/")
    words = pc.replace_substring_regex(words, r"([,= ])", r"\\\1")
    return words.take(found.indices).fill_null("")


def _lines(rows: pa.Table, tags: Sequence[str]) -> Iterator[bytes]:
    for start in range(0, len(rows), _BATCH):
        part = rows.slice(start, _BATCH).combine_chunks()
        pieces: list[pa.Array | pa.Scalar] = [pa.scalar(MEASUREMENT)]
        for tag in sorted(tags):  # in which order InfluxDB keeps them
            values = part[tag].combine_chunks()
            told = pc.binary_join_element_wise(f",{tag}=", values, "")
            pieces.append(pc.if_else(pc.equal(values, ""), "", told))
        for number, name in enumerate(FIELDS):
            told = part[f"{name}_sum"].combine_chunks().cast(pa.int64()).cast(pa.string())
            pieces += [f"{' ,'[number > 0]}{name}=", told, "i"]
        pieces += [" ", part["time"].combine_chunks().cast(pa.string()), "\n", ""]
        lines = pc.binary_join_element_wise(*pieces)
        _, ends, text = lines.buffers()
        yield bytes(text[: np.frombuffer(ends, np.int32)[len(lines)]])
