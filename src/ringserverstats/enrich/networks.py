"""FDSN networks: what the registry says, and which network a code of a stream stands for on a day.

A temporary code (its first character a digit, X, Y or Z) is given again and again. It is extended
by the year in which the network started that was operating on that day: ``XP`` in 2014 is
``XP2014``. Source: FDSN Network Codes; the extended code as EIDA and FDSN's registry use it.
"""

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from ringserverstats.enrich.sanitize import visible
from ringserverstats.errors import ServiceError, SourceError

#: End dates are often stale, and rings send late data: so far from its days a network is taken for
#: the one that a code stands for, where none was operating.
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
        """Its code, with its start year if it is temporary."""
        return f"{self.code}{self.first_day.year}" if is_temporary(self.code) else self.code


@dataclass(frozen=True)
class Span:
    """Days, both inclusive, on which ``code`` stands for ``network``.

    ``is_nearest``: none was operating, and it is the nearest.
    """

    code: str
    first_day: date
    last_day: date
    network: str
    name: str
    doi: str | None
    is_nearest: bool


def is_temporary(code: str) -> bool:
    """Whether ``code`` is one that several networks have in turn, without its year."""
    return _TEMPORARY.fullmatch(code) is not None


def short_of(code: str) -> str | None:
    """The code without its year, where ``code`` carries one: ``XP`` of ``XP2014``."""
    found = _WITH_YEAR.fullmatch(code)
    return found[1] if found else None


def spans(networks: Sequence[Network]) -> list[Span]:
    """What each code stands for, day by day; a code that carries its year already, by that."""
    by_code: dict[str, list[Network]] = defaultdict(list)
    for network in networks:
        for code in {network.code, network.extended}:
            by_code[code].append(network)
    return [span for code in sorted(by_code) for span in _spans_of(code, by_code[code])]


def _spans_of(code: str, networks: list[Network]) -> Iterator[Span]:
    """Of one code: days at which it may change, and what it stands for from each to the next."""
    if short_of(code) and len({network.name for network in networks}) == 1:
        one = networks[0]  # which it means whenever its data comes
        yield Span(code, _FIRST, _LAST, one.extended, one.name, one.doi, is_nearest=False)
        return
    days = sorted({day for network in networks for day in _turns(network, networks)})
    held: Span | None = None
    for begin, end in zip(days, [*days[1:], _LAST + _ONE_DAY], strict=True):
        found = _network_on(begin, networks)
        if found is None:
            continue
        network, is_nearest = found
        told = (network.extended, network.name, network.doi, is_nearest)
        span = Span(code, begin, end - _ONE_DAY, *told)
        if held and held.last_day + _ONE_DAY == begin and _told(held) == told:
            span = Span(code, held.first_day, span.last_day, *told)
        elif held:
            yield held
        held = span
    if held:
        yield held


def _told(span: Span) -> tuple[str, str, str | None, bool]:
    return span.network, span.name, span.doi, span.is_nearest


def _turns(network: Network, others: list[Network]) -> Iterator[date]:
    """The days from which another network may be the one that is meant."""
    last = network.last_day or _LAST
    found = [network.first_day - NEAR, network.first_day, last + _ONE_DAY, last + NEAR + _ONE_DAY]
    for other in others:  # in the middle of a gap the other one becomes nearer
        if other.first_day > last:
            found.append(last + (other.first_day - last) // 2 + _ONE_DAY)
    for day in found:
        yield min(max(day, _FIRST), _LAST)


def _network_on(day: date, networks: list[Network]) -> tuple[Network, bool] | None:
    """The network that is meant on ``day``, and whether it is only near.

    Of several in operation it is the one that started last; of several as near, the earlier one.
    """
    running = [one for one in networks if one.first_day <= day <= (one.last_day or _LAST)]
    if running:
        return max(running, key=lambda one: (one.first_day, one.name)), False
    near = [(distance, one) for one in networks if (distance := _distance(day, one)) <= NEAR]
    if not near:
        return None
    return min(near, key=lambda pair: (pair[0], pair[1].first_day, pair[1].name))[1], True


def _distance(day: date, network: Network) -> timedelta:
    if day < network.first_day:
        return network.first_day - day
    return day - (network.last_day or _LAST)


@dataclass(frozen=True)
class Registry:
    """What a registry tells: ``left_out`` counts rows without a code or dates that can be."""

    networks: list[Network]
    left_out: int


def read_registry(source: str) -> Registry:
    """The networks of a registry: FDSN's web service, a station service, or a file of either.

    Args:
        source: URL or path; JSON of FDSN's network service, or text of ``fdsnws-station`` at
            ``level=network``, which has no DOIs.

    Raises:
        ServiceError: the URL cannot be read.
        SourceError: the file cannot be, or it tells no networks.
    """
    raw = _fetched(source) if re.match(r"https?://", source) else _of_file(source)
    try:
        text = raw.decode("utf-8-sig")
        rows = _json_rows(text) if text.lstrip()[:1] in ("{", "[") else _text_rows(text)
        told = [_network(*row) for row in rows]
        found = [network for network in told if network]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error):
        found = []
    if not found:
        raise SourceError(
            f"{_shown(source)} tells no networks; it should be the JSON of FDSN's network service, "
            "or the text of a station service (query?level=network&format=text)"
        )
    networks = sorted(
        set(found), key=lambda one: (one.code, one.first_day, one.name, one.doi or "")
    )
    return Registry(networks, len(told) - len(found))


def _fetched(url: str) -> bytes:
    if "@" in url.split("?")[0]:
        raise SourceError("the URL holds a user or password, which are not sent; leave them out")
    # Here, as they take their time, and reading logs needs them not.
    import http.client
    import urllib.request

    try:
        request = urllib.request.Request(url, headers={"User-Agent": "ringserverstats"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310 - http(s)
            return _limited(answer.read(_LARGEST + 1), url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise ServiceError(
            f"{_shown(url)} cannot be read ({_printable(reason)}); the networks in the store stay "
            "as they are. A file does as well: ringserverstats networks refresh FILE"
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
        raise SourceError(f"{_shown(source)} is larger than {_LARGEST >> 20} MiB: no registry")
    return raw


def _shown(source: str) -> str:
    """``source`` without its query, which may hold a key."""
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
    """One network; None where its code or dates are none."""
    try:
        first = date.fromisoformat(start[:10])
        last = date.fromisoformat(end[:10]) if end else None
    except (TypeError, ValueError):
        return None
    if last is not None and last.year > _LAST.year - 1:  # the far end of time: in operation
        last = None
    if not _CODE.fullmatch(code) or first < _FIRST or (last is not None and last < first):
        return None
    found = _DOI.search(doi or "")
    text = visible(str(name or "").encode("utf-8", "replace"))[:_LONGEST_NAME].strip()
    return Network(code, first, last, text, found[1] if found else None)
