"""What a page shows: period, filters and order, all of it told by its address."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from starlette.requests import Request

from ringserverstats.errors import UsageError
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.statistics.parameters import PERIOD, period
from ringserverstats.statistics.periods import PRESETS, listed, month_after
from ringserverstats.statistics.query import Query
from ringserverstats.store.rollups import month_of

#: By what activity is split, the first one unless the address says otherwise.
SPLITS = ("network", "protocol", "class", "country")
STEPS = ("day", "week", "month")
_SORT = "sort-"
_USUAL_DAYS = 30
# Days of a period up to which a step is taken by itself, and up to which it may be asked for.
_USUAL_STEPS = {"day": 100, "week": 840}
_MOST_DAYS = 36_600
_FINEST_STEPS = {"day": 400, "week": 2_800, "month": _MOST_DAYS}
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Bounds:
    """The first and last day that a store has; of an empty one both are today."""

    first: date
    last: date


@dataclass(frozen=True)
class View:
    """A page's address, understood.

    Args:
        first: first day, and ``last`` last one.
        words: those of its address that are no filter, in order.
        filters: values of each.
        fixed: filters that the path tells, not the query.
    """

    first: date
    last: date
    words: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What two views that show the same have in common."""
        told = (sorted(part.items()) for part in (self.words, self.filters, self.fixed))
        return repr((self.first, self.last, *told))

    @property
    def days(self) -> int:
        """How many days its period has."""
        return (self.last - self.first).days + 1

    @property
    def split(self) -> str:
        return self.words.get("split", SPLITS[0])

    @property
    def step(self) -> str:
        """The time of a bar: what is asked for, but none that would make too many bars."""
        asked = self.words.get("step", "")
        if asked and self.days <= _FINEST_STEPS[asked]:
            return asked
        fitting = (step for step, most in _USUAL_STEPS.items() if self.days <= most)
        return next(fitting, "month")

    @property
    def is_compared(self) -> bool:
        return self.words.get("compare") != "no"

    @property
    def all_filters(self) -> dict[str, tuple[str, ...]]:
        """Filters of path and query; only what was sent (TX) counts, unless they say otherwise."""
        return {"direction": ("TX",), **self.filters, **self.fixed}

    @property
    def is_of_received(self) -> bool:
        return self.all_filters["direction"] == ("RX",)

    def sort(self, table: str) -> str:
        """By what the rows of a table are sorted; empty: as usual."""
        return self.words.get(_SORT + table, "")

    def query(
        self,
        *by: str,
        measures: tuple[str, ...] = (),
        sort: str = "",
        filters: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Query:
        """The question of the period and filters of this page, or of other ``filters``."""
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
        """How many whole months its period is; 0: it is none."""
        if self.first.day != 1 or self.last != month_of(self.last)[1]:
            return 0
        return (self.last.year - self.first.year) * 12 + self.last.month - self.first.month + 1

    def before(self) -> "View":
        """The period of the same length that ends where this one begins; of months, months."""
        last = self.first - _ONE_DAY
        first = (
            month_after(last, 1 - self._months)
            if self._months
            else (self.first - timedelta(days=self.days))
        )
        return replace(self, first=first, last=last)

    def after(self) -> "View":
        """The period of the same length that begins where this one ends; of months, months."""
        first = self.last + _ONE_DAY
        last = (
            month_of(month_after(first, self._months - 1))[1]
            if self._months
            else (self.last + timedelta(days=self.days))
        )
        return replace(self, first=first, last=last)

    def period_words(self) -> dict[str, str]:
        """The words of its period."""
        return {name: text for name, text in self.words.items() if name in PERIOD}

    def other_words(self) -> dict[str, str]:
        """The words of its address that are neither period nor filter."""
        return {name: text for name, text in self.words.items() if name not in PERIOD}

    def whole_address(self) -> str:
        """The query that shows the same on pages whose path tells no filter."""
        fixed = {name: ",".join(values) for name, values in self.fixed.items()}
        span = {"from": self.first.isoformat(), "to": self.last.isoformat()}
        return self.address({**span, **fixed})

    def address(self, changes: Mapping[str, str | None] | None = None) -> str:
        """The query of this view with other words or filters; None takes one out."""
        changes = changes or {}
        before = self.other_words() if changes.keys() & set(PERIOD) else self.words
        filters = {name: ",".join(values) for name, values in self.filters.items()}
        words = {**before, **filters, **changes}
        told = {name: value for name, value in words.items() if value is not None}
        return "?" + urlencode(told, safe=",*:")

    def query_words(self) -> dict[str, str]:
        """The words by which the API, and the command line, are asked for the same."""
        return {
            "from": self.first.isoformat(),
            "to": self.last.isoformat(),
            **{name: ",".join(values) for name, values in self.all_filters.items()},
        }

    def command(self, by: Sequence[str], measures: Sequence[str], *, public: bool) -> str:
        """The command that answers what a table shows."""
        words = {"by": ",".join(by), **self.query_words(), "measure": ",".join(measures)}
        parts = (part for name, value in words.items() for part in (f"--{name}", value))
        return shlex.join(["ringserverstats", "stats", *parts, *(["--public"] if public else [])])

    def api(self, by: Sequence[str], measures: Sequence[str], format_: str) -> str:
        """The query that the API answers with what a table shows, in another format."""
        words = {"by": ",".join(by), **self.query_words(), "measure": ",".join(measures)}
        return "?" + urlencode({**words, "format": format_}, safe=",*:")


def view_of(
    words: Mapping[str, Sequence[str]],
    bounds: Bounds,
    today: date,
    sorts: Mapping[str, Sequence[str]],
    fixed: Mapping[str, tuple[str, ...]],
) -> View:
    """The view that the words of an address mean; without a period its last `_USUAL_DAYS` days.

    Args:
        words: of the query, each with its values; empty values are none.
        bounds: of the store.
        today: the last day of a length of time.
        sorts: by table what it can be sorted by.
        fixed: filters of the path.

    Raises:
        UsageError: a word is none.
    """
    choices = {_SORT + name: known for name, known in sorts.items()}
    choices |= {"split": SPLITS, "step": STEPS, "compare": ("no", "yes")}
    known = (*PERIOD, *choices)
    single: dict[str, str] = {}
    filters: dict[str, tuple[str, ...]] = {}
    for name, texts in words.items():
        values = listed(texts)
        if name in FILTERS and values and name not in fixed:
            filters[name] = values
        elif name in known and values:
            if len(texts) > 1:
                raise UsageError(f"{name} is told twice; tell it once")
            single[name] = texts[0].strip()
        elif name not in FILTERS and name not in known:
            raise UsageError(f"there is no parameter {name!a}")
    for name, one_of in choices.items():
        if single.get(name, one_of[0]) not in one_of:
            raise UsageError(f"there is no {name} {single[name]!a}; known: {', '.join(one_of)}")
    first, last = period(single, today)
    end = last or (min(today, bounds.last) if not first else max(first, min(today, bounds.last)))
    has_period = bool(single.keys() & set(PERIOD))
    usual = end - timedelta(days=_USUAL_DAYS - 1)
    begin = first or (min(bounds.first, end) if has_period else usual)
    if begin.year < _FIRST_YEAR or end.year > _LAST_YEAR:
        raise UsageError(f"pages show the years from {_FIRST_YEAR} to {_LAST_YEAR}")
    if (end - begin).days > _MOST_DAYS:
        raise UsageError("a page shows up to 100 years; choose a shorter period")
    if end < begin:
        raise UsageError(f"the period ends ({end}) before it starts ({begin})")
    return View(begin, end, single, filters, fixed)


def presets(today: date, bounds: Bounds) -> list[tuple[str, dict[str, str]]]:
    """Periods to choose, each with the words that mean it."""
    whole = {"from": bounds.first.isoformat(), "to": bounds.last.isoformat()}
    return [
        *((label, {"last": length}) for length, label in PRESETS.items()),
        ("this month", {"month": f"{today:%Y-%m}"}),
        ("last month", {"month": f"{month_after(today, -1):%Y-%m}"}),
        ("this year", {"year": f"{today.year}"}),
        ("last year", {"year": f"{today.year - 1}"}),
        ("all", whole),
    ]


def today() -> date:
    """The date of now, UTC: lengths of time end with it."""
    return datetime.now(UTC).date()


def words_of(request: Request) -> dict[str, list[str]]:
    """The words of the query, each with its values."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(name, []).append(value)
    return found
