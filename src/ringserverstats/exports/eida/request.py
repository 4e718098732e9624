"""Parse and check the query string of a request to EIDA's statistics service.

Parameters: the service's OpenAPI description (1.0.0), ``/dataselect/public``. Anybody can send a
query string; nothing of it is used or repeated before it is checked or escaped here.
"""

import re
import string
from dataclasses import dataclass
from datetime import date
from urllib.parse import parse_qsl, quote

from ringserverstats.store.rollups import month_of

#: Formats of results; the first is the default.
FORMATS = ("csv", "json")
#: What rows show; everything else is aggregated.
LEVELS, DETAILS = ("", "node", "network"), ("month", "year", "country")

_PARAMETERS = (
    "start", "end", "node", "network", "country", "level", "details", "format", "hllvalues",
)  # fmt: skip
_MAY_BE_EMPTY = ("level", "details")
_LISTS = ("node", "country", "details")
_MONTH = re.compile(r"(\d{4})-(0?[1-9]|1[0-2])", re.ASCII)
_NETWORK = re.compile(r"[A-Za-z0-9-]{1,8}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
# Characters of a query string that cannot end a line, a cell of a table or a text.
_PLAIN = string.ascii_letters + string.digits + "-._~!$()*:@/?&=+,%"
_CELL = re.compile(r",(?=[=+\-@])")


class RefusedError(Exception):
    """The request is refused; ``status`` is the HTTP status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Request:
    """The parameters of a request.

    Args:
        first: first day of the first month.
        last: last day of the last month.
        nodes: names of nodes; None: all.
        network: extended code; None: all.
        countries: codes of countries; None: all.
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
    """Return the requested format, even if other parameters are invalid."""
    values = [value for name, value in _pairs(query_string) if name == "format"]
    return values[0] if len(values) == 1 and values[0] in FORMATS else FORMATS[0]


def escape(query_string: str) -> str:
    """Return ``query_string`` with the same meaning and safe in each format.

    Characters that could end a line or start a formula in a table are percent-encoded.
    """
    return _CELL.sub("%2C", quote(query_string, safe=_PLAIN, errors="replace"))


def request_of(query_string: str, today: date) -> Request:
    """Return the parameters of ``query_string``.

    Args:
        query_string: as received.
        today: the default of the last month.

    Raises:
        RefusedError: a parameter is invalid.
    """
    parameters = _parameters(query_string)
    _check("format", parameters.get("format", FORMATS[0]), FORMATS)
    first, last = _period(parameters, today)
    countries = _list(parameters, "country")
    for code in countries or ():
        if not _COUNTRY.fullmatch(code):
            raise _invalid(
                "country", code, "two capital letters of ISO 3166, or several with commas"
            )
    nodes = _list(parameters, "node")
    has_sketches = _check("hllvalues", parameters.get("hllvalues", "false"), ("true", "false"))
    return Request(
        first=first,
        last=last,
        nodes=None if nodes is None else frozenset(nodes),
        network=_network(parameters),
        countries=countries,
        level=_check("level", parameters.get("level", ""), LEVELS),
        details=_details(parameters),
        has_sketches=has_sketches == "true",
    )


def _pairs(query_string: str) -> list[tuple[str, str]]:
    return parse_qsl(query_string, keep_blank_values=True, errors="replace")


def _parameters(query_string: str) -> dict[str, str]:
    """Return the parameters by name. A repeated list is one list.

    Raises:
        RefusedError: a parameter is unknown or empty, or one that takes no list is repeated.
    """
    parameters: dict[str, str] = {}
    for name, value in _pairs(query_string):
        if name not in _PARAMETERS:
            raise RefusedError(
                400, f"there is no parameter '{escape(name)}'; known: {', '.join(_PARAMETERS)}"
            )
        if name in parameters and name not in _LISTS:
            raise RefusedError(400, f"parameter '{name}' is given twice; give it once")
        if not value and name not in _MAY_BE_EMPTY:
            raise RefusedError(400, f"parameter '{name}' is empty; leave it out, or give a value")
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _period(parameters: dict[str, str], today: date) -> tuple[date, date]:
    if "start" not in parameters:
        raise RefusedError(400, "parameter 'start' is missing; give a month such as start=2026-11")
    first = _month("start", parameters["start"])
    if "end" not in parameters:  # a start in the future gives an empty result
        return first, month_of(max(first, today))[1]
    last = month_of(_month("end", parameters["end"]))[1]
    if last < first:
        raise RefusedError(400, "the period ends before it starts; 'end' is its last month")
    return first, last


def _month(name: str, value: str) -> date:
    match = _MONTH.fullmatch(value)
    if not match or int(match[1]) < 1:
        raise _invalid(name, value, "a month such as 2026-11")
    return date(int(match[1]), int(match[2]), 1)


def _network(parameters: dict[str, str]) -> str | None:
    value = parameters.get("network")
    if value is not None and not _NETWORK.fullmatch(value):
        raise _invalid("network", value, "one extended code such as FR or XP2026, and no list")
    return value


def _details(parameters: dict[str, str]) -> frozenset[str]:
    details = frozenset(_list(parameters, "details") or ())
    for detail in sorted(details):
        _check("details", detail, DETAILS)
    if {"month", "year"} <= details:
        raise RefusedError(400, "'details' names both month and year; name one of them")
    return details


def _list(parameters: dict[str, str], name: str) -> tuple[str, ...] | None:
    return tuple(parameters[name].split(",")) if parameters.get(name) else None


def _check(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return ``value`` of the parameter ``name``.

    Raises:
        RefusedError: it is not one of ``known``.
    """
    if value not in known:
        raise _invalid(name, value, " or ".join(word for word in known if word))
    return value


def _invalid(name: str, value: str, valid: str) -> RefusedError:
    return RefusedError(400, f"'{escape(value)}' is not a value of '{name}'; it takes {valid}")
