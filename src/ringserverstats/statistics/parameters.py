"""Queries from text: options of the command line, or parameters of a URL."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta

from ringserverstats.errors import UsageError
from ringserverstats.statistics import periods
from ringserverstats.statistics.dimensions import FILTERS, SYNONYMS
from ringserverstats.statistics.periods import listed
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.wildcards import matches_any
from ringserverstats.store.rollups import month_of

#: Parameters of a period that have the value ``yes``.
FLAGS = ("last-month", "yesterday")
#: Parameters of a period: both ends, a month, quarter or year, a length until today, or one of
#: `FLAGS`.
PERIOD = ("from", "to", "month", "quarter", "year", "last", *FLAGS)
_LISTS = ("by", "measure")
_SINGLE = (*PERIOD, "sort", "top")
#: All parameters of a query.
PARAMETERS = (*_LISTS, *_SINGLE, *FILTERS)
_FORMS = {"month": "2026-11", "quarter": "2026-Q4", "year": "2026"}
_KINDS = {"from": "span", "to": "span"}
_SENT = ("TX",)


def period(
    values: Mapping[str, str], today: date, times: Collection[str] = ()
) -> tuple[date | None, date | None]:
    """Return the first and last day of a period; None is no limit.

    Args:
        values: by name, values of the parameters `PERIOD`.
        today: the last day of ``last``.
        times: the dimensions that results are grouped by, see `periods.last`.

    Raises:
        UsageError: they exclude one another, are not dates, or end before they begin.
    """
    given = {name: values[name] for name in PERIOD if values.get(name)}
    if len({_KINDS.get(name, name) for name in given}) > 1:
        names = ", ".join(name for name in PERIOD if name not in _KINDS)
        raise UsageError(f"{names} and from/to exclude one another. Use one")
    if "last" in given:
        return periods.last(given["last"], today, times)
    for name in FLAGS:
        if name in given:
            return _day_or_month_before(name, given[name], today)
    for name in _FORMS.keys() & given.keys():
        return _whole(name, given[name])
    first = periods.first_day(given["from"]) if "from" in given else None
    last = periods.last_day(given["to"]) if "to" in given else None
    if first and last and last < first:
        raise UsageError(f"the period ends ({last}) before it starts ({first})")
    return first, last


def _whole(name: str, text: str) -> tuple[date, date]:
    """Return the first and last day of a month, quarter or year."""
    form = _FORMS[name]
    shape, of_text = (re.sub("[0-9]", "0", word) for word in (form, text))
    try:
        if of_text != shape:
            raise UsageError
        return periods.first_day(text), periods.last_day(text)
    except UsageError:
        raise UsageError(f"{text!r} is not a {name}. Write {form}") from None


def _day_or_month_before(name: str, text: str, today: date) -> tuple[date, date]:
    if text != "yes":
        raise UsageError(f"{name} {text!a} has another form. Write yes")
    if name == "yesterday":
        return (today - timedelta(days=1),) * 2
    return month_of(today.replace(day=1) - timedelta(days=1))


def query_of(parameters: Mapping[str, Sequence[str]], today: date) -> Query:
    """Return the query of ``parameters``, of what was sent (TX) unless they set the direction.

    Args:
        parameters: by name, the values that were given, each a list with commas if it may be one.
        today: the day that relative periods end with, or before.

    Raises:
        UsageError: a parameter is unknown, is repeated, or has a wrong value.
    """
    parameters = _canonical(parameters)
    for name, texts in parameters.items():
        if name not in PARAMETERS:
            raise UsageError(f"unknown parameter {name!a}. Known: {', '.join(PARAMETERS)}")
        if name in _SINGLE and len(texts) > 1:
            raise UsageError(f"{name} is repeated. Name it once")
    single = {name: parameters[name][0] for name in _SINGLE if parameters.get(name)}
    dimensions = _names(parameters.get("by", ()))
    first, last = period(single, today, dimensions)
    filters = {
        name: _values(name, listed(parameters[name])) or ("",)
        for name in FILTERS
        if name in parameters
    }
    return Query(
        dimensions=dimensions,
        first=first,
        last=last,
        filters={"direction": _SENT, **filters},
        measures=listed(parameters.get("measure", ())),
        sort=SYNONYMS.get(single.get("sort", ""), single.get("sort", "")),
        top=_row_count(single["top"]) if "top" in single else None,
    )


def _canonical(parameters: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return ``parameters`` with `SYNONYMS` replaced by the names they stand for."""
    result: dict[str, list[str]] = {}
    for name, texts in parameters.items():
        result.setdefault(SYNONYMS.get(name, name), []).extend(texts)
    return result


def _names(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(SYNONYMS.get(name, name) for name in listed(texts))


def _values(name: str, given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of a filter; of one with few values those that are meant: tx is TX."""
    meant = tuple(word for word in FILTERS[name].values if matches_any(word, given))
    return (
        meant
        if meant and all(any(matches_any(word, (one,)) for word in meant) for one in given)
        else given
    )


def _row_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise UsageError(f"top {text!a} is not a number of rows. Write 20")
    return int(text)
