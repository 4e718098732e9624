"""A query reads the coarsest tables that have all it needs, by month for whole months."""

from datetime import date

import pytest

from ringserverstats.enrich.networks import Span
from ringserverstats.statistics.built import BuiltRollups
from ringserverstats.statistics.network_names import NetworkNames
from ringserverstats.statistics.plan import (
    Part,
    PreAggregation,
    measures_by_kind,
    needs_transfers,
    plan_query,
)
from ringserverstats.statistics.query import Query

BYTES = ("bytes",)
OCTOBER = {"first": date(2026, 10, 1), "last": date(2026, 10, 31)}
TRANSFERS = "(SELECT *, 1 AS transfers FROM transfer) t"
#: XP stands for another network since 2026-10-10.
NAMES = NetworkNames(
    (
        Span("XP", date(2026, 1, 1), date(2026, 10, 9), "XP2026", "First", None, False),
        Span("XP", date(2026, 10, 10), date(2027, 1, 1), "XP2027", "Second", None, False),
    ),
    ("XP",),
    (),
    date(2026, 9, 1),
    date(2026, 11, 30),
)


def tables(query: Query, names: NetworkNames | None = None) -> dict[str, list[str]]:
    return {
        part.kind: [piece.table for piece in part.pieces] for part in plan_query(query, names).parts
    }


@pytest.mark.parametrize(
    ("dimensions", "filters", "measures", "expected"),
    [
        ((), {}, BYTES, {"amounts": ["connection_by_day"]}),
        (("country",), {"agent": ("x",)}, BYTES, {"amounts": ["connection_by_day"]}),
        ((), {}, ("clients", "entries"), {
            "amounts": ["connection_by_day"], "connections": ["connection_by_day"]}),
        (("hour",), {}, BYTES, {"amounts": ["hour_by_day"]}),
        (("hour", "network"), {}, BYTES, {"amounts": [TRANSFERS]}),
        (("network",), {}, BYTES, {"amounts": ["station_total_by_day"]}),
        ((), {"station": ("x",)}, BYTES, {"amounts": ["station_total_by_day"]}),
        (("network", "country"), {}, BYTES, {"amounts": ["station_by_month"]}),
        (("network", "country", "day"), {}, BYTES, {"amounts": ["network_by_day"]}),
        (("station", "country", "week"), {}, BYTES, {"amounts": ["station_by_day"]}),
        (("station",), {}, ("bytes", "clients"), {
            "amounts": ["station_total_by_day"], "profiles": ["station_profiles_by_month"]}),
        (("station", "month"), {}, ("bytes", "clients"), {"amounts": ["station_by_month"]}),
        (("network",), {}, ("bytes", "clients"), {"amounts": ["station_by_month"]}),
        (("channel",), {}, BYTES, {"amounts": ["by_month"]}),
        (("channel", "day"), {}, BYTES, {"amounts": ["by_day"]}),
        (("channel",), {}, ("clients",), {"profiles": ["stream_profiles_by_month"]}),
        (("channel",), {"class": ("x",)}, ("clients",), {"amounts": ["by_month"]}),
        (("channel",), {}, ("entries", "bytes"), {
            "amounts": ["by_month"], "transfers": ["transfer"]}),
        (("channel",), {}, ("bytes-per-day",), {"means": ["by_day"]}),
        (("network",), {}, ("bytes-per-day",), {"means": ["station_total_by_day"]}),
    ],
)  # fmt: skip
def test_tables_of_a_whole_month(
    dimensions: tuple[str, ...],
    filters: dict[str, tuple[str, ...]],
    measures: tuple[str, ...],
    expected: dict[str, list[str]],
) -> None:
    query = Query(dimensions=dimensions, filters=filters, measures=measures, **OCTOBER)
    assert tables(query) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-01-01", "2026-02-28", [("by_month", "2026-01-01", "2026-02-28")]),
        (None, None, [("by_month", None, None)]),
        ("2026-01-02", None, [
            ("by_day", "2026-01-02", "2026-01-31"), ("by_month", "2026-02-01", None)]),
        (None, "2026-01-30", [
            ("by_month", None, "2025-12-31"), ("by_day", "2026-01-01", "2026-01-30")]),
        ("2026-01-31", "2026-03-01", [
            ("by_day", "2026-01-31", "2026-01-31"),
            ("by_month", "2026-02-01", "2026-02-28"),
            ("by_day", "2026-03-01", "2026-03-01")]),
        ("2026-01-20", "2026-02-10", [("by_day", "2026-01-20", "2026-02-10")]),
        ("2026-01-20", "2026-01-25", [("by_day", "2026-01-20", "2026-01-25")]),
        ("2026-01-01", "9999-12-31", [("by_day", "2026-01-01", "9999-12-31")]),
    ],
)  # fmt: skip
def test_pieces_of_a_period(
    first: str | None, last: str | None, expected: list[tuple[str, str | None, str | None]]
) -> None:
    begin, end = (text and date.fromisoformat(text) for text in (first, last))
    [part] = plan_query(Query(dimensions=("channel",), first=begin, last=end, measures=BYTES)).parts
    assert [
        (piece.table, *(day and day.isoformat() for day in (piece.first, piece.last)))
        for piece in part.pieces
    ] == expected
    assert [piece.is_monthly for piece in part.pieces] == [
        piece.table == "by_month" for piece in part.pieces
    ]


FIRST, SECOND, THIRD = (date(2026, 10, day) for day in (1, 2, 3))


@pytest.mark.parametrize(
    ("dimension", "built", "expected"),
    [
        ("day", BuiltRollups((), {}, {}), [("network_by_day_built", 1, 5)]),
        ("day", BuiltRollups((), {date(2026, 9, 30): True, date(2026, 10, 6): True}, {}), [
            ("network_by_day_built", 1, 5)]),
        ("day", BuiltRollups((), {SECOND: True, THIRD: True}, {}), [
            ("network_by_day_built", 1, 1),
            ("network_by_day", 2, 3),
            ("network_by_day_built", 4, 5)]),
        ("day", BuiltRollups((), {FIRST: False, SECOND: True}, {}), [
            ("station_transfer", 1, 1),
            ("network_by_day", 2, 2),
            ("network_by_day_built", 3, 5)]),
        ("day", BuiltRollups((), {date(2026, 10, day): False for day in range(1, 6)}, {}), [
            ("station_transfer", 1, 5)]),
        ("month", BuiltRollups((date(2026, 10, 1),), {}, {}), [("network_by_day_built", 1, 5)]),
    ],
)  # fmt: skip
def test_only_what_is_not_built_is_read_from_transfers(
    dimension: str, built: BuiltRollups, expected: list[tuple[str, int, int]]
) -> None:
    query = Query(
        dimensions=("network", "country", dimension),
        measures=BYTES,
        first=FIRST,
        last=date(2026, 10, 5),
    )
    [part] = plan_query(query, built=built).parts
    found = [(piece.table, piece.first.day, piece.last.day) for piece in part.pieces]
    assert found == expected


def test_many_runs_of_days_are_read_as_one() -> None:
    built = BuiltRollups((), {date(2026, 10, day): True for day in range(2, 31, 2)}, {})
    [part] = plan_query(Query(dimensions=("day",), measures=BYTES, **OCTOBER), built=built).parts
    assert [(piece.table, piece.first.day, piece.last.day) for piece in part.pieces] == [
        ("connection_by_day_built", 1, 1),
        ("connection_by_day", 2, 30),
        ("connection_by_day_built", 31, 31),
    ]


def test_months_that_are_not_built_are_read_by_day() -> None:
    stale = {date(2026, 11, 7): True}
    built = BuiltRollups((date(2026, 9, 1), date(2026, 11, 1)), stale, {})
    query = Query(dimensions=("station", "country"), measures=BYTES)
    [part] = plan_query(query, built=built).parts
    assert [(piece.table, str(piece.first), str(piece.last)) for piece in part.pieces] == [
        ("station_by_month_built", "None", "2026-08-31"),
        ("station_by_day_built", "2026-09-01", "2026-09-30"),
        ("station_by_month_built", "2026-10-01", "2026-10-31"),
        ("station_by_day_built", "2026-11-01", "2026-11-06"),
        ("station_by_day", "2026-11-07", "2026-11-07"),
        ("station_by_day_built", "2026-11-08", "2026-11-30"),
        ("station_by_month_built", "2026-12-01", "None"),
    ]


def test_networks_split_a_period_where_a_code_changes_its_network() -> None:
    query = Query(dimensions=("network", "country"), measures=BYTES, **OCTOBER)
    plan = plan_query(query, NAMES)
    assert plan.resolves_networks
    assert "network_period" in plan.parts[0].joins
    assert [(piece.table, piece.first, piece.last) for piece in plan.parts[0].pieces] == [
        ("network_by_day", date(2026, 10, 1), date(2026, 10, 9)),
        ("network_by_day", date(2026, 10, 10), date(2026, 10, 31)),
    ]
    assert [piece.resolve_day for piece in plan.parts[0].pieces] == [
        date(2026, 10, 1),
        date(2026, 10, 10),
    ]
    assert not plan_query(Query(dimensions=("station",), measures=BYTES), NAMES).resolves_networks


def _first_step(*dimensions: str, measures: tuple[str, ...] = BYTES) -> PreAggregation | None:
    part: Part = plan_query(Query(dimensions=dimensions, measures=measures)).parts[0]
    return part.pre_aggregation


def test_rows_of_streams_are_aggregated_before_names_are_joined() -> None:
    assert _first_step("channel") == PreAggregation("", ("stream",))
    assert _first_step("channel", "month") == PreAggregation("month", ("stream",))
    assert _first_step("channel", "weekday") is None  # by day and stream, as the table is
    assert _first_step("server", "channel", "country") == PreAggregation(
        "", ("server", "client_profile", "stream")
    )
    assert _first_step("station") is None
    assert _first_step("country", measures=("clients",)) is None
    assert _first_step("network", measures=("clients",)) == PreAggregation(
        "", ("client_profile", "network")
    )


def test_measures_by_the_kind_of_their_part() -> None:
    query = Query(dimensions=("station",), measures=("clients", "bytes", "entries"))
    assert measures_by_kind(query) == {
        "amounts": ("bytes",),
        "transfers": ("entries",),
        "profiles": ("clients",),
    }


@pytest.mark.parametrize(
    ("dimensions", "measures", "expected"),
    [
        ((), ("entries",), False),
        (("hour",), BYTES, False),
        (("channel",), BYTES, False),
        (("channel",), ("entries",), True),
        (("hour", "channel"), BYTES, True),
    ],
)
def test_queries_that_need_single_transfers(
    dimensions: tuple[str, ...], measures: tuple[str, ...], expected: bool
) -> None:
    assert needs_transfers(Query(dimensions=dimensions, measures=measures)) is expected


def test_clients_of_built_months_are_read_from_their_rows_alone() -> None:
    built = BuiltRollups((date(2026, 11, 1),), {}, {})
    query = Query(dimensions=("station",), measures=("clients",), first=date(2026, 10, 1))
    [part] = plan_query(query, built=built).parts
    assert [(piece.table, str(piece.first), str(piece.last)) for piece in part.pieces] == [
        ("station_profiles_by_month_built", "2026-10-01", "2026-10-31"),
        ("station_profiles_by_day", "2026-11-01", "2026-11-30"),
        ("station_profiles_by_month_built", "2026-12-01", "None"),
    ]
