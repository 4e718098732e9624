"""What the network registry resolves the codes of streams to, by day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from ringserverstats.enrich.networks import Span, short_of
from ringserverstats.statistics.wildcards import matches_any
from ringserverstats.store.base import Ask, Readable

_DAYS = "SELECT min(day) AS first, max(day) AS last FROM connection_by_day"
_SPANS = """
SELECT code, first_day, last_day, network, name, doi, is_nearest FROM network_period
 WHERE code IN (SELECT DISTINCT network FROM stream)
   AND first_day <= $2::date AND last_day >= $1::date ORDER BY code, first_day
"""
_CODE_NETWORKS = """
SELECT DISTINCT s.network AS code, coalesce(w.network, s.network) AS network
  FROM stream s LEFT JOIN network_period w ON w.code = s.network WHERE s.network IS NOT NULL
"""
_CODES = "SELECT DISTINCT network FROM stream WHERE network IS NOT NULL ORDER BY network"
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Segment:
    """Days on which no code changes its network; None is no limit.

    ``day`` is one of them, within the days of the store.
    """

    first: date | None
    last: date | None
    day: date


@dataclass(frozen=True)
class NetworkNames:
    """What the codes of a store resolve to.

    Args:
        spans: periods of codes, ordered by code and day.
        codes: all codes of the store.
        embargoed: patterns of embargoed networks.
        first: first day of the store, and ``last`` its last day.
    """

    spans: tuple[Span, ...] = ()
    codes: tuple[str, ...] = ()
    embargoed: tuple[str, ...] = ()
    first: date = date.min
    last: date = date.max

    def segments(self, first: date | None, last: date | None) -> list[Segment]:
        """Return the segments of a period, in order."""
        begin, end = max(first or self.first, self.first), min(last or self.last, self.last)
        changes = {span.first_day for span in self.spans}
        changes |= {span.last_day + _ONE_DAY for span in self.spans}
        inner = sorted(day for day in changes if begin < day <= end)
        days = [min(begin, last or self.last), *inner]
        firsts, lasts = [first, *inner], [*(day - _ONE_DAY for day in inner), last]
        return list(map(Segment, firsts, lasts, days))


def load_network_names(
    ask: Ask, *, names: bool, patterns: Sequence[str], embargoed: Sequence[str] = ()
) -> NetworkNames:
    """Return what the codes of a store resolve to, as far as a query needs it.

    Args:
        ask: reads the store.
        names: names and DOIs are needed, so permanent networks are, too.
        patterns: patterns of the networks that are needed; none: all.
        embargoed: patterns of embargoed networks.
    """
    days = ask(_DAYS).to_pylist()[0]
    rows = ask(_SPANS, [days["first"], days["last"]]).to_pylist()
    spans = (
        span
        for span in (Span(**row) for row in rows)
        if (names or span.network != span.code)
        and (not patterns or matches_network(span.code, span.network, patterns))
    )
    codes = ask(_CODES)["network"].to_pylist()
    result = NetworkNames(tuple(_merged(spans)), tuple(codes), tuple(embargoed))
    return replace(result, **days) if days["first"] else result


def matches_network(code: str, network: str, patterns: Sequence[str]) -> bool:
    """Return True if one of ``patterns`` matches ``code``, which resolves to ``network``.

    The pattern of a short code matches every network that has or had the code.
    """
    words = (code, network, short_of(code), short_of(network))
    return any(matches_any(word, patterns) for word in words if word)


def _merged(spans: Iterator[Span]) -> Iterator[Span]:
    """Yield ``spans``, merging consecutive ones of the same network."""
    previous: Span | None = None
    for span in spans:
        if previous and _continues(previous, span):
            is_nearest = previous.is_nearest or span.is_nearest
            previous = replace(previous, last_day=span.last_day, is_nearest=is_nearest)
            continue
        if previous:
            yield previous
        previous = span
    if previous:
        yield previous


def _continues(previous: Span, span: Span) -> bool:
    ours, theirs = ((s.code, s.network, s.name, s.doi) for s in (previous, span))
    return ours == theirs and span.first_day == previous.last_day + _ONE_DAY


def matching_networks(
    ask: Ask, allowed: Sequence[str], requested: Sequence[str]
) -> tuple[str, ...]:
    """Return the networks of a store that both ``allowed`` and ``requested`` match (none: all).

    If there are none, the result is a filter that matches nothing.
    """
    networks = {
        network
        for code, network in code_networks(ask)
        if matches_network(code, network, allowed)
        and (not requested or matches_network(code, network, requested))
    }
    return tuple(sorted(networks)) or ("",)


def unseen_patterns(ask: Ask, allowed: Sequence[str], requested: Sequence[str]) -> list[str]:
    """Return those of ``requested`` that match no network of the store that ``allowed`` match."""
    return [name for name in requested if matching_networks(ask, allowed, (name,)) == ("",)]


def unmatched_patterns(store: Readable, patterns: Sequence[str]) -> list[str]:
    """Return those of ``patterns`` that match no network of the store."""
    pairs = code_networks(store.ask)
    return [
        pattern
        for pattern in patterns
        if not any(matches_network(code.upper(), network, (pattern,)) for code, network in pairs)
    ]


def code_networks(ask: Ask) -> list[tuple[str, str]]:
    """Return all codes of a store, each with every network that it resolves to."""
    return [(row["code"], row["network"]) for row in ask(_CODE_NETWORKS).to_pylist()]
