"""Which days are covered: no log is not zero."""

import gzip
import itertools
import json
import math
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
from conftest import (
    DATA,
    CommandLine,
    Filled,
    assert_whole,
    execute,
    make_store,
    read_into,
    rest_in_soak,
    totals,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from model import block

from ringserverstats.errors import StoreError, UsageError
from ringserverstats.logs.intervals import Piece, is_over, pieces
from ringserverstats.logs.names import read_name
from ringserverstats.statistics.coverage import coverage, gap_ranges
from ringserverstats.statistics.gaps import Gaps, gap_dimensions, gaps, gaps_of_rows
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Server, Store

Log = Callable[..., Path]
SENT = {"direction": ("TX",)}
ONE_DAY = timedelta(days=1)
DAY = "20260630T0000-20260701T0000"


def states(store: Store, **query: object) -> dict[str, str]:
    rows = coverage(store, Query(**{"filters": SENT, **query})).to_pylist()
    return {row["day"]: row["state"] for row in rows if row["state"] != "missing"}


def at(hour: int, day: str = "2026-06-30") -> int:
    return int(datetime.fromisoformat(f"{day}T{hour:02d}:30:00+00:00").timestamp())


def hour_name(hour: int, *, direction: str = "tx") -> str:
    start = datetime(2026, 6, 30, hour)
    end = start + timedelta(hours=1)
    return f"{direction}log-{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (DAY, [("2026-06-30", 0, 1440)]),
        ("20260630T0500-20260630T0600", [("2026-06-30", 300, 360)]),
        ("20260630T2300-20260701T0000", [("2026-06-30", 1380, 1440)]),
        ("20260329T0000-20260330T0100", [("2026-03-29", 0, 1440)]),  # the clock goes forward
        ("20260328T2300-20260330T0000", [("2026-03-29", 0, 1440)]),
        ("20261025T0000-20261025T2300", [("2026-10-25", 0, 1440)]),  # and back
        ("20261025T0100-20261026T0000", [("2026-10-25", 0, 1440)]),
        ("20260329T1900-20260330T0100", [("2026-03-29", 1140, 1440)]),
        (
            "20260630T0000-20260702T0000",
            [("2026-06-30", 0, 1440), ("2026-07-01", 0, 1440)],
        ),
        ("20200101T0000-20230101T0000", []),
        ("20261025T0200-20261025T0200", [("2026-10-25", 120, 180)]),  # the hour before the change
        ("", []),
    ],
)
def test_days_of_a_name(interval: str, expected: list[tuple[str, int, int]]) -> None:
    name = read_name(f"txlog-{interval}")
    assert pieces(name, UTC) == [
        Piece(date.fromisoformat(day), *minutes) for day, *minutes in expected
    ]


def interval_at(now: int, length: int) -> tuple[int, int]:
    """Return the interval around ``now`` as ringserver computes it, with the C library.

    Source: ringserver 4.5.3, logging.c, CalcUsageLogInterval_locked.
    """
    local = time.localtime(now)
    start = int(time.mktime((*local[:3], 0, 0, 0, 0, 0, local.tm_isdst)))
    while start + length <= now:
        start += length
    return start, start + length


def around_clock_changes() -> Iterator[tuple[int, int]]:
    """Yield the first and last second of six days around each clock change in 2026."""
    noons = range(1_767_268_800, 1_798_804_800, 86_400)
    offsets = [time.localtime(noon).tm_gmtoff for noon in noons]
    for noon, before, after in zip(noons[1:], offsets, offsets[1:], strict=False):
        if before != after:
            yield noon - 3 * 86_400, noon + 3 * 86_400


#: Clocks change by half an hour, so that a log of an hour is in two hours of the day.
HALF_HOUR = ("Australia/Lord_Howe", "Australia/LHI")
CHANGES = (
    *("Europe/Paris", "America/Denver", "Africa/Cairo", "Asia/Beirut", "America/Santiago"),
    *("America/Havana", "America/Nuuk", "Africa/Casablanca", "Antarctica/Troll"),
)


@pytest.mark.parametrize("zones", rest_in_soak([CHANGES, sorted(available_timezones())]))
def test_days_and_hours_of_names_where_clocks_change(
    zones: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With logs of an hour, six hours and a day, every day is covered, and has the entries."""
    for zone in zones:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        spans = list(around_clock_changes())
        if zones is CHANGES:
            assert spans, zone
        for first, last in spans:
            for length in (3600, 21_600, 86_400):
                assert_covered(ZoneInfo(zone), first, last, length)
    monkeypatch.undo()
    time.tzset()


def assert_covered(zone: ZoneInfo, first: int, last: int, length: int) -> None:
    covered: dict[date, set[int]] = {}
    now = first
    while now < last:
        start, end = interval_at(now, length)
        ends = (time.strftime("%Y%m%dT%H%M", time.localtime(one)) for one in (start, end))
        name = read_name(f"txlog-{'-'.join(ends)}")
        local = datetime.fromtimestamp(now, zone)
        if now > first:
            assert name.day == local.date(), name
        if length == 3600 and now > first and zone.key not in HALF_HOUR:
            assert name.hour(zone) == local.hour, name
        for piece in pieces(name, zone):
            covered.setdefault(piece.day, set()).update(
                range(piece.first_minute, piece.last_minute)
            )
        now = end
    for day in sorted(covered)[1:-1]:
        assert len(covered[day]) == 1440, day


def test_an_interval_is_over_a_minute_after_its_end_where_the_server_is() -> None:
    name, zone = read_name(f"txlog-{DAY}"), ZoneInfo("America/Denver")
    end = datetime(2026, 7, 1, 6, tzinfo=UTC)
    assert not is_over(name, zone, end + timedelta(seconds=59))
    assert is_over(name, zone, end + timedelta(seconds=60))


@pytest.mark.parametrize(
    ("folder", "days"),
    [
        ("v4.5.3-midnight-paris", ["2026-06-30", "2026-07-01"]),
        ("v2020.075-midnight-denver", ["2026-03-14", "2026-03-15"]),
        ("v4.5.3-midnight-denver-jsonl", ["2026-03-14", "2026-03-15"]),
        ("v4.5.3-clockchange-paris", ["2026-03-28", "2026-03-29"]),
        ("v4.5.3-clockchange-paris-restarted", ["2026-03-29"]),
    ],
)
def test_real_logs_cover_their_days_and_no_others(
    store: Store, folder: str, days: list[str]
) -> None:
    read_into(store, DATA / folder)
    for direction in ("TX", "RX"):
        by_day = states(store, filters={"direction": (direction,)})
        assert by_day == dict.fromkeys(days, "complete")


def test_a_day_of_hours_is_complete_with_the_last_of_them(
    store: Store, log: Log, tmp_path: Path
) -> None:
    for hour in (*range(12, 24), *range(11)):
        log(block(log_time=at(hour)), hour_name(hour))
    read_into(store, tmp_path)
    assert states(store) == {"2026-06-30": "incomplete"}
    read_into(store, log("", hour_name(11)))
    assert states(store) == {"2026-06-30": "complete"}


def test_a_log_that_may_grow_is_incomplete_until_it_is_read_again(store: Store, log: Log) -> None:
    text = block(log_time=at(3)) + block(log_time=at(4))
    read_into(store, log(text[:-30], f"txlog-{DAY}"))
    assert states(store) == {"2026-06-30": "incomplete"}
    read_into(store, log(text, f"txlog-{DAY}"))
    assert states(store) == {"2026-06-30": "complete"}
    read_into(store, log(text[:-30], f"txlog-{DAY}"))  # an older copy changes nothing
    assert states(store) == {"2026-06-30": "complete"}


def test_a_log_of_today_is_incomplete(store: Store, log: Log) -> None:
    now = datetime.now(UTC)
    today, tomorrow = now.date(), now.date() + timedelta(days=1)
    path = log(block(log_time=int(now.timestamp()) - 60, connect_time=int(now.timestamp()) - 90))
    read_into(store, path, name=f"txlog-{today:%Y%m%d}T0000-{tomorrow:%Y%m%d}T0000")
    assert states(store) == {today.isoformat(): "incomplete"}


def test_a_damaged_log_is_incomplete(store: Store, log: Log) -> None:
    import gzip

    packed = gzip.compress(block(log_time=at(3)).encode() * 50)
    read_into(store, log(packed[: len(packed) // 2], f"txlog-{DAY}.gz"))
    assert states(store) == {"2026-06-30": "incomplete"}


def test_a_log_with_nothing_in_it_is_an_empty_day_and_none_is_a_missing_one(
    store: Store, log: Log
) -> None:
    read_into(store, log("", f"txlog-{DAY}"))
    read_into(store, log("", "txlog-20260702T0000-20260703T0000"))
    rows = coverage(store, Query(filters=SENT)).to_pylist()
    assert [row["state"] for row in rows] == ["empty", "missing", "empty"]
    assert_whole(store)


def test_a_log_of_a_week_covers_the_days_on_which_it_counts_nothing(store: Store, log: Log) -> None:
    path = log(block(log_time=at(3, "2026-07-04")), "txlog-20260629T0000-20260706T0000")
    read_into(store, path)
    assert states(store) == {
        f"2026-{day}": "complete"
        for day in ("06-29", "06-30", "07-01", "07-02", "07-03", "07-04", "07-05")
    }


def test_a_part_of_a_week_is_not_empty_and_its_days_have_no_mean(store: Store, log: Log) -> None:
    path = log(block(log_time=at(3, "2026-07-04")), "txlog-20260629T0000-20260706T0000")
    read_into(store, path)
    july = {"first": date(2026, 7, 1), "last": date(2026, 7, 3)}
    assert set(states(store, **july).values()) == {"complete"}
    query = Query(filters=SENT, measures=("bytes", "bytes-per-day"))
    assert run_query(store, query).to_pylist() == [{"bytes": 1536, "bytes-per-day": None}]


def test_without_a_time_zone_a_day_ends_when_it_ends_everywhere() -> None:
    name, end = read_name(f"txlog-{DAY}"), datetime(2026, 7, 1, tzinfo=UTC)
    unknown, known = Server(1, "a", ""), Server(2, "b", "UTC")
    assert is_over(name, known.latest_zone, end + timedelta(hours=1))
    assert not is_over(name, unknown.latest_zone, end + timedelta(hours=12))
    assert is_over(name, unknown.latest_zone, end + timedelta(hours=12, minutes=1))


def test_a_time_zone_that_was_wrong_leaves_no_day_complete_until_it_is_read_again(
    store: Store, log: Log
) -> None:
    path = log(block(log_time=at(3)), f"txlog-{DAY}")
    read_into(store, path)
    store.change_server("default", timezone="Europe/Paris")  # none was configured before
    assert states(store) == {"2026-06-30": "complete"}
    store.change_server("default", timezone="America/Denver")
    assert states(store) == {"2026-06-30": "incomplete"}
    read_into(store, path)
    assert states(store) == {"2026-06-30": "complete"}


def test_a_time_zone_that_is_unknown_here_is_reported(store: Store) -> None:
    read_into(store, DATA / "v4.5.3-midnight-paris")
    execute(store, "UPDATE server SET timezone = 'Mars/Olympus'")
    with pytest.raises(StoreError, match="server timezone default Area/City"):
        read_into(store, DATA / "v4.5.3-midnight-paris")


def test_input_without_a_name_does_not_cover_its_days(store: Store, log: Log) -> None:
    read_into(store, log(block(log_time=at(3), connect_time=at(2)), "unnamed"))
    assert states(store) == {"2026-06-30": "incomplete"}


def looked_at(store: Store, **query: object) -> tuple[str, str, int]:
    """First and last day that are looked at, and how many are missing."""
    rows = coverage(store, Query(**{"filters": SENT, **query})).to_pylist()
    days = [row["day"] for row in rows]
    return min(days), max(days), sum(row["state"] == "missing" for row in rows)


def test_all_days_of_a_period_that_is_asked_for_are_looked_at(store: Store, log: Log) -> None:
    read_into(store, log("", f"txlog-{DAY}"))
    assert looked_at(store) == ("2026-06-30", "2026-06-30", 0)
    period = {"first": date(2026, 6, 1), "last": date(2026, 7, 2)}
    assert looked_at(store, **period) == ("2026-06-01", "2026-07-02", 31)
    today = datetime.now(UTC).date()
    last = looked_at(store, last=today + timedelta(days=90))[1]
    assert last == (today - timedelta(days=1)).isoformat()


def test_a_server_that_falls_silent_is_missing_while_others_go_on(store: Store, log: Log) -> None:
    read_into(store, log("", f"txlog-{DAY}"), server="a")
    read_into(store, log("", "txlog-20260704T0000-20260705T0000"), server="b")
    only = {"filters": {**SENT, "server": ("a",)}}
    assert looked_at(store, **only) == ("2026-06-30", "2026-07-04", 4)
    store.change_server("a", service=(None, date(2026, 7, 1)))  # it was switched off
    assert looked_at(store, **only) == ("2026-06-30", "2026-07-01", 1)
    store.change_server("a", service=(date(2026, 6, 28), date(2026, 6, 30)))
    assert looked_at(store, **only) == ("2026-06-28", "2026-06-30", 2)
    year = {"first": date(2026, 1, 1), "last": date(2026, 12, 31)}
    assert looked_at(store, **only, **year) == ("2026-06-28", "2026-06-30", 2)


def test_a_server_without_any_log_is_missing_for_the_period_that_is_asked_for(
    store: Store,
) -> None:
    store.open(create=True)
    store.add_server("a", "UTC")
    assert len(coverage(store, Query(filters=SENT))) == 0
    period = {"first": date(2026, 6, 1), "last": date(2026, 6, 3)}
    assert looked_at(store, **period) == ("2026-06-01", "2026-06-03", 3)


@pytest.mark.of_both
def test_days_read_in_another_time_zone_are_incomplete_until_they_are_read_anew(
    store: Store, tmp_path: Path
) -> None:
    folder = DATA / "v4.5.3-midnight-paris"
    days = date(2026, 6, 29), date(2026, 7, 2)
    for path in sorted(folder.glob("txlog*")):
        unnamed = path.read_bytes()
        (folder_copy := tmp_path / f"unnamed-{path.name[6:14]}").write_bytes(unnamed)
        read_into(store, folder_copy)
    store.change_server("default", timezone="Europe/Paris")
    report = read_into(store, folder)
    assert report.misdated == 4
    assert "ringserverstats delete" in report.notes[-1]
    assert set(states(store).values()) == {"incomplete"}
    store.delete("default", *days, try_only=False)
    assert read_into(store, folder).misdated == 0
    assert states(store) == {"2026-06-30": "complete", "2026-07-01": "complete"}


def test_months_count_days(store: Store) -> None:
    read_into(store, DATA / "v4.5.3-midnight-paris", DATA / "v4.5.3-clockchange-paris")
    rows = coverage(store, Query(filters=SENT), by="month").to_pylist()
    assert [(row["month"], row["complete"], row["missing"]) for row in rows] == [
        ("2026-03", 2, 2),
        ("2026-04", 0, 30),
        ("2026-05", 0, 31),
        ("2026-06", 1, 29),
        ("2026-07", 1, 0),
    ]
    with pytest.raises(UsageError, match="Known: day, month"):
        coverage(store, Query(), by="year")


SPANS = given(
    st.lists(
        st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda p: p[0] < p[1]),
        max_size=8,
    )
)


@settings(max_examples=4)
@SPANS
def test_minutes_of_a_day_are_those_of_the_union(spans: list[tuple[int, int]]) -> None:
    _assert_minutes_are_of_the_union(spans)


@pytest.mark.soak
@settings(max_examples=150)
@SPANS
def test_soak_of_minutes_of_a_day(spans: list[tuple[int, int]]) -> None:
    _assert_minutes_are_of_the_union(spans)


def _assert_minutes_are_of_the_union(spans: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store.duckdb")
        logs = []
        for first, last in spans:
            start, end = (
                datetime(2026, 6, 30) + timedelta(minutes=minute) for minute in (first, last)
            )
            if end - start >= timedelta(hours=23):  # stands for the whole day
                continue
            path = Path(folder) / f"txlog-{start:%Y%m%dT%H%M}-{end:%Y%m%dT%H%M}"
            path.write_text("")
            logs.append((path, set(range(first, last))))
        read_into(store, *(path for path, _ in logs))
        rows = coverage(store, Query(filters=SENT)).to_pylist()
        expected = len(set().union(*(minutes for _, minutes in logs)))
        assert [row["minutes"] for row in rows] == ([expected] if logs else [])


@pytest.fixture
def gappy(store: Store, log: Log, filled: Filled) -> Store:
    """Two servers, June: a covers 1, 2 (nothing sent) and 3 (a part); b covers 1 to 4."""
    return filled(store, "with gaps", lambda store: _fill_with_gaps(store, log))


def _fill_with_gaps(store: Store, log: Log) -> None:
    for server, number, streams in (
        ("a", 1, 100),
        ("a", 2, 0),
        ("a", 3, 700),
        ("b", 1, 10),
        ("b", 2, 20),
        ("b", 3, 30),
        ("b", 4, 40),
    ):
        day = f"2026-06-{number:02d}"
        transfers = (("FR_CIEL_00_HHZ/MSEED", streams, 1),)
        text = block(log_time=at(5, day), transfers=transfers) if streams else ""
        part = "0600" if (server, number) == ("a", 3) else "2400"
        name = f"txlog-202606{number:02d}T0000-202606{number:02d}T{part}"
        if part == "2400":
            name = f"txlog-202606{number:02d}T0000-202606{number + 1:02d}T0000"
        read_into(store, log(text, name), server=server)


def test_means_are_over_covered_days_and_add_up_over_servers(gappy: Store) -> None:
    def mean(**options: object) -> list[dict]:
        query = Query(filters=SENT, measures=("bytes", "bytes-per-day"), **options)
        return run_query(gappy, query).to_pylist()

    assert mean(dimensions=("server",), sort="server") == [
        {"server": "a", "bytes": 800, "bytes-per-day": 50},  # 100 in two days; the third is not
        {"server": "b", "bytes": 100, "bytes-per-day": 25},
    ]
    assert mean() == [{"bytes": 900, "bytes-per-day": 75}]
    assert mean(dimensions=("network",)) == [{"network": "FR", "bytes": 900, "bytes-per-day": 75}]
    assert [row["bytes-per-day"] for row in mean(dimensions=("day",))] == [110, 20, 30, 40]
    none = mean(first=date(2026, 6, 3), last=date(2026, 6, 3), dimensions=())
    assert none == [{"bytes": 730, "bytes-per-day": 30}]
    no_rows = Query(filters={"network": ("ZZ",)}, measures=("bytes", "bytes-per-day"))
    assert run_query(gappy, no_rows).to_pylist() == [{"bytes": 0, "bytes-per-day": 0}]
    only = mean(
        first=date(2026, 6, 3), last=date(2026, 6, 3), dimensions=("server",), sort="server"
    )
    assert [row["bytes-per-day"] for row in only] == [None, 30]
    query = Query(dimensions=("month",), filters=SENT, measures=("packets-per-day", "transfers"))
    assert totals(gappy, query) == {"packets-per-day": 2, "transfers": 6}  # 1.5, rounded


@pytest.mark.parametrize("dimensions", [("weekday",), ("weekday", "network"), ("month", "weekday")])
@pytest.mark.parametrize("seed", rest_in_soak(range(10)))
def test_means_divide_by_the_covered_days_of_their_group(
    store: Store, log: Log, dimensions: tuple[str, ...], seed: int
) -> None:
    """Against a count: each server has its own covered days."""
    rng = random.Random(seed)
    days = [date(2026, 5, 25) + timedelta(days=number) for number in range(21)]
    sums, covered = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()

    def key(day: date) -> tuple[str, ...]:
        labels = {"month": f"{day:%Y-%m}", "weekday": f"{day:%A}", "network": "FR"}
        return tuple(labels[name] for name in dimensions)

    expected = Counter[tuple[str, ...]]()
    for server in ("a", "b"):
        sums.clear()
        covered.clear()
        logs = []
        for day in rng.sample(days, 13):
            size = rng.choice((0, 0, 700, 7 * 10**6))
            text = block(log_time=at(5, f"{day}"), transfers=(("FR_CIEL_00_HHZ/MSEED", size, 1),))
            name = f"txlog-{day:%Y%m%d}T0000-{day + timedelta(days=1):%Y%m%d}T0000"
            logs.append(log(text if size else "", name))
            sums[key(day)] += size
            covered[key(day)] += 1
        read_into(store, *logs, server=server)
        for group in sums:
            expected[group] += Fraction(sums[group], covered[group])
    query = Query(dimensions=dimensions, filters=SENT, measures=("bytes-per-day",))
    means = {
        tuple(row[name] for name in dimensions): row["bytes-per-day"]
        for row in run_query(store, query).to_pylist()
    }
    assert means == {group: round(mean) for group, mean in expected.items() if mean}


BY = (
    *((), ("server",), ("network",), ("month",), ("day",), ("weekday", "network")),
    *(("server", "network"), ("quarter", "server"), ("direction", "protocol"), ("week", "country")),
)


@pytest.mark.parametrize("seed", rest_in_soak(range(10)))
def test_a_mean_of_nothing_sent_is_zero_and_of_nothing_covered_empty(
    store: Store, log: Log, seed: int
) -> None:
    """Against a count; which rows there are does not depend on the measures."""
    rng = random.Random(seed)
    sent, covered = [], []
    for server, number in itertools.product(("a", "b"), range(7)):
        day = date(2026, 6, 27) + timedelta(days=number)
        network, size = rng.choice(("FR", "G")), rng.choice((0, 300, 2**62 + number))
        kind = rng.choice(("complete", "incomplete", "missing"))
        if kind == "missing":
            continue
        transfers = ((f"{network}_CIEL_00_HHZ/MSEED", size, 1),)
        text = block(log_time=at(5, f"{day}"), transfers=transfers) if size else ""
        end = f"{day:%Y%m%d}T1200" if kind == "incomplete" else f"{day + ONE_DAY:%Y%m%d}T0000"
        read_into(store, log(text, f"txlog-{day:%Y%m%d}T0000-{end}"), server=server)
        if kind == "complete":
            covered.append((server, day))
        if size:
            sent.append((server, day, network, size))
    for by in BY:
        rows, means = (
            run_query(store, Query(dimensions=by, filters=SENT, measures=measures)).to_pylist()
            for measures in (("bytes",), ("bytes-per-day",))
        )
        both = run_query(
            store, Query(dimensions=by, filters=SENT, measures=("bytes-per-day", "bytes"))
        ).to_pylist()
        keys = {tuple(row[name] for name in by) for row in rows}
        assert {tuple(row[name] for name in by) for row in means} == keys
        found = {tuple(row[name] for name in by): row["bytes-per-day"] for row in both}
        assert found == {tuple(row[n] for n in by): row["bytes-per-day"] for row in means}
        assert found == {key: _mean(dict(zip(by, key, strict=True)), sent, covered) for key in keys}


def _mean(
    labels: dict[str, str],
    sent: list[tuple[str, date, str, int]],
    covered: list[tuple[str, date]],
) -> int | None:
    """The mean bytes of the covered days of one group."""

    def fits(server: str, day: date) -> bool:
        of_day = {time: label_of(day, time) for time in ("day", "week", "month", "quarter")}
        known = {**of_day, "server": server, "weekday": f"{day:%A}"}
        return all(known.get(name, label) == label for name, label in labels.items())

    days = [(server, day) for server, day in covered if fits(server, day)]
    if not days:
        return None
    of_server = Counter(server for server, _ in days)
    mean = sum(
        (
            Fraction(size, of_server[server])
            for server, day, network, size in sent
            if (server, day) in days and labels.get("network", network) == network
        ),
        Fraction(0),
    )
    return math.floor(mean + Fraction(1, 2))


@pytest.mark.of_both
def test_large_means_are_exact(store: Store, log: Log) -> None:
    largest = 2**63 - 1
    name = "txlog-20260601T0000-20260602T0000"
    blocks = (
        block(
            log_time=at(hour, "2026-06-01"),
            transfers=(("FR_CIEL_00_HHZ/MSEED", largest - hour, 1),),
        )
        for hour in range(5)
    )
    read_into(store, log("".join(blocks), name))
    read_into(store, log("", "txlog-20260602T0000-20260603T0000"))
    query = Query(filters=SENT, measures=("bytes-per-day",))
    total = sum(largest - hour for hour in range(5))
    assert totals(store, query) == {"bytes-per-day": (total + 1) // 2}


def test_means_by_weekday_and_hour_leave_out_incomplete_days(
    store: Store, log: Log, tmp_path: Path
) -> None:
    """Of four Tuesdays one lacks its last hour, and of one the hours are unknown."""
    text = block(log_time=at(5, "2026-06-09"), transfers=(("FR_CIEL_00_HHZ/MSEED", 10**6, 1),))
    log(text, "txlog-20260609T0000-20260610T0000")
    sizes = {("2026-06-16", 3): 1000, ("2026-06-23", 3): 500, ("2026-06-23", 5): 300}
    for day, hours in (("2026-06-16", 24), ("2026-06-23", 24), ("2026-06-30", 23)):
        for hour in range(hours):
            size = sizes.get((day, hour), 10**6 if day == "2026-06-30" else 0)
            text = block(log_time=at(hour, day), transfers=(("FR_CIEL_00_HHZ/MSEED", size, 1),))
            start = datetime.fromisoformat(day) + timedelta(hours=hour)
            name = f"txlog-{start:%Y%m%dT%H%M}-{start + timedelta(hours=1):%Y%m%dT%H%M}"
            log(text if size else "", name)
    read_into(store, tmp_path)
    query = Query(dimensions=("weekday", "hour"), filters=SENT, measures=("bytes-per-day",))
    means = {
        row["hour"]: row["bytes-per-day"]
        for row in run_query(store, replace(query, first=date(2026, 6, 1))).to_pylist()
    }
    assert {hour: mean for hour, mean in means.items() if mean} == {"03": 750, "05": 150}


def test_weekdays_and_hours_are_in_their_order(store: Store, log: Log) -> None:
    for hour in (23, 2, 14):
        read_into(store, log(block(log_time=at(hour)), hour_name(hour)))
    query = Query(dimensions=("weekday", "hour"), filters=SENT, measures=("bytes",))
    rows = run_query(store, query).to_pylist()
    assert [(row["weekday"], row["hour"]) for row in rows] == [
        ("Tuesday", hour) for hour in ("02", "14", "23")
    ]


def test_means_over_both_directions_add_up(store: Store, log: Log) -> None:
    for direction, number, size in (("tx", 1, 100), ("tx", 2, 300), ("rx", 1, 50)):
        day = f"2026-06-{number:02d}"
        text = block(
            log_time=at(5, day),
            transfers=(("FR_CIEL_00_HHZ/MSEED", size, 1),),
            direction=direction.upper(),
        )
        name = f"{direction}log-202606{number:02d}T0000-202606{number + 1:02d}T0000"
        read_into(store, log(text, name))
    query = Query(filters={"direction": ("TX", "RX")}, measures=("bytes-per-day",))
    assert run_query(store, query).to_pylist() == [{"bytes-per-day": 200 + 50}]


def test_a_day_on_which_all_was_rejected_is_not_empty(store: Store, log: Log) -> None:
    read_into(store, log(block(log_time=at(5)).replace("bytes: 1536", "bytes: 1"), f"txlog-{DAY}"))
    assert states(store) == {"2026-06-30": "incomplete"}
    read_into(store, log("", f"txlog-{DAY}.1"))
    assert states(store) == {"2026-06-30": "complete"}


def test_the_last_day_of_a_whole_month_counts_once(store: Store, log: Log) -> None:
    read_into(store, log(block(log_time=at(5))))
    for dimension in ("stream", "station"):
        query = Query(dimensions=(dimension,), measures=("bytes", "clients"))
        period = replace(query, first=date(2026, 5, 20), last=date(2026, 7, 10))
        assert run_query(store, period).to_pylist() == run_query(store, query).to_pylist()


@pytest.mark.usefixtures("gappy")
def test_tables_mark_what_is_not_covered(run: CommandLine) -> None:
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(range(32)).hex()
    shown = run("stats", "--by", "day", "--server", "a", "--to", "2026-06-04").stdout
    lines = [line.split() for line in shown.splitlines() if line.startswith("2026")]
    assert [line[:3] for line in lines] == [
        ["2026-06-01", "100", "B"],
        ["2026-06-02", "0", "B"],  # no client, and that is known
        ["2026-06-03", "*", "700"],
        ["2026-06-04", "*", "no"],  # log
    ]
    assert "* server days: 1 incomplete, 1 missing of 4: ringserverstats coverage --to" in shown
    for by in ("month,server", "server,month", "month,network"):  # the mark stands at the time
        assert "2026-06 *" in run("stats", "--by", by, "--month", "2026-06").stdout
    assert "server days" not in run("stats", "--by", "day", "--server", "b").stdout
    rows = run("stats", "--by", "day", "--server", "a", "--format", "csv").stdout.splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["100", "0", "700", ""]  # no log is not zero
    total = run("stats", "--server", "a", "--month", "2026-05", "--format", "json").stdout
    assert set(json.loads(total)[0].values()) == {None}
    total = run("stats", "--server", "a", "--from", "2026-06-02", "--to", "2026-06-02").stdout
    assert "No entries match" in total


@pytest.mark.usefixtures("gappy")
def test_a_row_has_the_gaps_of_its_own_servers(run: CommandLine, log: Log) -> None:
    """Server a has gaps, b has none, c has no log of June, d has logs but sent nothing."""
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(range(32)).hex()
    day = "2026-05-31"
    run("ingest", log(block(log_time=at(5, day)), "c-txlog-20260531T0000-20260601T0000"))
    for number in range(1, 5):
        name = f"d-txlog-202606{number:02d}T0000-202606{number + 1:02d}T0000"
        run("ingest", log("", name))
    june = ("--from", "2026-06-01", "--to", "2026-06-04", "--measure", "bytes")

    def rows(by: str, *options: str) -> list[list[str]]:
        lines = run("stats", "--by", by, *june, *options).stdout.splitlines()
        rows = itertools.takewhile(lambda line: line.strip(), lines[2:])
        return [[part for part in row.split() if not set(part) <= {"█", "▏"}] for row in rows]

    assert rows("server") == [
        ["a", "*", "800", "B"],
        ["b", "100", "B"],
        ["d", "0", "B"],  # has logs, which is known
        ["c", "*", "no", "log"],
    ]
    assert rows("server,month") == [
        ["a", "2026-06", "*", "800", "B"],
        ["b", "2026-06", "100", "B"],
        ["c", "2026-06", "*", "no", "log"],
        ["d", "2026-06", "0", "B"],
    ]
    assert rows("day,server", "--server", "a,b") == [
        ["2026-06-01", "a", "100", "B"],
        ["2026-06-01", "b", "10", "B"],
        ["2026-06-02", "a", "0", "B"],
        ["2026-06-02", "b", "20", "B"],
        ["2026-06-03", "*", "a", "700", "B"],
        ["2026-06-03", "b", "30", "B"],
        ["2026-06-04", "*", "a", "no", "log"],
        ["2026-06-04", "b", "40", "B"],
    ]
    assert rows("server,network") == [
        ["a", "*", "FR", "800", "B"],
        ["b", "FR", "100", "B"],
    ]
    assert rows("month,server", "--top", "1") == [  # all others are b, c and d
        ["2026-06", "*", "a", "800", "B"],
        ["2026-06", "*", "other", "100", "B"],
    ]
    assert rows("month,server", "--top", "1", "--server", "a,b")[1] == [
        *("2026-06", "other", "100", "B")
    ]
    csv = run("stats", "--by", "server", *june, "--format", "csv").stdout
    assert csv.splitlines() == ['"server","bytes"', '"a",800', '"b",100', '"d",0', '"c",']


GAP_DIMENSIONS = (
    *((), ("server",), ("direction", "server"), ("day", "server"), ("week", "month")),
    *(("quarter", "direction", "weekday"), ("network", "month", "server"), ("weekday", "country")),
)


@pytest.mark.parametrize("seed", rest_in_soak(range(10)))
def test_gaps_by_server_direction_and_time(store: Store, log: Log, seed: int) -> None:
    """Against a count of the days."""
    rng = random.Random(seed)
    for server, direction in itertools.product(("a", "b", "c"), ("tx", "rx")):
        for number in sorted(rng.sample(range(40), rng.choice((0, 3, 20)))):
            day = date(2026, 5, 20) + timedelta(days=number)
            end = f"{day:%Y%m%d}T1200" if rng.random() < 0.3 else f"{day + ONE_DAY:%Y%m%d}T0000"
            read_into(store, log("", f"{direction}log-{day:%Y%m%d}T0000-{end}"), server=server)
    both = {"direction": ("TX", "RX")}
    for by, last in itertools.product(GAP_DIMENSIONS, (None, date(2026, 6, 15))):
        query = Query(dimensions=by, last=last, filters=both)
        expected: dict[tuple[str, ...], Gaps] = {} if gap_dimensions(query) else {(): Gaps()}
        for row in coverage(store, query).to_pylist():
            day = date.fromisoformat(row["day"])
            labels = row | {name: label_of(day, name) for name in query.times}
            labels |= {"weekday": f"{day:%A}"}
            key = tuple(labels[name] for name in gap_dimensions(query))
            state = row["state"]
            gap = Gaps(state == "incomplete", state == "missing", 1)
            expected[key] = expected.get(key, Gaps()) + gap
        assert gaps(store, query) == expected


def test_gaps_of_rows_of_several_groups() -> None:
    """A row of all other servers, or of few clients, has the gaps of the groups without a row."""
    groups = {
        ("2026-06", "a"): Gaps(missing=1, days=30),
        ("2026-06", "b"): Gaps(incomplete=2, days=30),
        ("2026-06", "other"): Gaps(missing=4, days=30),
        ("2026-07", "a"): Gaps(days=31),
        ("2026-07", "b"): Gaps(missing=8, days=31),
    }
    by_server = Query(dimensions=("month", "server"), top=1)
    rows = [
        {"month": month, "server": server}
        for month, server in itertools.product(("2026-06", "2026-07", "2026-08"), ("a", "other"))
    ]
    june, others, july, others_of_july, *of_no_days = gaps_of_rows(by_server, groups, rows)
    assert (june, others) == (Gaps(missing=1, days=30), Gaps(2, 4, 60))
    assert (july, others_of_july) == (Gaps(days=31), Gaps(missing=8, days=31))
    assert of_no_days == [Gaps()] * 2
    # Others may be of the same server.
    by_both = Query(dimensions=("month", "server", "country"), top=1)
    assert gaps_of_rows(by_both, groups, [row | {"country": "FR"} for row in rows])[1] == Gaps(
        2, 5, 90
    )
    combined = {"month": "2026-07", "server": "<5"}
    assert gaps_of_rows(replace(by_server, top=None), groups, [*rows[:1], combined])[1] == Gaps(
        missing=8, days=62
    )


def test_the_time_that_is_not_over_is_marked(run: CommandLine, log: Log) -> None:
    today = date.today()
    before = today.replace(day=1) - timedelta(days=1)
    for number, day in enumerate((today, before)):
        text = block(log_time=at(5, f"{day}"), transfers=(("FR_CIEL_00_HHZ/MSEED", 512, 1),))
        run("ingest", log(text, f"node-a-txlog-{day:%Y%m%d}T0000-{day:%Y%m%d}T0{number + 5}00"))
    for by in ("month", "server,month", "month,network"):
        shown = run("stats", "--by", by, "--last", "2m").stdout
        assert f"{today:%Y-%m} (running) *" in shown
        assert f"{before:%Y-%m} *" in shown
    csv = run("stats", "--by", "month", "--last", "2m", "--format", "csv")
    assert f"running: {today:%Y-%m} is not over" in csv.stderr
    assert "running" not in csv.stdout
    assert "running" not in run("stats", "--by", "month", "--last-month").stdout


def test_incomplete_days_have_reasons_and_gaps_are_ranges(store: Store, log: Log) -> None:
    """Days 1 and 2 lack hours, 3 to 5 lack logs, 6 has a nameless log, 8 a damaged one."""
    now = datetime.now(UTC)
    for server in ("a", "b"):
        for day in ("20260101T0000-20260101T0300", "20260101T0500-20260101T2330"):
            read_into(store, log("", f"{server}-txlog-{day}"))
        read_into(store, log("", f"{server}-txlog-20260102T0000-20260102T2200"))
        read_into(store, log("", f"{server}-txlog-20260107T0000-20260108T0000"))
    early = gzip.compress(block(log_time=at(1, "2026-01-08")).encode())[:60]
    read_into(store, log(early, "a-txlog-20260108T0000-20260109T0000.gz"))
    read_into(store, log(block(log_time=at(1, "2026-01-06")), "plain"), server="a")
    read_into(store, log("", "b-txlog-20260106T0000-20260107T0000"))
    read_into(store, log("", f"c-txlog-{now:%Y%m%d}T0000-{now:%Y%m%d}T0100"))
    assert gap_ranges(store, Query(filters=SENT, last=date(2026, 1, 8))).to_pylist() == [
        gap("a, b", "2026-01-01", reason="no log of 03:00 to 05:00, 23:30 to 24:00"),
        gap("a, b", "2026-01-02", reason="no log of 22:00 to 24:00"),
        gap("a, b", "2026-01-03", "2026-01-05", days=3),
        gap("a", "2026-01-06", reason="a log was read without its name"),
        gap("a", "2026-01-08", reason="a log is damaged"),
        gap("b", "2026-01-08"),
    ]
    (today,) = gap_ranges(store, Query(filters={**SENT, "server": ("c",)})).to_pylist()
    assert today["reason"] == "not over yet"


def gap(servers: str, first: str, last: str = "", *, days: int = 1, reason: str = "") -> dict:
    return {
        "servers": servers,
        "direction": "TX",
        "state": "incomplete" if reason else "missing",
        "reason": reason or None,
        "first_day": first,
        "last_day": last or first,
        "days": days,
    }


@pytest.mark.usefixtures("gappy")
def test_calendar_on_the_terminal(run: CommandLine, log: Log) -> None:
    shown = run("coverage", "--to", "2026-06-05").stdout
    assert "2026-06   █▁▒··" in shown
    assert "2 of 5" in shown
    assert run("coverage", "--strict").returncode == 1
    assert run("coverage", "--strict", "--server", "b").returncode == 0
    assert run("coverage", "--strict", "--by", "month").returncode == 1
    months = json.loads(run("coverage", "--by", "month", "--format", "json").stdout)
    assert months[0] == {
        "server": "a",
        "direction": "TX",
        "month": "2026-06",
        "complete": 1,
        "empty": 1,
        "incomplete": 1,
        "missing": 1,  # as b has a log of the 4th
        "entries": 2,
        "rejects": 0,
    }
    assert run("coverage", "--direction", "RX").stdout == "No logs match.\n"
    run.environment["RINGSERVERSTATS_SECRET"] = bytes(range(32)).hex()
    run("ingest", log("", "feeds-rxlog-20260601T0000-20260602T0000"))
    assert "--direction RX" in run("coverage", "--server", "feeds").stdout


def test_nameless_and_named_copies_in_one_reading_leave_their_days_incomplete(
    store: Store, tmp_path: Path
) -> None:
    logs = sorted((DATA / "v2020.075-midnight-denver").glob("txlog*"))
    for path in logs:
        (tmp_path / f"plain-{path.name[6:14]}").write_bytes(path.read_bytes())
    report = read_into(store, *sorted(tmp_path.glob("plain-*")), *logs)
    assert report.misdated == 4
    assert set(states(store).values()) == {"incomplete"}
    reasons = coverage(store, Query(filters=SENT))["reason"].to_pylist()
    assert set(reasons) - {None} == {"a log must be read again"}


def test_a_service_that_goes_on_asks_for_no_day_to_come(store: Store) -> None:
    store.open(create=True)
    store.add_server("a", "UTC")
    today = datetime.now(UTC).date()
    store.change_server("a", service=(today - timedelta(days=3), today + timedelta(days=90)))
    days = [(today - timedelta(days=number)).isoformat() for number in (3, 2, 1)]
    assert coverage(store, Query(filters=SENT))["day"].to_pylist() == days
