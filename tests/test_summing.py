"""The rollup rows of a batch equal those computed row by row."""

from collections import defaultdict
from datetime import date

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ringserverstats.enrich.rows import ENTRIES, STREAMS, TRANSFERS
from ringserverstats.logs.batch import LARGEST_NUMBER
from ringserverstats.logs.constants import DIRECTIONS
from ringserverstats.store.aggregate import NewEntries, RollupRows
from ringserverstats.store.postgresql.packing import pack_rollup
from ringserverstats.store.rollups import FINEST_ROLLUP, NO_HOUR, ROLLUPS, Rollup

CODES = st.none() | st.sampled_from(["FR", "FR ", "É", "", "XP2014"])
NUMBERS = st.sampled_from([0, 1, 2**62, LARGEST_NUMBER]) | st.integers(0, 10**6)
Row = tuple[object, ...]


@st.composite
def batches(draw: st.DrawFn) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Entries, their transfers, and the streams of these."""
    codes = draw(st.lists(st.tuples(CODES, CODES), min_size=1, max_size=5))
    streams = [
        {"stream": number * 7 - 9, "name": str(number), "network": network, "station": station}
        for number, (network, station) in enumerate(codes)
    ]
    entries, transfers = [], []
    for row in range(draw(st.integers(0, 8))):
        taken = draw(st.lists(st.tuples(st.sampled_from(streams), NUMBERS, NUMBERS), max_size=5))
        while any(sum(one[n] for one in taken) > LARGEST_NUMBER for n in (1, 2)):
            taken.pop()  # an entry with more is rejected
        transfers += [
            {"row": row * 2, "stream": stream["stream"], "bytes": size, "packets": packets}
            for stream, size, packets in taken
        ]
        names = [stream["stream"] for stream, *_ in taken]
        entries.append(
            {
                "server": draw(st.integers(1, 2)),
                "day": date(2026, draw(st.integers(1, 2)), draw(st.integers(1, 2))),
                "hour": draw(st.none() | st.integers(0, 23)),
                "direction": draw(st.sampled_from(DIRECTIONS)),
                "protocol": draw(st.sampled_from(["SeedLink", "DataLink"])),
                "client_profile": draw(st.integers(-1, 1)),
                "connection": draw(st.sampled_from([-(2**63), 5])),
                "bytes": sum(size for _, size, _ in taken),
                "packets": sum(packets for *_, packets in taken),
                "transfers": len(taken),
                "repeats": len(set(names)) < len(names),
            }
        )
    return (
        pa.Table.from_pylist(entries, ENTRIES),
        pa.Table.from_pylist(transfers, TRANSFERS),
        pa.Table.from_pylist(streams, STREAMS),
    )


def counted(
    rollup: Rollup, batch: tuple[pa.Table, pa.Table, pa.Table], of: np.ndarray
) -> dict[Row, tuple[int, ...]]:
    """The rollup of a batch, computed row by row."""
    entries, transfers, streams = (table.to_pylist() for table in batch)
    told = {stream["stream"]: stream for stream in streams}
    zeros = [0] * len(rollup.values)
    found: dict[Row, list[int]] = defaultdict(zeros.copy)
    for number, entry in enumerate(entries):
        if not of[number]:
            continue
        taken = [transfer for transfer in transfers if transfer["row"] == number * 2]
        rows = [{**told[transfer["stream"]], **transfer, "transfers": 1} for transfer in taken]
        if rollup.source == "entries":
            rows = [{**entry, "entries": 1}]
        for row in rows:
            all_of_it = {
                **entry,
                **row,
                "month": entry["day"].replace(day=1),
                "hour": NO_HOUR if entry["hour"] is None else entry["hour"],
            }
            sums = found[tuple(all_of_it[name] for name in rollup.keys)]
            for place, name in enumerate(rollup.values):
                sums[place] += all_of_it[name]
    return {key: tuple(sums) for key, sums in found.items()}


def rows_of(rollup: Rollup, rows: RollupRows) -> list[tuple[Row, tuple[int, ...]]]:
    return [
        (tuple(row[name] for name in rollup.keys), tuple(int(row[name]) for name in rollup.values))
        for row in rows.table().to_pylist()
    ]


@given(batch=batches(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_sums_are_those_that_a_count_finds(
    batch: tuple[pa.Table, pa.Table, pa.Table], data: st.DataObject
) -> None:
    size = len(batch[0])
    of = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), np.bool_)
    fresh = NewEntries(*batch)
    for rollup in ROLLUPS:
        found = rows_of(rollup, fresh.rollup_rows(rollup, of))
        assert len({key for key, _ in found}) == len(found)
        assert dict(found) == counted(rollup, batch, of)


@given(batch=batches(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_new_ones_and_others_are_all(
    batch: tuple[pa.Table, pa.Table, pa.Table], data: st.DataObject
) -> None:
    fresh = NewEntries(*batch)
    size = len(fresh.keys)
    keys = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), np.bool_)
    known = fresh.have(keys)
    for rollup, (new, others) in zip(
        ROLLUPS, fresh.all_rollup_rows(known, fresh.alone), strict=True
    ):
        of = ~fresh.alone if rollup is FINEST_ROLLUP else np.ones_like(known)
        both = rows_of(rollup, new) + rows_of(rollup, others)
        assert dict(both) == counted(rollup, batch, of)
        assert len(dict(both)) == len(both)
        if rollup.group_keys == FINEST_ROLLUP.group_keys:
            assert dict(rows_of(rollup, new)) == counted(rollup, batch, of & ~known)
        else:
            assert not rows_of(rollup, new)


@given(batch=batches())
@settings(max_examples=40, deadline=None)
def test_lists_hold_all_rows_in_order(batch: tuple[pa.Table, pa.Table, pa.Table]) -> None:
    """Each place has 64 bits; the same stations make the same list."""
    fresh = NewEntries(*batch)
    for rollup in (rollup for rollup in ROLLUPS if rollup.is_packed):
        zeros = [0] * len(rollup.values)
        found: dict[Row, list[int]] = defaultdict(zeros.copy)
        for row in pack_rollup(
            fresh.rollup_rows(rollup, np.ones(len(batch[0]), np.bool_))
        ).to_pylist():
            places = list(
                zip(*(row[name] for name in (*rollup.item_keys, *rollup.values)), strict=True)
            )
            names = [place[: len(rollup.item_keys)] for place in places]
            assert names == sorted(
                names, key=lambda codes: [(c is None, "" if c is None else c) for c in codes]
            )
            for place in places:
                key = {**row, **dict(zip(rollup.item_keys, place, strict=False))}
                sums = found[tuple(key[name] for name in rollup.keys)]
                for number, value in enumerate(place[len(rollup.item_keys) :]):
                    assert 0 <= value <= LARGEST_NUMBER
                    sums[number] += value
        expected = counted(rollup, batch, np.ones(len(batch[0]), np.bool_))
        assert {key: tuple(sums) for key, sums in found.items()} == expected
