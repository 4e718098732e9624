"""What codes of streams stand for in a question: networks by day, and those that are not named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa

from ringserverstats.enrich.networks import Network, Span, is_temporary, short_of
from ringserverstats.store.base import Ask, Readable

#: Groups of networks.
NETWORKS = frozenset({"network", "network-name", "network-doi"})
_DAYS = "SELECT min(day) AS first, max(day) AS last FROM connection_by_day"
_SPANS = """
SELECT code, first_day, last_day, network, name, doi, is_nearest FROM network_period
 WHERE code IN (SELECT DISTINCT network FROM stream)
   AND first_day <= $2::date AND last_day >= $1::date ORDER BY code, first_day
"""
_ALL = """
SELECT DISTINCT s.network AS code, coalesce(w.network, s.network) AS network
  FROM stream s LEFT JOIN network_period w ON w.code = s.network WHERE s.network IS NOT NULL
"""
_NEAREST = """
SELECT DISTINCT w.network FROM network_by_day f
  JOIN network_period w ON w.code = f.network AND f.day BETWEEN w.first_day AND w.last_day
 WHERE w.is_nearest AND w.network <> w.code
   AND f.day BETWEEN $1::date AND $2::date ORDER BY w.network
"""
_CODES = "SELECT DISTINCT network FROM stream WHERE network IS NOT NULL ORDER BY network"
_REGISTRY = """
SELECT code, first_day, last_day, name, doi,
       code IN (SELECT DISTINCT network FROM stream) AS here
  FROM registry ORDER BY code, first_day, name
"""
# What was fed in tells too of which networks there are.
_UNKNOWN = """
SELECT f.network AS code, w.network, w.is_nearest, min(f.day)::text AS first_day,
       max(f.day)::text AS last_day, sum(f.bytes) AS bytes
  FROM (SELECT day, network, sum(bytes) AS bytes FROM network_by_day
         WHERE network IS NOT NULL GROUP BY day, network) f
  LEFT JOIN network_period w
    ON w.code = f.network AND f.day BETWEEN w.first_day AND w.last_day
 WHERE w.is_nearest IS DISTINCT FROM false
 GROUP BY f.network, w.network, w.is_nearest ORDER BY f.network, min(f.day)
"""
_ONE_DAY = timedelta(days=1)
_LISTED = pa.schema(
    [
        *((name, pa.string()) for name in ("network", "first_day", "last_day", "name", "doi")),
        ("code", pa.string()),
        ("here", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class NetworkNames:
    """What codes stand for.

    Args:
        spans: of codes of the store, in order.
        codes: all codes of the store.
        embargoed: patterns of the networks that are not named.
        first: first day that the store has, and ``last`` its last one.
    """

    spans: tuple[Span, ...] = ()
    codes: tuple[str, ...] = ()
    embargoed: tuple[str, ...] = ()
    first: date = date.min
    last: date = date.max

    def segments(
        self, first: date | None, last: date | None
    ) -> list[tuple[date | None, date | None, date]]:
        """Parts of a period within which no code begins to stand for another network.

        Returns:
            Of each its first and last day, and one day in it, within the days of the store.
        """
        ends = {span.last_day + _ONE_DAY for span in self.spans}
        turns = sorted(
            day
            for day in ends | {span.first_day for span in self.spans}
            if max(first or self.first, self.first) < day <= min(last or self.last, self.last)
        )
        begins, ends_of = [first, *turns], [*(day - _ONE_DAY for day in turns), last]
        return [
            (begin, end, min(max(begin or self.first, self.first), end or self.last))
            for begin, end in zip(begins, ends_of, strict=True)
        ]

    def nearest(self, ask: Ask, first: date | None, last: date | None) -> list[str]:
        """Networks as which days of a period count on which they were not operating."""
        begin, end = first or self.first, last or self.last
        near = (span for span in self.spans if span.is_nearest)
        if not any(span.first_day <= end and span.last_day >= begin for span in near):
            return []  # without a look at all days
        found = ask(_NEAREST, [begin.isoformat(), end.isoformat()])
        names: list[str] = found["network"].to_pylist()
        return names

    def is_of(
        self, patterns: Sequence[str], code: str, day: str, parameters: list[object]
    ) -> list[str]:
        """SQL conditions of which one is true where a network is one of ``patterns``.

        Args:
            code: SQL with a place ``{}`` for what the code is compared with.
            day: the column of the day.
        """
        found = []
        for pattern in patterns:
            parameters.append(like(pattern))
            found.append(code.format(f"LIKE ${len(parameters)}::text ESCAPE '\\'"))
            for whole in self.codes:
                if is_one_of(whole, whole, (pattern,)) and not matches(whole, pattern):
                    parameters.append(whole)
                    found.append(code.format(f"= ${len(parameters)}::text"))
            for span in self.spans:
                if matches(span.network, pattern) and not matches(span.code, pattern):
                    parameters += [span.code, span.first_day, span.last_day]
                    *_, one, begin, end = range(len(parameters) + 1)
                    found.append(
                        f"({code.format(f'= ${one}::text')}"
                        f" AND {day} BETWEEN ${begin}::date AND ${end}::date)"
                    )
        return found

    def is_hidden(self, code: str, day: str, parameters: list[object]) -> str:
        """SQL of whether a network is under embargo; arguments as those of `is_of`.

        So is a temporary code on days of which nobody knows its network, where that of an embargo
        may be meant.
        """
        found = self.is_of(self.embargoed, code, day, parameters)
        for own in sorted(filter(is_temporary, {code.upper() for code in self.codes})):
            if not any(_may_extend(own, pattern) for pattern in self.embargoed):
                continue
            parameters.append(own)
            known = [f"({code.format(f'= ${len(parameters)}::text')}"]
            for span in self.spans:
                if span.code == own:
                    parameters += [span.first_day, span.last_day]
                    begin, end = len(parameters) - 1, len(parameters)
                    known.append(f"NOT {day} BETWEEN ${begin}::date AND ${end}::date")
            found.append(f"{' AND '.join(known)})")
        return " OR ".join(found)


def network_names_of(
    ask: Ask, *, names: bool, patterns: Sequence[str], embargoed: Sequence[str] = ()
) -> NetworkNames:
    """What codes of a store stand for, as far as a question needs it, on the days that it has.

    Args:
        names: names and DOIs are asked for, of permanent networks too.
        patterns: of the networks that are asked for; none: all are.
    """
    days = ask(_DAYS).to_pylist()[0]
    told = ask(_SPANS, [days["first"], days["last"]]).to_pylist()
    needed = (
        span
        for span in (Span(**row) for row in told)
        if (names or span.network != span.code)
        and (not patterns or is_one_of(span.code, span.network, patterns))
    )
    codes = ask(_CODES)["network"].to_pylist()
    found = NetworkNames(tuple(_joined(needed)), tuple(codes), tuple(embargoed))
    return replace(found, **days) if days["first"] else found


def is_one_of(code: str, network: str, patterns: Sequence[str]) -> bool:
    """Whether ``code``, which stands for ``network``, is let in by one of ``patterns``.

    That of a short code lets in all that have or had it.
    """
    words = (code, network, short_of(code), short_of(network))
    return any(matches(word, one) for word in words if word for one in patterns)


def _may_extend(code: str, pattern: str) -> bool:
    """Whether ``pattern`` may let in ``code`` with some year."""
    begin = pattern[: len(code)]
    return matches(code, begin[: begin.index("*") + 1] if "*" in begin else begin)


def _joined(spans: Iterator[Span]) -> Iterator[Span]:
    """``spans`` with those as one that follow each other and stand for the same network."""
    held: Span | None = None
    for span in spans:
        if held and _is_same(held, span):
            is_nearest = held.is_nearest or span.is_nearest
            held = replace(held, last_day=span.last_day, is_nearest=is_nearest)
            continue
        if held:
            yield held
        held = span
    if held:
        yield held


def _is_same(one: Span, next_: Span) -> bool:
    told = [(span.code, span.network, span.name, span.doi) for span in (one, next_)]
    return told[0] == told[1] and next_.first_day == one.last_day + _ONE_DAY


def registry(store: Readable) -> pa.Table:
    """All networks of the registry: code as extended, days, name, DOI; ``here``: in the store."""
    rows = store.ask(_REGISTRY)
    shown = []
    for row in rows.to_pylist():
        here = row.pop("here")
        one = Network(**row)
        shown.append(
            {
                "network": one.extended,
                "first_day": one.first_day.isoformat(),
                "last_day": one.last_day.isoformat() if one.last_day else None,
                "name": one.name,
                "doi": one.doi,
                "code": one.code,
                "here": here,
            }
        )
    return pa.Table.from_pylist(shown, _LISTED)


def unknown(store: Readable) -> pa.Table:
    """Codes of the store that no network of the registry had on some days, and these days.

    ``network`` is the nearest one, by which these days count; None: they count by the code alone.
    """
    return store.ask(_UNKNOWN).drop_columns(["is_nearest"])


def those_of(ask: Ask, allowed: Sequence[str], asked: Sequence[str]) -> tuple[str, ...]:
    """The networks of a store that ``allowed`` and ``asked`` (none: all) both let in.

    Returns:
        Their names, to be a filter; one that lets in nothing where there are none.
    """
    rows = ask(_ALL).to_pylist()
    found = {
        row["network"]
        for row in rows
        if is_one_of(row["code"], row["network"], allowed)
        and (not asked or is_one_of(row["code"], row["network"], asked))
    }
    return tuple(sorted(found)) or ("",)


def idle_patterns(store: Readable, patterns: Sequence[str]) -> list[str]:
    """Those of ``patterns`` that let in no network of the store, nor one of the registry."""
    known = codes_of(store.ask)
    return [
        pattern
        for pattern in patterns
        if not any(is_one_of(code.upper(), network, (pattern,)) for code, network in known)
    ]


def codes_of(ask: Ask) -> list[tuple[str, str]]:
    """All codes of a store, each with all networks that it may stand for, as the registry tells."""
    return [(row["code"], row["network"]) for row in ask(_ALL).to_pylist()]


def matches(word: str, pattern: str) -> bool:
    """Whether ``word`` is what ``pattern``, with wildcards ``*`` and ``?``, lets in.

    Goes back to the last ``*`` alone, so that no pattern of a stranger takes long.
    """
    at = place = 0
    star, retry = -1, 0
    while at < len(word):
        sign = pattern[place : place + 1]
        if sign == "*":
            star, retry = place, at
            place += 1
        elif sign in ("?", word[at]):
            place += 1
            at += 1
        elif star >= 0:
            retry += 1
            place, at = star + 1, retry
        else:
            return False
    return not pattern[place:].strip("*")


def like(pattern: str) -> str:
    r"""A pattern with wildcards ``*`` and ``?`` for SQL's LIKE, escaped by ``\``."""
    for sign in ("\\", "%", "_"):
        pattern = pattern.replace(sign, "\\" + sign)
    return pattern.replace("*", "%").replace("?", "_")
