"""What a page says about days without logs, and where it has nothing to show."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

from conftest import read_into
from model import block

from ringserverstats.enrich.networks import Network
from ringserverstats.statistics.publish import Policy, Role
from ringserverstats.store.base import Store
from ringserverstats.web.overview import Overview, QueryContext, read_overview
from ringserverstats.web.page_tables import SORTS
from ringserverstats.web.view import DataPeriod, parse_view

Log = Callable[..., Path]
OPERATOR = Role(is_operator=True)
DATA_PERIOD = DataPeriod(date(2026, 6, 1), date(2026, 6, 30))


def read_day(store: Store, log: Log, day: int, size: int = 1000, name: str = "FR_CIEL") -> None:
    """Read the whole log of a day of June."""
    time = int(datetime(2026, 6, day, 5, 30, tzinfo=UTC).timestamp())
    text = block(log_time=time, transfers=((f"{name}_00_HHZ/MSEED", size, 1),)) if size else ""
    file_name = f"txlog-202606{day:02}T0000-202606{day + 1:02}T0000"
    read_into(store, log(text, file_name), server="node-a")


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
