"""What a page says about days without logs, and where it has nothing to show."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from conftest import read_into
from model import block

from ringserverstats.enrich.networks import Network
from ringserverstats.statistics.publish import Policy, QueryContext, Role
from ringserverstats.store.base import Store
from ringserverstats.web.overview import Overview, read_overview
from ringserverstats.web.page_tables import SORTS
from ringserverstats.web.view import DataPeriod, parse_view

Log = Callable[..., Path]
OPERATOR = Role(is_operator=True)
DATA_PERIOD = DataPeriod(date(2026, 6, 1), date(2026, 6, 30))


def log_of_day(log: Log, day: int, size: int = 1000, name: str = "FR_CIEL") -> Path:
    """Write the whole log of a day of June."""
    time = int(datetime(2026, 6, day, 5, 30, tzinfo=UTC).timestamp())
    text = block(log_time=time, transfers=((f"{name}_00_HHZ/MSEED", size, 1),)) if size else ""
    return log(text, f"txlog-202606{day:02}T0000-202606{day + 1:02}T0000")


def read_day(store: Store, log: Log, day: int, size: int = 1000, name: str = "FR_CIEL") -> None:
    """Read the whole log of a day of June."""
    read_into(store, log_of_day(log, day, size, name), server="node-a")


def overview(store: Store, role: Role = OPERATOR, least: int = 0, **words: str) -> Overview:
    parameters = {name: [word] for name, word in words.items()}
    view = parse_view(parameters, DATA_PERIOD, date(2026, 7, 1), SORTS, {})
    return read_overview(QueryContext(store, role, Policy(min_clients=least)), view)


def test_a_network_with_two_names_is_one_network(store: Store, log: Log) -> None:
    for day in (1, 2):
        read_day(store, log, day)
    names = [
        Network("FR", date(1962, 1, 1), date(2026, 6, 1), "Old", None),
        Network("FR", date(2026, 6, 2), None, "New", None),
    ]
    store.set_registry(names)
    page = overview(store, month="2026-06")
    assert page.tables["networks"].row_count == 2
    tiles = {kpi.name: kpi.text for kpi in page.kpis}
    assert (tiles["networks"], tiles["stations"]) == ("1", "1")


def test_days_without_logs_and_the_future_are_gaps(store: Store, log: Log) -> None:
    for day, size in ((1, 1000), (2, 0), (4, 500), (6, 1000)):
        read_day(store, log, day, size)
    page = overview(store, **{"from": "2026-06-01", "to": "2026-06-06"})
    line = page.kpis[0].sparkline
    # Day 2 is zero, and days 3 and 5 are gaps.
    assert line == "M0.0,2.0L0.0,2.0L20.0,22.0M60.0,12.0L60.0,12.0M100.0,2.0L100.0,2.0"
    month = overview(store, month="2026-06").kpis[0].sparkline
    assert month.count(",") == 7  # nothing after the last log
    series = overview(store, **{"from": "2026-06-04", "to": "2026-06-06"}).series
    assert series is not None
    assert list(series.before) == [1000, 0, None]


def test_periods_are_compared_by_covered_days(store: Store, log: Log) -> None:
    """Each day has the same amount, so that no comparison shows a change."""
    read_into(store, *(log_of_day(log, day) for day in range(1, 28)), server="node-a")
    span = {"from": "2026-06-22", "to": "2026-06-28"}
    assert [kpi.change for kpi in overview(store, **span).kpis[:2]] == ["", ""]
    span = {"from": "2026-06-15", "to": "2026-06-28"}  # the last day is not in
    changes = {kpi.name: kpi.change for kpi in overview(store, **span).kpis}
    assert changes["sent"] in ("", "unchanged")
    assert changes["clients"] == changes["connections"] == ""
    span = {"from": "2026-06-14", "to": "2026-06-26"}
    assert overview(store, **span).kpis[0].change == "unchanged"
    assert overview(store, **span).kpis[1].change == "unchanged"


def test_why_there_are_no_hours(store: Store, log: Log) -> None:
    read_day(store, log, 1)
    assert "no data of this period are of such logs" in overview(store, month="2026-06").no_hours
    time = int(datetime(2026, 6, 2, 5, 30, tzinfo=UTC).timestamp())
    path = log(block(log_time=time), "txlog-20260602T0500-20260602T0600")
    read_into(store, path, server="node-a")
    assert "complete days" in overview(store, month="2026-06").no_hours
    few = overview(store, Role(), 5, month="2026-06").no_hours
    assert "fewer than 5 clients" in few


def test_a_token_learns_which_networks_it_does_not_see(store: Store, log: Log) -> None:
    read_day(store, log, 1)
    read_day(store, log, 2, name="G_CAN")
    owner = Role(networks=("FR",))
    page = overview(store, owner, network="G", month="2026-06")
    assert page.is_empty
    assert list(page.notes) == ["this token shows FR, not G"]
    both = overview(store, owner, network="G,FR", month="2026-06")
    assert "this token shows FR, not G" in both.notes
    assert not any("token" in note for note in overview(store, owner, month="2026-06").notes)
