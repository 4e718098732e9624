"""The FDSN network registry, which resolves reused temporary codes (XP in 2014 → XP2014).

A temporary code (its first character is a digit, X, Y or Z) is assigned repeatedly. It is extended
by the start year of the network that operated on the day of the data. Source: FDSN Network Codes;
the extended code as EIDA and FDSN's registry use it.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ServiceError, SourceError

#: End dates are often stale, and servers send late data: on a day without an operating network, a
#: code resolves to the nearest network up to this far away.
NEAR = timedelta(days=2 * 365)
_ONE_DAY = timedelta(days=1)
_FIRST, _LAST = date(1800, 1, 1), date(2200, 12, 31)
_TEMPORARY = re.compile(r"[0-9XYZ][A-Z0-9]", re.ASCII)
_WITH_YEAR = re.compile(r"([0-9XYZ][A-Z0-9])\d{4}", re.ASCII)
_CODE = re.compile(r"[A-Z0-9]{1,8}", re.ASCII)
_DOI = re.compile(
    r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d+/[!-~]+)", re.ASCII | re.IGNORECASE
)
_LONGEST_NAME = 300
_LARGEST = 64 << 20
_TIMEOUT = 60  # seconds
_TEXT_COLUMNS = 4


@dataclass(frozen=True)
class Network:
    """One network of the registry. ``last_day`` is None while it is in operation."""

    code: str
    first_day: date
    last_day: date | None
    name: str
    doi: str | None

    @property
    def extended(self) -> str:
        """The code, with the start year if it is temporary."""
        return f"{self.code}{self.first_day.year}" if is_temporary(self.code) else self.code


@dataclass(frozen=True)
class Span:
    """Days, both inclusive, on which ``code`` resolves to ``network`` (an extended code).

    ``is_nearest``: no network was operating, and this is the nearest one.
    """

    code: str
    first_day: date
    last_day: date
    network: str
    name: str
    doi: str | None
    is_nearest: bool


def is_temporary(code: str) -> bool:
    """Return True if ``code`` is a temporary code without a year."""
    return _TEMPORARY.fullmatch(code) is not None


def short_of(code: str) -> str | None:
    """Return the code without its year (``XP`` for ``XP2014``); None if it has no year."""
    match = _WITH_YEAR.fullmatch(code)
    return match[1] if match else None


def spans(networks: Sequence[Network]) -> list[Span]:
    """Return what each code, with and without its year, resolves to on all days."""
    by_code: dict[str, list[Network]] = defaultdict(list)
    for network in networks:
        for code in {network.code, network.extended}:
            by_code[code].append(network)
    return [span for code in sorted(by_code) for span in _spans_of(code, by_code[code])]


def _spans_of(code: str, networks: list[Network]) -> list[Span]:
    """Return the spans of one code: between the days of change, equal neighbours joined."""
    if short_of(code) and len({network.name for network in networks}) == 1:  # on all days
        return [_span(code, _FIRST, _LAST, (networks[0], False))]
    days = sorted({day for network in networks for day in _changes(network, networks)})
    spans: list[Span] = []
    for begin, end in pairwise([*days, _LAST + _ONE_DAY]):
        resolved = _network_on(begin, networks)
        if resolved is None:
            continue
        span = _span(code, begin, end - _ONE_DAY, resolved)
        if spans and _is_continued(spans[-1], span):
            span = replace(span, first_day=spans.pop().first_day)
        spans.append(span)
    return spans


def _span(code: str, first: date, last: date, resolved: tuple[Network, bool]) -> Span:
    network, is_nearest = resolved
    return Span(code, first, last, network.extended, network.name, network.doi, is_nearest)


def _is_continued(span: Span, later: Span) -> bool:
    """Return True if ``later`` follows ``span`` and differs only in its days."""
    moved = replace(later, first_day=span.first_day, last_day=span.last_day)
    return span.last_day + _ONE_DAY == later.first_day and moved == span


def _changes(network: Network, others: list[Network]) -> Iterator[date]:
    """Yield the days from which a code may resolve to another network."""
    last = network.last_day or _LAST
    days = [network.first_day - NEAR, network.first_day, last + _ONE_DAY, last + NEAR + _ONE_DAY]
    for other in others:  # from the middle of a gap the other network is nearer
        if other.first_day > last:
            days.append(last + (other.first_day - last) // 2 + _ONE_DAY)
    for day in days:
        yield min(max(day, _FIRST), _LAST)


def _network_on(day: date, networks: list[Network]) -> tuple[Network, bool] | None:
    """Return the network that a code resolves to on ``day``, and whether it is only the nearest.

    Of several operating networks it is the one that started last; of several equally near, the
    earlier one.
    """
    operating = [each for each in networks if each.first_day <= day <= (each.last_day or _LAST)]
    if operating:
        return max(operating, key=lambda each: (each.first_day, each.name)), False
    near = [(distance, each) for each in networks if (distance := _distance(day, each)) <= NEAR]
    if not near:
        return None
    return min(near, key=lambda pair: (pair[0], pair[1].first_day, pair[1].name))[1], True


def _distance(day: date, network: Network) -> timedelta:
    if day < network.first_day:
        return network.first_day - day
    return day - (network.last_day or _LAST)


@dataclass(frozen=True)
class Registry:
    """The networks of a registry; ``left_out`` counts rows with an invalid code or date."""

    networks: list[Network]
    left_out: int


def read_registry(source: str) -> Registry:
    """Read a registry: FDSN's web service, a station service, or a file of either.

    Args:
        source: URL or path; JSON of FDSN's network service, or text of ``fdsnws-station`` at
            ``level=network``, which has no DOIs.

    Raises:
        ServiceError: the URL cannot be read.
        SourceError: the file cannot be read, or there are no networks in it.
    """
    raw = _fetched(source) if re.match(r"https?://", source) else _of_file(source)
    try:
        text = raw.decode("utf-8-sig")
        rows = _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _text_rows(text)
        parsed = [_network(*row) for row in rows]
        networks = [network for network in parsed if network]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error):
        networks = []
    if not networks:
        raise SourceError(
            f"{_shown(source)} contains no networks. It should be the JSON of FDSN's network "
            "service, or the text of a station service (query?level=network&format=text)"
        )
    unique = sorted(
        set(networks), key=lambda row: (row.code, row.first_day, row.name, row.doi or "")
    )
    return Registry(unique, len(parsed) - len(networks))


def _fetched(url: str) -> bytes:
    if "@" in url.split("?")[0]:
        raise SourceError("the URL contains a user or password, which are not sent. Leave them out")
    # Here, as they are slow to import and reading logs does not need them.
    import http.client
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "ringserverstats"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - http(s)
            return _limited(response.read(_LARGEST + 1), url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise ServiceError(
            f"{_shown(url)} cannot be read ({_printable(reason)}). The networks in the store stay "
            "as they are. You can also read a file: ringserverstats networks refresh FILE"
        ) from None


def _of_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return _limited(file.read(_LARGEST + 1), path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such file"
        raise SourceError(f"{path!a} cannot be read: {reason}") from None


def _limited(raw: bytes, source: str) -> bytes:
    if len(raw) > _LARGEST:
        raise SourceError(f"{_shown(source)} is larger than {_LARGEST >> 20} MiB: not a registry")
    return raw


def _shown(source: str) -> str:
    """Return ``source`` without its query, which may contain a key."""
    return _printable(source.split("?")[0])


def _printable(text: object) -> str:
    return visible(str(text).encode("utf-8", "backslashreplace"))


def _json_rows(text: str) -> Iterator[tuple[Any, ...]]:
    for row in json.loads(text)["networks"]:
        yield row["fdsn_code"], row["start_date"], row["end_date"], row["name"], row.get("doi")


def _text_rows(text: str) -> Iterator[tuple[Any, ...]]:
    for row in csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE):
        if len(row) >= _TEXT_COLUMNS and not row[0].startswith("#"):
            code, name, start, end = (part.strip() for part in row[:_TEXT_COLUMNS])
            yield code, start, end, name, None


def _network(code: str, start: str, end: str | None, name: str, doi: str | None) -> Network | None:
    """Return one network; None if its code or dates are invalid."""
    try:
        first = date.fromisoformat(start[:10])
        last = date.fromisoformat(end[:10]) if end else _LAST
    except (TypeError, ValueError):
        return None
    if not _CODE.fullmatch(code) or not _FIRST <= first <= last:
        return None
    is_operating = last.year >= _LAST.year
    match = _DOI.search(doi or "")
    text = visible(str(name or "").encode("utf-8", "replace"))[:_LONGEST_NAME].strip()
    return Network(code, first, None if is_operating else last, text, match[1] if match else None)
