"""The questions of panels to InfluxDB 1.x; a variable whose value is "All" is `.*`."""

from ringserverstats.outlets.points import MEASUREMENT

VARIABLES = ("server", "class", "network", "station", "country", "agent")
_TAGS = ("server", "direction", *VARIABLES[1:])
_FROM = f'FROM "{MEASUREMENT}" WHERE $timeFilter AND'


def _chosen(*tags: str) -> str:
    return " AND ".join(f'"{tag}" =~ /^(${{{tag}:regex}})$/' for tag in tags)


_ROWS = f"{_FROM} {_chosen(*_TAGS)}"
_OF_SERVERS = f"{_FROM} {_chosen('server', 'direction')}"
_CLIENT = f"{_OF_SERVERS} AND {_chosen('client')}".replace('"client"', '"hosthash"')
_DAY = "time(1d)"
_TOP = 20


def variable(tag: str) -> str:
    """The values of a tag."""
    return f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "{tag}"'


def _by(*tags: str) -> str:
    names = ", ".join(f'"{tag}"' for tag in tags)
    return f'SELECT sum("bytes") AS "Sent", sum("packets") AS "Packets" {_ROWS} GROUP BY {names}'


def _count(tag: str, name: str) -> str:
    """How many values of a tag there are: their sums are counted, as tags cannot be."""
    return (
        f'SELECT count("Sent") AS "{name}" FROM'
        f' (SELECT sum("bytes") AS "Sent" {_ROWS} GROUP BY "{tag}")'
    )


TOTAL = f'SELECT sum("bytes") AS "Sent" {_ROWS}'
CLIENTS = _count("hosthash", "Clients")
COUNTRIES = _count("country", "Countries")
STATIONS = (
    'SELECT count("Sent") AS "Stations" FROM'
    f' (SELECT sum("bytes") AS "Sent" {_ROWS} GROUP BY "network", "station")'
)
ACTIVITY = f'SELECT sum("bytes") {_ROWS} GROUP BY {_DAY}, "network" fill(none)'
BY_DAY = (
    'SELECT count("Sent") AS "Clients" FROM'
    f' (SELECT sum("bytes") AS "Sent" {_ROWS} GROUP BY {_DAY}, "hosthash" fill(none))'
    f" WHERE $timeFilter GROUP BY {_DAY} fill(none)"
)
BY_MONTH = f'SELECT sum("bytes") AS "Sent" {_ROWS} GROUP BY time(30d) fill(none)'
MAP = _by("geohash")
NETWORKS = _by("network")
TOP_STATIONS = _by("network", "station")
TOP_COUNTRIES = _by("country")
INSTITUTIONS = _by("city")
AGENTS = _by("agent")
TOP_CLIENTS = _by("hosthash", "country")
STATIONS_BY_DAY = f'SELECT sum("bytes") {_ROWS} GROUP BY {_DAY}, "station" fill(none)'
CLIENT_BY_DAY = f'SELECT sum("bytes") {_CLIENT} GROUP BY {_DAY}, "network" fill(none)'
CLIENT_TOTAL = f'SELECT sum("bytes") AS "Sent" {_CLIENT}'
CLIENT_STATIONS = (
    f'SELECT sum("bytes") AS "Sent", sum("packets") AS "Packets" {_CLIENT}'
    ' GROUP BY "network", "station"'
)
CLIENT_AGENTS = f'SELECT sum("bytes") AS "Sent" {_CLIENT} GROUP BY "agent", "country", "class"'
BY_SERVER = f'SELECT sum("bytes") {_OF_SERVERS} GROUP BY {_DAY}, "server" fill(none)'
LAST_ENTRY = (
    f'SELECT last("bytes") AS "Bytes of the last point" FROM "{MEASUREMENT}"'
    f' WHERE {_chosen("server")} GROUP BY "server", "direction"'
)
