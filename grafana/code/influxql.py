"""InfluxQL of the panels for InfluxDB 1.x. A variable that is "All" has the value `.*`."""

import sql
from ringserverstats.exports.influxdb.points import MEASUREMENT


def _is(tag: str, variable: str) -> str:
    return f'"{tag}" =~ /^(${{{variable}:regex}})$/'


_OF_SERVERS = (
    f'FROM "{MEASUREMENT}" WHERE $timeFilter AND {_is("server", "server")}'
    f" AND {_is('direction', 'direction')}"
)
_ROWS = " AND ".join(
    [_OF_SERVERS, *(_is(name, name) for name in sql.VARIABLES if name != "server")]
)
_CLIENT = f"{_OF_SERVERS} AND {_is('hosthash', 'client')}"
_DAY = "time(1d)"
_TOP = 20


def variable(tag: str) -> str:
    """Return the query of the values of a tag."""
    return f'SHOW TAG VALUES FROM "{MEASUREMENT}" WITH KEY = "{tag}"'


def _by(*tags: str) -> str:
    names = ", ".join(f'"{tag}"' for tag in tags)
    return f'SELECT sum("bytes") AS "Sent", sum("packets") AS "Packets" {_ROWS} GROUP BY {names}'


def _count(tag: str, name: str) -> str:
    """Return the query of the number of values of a tag; InfluxQL counts fields only, not tags."""
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
    f' WHERE {_is("server", "server")} GROUP BY "server", "direction"'
)
