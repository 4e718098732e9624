"""Questions as people write them: words of options, or of an address."""

from collections.abc import Mapping, Sequence
from datetime import date

from ringserverstats.errors import UsageError
from ringserverstats.statistics import periods
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.statistics.periods import listed
from ringserverstats.statistics.query import Query

#: Words of a period: both ends, a month, a year, or a length until today.
PERIOD = ("from", "to", "month", "year", "last")
_LISTS = ("by", "measure")
_SINGLE = (*PERIOD, "sort", "top")
#: All words that a question has.
WORDS = (*_LISTS, *_SINGLE, *FILTERS)
_FORMS = {"month": "2026-11", "year": "2026"}
_SENT = ("TX",)

Words = Mapping[str, Sequence[str]]


def period(words: Mapping[str, str], today: date) -> tuple[date | None, date | None]:
    """The first and last day that the words `PERIOD` mean; None is no limit.

    Raises:
        UsageError: they exclude one another, are no dates, or end before they begin.
    """
    told = {name: words[name] for name in PERIOD if words.get(name)}
    is_span = "from" in told or "to" in told
    if len(told.keys() - {"from", "to"}) + is_span > 1:
        raise UsageError("month, year, last and from/to exclude one another; take one")
    if "last" in told:
        return periods.last(told["last"], today)
    for name, form in _FORMS.items():
        if name in told and len(told[name]) != len(form):
            raise UsageError(f"{name} {told[name]!r} has another form; write {form}")
    whole = told.get("month") or told.get("year")
    begin, end = whole or told.get("from"), whole or told.get("to")
    first = periods.first_day(begin) if begin else None
    final = periods.last_day(end) if end else None
    if first and final and final < first:
        raise UsageError(f"the period ends ({final}) before it starts ({first})")
    return first, final


def query_of(words: Words, today: date) -> Query:
    """The question that ``words`` mean; only what was sent (TX) counts, unless they say otherwise.

    Raises:
        UsageError: a word is none, or is told twice where one is meant.
    """
    for name, texts in words.items():
        if name not in WORDS:
            raise UsageError(f"there is no parameter {name!a}; known: {', '.join(WORDS)}")
        if name in _SINGLE and len(texts) > 1:
            raise UsageError(f"{name} is told twice; tell it once")
    single = {name: words[name][0] for name in _SINGLE if words.get(name)}
    first, last = period(single, today)
    filters = {name: listed(words[name]) or ("",) for name in FILTERS if name in words}
    return Query(
        dimensions=listed(words.get("by", ())),
        first=first,
        last=last,
        filters={"direction": _SENT, **filters},
        measures=listed(words.get("measure", ())),
        sort=single.get("sort", ""),
        top=_count(single["top"]) if "top" in single else None,
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text)):
        raise UsageError(f"top {text!a} is no number of rows; write 20")
    return int(text)
