"""Every dimension, filter and measure, declared once: name, SQL template, help.

Aliases in the SQL: ``f`` is the table that is read (``f.since`` is a day by which network codes are
resolved), ``o`` is ``client_profile``, ``a`` is ``agent``. Named fields of the templates:

- ``{day}``: the day of ``f``, or the first day of its month;
- ``{codes}``: the alias that has the codes of a stream, ``s`` (table ``stream``) or ``f``;
- ``{key}``: the key by which a dimension is grouped. Its label is looked up for the rows of the
  result only;
- ``{condition}``: the condition on the column of a filter;
- ``{is_covered}``: logs cover days of the row.
"""

from dataclasses import dataclass, field

from ringserverstats.enrich.labels import BY_OPERATOR, PRIVATE_NETWORK, UNKNOWN
from ringserverstats.logs.constants import DIRECTIONS, PROTOCOLS
from ringserverstats.store.rollups import NO_HOUR


@dataclass(frozen=True)
class Dimension:
    """A column to group by.

    Args:
        name: the name that users write.
        key: SQL template of the key.
        help: one line for users.
        joins: names of `JOINS` that the key needs.
        label: SQL template of what is shown for ``{key}``.
        label_join: SQL template of the join that the label needs.
        needs_days: monthly rollups do not have it.
        needs_hours: only rollups with hours and single transfers have it.
        is_time: it is a calendar time.
        of_day: the day alone decides its value; a mean is over the covered days with that value.
        is_ordered: results are ordered by its key.
        of_stream: it belongs to the stream, not to the log entry.
        registry_key: the key where the network registry resolves codes.
        is_identifying: a value may stand for few clients, so rows of few are suppressed.
    """

    name: str
    key: str
    help: str
    joins: tuple[str, ...] = ()
    label: str = "{key}"
    label_join: str = ""
    needs_days: bool = False
    needs_hours: bool = False
    is_time: bool = False
    of_day: bool = False
    is_ordered: bool = False
    of_stream: bool = False
    registry_key: str = ""
    is_identifying: bool = False

    @property
    def uses_day(self) -> bool:
        """Whether the key is computed from the day."""
        return "{day}" in self.key

    def key_sql(self, *, day: str = "f.day", codes: str = "s", resolved: bool = False) -> str:
        """Return the SQL of the key.

        Args:
            day: SQL of the day.
            codes: alias of the table with the codes of a stream.
            resolved: the network registry is joined.
        """
        template = self.registry_key if resolved and self.registry_key else self.key
        return template.format(day=day, codes=codes)


@dataclass(frozen=True)
class Filter:
    """A column to filter by.

    Args:
        name: the name that users write.
        column: SQL of the column, a text that patterns are matched with.
        sql: SQL template around the condition on the column.
        help: one line for users.
        of_stream: it belongs to the stream.
        of_client: it belongs to the client or its software.
        values: all values that the column can have, if they are few.
        empty: how users write the empty text.
    """

    name: str
    column: str
    sql: str
    help: str
    of_stream: bool = False
    of_client: bool = False
    values: tuple[str, ...] = ()
    empty: str = ""


@dataclass(frozen=True)
class Measure:
    """A number of the result.

    Args:
        name: the name that users write.
        help: one line for users.
        sql: by kind of part (see `plan.Part`), the aggregate.
        amount: the column of rollups that it adds up, if any.
        unit: ``B`` for bytes; else it is a count.
    """

    name: str
    help: str
    sql: dict[str, str] = field(default_factory=dict)
    amount: str = ""
    unit: str = ""


#: Labels of `weekday` in their order.
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
#: The label of all but the largest groups.
OTHER = "other"
#: Dimensions that depend on how the registry resolves network codes.
NETWORK_DIMENSIONS = frozenset({"network", "network-name", "network-doi"})
#: Filters that also apply to coverage and rejected entries.
COVERAGE_FILTERS = ("server", "direction")


def _or_unknown(column: str) -> str:
    return f"coalesce({column}, '{UNKNOWN}')"


# Cities share names, so the country follows.
_CITY = (
    f"CASE WHEN o.city IN ('{UNKNOWN}', '{PRIVATE_NETWORK}') THEN o.city"
    f" ELSE {_or_unknown('o.city')}"
    f" || coalesce(' (' || nullif(o.country, '{UNKNOWN}') || ')', '') END"
)
_ASN = (
    f"CASE WHEN o.asn IS NULL THEN '{UNKNOWN}'"
    " ELSE 'AS' || o.asn::text || coalesce(' ' || o.organisation, '') END"
)
_INSTITUTION = (
    f"CASE WHEN o.institution IS NULL THEN '{UNKNOWN}' WHEN o.institution_source = '{BY_OPERATOR}'"
    f" THEN o.institution || ' ({BY_OPERATOR})' ELSE o.institution END"
)
_GEOHASH = _or_unknown("nullif(o.geohash, '')")
#: Columns of ``client_profile``, each a dimension and a filter: SQL, help of either.
_CLIENT_COLUMNS = {
    "class": ("o.class", "what the client is to the centre, by the operator's rules", "classes"),
    "country": (
        _or_unknown("o.country"),
        "country of the client: its ISO 3166 code",
        "countries, by code",
    ),
    "country-name": (
        _or_unknown("o.country_name"),
        "country of the client, in English",
        "countries, by name",
    ),
    "city": (_CITY, "city of the client, with the country's code", "cities, such as London*"),
    "geohash": (_GEOHASH, "geohash cell of the client", "cells, such as u0*"),
    "asn": (
        _ASN,
        "autonomous system of the client: who operates its network",
        "autonomous systems, such as AS559*",
    ),
    "institution": (_INSTITUTION, "institution of the client, if known", "institutions"),
    "user": (
        "o.auth_user",
        "pseudonym of the user name with which the client logged in",
        "users, by pseudonym",
    ),
}
#: Dimensions and filters of single persons, which only the operator may use.
PERSONAL = frozenset({"client", "user"})
#: Other names of dimensions and filters: FDSN web services' short forms, and everyday words.
SYNONYMS = {
    "net": "network",
    "sta": "station",
    "loc": "location",
    "cha": "channel",
    "software": "agent-family",
    "organisation": "institution",
    "organization": "institution",
}
_IDENTIFYING = frozenset({"city", "geohash", "asn", "institution", "agent", "agent-family"})
#: Dimensions and filters that come from the GeoIP database.
LOCATION_DIMENSIONS = frozenset({"country", "country-name", "city", "geohash"})

_AS_TEXT = "{key}::text"
_ISO_WEEK = (
    "(extract(isoyear FROM {key})::int)::text || '-W' ||"
    " lpad((extract(week FROM {key})::int)::text, 2, '0')"
)


def _calendar(name: str, label: str, help: str, *, needs_days: bool = False) -> Dimension:
    key = "{day}" if name == "day" else f"date_trunc('{name}', {{day}})::date"
    return Dimension(
        name,
        key,
        help,
        label=label,
        needs_days=needs_days,
        is_time=True,
        of_day=True,
        is_ordered=True,
    )


def _stream(name: str, help: str, *, key: str = "", registry_key: str = "") -> Dimension:
    key = key or f"{{codes}}.{name}"
    return Dimension(name, key, help, joins=("stream",), of_stream=True, registry_key=registry_key)


def _client(
    name: str, key: str, help: str, *, label: str = "{key}", label_join: str = ""
) -> Dimension:
    joins = ("client_profile", "agent") if key.startswith("a.") else ("client_profile",)
    return Dimension(name, key, help, joins, label, label_join, is_identifying=name in _IDENTIFYING)


def _registry(name: str, column: str, help: str) -> Dimension:
    return _stream(name, help, key="NULL::text", registry_key=f"network_period.{column}")


DIMENSIONS = {
    dimension.name: dimension
    for dimension in (
        Dimension(
            "server",
            "f.server",
            "ringserver that served it",
            label="v.name",
            label_join="JOIN server v ON v.server = {key}",
        ),
        Dimension(
            "direction",
            "f.direction",
            "TX: sent to the client, RX: received from it",
            label=_AS_TEXT,
        ),
        Dimension("protocol", "f.protocol", "DataLink, SeedLink, HTTP or Unknown", label=_AS_TEXT),
        _calendar("year", "substr({key}::text, 1, 4)", "year of the day"),
        _calendar(
            "quarter",
            "substr({key}::text, 1, 4) || '-Q' || (extract(quarter FROM {key})::int)::text",
            "quarter of the day",
        ),
        _calendar("month", "substr({key}::text, 1, 7)", "month of the day"),
        _calendar("week", _ISO_WEEK, "ISO week of the day", needs_days=True),
        _calendar("day", _AS_TEXT, "day: the server's local date", needs_days=True),
        Dimension(
            "weekday",
            "extract(isodow FROM {day})::int",
            "day of the week",
            label=f"(ARRAY{WEEKDAYS})[{{key}}]",
            needs_days=True,
            of_day=True,
            is_ordered=True,
        ),
        Dimension(
            "hour",
            f"nullif(f.hour, {NO_HOUR})",
            "local hour of the server, 00 to 23, if its logs are hourly",
            label="lpad({key}::text, 2, '0')",
            needs_days=True,
            needs_hours=True,
            is_ordered=True,
            is_identifying=True,
        ),
        _stream(
            "network",
            "network code, with the start year for temporary networks",
            registry_key="coalesce(network_period.network, {codes}.network)",
        ),
        _registry("network-name", "name", "name of the network in the registry"),
        _registry("network-doi", "doi", "DOI of the network in the registry"),
        _stream("station", "station code"),
        _stream("location", "location code"),
        _stream("channel", "channel code"),
        _stream("type", "packet type: MSEED, MSEED3, JSON, ..."),
        Dimension(
            "stream",
            "f.stream",
            "whole stream: network, station, location, channel and type",
            label="n.name",
            label_join="JOIN stream n ON n.stream = {key}",
            of_stream=True,
        ),
        _client(
            "client",
            "o.client",
            "pseudonym of the client's address",
            label="c.pseudonym",
            label_join="JOIN client c ON c.client = {key}",
        ),
        _client(
            "agent",
            "o.agent",
            "software of the client, as it reports it",
            label="g.name",
            label_join="JOIN agent g ON g.agent = {key}",
        ),
        _client("agent-family", "a.family", "software of the client without its version"),
        *(_client(name, sql, help) for name, (sql, help, _) in _CLIENT_COLUMNS.items()),
    )
}

#: Joins of the tables that keys need, in their order.
JOINS = {
    "stream": "JOIN stream s ON s.stream = f.stream",
    "network_period": "LEFT JOIN network_period ON network_period.code = {codes}.network"
    " AND f.since BETWEEN network_period.first_day AND network_period.last_day",
    "client_profile": "JOIN client_profile o ON o.client_profile = f.client_profile",
    "agent": "JOIN agent a ON a.agent = o.agent",
}

#: SQL template of the streams that meet a condition on the table ``stream``.
STREAM_FILTER = "f.stream IN (SELECT stream FROM stream WHERE {condition})"
_SERVER_FILTER = "f.server IN (SELECT server FROM server WHERE {condition})"
_PROFILE_FILTER = (
    "f.client_profile IN (SELECT o.client_profile FROM client_profile o WHERE {condition})"
)


def _stream_filter(name: str, help: str, *, column: str = "", empty: str = "") -> Filter:
    return Filter(name, column or name, STREAM_FILTER, help, of_stream=True, empty=empty)


def _listed_filter(name: str, help: str, values: tuple[str, ...]) -> Filter:
    return Filter(name, f"f.{name}", "{condition}", help, values=values)


def _joined_filter(name: str, table: str, column: str, help: str) -> Filter:
    profiles = f"SELECT client_profile FROM client_profile JOIN {table} USING ({table})"
    sql = f"f.client_profile IN ({profiles} WHERE {{condition}})"
    return Filter(name, column, sql, help, of_client=True)


FILTERS = {
    filter_.name: filter_
    for filter_ in (
        Filter("server", "name", _SERVER_FILTER, "servers"),
        _listed_filter("direction", "directions: TX (default), RX, or TX,RX", DIRECTIONS),
        _listed_filter("protocol", "protocols: DataLink, SeedLink, HTTP, Unknown", PROTOCOLS),
        _stream_filter(
            "network", "networks: XP is every network with this code, XP2014 is one of them"
        ),
        _stream_filter("station", "stations"),
        _stream_filter("location", "locations, `--` for the empty one", empty="--"),
        _stream_filter("channel", "channels"),
        _stream_filter("stream", "streams, such as FR_CIEL_00_HHZ/MSEED", column="name"),
        _stream_filter("type", "packet types"),
        _joined_filter("client", "client", "pseudonym", "clients, by pseudonym"),
        _joined_filter("agent", "agent", "agent.name", "agents"),
        _joined_filter("agent-family", "agent", "family", "agent families"),
        *(
            Filter(name, sql, _PROFILE_FILTER, help, of_client=True)
            for name, (sql, _, help) in _CLIENT_COLUMNS.items()
        ),
    )
}


def _mean(column: str, unit: str) -> Measure:
    """Return the measure of a mean per covered day.

    ``f.days`` is the number of covered days of the server and direction in the period, or in the
    year, month, ... if that is a dimension. Whole numbers are added up apart from fractions, so
    that large means are exact. Fractions are ordered, as the last digit of their sum depends on
    their order.
    """
    whole = f"floor(f.{column}::double precision / f.days)::decimal(38, 0)"
    rest = f"(f.{column} - {whole} * f.days)::double precision / f.days"
    mean = f"sum({whole}) + floor(sum({rest} ORDER BY {rest}) + 0.5)::decimal(38, 0)"
    sql = {"means": f"CASE WHEN {{is_covered}} THEN coalesce({mean}, 0) END"}
    return Measure(f"{column}-per-day", f"mean {column} of a covered day", sql, column, unit)


def _amount(name: str, help: str, unit: str = "") -> Measure:
    return Measure(name, help, {"amounts": f"coalesce(sum(f.{name}), 0)"}, name, unit)


MEASURES = {
    measure.name: measure
    for measure in (
        _amount("bytes", "payload of the records, as the server logged it", "B"),
        _amount("packets", "records"),
        _amount("transfers", "log lines: one stream of one entry"),
        Measure(
            "clients",
            "distinct clients (addresses)",
            dict.fromkeys(("amounts", "profiles"), "count(DISTINCT o.client)"),
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
            "distinct connections (server, client, connect time); a lower bound, as those of one"
            " client that begin in the same second count once",
            dict.fromkeys(("connections", "transfers"), "count(DISTINCT f.connection)"),
        ),
        *(_mean(name, unit) for name, unit in (("bytes", "B"), ("packets", ""), ("transfers", ""))),
    )
}

#: Measures that add up over rows.
ADDITIVE = frozenset({"bytes", "packets", "transfers"})
