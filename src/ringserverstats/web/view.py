"""What a page shows: period, filters and order, all of them in its address."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request

from ringserverstats.errors import UsageError
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.statistics.parameters import PERIOD, period
from ringserverstats.statistics.periods import PRESETS, label_of, listed, month_after
from ringserverstats.statistics.query import Query
from ringserverstats.store.rollups import month_of

#: Dimensions by which activity can be split; the first is the default.
SPLITS = ("network", "protocol", "class", "country")
STEPS = ("day", "week", "month")
_SORT = "sort-"
_DEFAULT_DAYS = 30
_MAX_DAYS = 36_600
# The longest period, in days, for which a step is the default, and for which it can be chosen.
_DEFAULT_STEPS = {"day": 100, "week": 840}
_ALLOWED_STEPS = {"day": 400, "week": 2_800, "month": _MAX_DAYS}
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DataPeriod:
    """The first and last day in a store."""

    first: date
    last: date


@dataclass(frozen=True)
class View:
    """The address of a page, parsed.

    Args:
        first: first day.
        last: last day.
        parameters: of the query, except filters, in order.
        filters: values of each filter in the query.
        fixed: filters in the path.
    """

    first: date
    last: date
    parameters: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A text that is equal for views that show the same."""
        parts = (sorted(part.items()) for part in (self.parameters, self.filters, self.fixed))
        return repr((self.first, self.last, *parts))

    @property
    def days(self) -> int:
        """Number of days of the period."""
        return (self.last - self.first).days + 1

    @property
    def split(self) -> str:
        return self.parameters.get("split", SPLITS[0])

    @property
    def step(self) -> str:
        """The time of one bar: the chosen one, unless that makes too many bars."""
        chosen = self.parameters.get("step", "")
        if chosen and self.days <= _ALLOWED_STEPS[chosen]:
            return chosen
        return next((step for step, days in _DEFAULT_STEPS.items() if self.days <= days), "month")

    @property
    def is_compared(self) -> bool:
        return self.parameters.get("compare") != "no"

    @property
    def all_filters(self) -> dict[str, tuple[str, ...]]:
        """Filters of path and query. By default, only sent data (TX) count."""
        return {"direction": ("TX",), **self.filters, **self.fixed}

    @property
    def is_received_only(self) -> bool:
        return self.all_filters["direction"] == ("RX",)

    def sort(self, table: str) -> str:
        """Return the column that sorts a table; empty: the default."""
        return self.parameters.get(_SORT + table, "")

    def query(
        self,
        *by: str,
        measures: tuple[str, ...] = (),
        sort: str = "",
        filters: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Query:
        """Return the query for this period, with the filters of this view or with ``filters``."""
        return Query(
            dimensions=by,
            first=self.first,
            last=self.last,
            filters=dict(self.all_filters if filters is None else filters),
            measures=measures,
            sort=sort,
        )

    @property
    def _months(self) -> int:
        """Number of months, if the period is whole months; else 0."""
        if self.first.day != 1 or self.last != month_of(self.last)[1]:
            return 0
        return (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1

    def previous(self) -> "View":
        """Return the view of the period before, of the same number of days or whole months."""
        last = self.first - _ONE_DAY
        first = (
            month_after(last, 1 - self._months)
            if self._months
            else (self.first - timedelta(days=self.days))
        )
        return replace(self, first=first, last=last)

    def next(self) -> "View":
        """Return the view of the period after, of the same number of days or whole months."""
        first = self.last + _ONE_DAY
        last = (
            month_of(month_after(first, self._months - 1))[1]
            if self._months
            else (self.last + timedelta(days=self.days))
        )
        return replace(self, first=first, last=last)

    def period_parameters(self) -> dict[str, str]:
        """Return the parameters that choose the period."""
        return {name: text for name, text in self.parameters.items() if name in PERIOD}

    def other_parameters(self) -> dict[str, str]:
        """Return the parameters that choose neither period nor filters."""
        return {name: text for name, text in self.parameters.items() if name not in PERIOD}

    def full_address(self) -> str:
        """Return the query string that shows the same on pages without filters in the path."""
        fixed = {name: ",".join(values) for name, values in self.fixed.items()}
        return self.address({**self.dates(), **fixed})

    def dates(self) -> dict[str, str]:
        """Return the period as parameters."""
        return {"from": self.first.isoformat(), "to": self.last.isoformat()}

    def address(self, changes: Mapping[str, str | None] | None = None) -> str:
        """Return the query string of this view with other parameters or filters; None removes."""
        changes = changes or {}
        has_period = bool(changes.keys() & set(PERIOD))
        parameters = {
            **(self.other_parameters() if has_period else self.parameters),
            **{name: ",".join(values) for name, values in self.filters.items()},
            **changes,
        }
        given = {name: value for name, value in parameters.items() if value is not None}
        return "?" + urlencode(given, safe=",*:")

    def _query_parameters(self, by: Sequence[str], measures: Sequence[str]) -> dict[str, str]:
        filters = {name: ",".join(values) for name, values in self.all_filters.items()}
        return {"by": ",".join(by), **self.dates(), **filters, "measure": ",".join(measures)}

    def command(self, by: Sequence[str], measures: Sequence[str], *, public: bool) -> str:
        """Return the command that prints what a table shows."""
        parameters = self._query_parameters(by, measures)
        options = [part for name, value in parameters.items() for part in (f"--{name}", value)]
        return shlex.join(["ringserverstats", "stats", *options, *(["--public"] if public else [])])

    def api(self, by: Sequence[str], measures: Sequence[str], format_: str) -> str:
        """Return the query string with which the API returns what a table shows."""
        parameters = self._query_parameters(by, measures)
        return "?" + urlencode({**parameters, "format": format_}, safe=",*:")


def parse_view(
    parameters: Mapping[str, Sequence[str]],
    data_period: DataPeriod,
    today: date,
    sorts: Mapping[str, Sequence[str]],
    fixed: Mapping[str, tuple[str, ...]],
) -> View:
    """Return the view of an address; without a period, the last 30 days with data.

    Args:
        parameters: of the query string, each with its values; empty values are ignored.
        data_period: of the store.
        today: end of relative periods.
        sorts: allowed sort columns by table.
        fixed: filters in the path.

    Raises:
        UsageError: a parameter is unknown or invalid.
    """
    choices = {_SORT + name: columns for name, columns in sorts.items()}
    choices |= {"split": SPLITS, "step": STEPS, "compare": ("no", "yes")}
    filters: dict[str, tuple[str, ...]] = {}
    single: dict[str, str] = {}
    for name, texts in parameters.items():
        values = listed(texts)
        if name in FILTERS:
            if values and name not in fixed:
                filters[name] = values
        elif name not in PERIOD and name not in choices:
            raise UsageError(f"unknown parameter {name!a}")
        elif values:
            single[name] = _single_value(name, texts, choices.get(name))
    first, last = _resolve_period(single, data_period, today)
    return View(first, last, single, filters, fixed)


def _single_value(name: str, texts: Sequence[str], choices: Sequence[str] | None) -> str:
    if len(texts) > 1:
        raise UsageError(f"{name} is given more than once")
    value = texts[0].strip()
    if choices and value not in choices:
        raise UsageError(f"unknown {name} {value!a}; allowed: {', '.join(choices)}")
    return value


def _resolve_period(
    parameters: Mapping[str, str], data_period: DataPeriod, today: date
) -> tuple[date, date]:
    """Return the first and last day; the store's data limit a period without one of them."""
    first, last = period(parameters, today)
    if last is None:
        last = min(today, data_period.last)
        last = max(first, last) if first else last
    if first is None:
        has_period = bool(parameters.keys() & set(PERIOD))
        default = last - timedelta(days=_DEFAULT_DAYS - 1)
        first = min(data_period.first, last) if has_period else default
    if first.year < _FIRST_YEAR or last.year > _LAST_YEAR:
        raise UsageError(f"pages show the years from {_FIRST_YEAR} to {_LAST_YEAR}")
    if (last - first).days > _MAX_DAYS:
        raise UsageError("a page shows up to 100 years; choose a shorter period")
    if last < first:
        raise UsageError(f"the period ends ({last}) before it starts ({first})")
    return first, last


def presets(today: date, data_period: DataPeriod) -> list[tuple[str, dict[str, str]]]:
    """Return predefined periods: the label and the parameters of each."""
    everything = {"from": data_period.first.isoformat(), "to": data_period.last.isoformat()}
    return [
        *((label, {"last": length}) for length, label in PRESETS.items()),
        ("yesterday", {"yesterday": "yes"}),
        ("this month", {"month": f"{today:%Y-%m}"}),
        ("last month", {"last-month": "yes"}),
        ("this quarter", {"quarter": label_of(today, "quarter")}),
        ("last quarter", {"quarter": label_of(month_after(today, -3), "quarter")}),
        ("this year", {"year": f"{today.year}"}),
        ("last year", {"year": f"{today.year - 1}"}),
        ("all", everything),
    ]


def today() -> date:
    """Return the current date in UTC, with which relative periods end."""
    return datetime.now(UTC).date()


def query_parameters(request: Request) -> dict[str, list[str]]:
    """Return the parameters of the query string, each with its values."""
    parameters: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        parameters.setdefault(name, []).append(value)
    return parameters
