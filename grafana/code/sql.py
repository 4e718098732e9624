"""The questions of panels to PostgreSQL, built from the sums that answer them soonest.

A variable whose value is "All" is `'*'`, and so a condition that PostgreSQL knows before it looks
at any row: of the tables that might answer, it reads the one that has to be read.
"""

#: Variables that choose among clients.
_OF_CLIENTS = ("class", "country", "agent")
_SPAN = (
    "LEFT JOIN network_period n ON n.code = f.network AND f.day BETWEEN n.first_day AND n.last_day"
)
_NETWORK = "coalesce(n.network, f.network)"
_AMOUNTS = "f.bytes, f.packets, f.transfers"
#: By how much of a stream the rows are split: what they tell of it.
_DETAILS = ("nothing", "network", "station")
UNKNOWN = "'unknown'"


def is_all(variable: str) -> str:
    """SQL: whether all values of ``variable`` are chosen."""
    return f"'*' IN (${{{variable}:sqlstring}})"


def _chosen(column: str, variable: str) -> str:
    return f"({is_all(variable)} OR {column} IN (${{{variable}:sqlstring}}))"


# Beside an "or" a list is looked up for each row, and not joined with the rows, which takes longer.
_CHOSEN_SERVERS = (
    f"({is_all('server')} OR f.server IN"
    " (SELECT server FROM server WHERE name IN (${server:sqlstring})))"
)
_ALL_CLIENTS = " AND ".join(is_all(name) for name in _OF_CLIENTS)
_CLIENTS_ARE = " AND ".join(
    _chosen(column, name)
    for column, name in (
        ("o.class", "class"),
        (f"coalesce(o.country, {UNKNOWN})", "country"),
        ("a.family", "agent"),
    )
)
# As an array, which is known before the rows: so it is looked at before these are unpacked. And of
# a sum, as with an index it takes twice as long where a class or country has many clients.
_CHOSEN_CLIENTS = (
    f"({_ALL_CLIENTS} OR (f.client_profile + 0) = ANY (ARRAY(SELECT o.client_profile FROM client_profile o"
    f" JOIN agent a ON a.agent = o.agent WHERE {_CLIENTS_ARE})))"
)
_COMMON = (
    "$__timeFilter(f.day) AND f.direction = ${direction:sqlstring}::direction"
    f" AND {_CHOSEN_SERVERS}"
)


def together(detail: str = "nothing") -> str:
    """SQL of rows `r` of what was sent, of all clients together where none are chosen.

    Args:
        detail: how much of a stream they tell: nothing, network or station.
    """
    rows = (
        f"SELECT f.day, f.server, {_told(detail)}{_AMOUNTS} FROM station_total_by_day f {_SPAN}"
        f" WHERE {_ALL_CLIENTS} AND {_COMMON} AND {_of_streams('station')}"
    )
    return f"({rows} UNION ALL {_by_client(detail, f'NOT ({_ALL_CLIENTS})', '')}) r"


def of_clients(detail: str = "nothing") -> str:
    """SQL of rows `r` of what was sent to each client, with what is known of it as ``o``."""
    return f"({_by_client(detail, 'true', 'f.client_profile, ')}) r JOIN client_profile o ON o.client_profile = r.client_profile"


def _told(detail: str) -> str:
    columns = {"nothing": "", "network": f"{_NETWORK} AS network, "}
    return columns.get(detail, f"{_NETWORK} AS network, f.station, ")


def _of_streams(detail: str) -> str:
    conditions = [_chosen(_NETWORK, "network")]
    if detail == "station":
        conditions.append(_chosen("f.station", "station"))
    return " AND ".join(conditions)


def _by_client(detail: str, where: str, client_profile: str) -> str:
    """SQL of rows by client, from the coarsest table that knows what is told and chosen."""
    coarser = {
        "nothing": f"{is_all('network')} AND {is_all('station')}",
        "network": is_all("station"),
    }
    parts, before = [], list[str]()
    tables = ("connection_by_day", "network_by_day", "station_by_day")
    for one, table in zip(_DETAILS, tables, strict=True):
        if _DETAILS.index(one) < _DETAILS.index(detail):
            continue
        conditions = [where, *before, *([coarser[one]] if one in coarser else [])]
        of_streams = "" if one == "nothing" else f" AND {_of_streams(one)}"
        span = "" if one == "nothing" else f" {_SPAN}"
        parts.append(
            f"SELECT f.day, f.server, {client_profile}{_told(detail)}{_AMOUNTS} FROM {table} f{span}"
            f" WHERE {' AND '.join(conditions)} AND {_COMMON} AND {_CHOSEN_CLIENTS}{of_streams}"
        )
        if one in coarser:
            before.append(f"NOT ({coarser[one]})")
    return " UNION ALL ".join(parts)


_TOP = 20
_SERIES = 9
_CLIENTS = "count(DISTINCT o.client)"

TOTAL = f'SELECT coalesce(sum(bytes), 0)::float8 AS "Sent" FROM {together()}'
CLIENTS = f'SELECT {_CLIENTS} AS "Clients" FROM {of_clients()}'
COUNTRIES = f'SELECT count(DISTINCT o.country) AS "Countries" FROM {of_clients()}'
STATIONS = (
    'SELECT count(*) AS "Stations" FROM'
    f" (SELECT 1 FROM {together('station')} GROUP BY network, station) s"
)


def _by_day_and(what: str) -> str:
    """SQL of bytes by day, of the networks or stations that were sent most, the others together."""
    return f"""
WITH rows AS MATERIALIZED (
    SELECT day, coalesce({what}, {UNKNOWN}) AS {what}, sum(bytes) AS bytes
      FROM {together(what)} GROUP BY 1, 2
), top AS (
    SELECT {what} FROM rows GROUP BY 1 ORDER BY sum(bytes) DESC, {what} LIMIT {_SERIES}
)
SELECT $__timeGroup(day::timestamp, '1d') AS time,
       CASE WHEN {what} IN (SELECT {what} FROM top) THEN {what} ELSE 'other' END AS metric,
       sum(bytes)::float8 AS value
  FROM rows GROUP BY 1, 2 ORDER BY 1, 2
"""


ACTIVITY = _by_day_and("network")
STATIONS_BY_DAY = _by_day_and("station")
BY_DAY = f"""
SELECT $__timeGroup(r.day::timestamp, '1d') AS time, {_CLIENTS} AS "Clients"
  FROM {of_clients()} GROUP BY 1 ORDER BY 1
"""
BY_MONTH = f"""
SELECT to_char(date_trunc('month', r.day), 'YYYY-MM') AS month, sum(bytes)::float8 AS "Sent"
  FROM {together()} GROUP BY 1 ORDER BY 1
"""
MAP = f"""
SELECT o.geohash, min(coalesce(o.country_name, {UNKNOWN})) AS country,
       sum(r.bytes)::float8 AS "Sent", {_CLIENTS} AS "Clients"
  FROM {of_clients()} WHERE o.geohash <> '' AND o.geohash NOT IN ('unknown', 'private network')
 GROUP BY 1 ORDER BY 3 DESC LIMIT 1000
"""


def _of_whom(column: str, name: str, rows: str = of_clients()) -> str:
    """SQL of the clients in ``rows`` by ``column``, those that were sent most first."""
    return (
        f'SELECT coalesce({column}, {UNKNOWN}) AS "{name}", sum(r.bytes)::float8 AS "Sent",'
        f' {_CLIENTS} AS "Clients" FROM {rows} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_TOP}'
    )


NETWORKS = _of_whom("r.network", "Network", of_clients("network"))
TOP_COUNTRIES = _of_whom("o.country_name", "Country")
INSTITUTIONS = _of_whom("o.institution", "Institution")
AGENTS = _of_whom("a.family", "Agent", f"{of_clients()} JOIN agent a ON a.agent = o.agent")
TOP_STATIONS = f"""
SELECT coalesce(network, {UNKNOWN}) AS "Network", coalesce(station, {UNKNOWN}) AS "Station",
       sum(bytes)::float8 AS "Sent", sum(packets)::float8 AS "Packets"
  FROM {together("station")} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {_TOP}
"""
TOP_CLIENTS = (
    'SELECT c.pseudonym AS "Client", min(coalesce(o.country_name, '
    f'{UNKNOWN})) AS "Country", sum(r.bytes)::float8 AS "Sent"'
    f" FROM {of_clients()} JOIN client c ON c.client = o.client"
    f" GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {_TOP}"
)

_ITS_ORIGINS = (
    "f.client_profile = ANY (ARRAY(SELECT o.client_profile FROM client_profile o JOIN client c ON c.client = o.client"
    " WHERE c.pseudonym = ${client:sqlstring}))"
)
_ITS = f"{_COMMON} AND {_ITS_ORIGINS}"
CLIENT_BY_DAY = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time,
       coalesce({_NETWORK}, {UNKNOWN}) AS metric, sum(f.bytes)::float8 AS value
  FROM network_by_day f {_SPAN} WHERE {_ITS} GROUP BY 1, 2 ORDER BY 1, 2
"""
CLIENT_TOTAL = (
    f'SELECT coalesce(sum(f.bytes), 0)::float8 AS "Sent" FROM connection_by_day f WHERE {_ITS}'
)
CLIENT_CONNECTIONS = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time,
       count(DISTINCT f.connection) AS "Connections"
  FROM connection_by_day f WHERE {_ITS} GROUP BY 1 ORDER BY 1
"""
CLIENT_STATIONS = f"""
SELECT coalesce({_NETWORK}, {UNKNOWN}) AS "Network", coalesce(f.station, {UNKNOWN}) AS "Station",
       sum(f.bytes)::float8 AS "Sent", sum(f.packets)::float8 AS "Packets",
       max(f.day)::text AS "Last day"
  FROM station_by_day f {_SPAN} WHERE {_ITS} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""
CLIENT_AGENTS = f"""
SELECT a.name AS "Agent", coalesce(o.country_name, {UNKNOWN}) AS "Country",
       coalesce(o.class, {UNKNOWN}) AS "Class", sum(f.bytes)::float8 AS "Sent",
       min(f.day)::text AS "First day", max(f.day)::text AS "Last day"
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
  JOIN agent a ON a.agent = o.agent WHERE {_ITS} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1 LIMIT 100
"""

_SERVERS = _chosen("v.name", "server")
# A look at the last row of the index that is of the server and direction.
_LAST = """
CROSS JOIN LATERAL (
    SELECT f.day FROM hour_by_day f
     WHERE f.server = v.server AND f.direction = d.direction ORDER BY f.day DESC LIMIT 1
) f
"""
LAST_ENTRY = f"""
SELECT v.name AS "Server", d.direction::text AS "Direction", f.day::text AS "Last day",
       (current_date - f.day)::float8 AS "Days ago"
  FROM server v CROSS JOIN unnest(ARRAY['TX', 'RX']::direction[]) AS d (direction) {_LAST}
 WHERE {_SERVERS} ORDER BY 4 DESC, 1, 2
"""
BY_SERVER = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time, v.name AS metric,
       sum(f.bytes)::float8 AS value
  FROM station_total_by_day f JOIN server v ON v.server = f.server
 WHERE $__timeFilter(f.day) AND f.direction = ${{direction:sqlstring}}::direction AND {_SERVERS}
 GROUP BY 1, 2 ORDER BY 1, 2
"""
COVERAGE = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time, v.name AS metric,
       round(100.0 * max(f.minutes) / 1440)::float8 AS value
  FROM coverage f JOIN server v ON v.server = f.server
 WHERE $__timeFilter(f.day) AND f.direction = ${{direction:sqlstring}}::direction AND {_SERVERS}
 GROUP BY 1, 2 ORDER BY 1, 2
"""
REJECTS = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time, v.name AS metric, count(*)::float8 AS value
  FROM reject f JOIN server v ON v.server = f.server
 WHERE $__timeFilter(f.day) AND {_SERVERS} GROUP BY 1, 2 ORDER BY 1, 2
"""
REASONS = f"""
SELECT v.name AS "Server", f.reason AS "Reason", count(*) AS "Rejects",
       max(f.day)::text AS "Last day"
  FROM reject f JOIN server v ON v.server = f.server
 WHERE $__timeFilter(f.day) AND {_SERVERS} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""

VARIABLES = {
    "server": "SELECT name FROM server ORDER BY 1",
    "class": "SELECT DISTINCT class FROM client_profile WHERE class IS NOT NULL ORDER BY 1",
    "network": "SELECT DISTINCT coalesce(n.network, s.network) FROM stream s LEFT JOIN network_period n"
    " ON n.code = s.network WHERE s.network IS NOT NULL ORDER BY 1",
    "station": "SELECT DISTINCT station FROM stream WHERE station IS NOT NULL ORDER BY 1",
    "country": f"SELECT DISTINCT coalesce(country, {UNKNOWN}) FROM client_profile ORDER BY 1",
    "agent": "SELECT DISTINCT family FROM agent ORDER BY 1",
}

#: Rows that are worth an alarm; each has a number in its last column.
SILENT = f"""
SELECT v.name AS server, (current_date - f.day)::float8 AS days
  FROM server v CROSS JOIN (VALUES ('TX'::direction)) AS d (direction) {_LAST}
 WHERE v.last_day IS NULL OR v.last_day >= current_date
"""
# Of covered days, so that one on which nothing was sent is 0 and no other day's.
UNUSUAL = """
WITH day AS (
    SELECT c.server, c.day, coalesce(sum(f.bytes), 0)::float8 AS bytes
      FROM complete_day c LEFT JOIN hour_by_day f
        ON f.server = c.server AND f.direction = c.direction AND f.day = c.day
     WHERE c.direction = 'TX' AND c.day >= current_date - 33 GROUP BY 1, 2
), last AS (
    SELECT server, max(day) AS day FROM day GROUP BY 1 HAVING max(day) >= current_date - 3
)
SELECT v.name AS server,
       max(d.bytes) FILTER (WHERE d.day = l.day)
           / nullif(percentile_cont(0.5) WITHIN GROUP (ORDER BY d.bytes)
                    FILTER (WHERE d.day < l.day AND d.day >= l.day - 28), 0) AS ratio
  FROM day d JOIN last l ON l.server = d.server JOIN server v ON v.server = d.server
 WHERE v.last_day IS NULL OR v.last_day >= current_date
 GROUP BY 1
"""
# Also of what has no day: broken logs from standard input, or posted.
REJECTED = """
SELECT v.name AS server, count(f.server)::float8 AS rejects
  FROM server v LEFT JOIN reject f
    ON f.server = v.server AND (f.day IS NULL OR f.day >= current_date - 2)
 GROUP BY 1
"""
