"""A year of a large centre as a store, and how long questions to it take.

`make` fills a new DuckDB store by SQL, as 100 million lines of logs would be slow to write and
read; `ringserverstats audit` finds nothing wrong with it. `ask` times the queries of a dashboard,
on a store of either kind. The same arguments give the same rows. `ask --stale 1` deletes the
rollups of one day, times a period of 30 days that ends with it, and builds them again.
"""

import argparse
import math
import random
import statistics
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from ringserverstats.enrich import rows
from ringserverstats.enrich.agents import parse_agent
from ringserverstats.enrich.geoip import geohash
from ringserverstats.enrich.pseudonyms import number, pseudonym
from ringserverstats.enrich.streams import parse_stream
from ringserverstats.keys import Keys
from ringserverstats.opening import open_store
from ringserverstats.settings import Secret, Settings
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.base import Store
from ringserverstats.store.duckdb.store import DuckDBStore
from ringserverstats.store.refresh import recount
from ringserverstats.store.sql_store import Options

SECRET = b"k" * 32
YEAR, DAYS = 2025, 365
CLIENT_COUNT, AGENT_COUNT, FEEDERS = 1500, 40, 20
NETWORKS = [a + b for a in "FGRMC" for b in "ABCDEFGH"]
STATION_COUNT, CHANNELS = 600, ("HHZ", "HHN", "HHE", "BHZ", "LHZ")
STREAM_COUNT = STATION_COUNT * len(CHANNELS)
FAMILIES = ["slarchive", "slinktool", "chain_plugin", "obspy", "seiscomp", "jamaseis"]
FAMILIES += ["slink2dali", "ringserver", "swarm", "earthworm", "dalitool", "curl"]

COUNTRIES = ("FR", "DE", "IT", "US", "JP", "CL", "GR", "CH", "ES", "TR", "NZ", "CN", "GB", "MX")
PLACES = range(150)

# One row for each day and subscriber that is active on it: an entry of a log.
ENTRY = f"""
CREATE OR REPLACE TEMP TABLE entry AS
SELECT *, entry_number({{server}}, id) AS number FROM (
    SELECT s.* EXCLUDE (first), d::date AS day,
           md5(concat_ws(' ', s.client_profile, d::date))::uuid AS id,
           signed(hash(s.client_profile, (d::date - DATE '{YEAR}-01-01' + s.first) // 30))
               AS connection,
           {{first}} AS first, {{stride}} AS stride
      FROM range(TIMESTAMP '{{month}}', TIMESTAMP '{{month}}' + INTERVAL 1 MONTH, INTERVAL 1 DAY)
           AS days(d), subscriber s
     WHERE hash(s.client_profile, d) % 1000 < s.active
) ORDER BY day, number
"""
# Steps of 30 n + 1 over 3,000 streams meet none twice, and no station twice in a row.
STEADY = {"first": "s.first", "stride": "1"}
RANDOM = {
    "first": f"(hash(s.client_profile, d, 1) % {STREAM_COUNT})::bigint",
    "stride": "31 + 30 * (hash(s.client_profile, d, 2) % 99)::bigint",
}
TRANSFER = f"""
INSERT INTO transfer
SELECT {{server}}, day, NULL, direction::direction, protocol::protocol, client_profile, stream,
       number, connection, packets * 512, packets
  FROM (SELECT *, 50 + (hash(client_profile, place, day) % 90000)::bigint AS packets FROM (
      SELECT *, (first + stride * step) % {STREAM_COUNT} AS place FROM (
          SELECT *, unnest(range(length)) AS step FROM entry))) JOIN place USING (place)
"""
SEEN = """
INSERT INTO entry_ledger
SELECT {server}, day + 1, id, day, bytes, packets, transfers, (day + 1)::timestamp
  FROM entry JOIN (
      SELECT entry AS number, sum(bytes)::bigint AS bytes, sum(packets)::bigint AS packets,
             count(*) AS transfers
        FROM transfer WHERE day BETWEEN {span} GROUP BY entry) USING (number) ORDER BY day, number
"""
SERVER_DAYS = """
INSERT INTO server_day
SELECT server, day, 1, 0, false, count(*), sum(transfers), sum(bytes), sum(packets), day + 1
  FROM entry_ledger GROUP BY server, day
"""
LOG_INTERVALS = f"""
INSERT INTO log_interval
SELECT {{server}}, 'TX', d::date, 0, 1440, d::date, d::date, true
  FROM range(TIMESTAMP '{YEAR}-01-01', TIMESTAMP '{YEAR + 1}-01-01', INTERVAL 1 DAY) days(d)
"""


def streams(keys: Keys) -> pa.Table:
    """All streams, those of a station and of a network side by side."""
    found = []
    for place in range(STREAM_COUNT):
        station, channel = divmod(place, len(CHANNELS))
        network = NETWORKS[station * len(NETWORKS) // STATION_COUNT]
        stream = parse_stream(f"{network}_S{station:03d}_00_{CHANNELS[channel]}/MSEED".encode())
        found.append({"stream": rows.stream_id(keys, stream.name), **vars(stream)})
    return pa.Table.from_pylist(found, rows.STREAMS)


def names(keys: Keys, rng: random.Random) -> dict[str, pa.Table]:
    """The small tables, with the ids that the program gives to such names."""
    agents, clients = [], []
    for one in range(AGENT_COUNT):
        version, family = divmod(one, len(FAMILIES))
        text, name = vars(parse_agent(f"{FAMILIES[family]}/{version + 1}.{one}".encode())).values()
        agents.append({"agent": rows.agent_id(keys, text), "name": text, "family": name})
    for one in range(CLIENT_COUNT):
        alias = pseudonym(keys.clients, f"10.0.{one // 250}.{one % 250}")
        clients.append({"client": number(alias), "pseudonym": alias})
    pairs = [
        (client["client"], agent["agent"])
        for one, client in enumerate(clients)
        for agent in rng.sample(agents, 2 if one % 7 == 0 else 1)
    ]
    client_profiles = [client_profile(keys, *pair, rng.choice(PLACES)) for pair in pairs]
    return {
        "stream": streams(keys),
        "agent": pa.Table.from_pylist(agents, rows.AGENTS),
        "client": pa.Table.from_pylist(clients, rows.CLIENTS),
        "client_profile": pa.Table.from_pylist(client_profiles, rows.CLIENT_PROFILES),
    }


def client_profile(keys: Keys, client: int, agent: int, place: int) -> dict[str, object]:
    """Who reads, in one of some made-up places."""
    country = COUNTRIES[place % len(COUNTRIES)]
    latitude, longitude = place * 37 % 120 - 50.0, place * 53 % 340 - 170.0
    known = {
        "client": client,
        "agent": agent,
        "direction": "TX",
        "country": country,
        "country_name": f"Country {country}",
        "city": f"City {place}",
        "latitude": latitude,
        "longitude": longitude,
        "geohash": geohash(latitude, longitude, 5),
        "location_source": "GeoLite2-City",
        "domain": f"institute{place}.example",
    }
    of = rows.client_profile_id(keys, [known.get(name) for name in rows.AS_READ])
    classes = {"class": "external", "institution": known["domain"], "institution_source": "domain"}
    return {"client_profile": of, **known, **classes}


def subscribers(client_profiles: list[int], transfers: int, rng: random.Random) -> pa.Table:
    """What each client_profile takes: ``length`` streams on ``active`` of 1,000 days."""
    active = [970 if rng.random() < 0.85 else rng.randint(200, 800) for _ in client_profiles]
    weights = [rng.uniform(0, 2) for _ in client_profiles]
    total = sum(a * w for a, w in zip(active, weights, strict=True)) / 1000
    lengths = [round(weight * transfers / DAYS / total) for weight in weights]
    protocols = rng.choices(("SeedLink", "DataLink", "HTTP"), (90, 6, 4), k=len(client_profiles))
    return pa.table(
        {
            "client_profile": client_profiles,
            "direction": ["RX" if one < FEEDERS else "TX" for one in range(len(client_profiles))],
            "protocol": protocols,
            "active": active,
            "length": [min(max(length, 1), STREAM_COUNT) for length in lengths],
            "first": [rng.randrange(STREAM_COUNT) for _ in client_profiles],
        }
    )


def fill(path: Path, server: int, tables: dict[str, pa.Table], plan: pa.Table, kind: dict) -> None:
    """Write everything, month by month."""
    with duckdb.connect(path) as connection:
        connection.execute("SET memory_limit = '8GB'")
        connection.execute(f"SET temp_directory = '{path.parent / (path.name + '.tmp')}'")
        for name, table in tables.items():
            connection.register("given", table)
            connection.execute(f"INSERT INTO {name} SELECT * FROM given")
        connection.register("subscriber", plan)
        places = {"place": range(STREAM_COUNT), "stream": tables["stream"]["stream"]}
        connection.register("place", pa.table(places))
        connection.execute(LOG_INTERVALS.format(server=server))
        for month in range(1, 13):
            begin, first = time.perf_counter(), date(YEAR, month, 1)
            span = f"DATE '{first}' AND last_day(DATE '{first}')"
            connection.execute("BEGIN")
            for sql in (ENTRY, TRANSFER, SEEN):
                connection.execute(sql.format(server=server, month=first, span=span, **kind))
            connection.execute("COMMIT")
            print(f"{first:%Y-%m}: {time.perf_counter() - begin:.1f} s", flush=True)
        connection.execute(SERVER_DAYS)
        # A small store leaves streams that nobody takes; only received streams have names.
        connection.execute("DELETE FROM stream WHERE stream NOT IN (SELECT stream FROM transfer)")
        connection.execute("CHECKPOINT")
        [count] = connection.execute("SELECT count(*) FROM transfer").fetchone() or (0,)
        print(f"{count:,} transfers")


def make(path: Path, transfers: int, kind: dict[str, str]) -> None:
    """Make the store ``path``."""
    if path.exists():
        raise SystemExit(f"{path} is there already")
    begin = time.perf_counter()
    options = Options(
        secret=SECRET,
        secrets=path.parent,
        ipv6_prefix=64,
        lock_timeout=30,
        memory="1GB",
        notify=print,
    )
    store = DuckDBStore(path, options)
    keys = store.open(create=True).keys
    server = store.add_server("a", "UTC").number
    rng = random.Random(YEAR)
    tables = names(keys, rng)
    plan = subscribers(tables["client_profile"]["client_profile"].to_pylist(), transfers, rng)
    fill(path, server, tables, plan, kind)
    store.refresh()
    print(f"{time.perf_counter() - begin:.0f} s, {path.stat().st_size / 1e6:,.0f} MB")


#: Classes of periods: the wanted limits in ms, of DuckDB and PostgreSQL.
LIMITS = {"7 days": (100, 500), "30 days": (100, 500), "year": (300, 1000)}
LIMITS |= {"any other": (2000, 8000)}
DASHBOARD = {
    "totals": {},
    "by day": {"dimensions": ("day",)},
    "by month": {"dimensions": ("month",)},
    **{
        f"top {name}": {"dimensions": (name,), "top": 20}
        for name in ("network", "station", "client")
    },
    "top agent": {"dimensions": ("agent",), "top": 20},
}
OTHERS = {
    "station, of a network": {"dimensions": ("station",), "filters": {"network": ("FA",)}},
    "channel": {"dimensions": ("channel",)},
    "day, network": {"dimensions": ("day", "network")},
    "month, station": {"dimensions": ("month", "station")},
    "stream": {"dimensions": ("stream",)},
    "client, of a network": {"dimensions": ("client",), "filters": {"network": ("FA",)}},
    "agent-family, month": {"dimensions": ("agent-family", "month")},
}
STARTS = (date(2025, 2, 3), date(2025, 5, 20), date(2025, 8, 28), date(2025, 11, 30))
WHOLE = (date(YEAR, 1, 1), date(YEAR, 12, 31))
RAGGED = {
    "2 Feb. to 20 Nov.": (date(2025, 2, 3), date(2025, 11, 20)),
    "100 days": (date(2025, 4, 17), date(2025, 7, 25)),
}


def queries() -> Iterator[tuple[str, str, list[Query]]]:
    """Yield the class of period, the name and the queries, for all periods of that class."""
    for days in (7, 30):
        periods = [(first, first + timedelta(days - 1)) for first in STARTS]
        for name, asked in DASHBOARD.items():
            yield f"{days} days", name, [query(asked, *period) for period in periods]
    for name, asked in DASHBOARD.items():
        yield "year", name, [query(asked, *WHOLE)]
    for title, period in RAGGED.items():
        for name, asked in (DASHBOARD | OTHERS).items():
            yield "any other", f"{name}, {title}", [query(asked, *period)]
    for name, asked in OTHERS.items():
        yield "any other", f"{name}, year", [query(asked, *WHOLE)]


def query(asked: dict, first: date, last: date) -> Query:
    """A question as the dashboard asks it."""
    filters = {"direction": ("TX",), **asked.get("filters", {})}
    measures = ("bytes", "packets", "transfers", "clients")
    return Query(**{**asked, "filters": filters}, first=first, last=last, measures=measures)


def timed(store: Store, asked: list[Query], times: int) -> list[float]:
    """Milliseconds of each of ``times`` rounds of ``asked``, after one to warm up."""
    found = []
    for turn in range(times + 1):
        for one in asked:
            begin = time.perf_counter()
            run_query(store, one)
            if turn:
                found.append(1000 * (time.perf_counter() - begin))
    return found


def p95(durations: list[float]) -> float:
    """The time within which 95 % of ``durations`` are."""
    return sorted(durations)[math.ceil(0.95 * len(durations)) - 1]


def opened(uri: str, *, for_queries: bool) -> Store:
    """Open the store ``uri``."""
    settings = Settings(database=uri, secret=Secret(SECRET.hex()))
    return open_store(settings, for_queries=for_queries, must_exist=True, notify=lambda _: None)


def ask_stale(uri: str, times: int, days: int) -> None:
    """Time a period of 30 days while the rollups of its last ``days`` are missing."""
    store = opened(uri, for_queries=False)
    last = STARTS[1] + timedelta(29)
    stale = [(1, last - timedelta(number)) for number in range(days)]
    with store._session(write=True) as session:
        recount(session, stale)
    found = []
    for name, asked in DASHBOARD.items():
        durations = timed(store, [query(asked, STARTS[1], last)], times)
        found += durations
        middle = statistics.median(durations)
        print(f"{name:42} {middle:9.0f} {p95(durations):8.0f}", flush=True)
    begin = time.perf_counter()
    store.refresh()
    print(f"30 days, {days} stale: p95 {p95(found):.0f} ms; built in {clock(begin):.1f} s")


def clock(begin: float) -> float:
    """Return the seconds since ``begin``."""
    return time.perf_counter() - begin


def ask_all(uri: str, times: int) -> None:
    """Time all questions, print a line for each and the limits at the end."""
    store = opened(uri, for_queries=True)
    is_postgresql = uri.startswith("postgresql")
    found: dict[str, list[float]] = {name: [] for name in LIMITS}
    print(f"{'period':10} {'query':42} {'median ms':>9} {'p95 ms':>8}")
    for period, name, asked in queries():
        durations = timed(store, asked, times)
        found[period] += durations
        middle = statistics.median(durations)
        print(f"{period:10} {name:42} {middle:9.0f} {p95(durations):8.0f}", flush=True)
    for period, limits in LIMITS.items():
        wanted = limits[is_postgresql]
        print(f"{period}: p95 {p95(found[period]):.0f} ms (wanted under {wanted})")
    print(f"size: {store.size() / 1e6:,.0f} MB")


def main() -> None:
    """Make a store, or ask one."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    maker = commands.add_parser("make", help="make a store")
    maker.add_argument("path", type=Path)
    maker.add_argument("--transfers", type=int, default=100_000_000)
    maker.add_argument("--random", action="store_true", help="other streams each day")
    ask_options = commands.add_parser("ask", help="time questions to a store")
    ask_options.add_argument("uri")
    ask_options.add_argument("--times", type=int, default=5)
    ask_options.add_argument("--stale", type=int, default=0, metavar="DAYS")
    given = parser.parse_args()
    if given.command == "make":
        make(given.path.absolute(), given.transfers, RANDOM if given.random else STEADY)
    elif given.stale:
        ask_stale(given.uri, given.times, given.stale)
    else:
        ask_all(given.uri, given.times)


if __name__ == "__main__":
    main()
