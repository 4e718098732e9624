"""What a query_string to EIDA's statistics service asks for: its public parameters, checked.

What they mean: the service's OpenAPI description (1.0.0), ``/dataselect/public``. A query_string comes
from anybody: nothing of it is used, or told again, that is not checked or made safe here.
"""

import re
import string
from dataclasses import dataclass
from datetime import date
from urllib.parse import parse_qsl, quote

from ringserverstats.store.rollups import month_of

#: How answers may be written; the first one, where the query_string does not say.
FORMATS = ("csv", "json")
#: What may appear in a row as it is, else it is summed.
LEVELS, DETAILS = ("", "node", "network"), ("month", "year", "country")

_PARAMETERS = (
    "start", "end", "node", "network", "country", "level", "details", "format", "hllvalues",
)  # fmt: skip
_MAY_BE_EMPTY = ("level", "details")
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])", re.ASCII)
_NETWORK = re.compile(r"[A-Za-z0-9-]{1,8}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
# Of a query_string, what cannot end a line, a cell of a table or a text.
_PLAIN = string.ascii_letters + string.digits + "-._~!$()*:@/?&=+,%"
_CELL = re.compile(r",(?=[=+\-@])")


class RefusedError(Exception):
    """The query_string gets no figures; ``status`` is that of HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Args:
        first: first day, and ``last`` last day, of whole months.
        nodes: names, and ``network`` and ``countries`` codes, that count; None: all do.
        level: one of `LEVELS`.
        details: some of `DETAILS`.
        has_sketches: rows have sketches of clients.
    """

    first: date
    last: date
    nodes: frozenset[str] | None
    network: str | None
    countries: tuple[str, ...] | None
    level: str
    details: frozenset[str]
    has_sketches: bool


def format_of(query_string: str) -> str:
    """The format in which ``query_string`` wants to be answered, also where all else of it is wrong."""
    told = [value for name, value in _pairs(query_string) if name == "format"]
    return told[0] if len(told) == 1 and told[0] in FORMATS else FORMATS[0]


def shown(query_string: str) -> str:
    """``query_string`` as it may be told again: the same to who reads it, and safe in each format.

    What else could end a line, or let a table begin a formula, has its percent-encoding.
    """
    return _CELL.sub("%2C", quote(query_string, safe=_PLAIN, errors="replace"))


def request_of(query_string: str, today: date) -> Request:
    """What ``query_string`` asks for.

    Args:
        today: tells the last month, where the query_string does not.

    Raises:
        RefusedError: it is not what the interface describes.
    """
    told = _told(query_string)
    _one_of("format", told.get("format", FORMATS[0]), FORMATS)
    first, last = _period(told, today)
    countries = _list(told, "country")
    for code in countries or ():
        if not _COUNTRY.fullmatch(code):
            raise _wrong("country", code, "two capital letters of ISO 3166, or several with commas")
    nodes = _list(told, "node")
    return Request(
        first=first,
        last=last,
        nodes=None if nodes is None else frozenset(nodes),
        network=_network(told),
        countries=countries,
        level=_one_of("level", told.get("level", ""), LEVELS),
        details=_details(told),
        has_sketches=_one_of("hllvalues", told.get("hllvalues", "false"), ("true", "false"))
        == "true",
    )


def _pairs(query_string: str) -> list[tuple[str, str]]:
    return parse_qsl(query_string, keep_blank_values=True, errors="replace")


def _told(query_string: str) -> dict[str, str]:
    """The parameters, each of which is known and there once."""
    told: dict[str, str] = {}
    for name, value in _pairs(query_string):
        if name not in _PARAMETERS:
            raise RefusedError(
                400, f"there is no parameter '{shown(name)}'; known are: {', '.join(_PARAMETERS)}"
            )
        if name in told:
            raise RefusedError(400, f"parameter '{name}' is given twice; give it once")
        if not value and name not in _MAY_BE_EMPTY:
            raise RefusedError(400, f"parameter '{name}' is empty; leave it out, or give a value")
        told[name] = value
    return told


def _period(told: dict[str, str], today: date) -> tuple[date, date]:
    if "start" not in told:
        raise RefusedError(400, "parameter 'start' is missing; give a month such as start=2026-11")
    first = _month("start", told["start"])
    if "end" not in told:  # a month to come has nothing yet
        return first, month_of(max(first, today))[1]
    last = month_of(_month("end", told["end"]))[1]
    if last < first:
        raise RefusedError(400, "the period ends before it starts; 'end' is its last month")
    return first, last


def _month(name: str, value: str) -> date:
    found = _MONTH.fullmatch(value)
    if not found or int(found[1]) < 1:
        raise _wrong(name, value, "a month such as 2026-11")
    return date(int(found[1]), int(found[2]), 1)


def _network(told: dict[str, str]) -> str | None:
    value = told.get("network")
    if value is not None and not _NETWORK.fullmatch(value):
        raise _wrong("network", value, "one extended code such as FR or XP2026, and no list")
    return value


def _details(told: dict[str, str]) -> frozenset[str]:
    found = frozenset(_list(told, "details") or ())
    for detail in sorted(found):
        _one_of("details", detail, DETAILS)
    if {"month", "year"} <= found:
        raise RefusedError(400, "'details' names both month and year; name one of them")
    return found


def _list(told: dict[str, str], name: str) -> tuple[str, ...] | None:
    return tuple(told[name].split(",")) if told.get(name) else None


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise _wrong(name, value, " or ".join(one for one in known if one))
    return value


def _wrong(name: str, value: str, wanted: str) -> RefusedError:
    return RefusedError(400, f"'{shown(value)}' is no value of '{name}'; it takes {wanted}")
