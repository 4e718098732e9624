"""What can be asked: each group, filter and measure, declared once.

In the SQL, ``f`` is the table that is summed, ``f.day`` its day (or the first one of its month),
``f.since`` a day since which codes stand for the same networks, ``s`` the table ``stream`` (``f``
where that has the codes itself), ``o`` ``client_profile``, ``a`` ``agent``. A
group is summed by its ``key``, which is short, and shown by its ``label``, looked up for the rows
of the answer alone (``k`` is the key).
"""

from dataclasses import dataclass, field

from ringserverstats.enrich.labels import BY_OPERATOR, PRIVATE_NETWORK, UNKNOWN
from ringserverstats.store.rollups import NO_HOUR


@dataclass(frozen=True)
class Dimension:
    """A column to group by.

    ``is_short``: it is of single days, which months do not tell. ``of_hour``: it is of hours, which
    single transfers alone tell. ``named``: the key where codes
    stand for networks (table ``network_period``). ``is_identifying``: a group may be of few clients, which what
    is published does not tell.
    """

    name: str
    key: str
    help: str
    joins: tuple[str, ...] = ()
    label: str = "k"
    label_join: str = ""
    is_short: bool = False
    is_time: bool = False
    of_hour: bool = False
    of_stream: bool = False
    named: str = ""
    is_identifying: bool = False


@dataclass(frozen=True)
class Filter:
    """``sql`` holds one ``{}``, the condition on ``column``, a text that takes wildcards."""

    name: str
    column: str
    sql: str
    help: str
    of_stream: bool = False

    @property
    def of_client_profile(self) -> bool:
        """Whether it chooses among who reads."""
        return "f.client_profile" in self.sql


@dataclass(frozen=True)
class Measure:
    """A number of the answer; ``sql`` by the kind of part of the answer that it is taken from."""

    name: str
    help: str
    sql: dict[str, str] = field(default_factory=dict)


#: What networks that are not named are together.
OTHER = "other"
_ISO_WEEK = (
    "(extract(isoyear FROM k)::int)::text || '-W' ||"
    " lpad((extract(week FROM k)::int)::text, 2, '0')"
)


def _known(column: str) -> str:
    return f"coalesce({column}, '{UNKNOWN}')"


# A city has its country behind it, as many share a name.
_CITY = (
    f"CASE WHEN o.city IN ('{UNKNOWN}', '{PRIVATE_NETWORK}') THEN o.city"
    f" ELSE {_known('o.city')} || coalesce(' (' || nullif(o.country, '{UNKNOWN}') || ')', '') END"
)
_ASN = (
    f"CASE WHEN o.asn IS NULL THEN '{UNKNOWN}'"
    " ELSE 'AS' || o.asn::text || coalesce(' ' || o.organisation, '') END"
)
_INSTITUTION = (
    f"CASE WHEN o.institution IS NULL THEN '{UNKNOWN}' WHEN o.institution_source = '{BY_OPERATOR}'"
    f" THEN o.institution || ' ({BY_OPERATOR})' ELSE o.institution END"
)
#: What is known of who reads: its SQL, what it is, and several of it.
_CLIENT_COLUMNS = {
    "class": ("o.class", "what the client is to the centre, by the operator's rules", "classes"),
    "country": (
        _known("o.country"),
        "country of the client: its ISO 3166 code",
        "countries, by code",
    ),
    "country-name": (
        _known("o.country_name"),
        "country of the client, in English",
        "countries, by name",
    ),
    "city": (_CITY, "city of the client, with the country's code", "cities, such as London*"),
    "geohash": (
        _known("nullif(o.geohash, '')"),
        "cell in which the client is (geohash)",
        "cells, such as u0*",
    ),
    "asn": (
        _ASN,
        "autonomous system of the client: who operates its network",
        "autonomous systems, such as AS559*",
    ),
    "institution": (
        _INSTITUTION,
        "whose the client is, as far as that is known",
        "institutions",
    ),
}
_IDENTIFYING = frozenset({"city", "geohash", "asn", "institution"})

#: Of these, what a database of places tells.
LOCATION_DIMENSIONS = frozenset({"country", "country-name", "city", "geohash"})

DIMENSIONS = {
    group.name: group
    for group in (
        Dimension(
            "server",
            "f.server",
            "ringserver that served it",
            label="v.name",
            label_join="JOIN server v ON v.server = k",
        ),
        Dimension(
            "direction",
            "f.direction",
            "TX: sent to the client, RX: received from it",
            label="k::text",
        ),
        Dimension("protocol", "f.protocol", "DataLink, SeedLink, HTTP or Unknown", label="k::text"),
        Dimension(
            "year",
            "date_trunc('year', f.day)::date",
            "year of the day",
            label="substr(k::text, 1, 4)",
            is_time=True,
        ),
        Dimension(
            "month",
            "date_trunc('month', f.day)::date",
            "month of the day",
            label="substr(k::text, 1, 7)",
            is_time=True,
        ),
        Dimension(
            "week",
            "date_trunc('week', f.day)::date",
            "ISO week of the day",
            label=_ISO_WEEK,
            is_short=True,
            is_time=True,
        ),
        Dimension(
            "day",
            "f.day",
            "day: the server's local date",
            label="k::text",
            is_short=True,
            is_time=True,
        ),
        Dimension(
            "weekday",
            "extract(isodow FROM f.day)::int",
            "day of the week: 1 is Monday, 7 is Sunday",
            label="k::text",
            is_short=True,
        ),
        Dimension(
            "hour",
            f"nullif(f.hour, {NO_HOUR})",
            "local hour of the server, 00 to 23, where its logs are of an hour",
            label="lpad(k::text, 2, '0')",
            is_short=True,
            of_hour=True,
            is_identifying=True,
        ),
        Dimension(
            "network",
            "s.network",
            "network code, of temporary networks with their start year",
            joins=("stream",),
            of_stream=True,
            named="coalesce(network_period.network, s.network)",
        ),
        *(
            Dimension(
                f"network-{name}",
                "NULL::text",
                help,
                joins=("stream",),
                of_stream=True,
                named=f"network_period.{name}",
            )
            for name, help in (
                ("name", "the network's name in the registry"),
                ("doi", "its DOI in the registry"),
            )
        ),
        *(
            Dimension(name, f"s.{name}", help, joins=("stream",), of_stream=True)
            for name, help in (
                ("station", "station code"),
                ("location", "location code"),
                ("channel", "channel code"),
                ("type", "packet type: MSEED, MSEED3, JSON, ..."),
            )
        ),
        Dimension(
            "stream",
            "f.stream",
            "whole stream: network, station, location, channel and type",
            label=f"coalesce(n.name, '{OTHER}')",
            label_join="LEFT JOIN stream n ON n.stream = k",
            of_stream=True,
        ),
        Dimension(
            "client",
            "o.client",
            "pseudonym of the client's address",
            joins=("client_profile",),
            label="c.pseudonym",
            label_join="JOIN client c ON c.client = k",
        ),
        Dimension(
            "agent",
            "o.agent",
            "software that the client says it is",
            joins=("client_profile",),
            label="g.name",
            label_join="JOIN agent g ON g.agent = k",
            is_identifying=True,
        ),
        Dimension(
            "agent-family",
            "a.family",
            "that software without its version",
            joins=("client_profile", "agent"),
            is_identifying=True,
        ),
        *(
            Dimension(
                name, sql, help, joins=("client_profile",), is_identifying=name in _IDENTIFYING
            )
            for name, (sql, help, _) in _CLIENT_COLUMNS.items()
        ),
    )
}

JOINS = {
    "stream": "JOIN stream s ON s.stream = f.stream",
    "network_period": "LEFT JOIN network_period ON network_period.code = s.network"
    " AND f.since BETWEEN network_period.first_day AND network_period.last_day",
    "client_profile": "JOIN client_profile o ON o.client_profile = f.client_profile",
    "agent": "JOIN agent a ON a.agent = o.agent",
}

#: With a place for a condition on the table ``stream``.
OF_STREAM = "f.stream IN (SELECT stream FROM stream WHERE {})"
_OF_ORIGIN = "f.client_profile IN (SELECT client_profile FROM client_profile JOIN {table} USING ({table}) WHERE {{}})"
_OF_WHOM = "f.client_profile IN (SELECT o.client_profile FROM client_profile o WHERE {})"
_OF_AGENT = _OF_ORIGIN.format(table="agent")
_OF_CLIENT = _OF_ORIGIN.format(table="client")

FILTERS = {
    one.name: one
    for one in (
        Filter(
            "server",
            "name",
            "f.server IN (SELECT server FROM server WHERE {})",
            "servers",
        ),
        Filter("direction", "f.direction", "{}", "directions: TX (default), RX, or TX,RX"),
        Filter("protocol", "f.protocol", "{}", "protocols: DataLink, SeedLink, HTTP, Unknown"),
        Filter(
            "network",
            "network",
            OF_STREAM,
            "networks: XP is all that had this code, XP2014 one of them",
            of_stream=True,
        ),
        Filter("station", "station", OF_STREAM, "stations", of_stream=True),
        Filter(
            "location",
            "location",
            OF_STREAM,
            "locations, `--` for the empty one",
            of_stream=True,
        ),
        Filter("channel", "channel", OF_STREAM, "channels", of_stream=True),
        Filter(
            "stream", "name", OF_STREAM, "streams, such as FR_CIEL_00_HHZ/MSEED", of_stream=True
        ),
        Filter("type", "type", OF_STREAM, "packet types", of_stream=True),
        Filter("client", "pseudonym", _OF_CLIENT, "clients, by pseudonym"),
        Filter("agent", "agent.name", _OF_AGENT, "agents"),
        Filter("agent-family", "family", _OF_AGENT, "agent families"),
        *(Filter(name, sql, _OF_WHOM, help) for name, (sql, _, help) in _CLIENT_COLUMNS.items()),
    )
}

_LARGEST_MEAN = 2.0**63 - 1024  # that a whole number of 64 bits can be


def _mean(column: str) -> dict[str, str]:
    one = f"f.{column}::double precision / f.days"
    mean = f"floor(sum({one} ORDER BY {one}) + 0.5)"
    most = f"{_LARGEST_MEAN:.0f}"
    cases = f"WHEN {mean} < {most} THEN {mean} WHEN {mean} >= {most} THEN {most}"
    return {"means": f"(CASE {cases} END)::bigint"}


#: Kinds of parts: sums (``o`` is there for a measure that counts clients), client_profiles, which tell
#: who took something but not what, connections, which of
#: streams are told by single transfers alone, and sums of covered days (``f.days`` is how
#: many a server has, of the same year, month, ... where that is a group; added in one order, as
#: the last digit of fractions depends on it).
MEASURES = {
    measure.name: measure
    for measure in (
        Measure(
            "bytes",
            "payload of the records, as the server logged it",
            {"sums": "coalesce(sum(f.bytes), 0)"},
        ),
        Measure("packets", "records", {"sums": "coalesce(sum(f.packets), 0)"}),
        Measure(
            "transfers",
            "log lines: one stream of one entry",
            {"sums": "coalesce(sum(f.transfers), 0)"},
        ),
        Measure(
            "clients",
            "distinct clients (addresses)",
            dict.fromkeys(("sums", "client_profiles"), "count(DISTINCT o.client)"),
        ),
        Measure(
            "entries",
            "log entries: one connection, one direction, one interval",
            {
                "connections": "coalesce(sum(f.entries), 0)",
                "transfers": "count(DISTINCT f.entry)",
            },
        ),
        Measure(
            "connections",
            "distinct connections (server, client, connect time)",
            {
                "connections": "count(DISTINCT f.connection)",
                "transfers": "count(DISTINCT f.connection)",
            },
        ),
        *(
            Measure(f"{name}-per-day", f"mean {name} of a covered day", _mean(name))
            for name in ("bytes", "packets", "transfers")
        ),
    )
}
