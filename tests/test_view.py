"""What the address of a page means, and that it says all that the page shows."""

from datetime import date
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringserverstats.errors import UsageError
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.web.page_tables import SORTS
from ringserverstats.web.view import DataPeriod, View, parse_view, presets

TODAY = date(2026, 11, 26)
DATA_PERIOD = DataPeriod(date(2024, 1, 1), date(2026, 11, 20))


def view(address: str = "", **fixed: tuple[str, ...]) -> View:
    return parse_view(parse_qs(address.lstrip("?")), DATA_PERIOD, TODAY, SORTS, fixed)


def test_without_a_period_the_last_days_of_the_store_are_shown() -> None:
    assert (view().first, view().last) == (date(2026, 10, 22), date(2026, 11, 20))


@pytest.mark.parametrize(
    "address, first, last",
    [
        ("last=7d", date(2026, 11, 20), TODAY),
        ("last=3m", date(2026, 9, 1), TODAY),
        ("last-month=yes", date(2026, 10, 1), date(2026, 10, 31)),
        ("yesterday=yes", date(2026, 11, 25), date(2026, 11, 25)),
        ("quarter=2026-Q3", date(2026, 7, 1), date(2026, 9, 30)),
        ("month=2026-02", date(2026, 2, 1), date(2026, 2, 28)),
        ("from=2025-03&to=2025-03-09", date(2025, 3, 1), date(2025, 3, 9)),
        ("from=2026-11-25", date(2026, 11, 25), date(2026, 11, 25)),
        ("to=2024-02", date(2024, 1, 1), date(2024, 2, 29)),
    ],
)
def test_a_period_is_understood(address: str, first: date, last: date) -> None:
    assert (view(address).first, view(address).last) == (first, last)


@pytest.mark.parametrize(
    "address, step",
    [
        ("last=30d", "day"),
        ("last=12m", "week"),
        ("last=12m&step=day", "day"),
        ("from=2000&to=2026", "month"),
        ("from=2000&to=2026&step=day", "month"),
        ("last=7d&step=month", "month"),
    ],
)
def test_bars_are_never_too_many(address: str, step: str) -> None:
    assert view(address).step == step


@pytest.mark.parametrize(
    "address",
    [
        "from=0001",
        "to=9999",
        "from=1900&to=2100",
        "last=7d&month=2026-02",
        "yesterday=no",
        "split=client",
        "step=hour",
        "nothing=1",
        "split=network&split=class",
        "sort-nothing=bytes",
    ],
)
def test_what_no_page_shows_is_refused(address: str) -> None:
    with pytest.raises(UsageError):
        view(address)


def test_every_period_that_pages_offer_is_understood() -> None:
    offered = {
        label: view(f"{view().address(parameters)}&split=class")
        for label, parameters in presets(TODAY, DATA_PERIOD)
    }
    assert days(offered["last quarter"]) == (date(2026, 7, 1), date(2026, 9, 30))
    assert days(offered["this quarter"]) == (date(2026, 10, 1), date(2026, 12, 31))
    assert days(offered["12 months"]) == (date(2025, 12, 1), TODAY)


TEXTS = st.text(min_size=1, max_size=8).map(lambda text: text.replace(",", "").strip())


@given(
    st.dictionaries(st.sampled_from(sorted(FILTERS)), TEXTS.filter(bool), max_size=4),
    st.sampled_from(["", "last=7d", "month=2026-02", "split=class", "sort-networks=clients"]),
)
def test_its_own_address_means_the_same_view(filters: dict[str, str], more: str) -> None:
    begin = view(more)
    shown = view(begin.address(filters))
    assert view(shown.address()).key == shown.key
    assert shown.address() == view(shown.address()).address()
    for name, text in filters.items():
        assert shown.filters[name] == (text,)
    without = view(shown.address(dict.fromkeys(filters)))
    assert without.key == begin.key


def test_the_query_cannot_change_filters_of_the_path() -> None:
    shown = view("network=G&country=FR", network=("FR",))
    assert shown.all_filters == {"direction": ("TX",), "network": ("FR",), "country": ("FR",)}
    assert "network=FR" in shown.full_address()


def days(view: View) -> tuple[date, date]:
    return view.first, view.last


def test_months_are_followed_by_months() -> None:
    october = view("month=2026-10")
    assert days(october.previous()) == (date(2026, 9, 1), date(2026, 9, 30))
    assert days(october.next()) == (date(2026, 11, 1), date(2026, 11, 30))
    quarter = view("from=2025-12&to=2026-02")
    assert days(quarter.previous()) == (date(2025, 9, 1), date(2025, 11, 30))
    assert quarter.previous().next().key == quarter.key
    week = view("from=2026-10-05&to=2026-10-11")
    assert days(week.previous()) == (date(2026, 9, 28), date(2026, 10, 4))
