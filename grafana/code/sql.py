"""SQL of the panels for PostgreSQL, each from the smallest rollup that answers it.

A variable that is "All" has the value `'*'`. Conditions on that are constant, so PostgreSQL reads
only the one table that is needed.
"""

from ringserverstats.enrich import labels
from ringserverstats.statistics.dimensions import DIMENSIONS
from ringserverstats.statistics.plan import SOURCES, TOTALS

#: Variables that select clients, and their dimensions.
_CLIENT_VARIABLES = {"class": "class", "country": "country", "agent": "agent-family"}
_PERIOD_JOIN = (
    "LEFT JOIN network_period n ON n.code = f.network AND f.day BETWEEN n.first_day AND n.last_day"
)
_NETWORK = "coalesce(n.network, f.network)"
_AMOUNTS = "f.bytes, f.packets, f.transfers"
#: How finely rows are split by stream: columns, and variables that need it.
_DETAILS = ("entry", "network", "station")
UNKNOWN = f"'{labels.UNKNOWN}'"


def is_all(variable: str) -> str:
    """Return the SQL condition that all values of ``variable`` are selected."""
    return f"'*' IN (${{{variable}:sqlstring}})"


def _is_selected(column: str, variable: str) -> str:
    """Return the SQL condition that a value is selected; a missing one is shown as unknown."""
    return f"({is_all(variable)} OR coalesce({column}, {UNKNOWN}) IN (${{{variable}:sqlstring}}))"


# Beside OR a subquery is evaluated once; a join with the rows takes longer.
_SELECTED_SERVERS = (
    f"({is_all('server')} OR f.server IN"
    " (SELECT server FROM server WHERE name IN (${server:sqlstring})))"
)
_ALL_CLIENTS = " AND ".join(map(is_all, _CLIENT_VARIABLES))
_PROFILES = " AND ".join(
    _is_selected(DIMENSIONS[dimension].key_sql(), variable)
    for variable, dimension in _CLIENT_VARIABLES.items()
)
# An array is evaluated before rows are unpacked. The sum prevents the use of an index, which takes
# twice as long where a class or country has many clients.
_SELECTED_CLIENTS = (
    f"({_ALL_CLIENTS} OR (f.client_profile + 0) = ANY (ARRAY("
    "SELECT o.client_profile FROM client_profile o"
    f" JOIN agent a ON a.agent = o.agent WHERE {_PROFILES})))"
)
_COMMON = (
    "$__timeFilter(f.day) AND f.direction = ${direction:sqlstring}::direction"
    f" AND {_SELECTED_SERVERS}"
)


def all_clients(detail: str = "entry") -> str:
    """Return the SQL of rows `r`, over all clients together unless variables select some.

    Args:
        detail: how finely they are split by stream, one of `_DETAILS`.
    """
    rows = (
        f"SELECT f.day, f.server, {_codes(detail)}{_AMOUNTS} FROM {TOTALS.daily} f {_PERIOD_JOIN}"
        f" WHERE {_ALL_CLIENTS} AND {_COMMON} AND {_selected_streams('station')}"
    )
    return f"({rows} UNION ALL {_rows(detail, f'NOT ({_ALL_CLIENTS})', '')}) r"


def by_client(detail: str = "entry") -> str:
    """Return the SQL of rows `r` by client, with their profile as ``o``."""
    rows = _rows(detail, "true", "f.client_profile, ")
    return f"({rows}) r JOIN client_profile o ON o.client_profile = r.client_profile"


def _codes(detail: str) -> str:
    columns = {"entry": "", "network": f"{_NETWORK} AS network, "}
    return columns.get(detail, f"{_NETWORK} AS network, f.station, ")


def _selected_streams(detail: str) -> str:
    conditions = [_is_selected(_NETWORK, "network")]
    if detail == "station":
        conditions.append(_is_selected("f.station", "station"))
    return " AND ".join(conditions)


def _rows(detail: str, where: str, client_profile: str) -> str:
    """Return the SQL of rows from the coarsest rollup that has what is shown and selected."""
    coarser = {
        "entry": f"{is_all('network')} AND {is_all('station')}",
        "network": is_all("station"),
    }
    selects, not_coarser = [], list[str]()
    for table_detail in _DETAILS[_DETAILS.index(detail) :]:
        conditions = [where, *not_coarser]
        if table_detail in coarser:
            conditions.append(coarser[table_detail])
            not_coarser.append(f"NOT ({coarser[table_detail]})")
        streams, join = "", ""
        if table_detail != "entry":
            streams, join = f" AND {_selected_streams(table_detail)}", f" {_PERIOD_JOIN}"
        selects.append(
            f"SELECT f.day, f.server, {client_profile}{_codes(detail)}{_AMOUNTS}"
            f" FROM {SOURCES[table_detail].daily} f{join}"
            f" WHERE {' AND '.join(conditions)} AND {_COMMON} AND {_SELECTED_CLIENTS}{streams}"
        )
    return " UNION ALL ".join(selects)


_TOP = 20
_SERIES = 9
_CLIENTS = "count(DISTINCT o.client)"

# Nothing is zero only if there are logs of the period.
_ZERO = (
    "CASE WHEN EXISTS (SELECT 1 FROM log_interval f WHERE $__timeFilter(f.day) AND f.direction ="
    f" ${{direction:sqlstring}}::direction AND {_SELECTED_SERVERS}) THEN 0 END"
)


def _count(expression: str) -> str:
    return f"coalesce(nullif({expression}, 0), {_ZERO})"


TOTAL = f'SELECT coalesce(sum(bytes), {_ZERO})::float8 AS "Sent" FROM {all_clients()}'
CLIENTS = f'SELECT {_count(_CLIENTS)} AS "Clients" FROM {by_client()}'
COUNTRIES = f'SELECT {_count("count(DISTINCT o.country)")} AS "Countries" FROM {by_client()}'
STATIONS = (
    f'SELECT {_count("count(*)")} AS "Stations" FROM'
    f" (SELECT 1 FROM {all_clients('station')} GROUP BY network, station) s"
)


def _by_day_and(column: str) -> str:
    """Return the SQL of bytes by day of the largest networks or stations, the others together."""
    return f"""
WITH rows AS MATERIALIZED (
    SELECT day, coalesce({column}, {UNKNOWN}) AS {column}, sum(bytes) AS bytes
      FROM {all_clients(column)} GROUP BY 1, 2
), top AS (
    SELECT {column} FROM rows GROUP BY 1 ORDER BY sum(bytes) DESC, {column} LIMIT {_SERIES}
)
SELECT $__timeGroup(day::timestamp, '1d') AS time,
       CASE WHEN {column} IN (SELECT {column} FROM top) THEN {column} ELSE 'other' END AS metric,
       sum(bytes)::float8 AS value
  FROM rows GROUP BY 1, 2 ORDER BY 1, 2
"""


ACTIVITY = _by_day_and("network")
STATIONS_BY_DAY = _by_day_and("station")
BY_DAY = f"""
SELECT $__timeGroup(r.day::timestamp, '1d') AS time, {_CLIENTS} AS "Clients"
  FROM {by_client()} GROUP BY 1 ORDER BY 1
"""
# Months without logs are empty, not left out.
BY_MONTH = f"""
WITH rows AS (
    SELECT date_trunc('month', r.day)::date AS month, sum(bytes)::float8 AS bytes
      FROM {all_clients()} GROUP BY 1
)
SELECT to_char(m.month, 'YYYY-MM') AS month, rows.bytes AS "Sent"
  FROM (SELECT generate_series(min(month), max(month), interval '1 month')::date AS month
          FROM rows) m LEFT JOIN rows ON rows.month = m.month ORDER BY 1
"""
MAP = f"""
SELECT o.geohash, min(coalesce(o.country_name, {UNKNOWN})) AS country,
       sum(r.bytes)::float8 AS "Sent", {_CLIENTS} AS "Clients"
  FROM {by_client()} WHERE o.geohash <> '' AND o.geohash NOT IN ('unknown', 'private network')
 GROUP BY 1 ORDER BY 3 DESC LIMIT 1000
"""


def _top(column: str, name: str, rows: str = by_client()) -> str:
    """Return the SQL of bytes and clients of ``rows`` by ``column``, with most bytes first."""
    return (
        f'SELECT coalesce({column}, {UNKNOWN}) AS "{name}", sum(r.bytes)::float8 AS "Sent",'
        f' {_CLIENTS} AS "Clients" FROM {rows} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_TOP}'
    )


NETWORKS = _top("r.network", "Network", by_client("network"))
TOP_COUNTRIES = _top("o.country_name", "Country")
INSTITUTIONS = _top("o.institution", "Institution")
AGENTS = _top("a.family", "Agent", f"{by_client()} JOIN agent a ON a.agent = o.agent")
TOP_STATIONS = f"""
SELECT coalesce(network, {UNKNOWN}) AS "Network", coalesce(station, {UNKNOWN}) AS "Station",
       sum(bytes)::float8 AS "Sent", sum(packets)::float8 AS "Packets"
  FROM {all_clients("station")} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {_TOP}
"""
TOP_CLIENTS = (
    'SELECT c.pseudonym AS "Client", min(coalesce(o.country_name, '
    f'{UNKNOWN})) AS "Country", sum(r.bytes)::float8 AS "Sent"'
    f" FROM {by_client()} JOIN client c ON c.client = o.client"
    f" GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {_TOP}"
)

_CLIENT_PROFILES = (
    "f.client_profile = ANY (ARRAY(SELECT o.client_profile FROM client_profile o"
    " JOIN client c ON c.client = o.client WHERE c.pseudonym = ${client:sqlstring}))"
)
_WHERE_CLIENT = f"WHERE {_COMMON} AND {_CLIENT_PROFILES}"
CLIENT_BY_DAY = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time,
       coalesce({_NETWORK}, {UNKNOWN}) AS metric, sum(f.bytes)::float8 AS value
  FROM network_by_day f {_PERIOD_JOIN} {_WHERE_CLIENT} GROUP BY 1, 2 ORDER BY 1, 2
"""
CLIENT_TOTAL = (
    f'SELECT coalesce(sum(f.bytes), {_ZERO})::float8 AS "Sent"'
    f" FROM connection_by_day f {_WHERE_CLIENT}"
)
CLIENT_CONNECTIONS = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time,
       count(DISTINCT f.connection) AS "Connections"
  FROM connection_by_day f {_WHERE_CLIENT} GROUP BY 1 ORDER BY 1
"""
CLIENT_STATIONS = f"""
SELECT coalesce({_NETWORK}, {UNKNOWN}) AS "Network", coalesce(f.station, {UNKNOWN}) AS "Station",
       sum(f.bytes)::float8 AS "Sent", sum(f.packets)::float8 AS "Packets",
       max(f.day)::text AS "Last day"
  FROM station_by_day f {_PERIOD_JOIN} {_WHERE_CLIENT} GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""
CLIENT_AGENTS = f"""
SELECT a.name AS "Agent", coalesce(o.country_name, {UNKNOWN}) AS "Country",
       coalesce(o.class, {UNKNOWN}) AS "Class", sum(f.bytes)::float8 AS "Sent",
       min(f.day)::text AS "First day", max(f.day)::text AS "Last day"
  FROM connection_by_day f JOIN client_profile o ON o.client_profile = f.client_profile
  JOIN agent a ON a.agent = o.agent {_WHERE_CLIENT} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1 LIMIT 100
"""

_SERVERS = f"({is_all('server')} OR v.name IN (${{server:sqlstring}}))"
# The last row of the index for the server and direction.
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
# Rejects without a day, which the alert counts too, stand at the end of the period. No macro of
# Grafana takes an argument with parentheses.
REJECTS = f"""
SELECT $__timeGroup(f.day::timestamp, '1d') AS time,
       v.name || CASE WHEN f.has_day THEN '' ELSE ', day unknown' END AS metric,
       sum(f.entries)::float8 AS value
  FROM (SELECT server, coalesce(day, $__timeTo()::date) AS day, day IS NOT NULL AS has_day, entries
          FROM reject) f
  JOIN server v ON v.server = f.server
 WHERE $__timeFilter(f.day) AND {_SERVERS} GROUP BY 1, 2 ORDER BY 1, 2
"""
REASONS = f"""
SELECT v.name AS "Server", f.reason AS "Reason", sum(f.entries)::bigint AS "Entries",
       max(f.day)::text AS "Last day"
  FROM reject f JOIN server v ON v.server = f.server
 WHERE (f.day IS NULL OR $__timeFilter(f.day)) AND {_SERVERS}
 GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 100
"""

VARIABLES = {
    "server": "SELECT name FROM server ORDER BY 1",
    "class": f"SELECT DISTINCT coalesce(class, {UNKNOWN}) FROM client_profile ORDER BY 1",
    "network": f"SELECT DISTINCT coalesce(n.network, s.network, {UNKNOWN})"
    " FROM stream s LEFT JOIN network_period n ON n.code = s.network ORDER BY 1",
    "station": f"SELECT DISTINCT coalesce(station, {UNKNOWN}) FROM stream ORDER BY 1",
    "country": f"SELECT DISTINCT coalesce(country, {UNKNOWN}) FROM client_profile ORDER BY 1",
    "agent": "SELECT DISTINCT family FROM agent ORDER BY 1",
}

#: Rows of alert rules; the last column of each is the number that is compared.
SILENT = f"""
SELECT v.name AS server, (current_date - f.day)::float8 AS days
  FROM server v CROSS JOIN (VALUES ('TX'::direction)) AS d (direction) {_LAST}
 WHERE v.last_day IS NULL OR v.last_day >= current_date
"""
# Of covered days only, so that a day without bytes counts as 0.
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
# Also those without a day: broken logs from standard input or HTTP.
REJECTED = """
SELECT v.name AS server, coalesce(sum(f.entries), 0)::float8 AS rejects
  FROM server v LEFT JOIN reject f
    ON f.server = v.server AND (f.day IS NULL OR f.day >= current_date - 2)
 GROUP BY 1
"""
