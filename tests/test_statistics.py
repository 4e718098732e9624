"""Every query has the result that counting the single transfers has."""

import itertools
from collections.abc import Iterator
from datetime import date, timedelta
from fnmatch import fnmatchcase

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from conftest import (
    REGISTRY,
    execute,
    held_open,
    make_store,
    network_period,
    of_turn,
    read_into,
    sample_logs,
    totals,
    turns,
)

from ringserverstats.errors import UsageError
from ringserverstats.statistics import parameters, periods
from ringserverstats.statistics.dimensions import DIMENSIONS, FILTERS, MEASURES, WEEKDAYS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.store.duckdb.store import DuckDBStore

ALL = tuple(name for name in MEASURES if not name.endswith("-per-day"))


#: Locations of all kinds. Ids of client profiles do not match them, which queries do not need.
LOCATIONS = """
UPDATE client_profile SET class = ['external', 'mirror', 'feeder'][abs(client_profile) % 3 + 1],
       country = place.country, country_name = place.country_name, city = place.city,
       geohash = place.geohash, asn = place.asn, organisation = place.organisation,
       institution = place.institution, institution_source = place.institution_source
  FROM (VALUES
    (0, 'FR', 'France', 'Grenoble', 'u0h0f', 2200, 'Renater', 'Renater', 'network operator'),
    (1, 'FR', 'France', 'unknown', 'u09wj', NULL, NULL, 'example.org', 'domain'),
    (2, 'US', 'United States', 'Grenoble', '', 209, NULL, 'The Centre', 'rules'),
    (3, 'unknown', 'unknown', 'unknown', '', NULL, NULL, NULL, NULL),
    (4, 'private network', 'private network', 'private network', '', NULL, NULL, NULL, NULL),
    (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
  ) place(number, country, country_name, city, geohash, asn, organisation, institution,
          institution_source)
 WHERE abs(client_profile) % 6 = place.number
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DuckDBStore]:
    folder = tmp_path_factory.mktemp("sample")
    logs = sample_logs(folder / "logs", days=33)
    for day in range(4, 28):  # outside of all queried periods
        for path in logs.glob(f"*/*log-202609{day:02d}T*"):
            path.unlink()
    store = make_store(folder / "store.duckdb", memory="1GB")
    read_into(store, logs)
    execute(store, LOCATIONS)
    store.set_registry(REGISTRY)
    with held_open(store):
        yield store


@pytest.fixture(scope="module")
def facts(sample: DuckDBStore) -> pa.Table:
    """Transfers with the columns of all dimensions, for counting by brute force."""
    rows = sample.ask(
        "SELECT t.day, t.hour, v.name AS server, t.direction::text AS direction,"
        " t.protocol::text AS protocol, t.entry, t.connection, c.pseudonym AS client,"
        " a.name AS agent, a.family AS agent_family, s.name AS stream, s.network, s.station,"
        " s.location, s.channel, s.type, t.bytes, t.packets, o.class, o.country,"
        ' o.country_name AS "country-name", o.city, o.geohash, o.asn, o.organisation,'
        ' o.institution, o.institution_source, o.auth_user AS "user"'
        " FROM transfer t JOIN server v USING (server) JOIN client_profile o USING (client_profile)"
        " JOIN client c USING (client) JOIN agent a USING (agent) JOIN stream s USING (stream)"
        " WHERE t.day < '2026-09-04' OR t.day > '2026-09-28'",
        [],
    ).to_pylist()
    for row in rows:
        day = row["day"]
        iso = day.isocalendar()
        row |= {
            "day": day.isoformat(),
            "month": f"{day:%Y-%m}",
            "quarter": f"{day:%Y}-Q{(day.month + 2) // 3}",
            "year": f"{day:%Y}",
            "week": f"{iso.year}-W{iso.week:02d}",
            "weekday": WEEKDAYS[iso.weekday - 1],
            "hour": None if row["hour"] is None else f"{row['hour']:02}",
            **_of_network(row["network"], day),
            "agent-family": row.pop("agent_family"),
            **_of_whom(row),
            "all": True,
        }
    return pa.Table.from_pylist(rows)


def _of_network(code: str | None, day: date) -> dict[str, str | None]:
    result = network_period(code, day)
    return {
        "code": code,
        "network": result.extended if result else code,
        "network-name": result.name if result else None,
        "network-doi": result.doi if result else None,
    }


def _of_whom(row: dict) -> dict[str, str]:
    """The labels of a client's location and institution."""
    country, city, asn = (row[name] for name in ("country", "city", "asn"))
    if city not in ("unknown", "private network"):
        city = (city or "unknown") + (f" ({country})" if country not in (None, "unknown") else "")
    operator = " (network operator)" if row["institution_source"] == "network operator" else ""
    return {
        "country": country or "unknown",
        "country-name": row["country-name"] or "unknown",
        "city": city,
        "geohash": row["geohash"] or "unknown",
        "asn": " ".join(filter(None, (f"AS{asn}", row["organisation"]))) if asn else "unknown",
        "institution": (row["institution"] or "unknown") + operator,
    }


def brute(rows: pa.Table, by: tuple[str, ...]) -> dict[tuple, tuple[int, ...]]:
    """The measures of each group of transfers, counted by Arrow."""
    names = list(by) or ["all"]
    aggregates = rows.group_by(names).aggregate(
        [
            ("bytes", "sum"),
            ("packets", "sum"),
            ("bytes", "count"),
            ("client", "count_distinct"),
            ("entry", "count_distinct"),
            ("connection", "count_distinct"),
        ]
    )
    counted = [name for name in aggregates.column_names if name not in names]
    return {
        tuple(row[name] for name in by): tuple(row[name] for name in counted)
        for row in aggregates.to_pylist()
    }


def result_rows(store: DuckDBStore, query: Query) -> dict[tuple, tuple[int, ...]]:
    rows = run_query(store, query).to_pylist()
    result = {
        tuple(row[name] for name in query.dimensions): tuple(row[name] for name in ALL)
        for row in rows
    }
    assert len(result) == len(rows)
    return result


PERIODS = (
    (date(2026, 10, 1), date(2026, 10, 31)),
    (date(2026, 9, 1), date(2026, 9, 3)),
    (date(2026, 9, 29), date(2026, 11, 2)),
)
#: Dimensions that are columns of one table, so that pairs of them test nothing new.
OF_WHO = {"class", "country", "country-name", "city", "geohash", "asn", "institution"}
NAMES = {"network-name", "network-doi"}
PAIRS = [
    (),
    *((name,) for name in DIMENSIONS),
    *(
        pair
        for pair in itertools.combinations(DIMENSIONS, 2)
        if not set(pair) <= OF_WHO and not set(pair) & NAMES
    ),
    *((other, name) for other in ("network", "month", "stream", "country") for name in NAMES),
    ("class", "institution"),
    ("country", "city"),
]


@pytest.mark.parametrize("turn", turns(len(PERIODS), keep=1))
def test_every_pair_of_groups(sample: DuckDBStore, facts: pa.Table, turn: int) -> None:
    """Every dimension in all periods, each pair in one of them."""
    first, last = PERIODS[turn % len(PERIODS)]
    day, server = pc.field("day"), pc.field("server")
    rows = facts.filter((day >= first.isoformat()) & (day <= last.isoformat()))
    rows = rows.filter(server != "node-b")
    filters = {"server": ("node-a", "node-c")}
    for by in of_turn(PAIRS, turn, len(PERIODS)):
        query = Query(dimensions=by, first=first, last=last, filters=filters, measures=ALL)
        assert result_rows(sample, query) == brute(rows, by), by


@pytest.mark.parametrize(
    "by", [("hour",), ("weekday", "hour"), ("hour", "network"), ("hour", "day")]
)
def test_hours_of_servers_that_log_by_the_hour(
    sample: DuckDBStore, facts: pa.Table, by: tuple[str, ...]
) -> None:
    rows = facts.filter((pc.field("server") == "node-b") & (pc.field("day") > "2026-09-28"))
    assert len(pc.unique(rows["hour"]).drop_null()) == 24
    query = Query(
        dimensions=by, first=date(2026, 9, 29), filters={"server": ("node-b",)}, measures=ALL
    )
    assert result_rows(sample, query) == brute(rows, by)


FILTERED = [
    {"network": ("FR", "R?")},
    {"network": ("*",), "station": ("F0*",)},
    {"station": ("F0_A", "F%")},
    {"channel": ("HH?",), "direction": ("TX",)},
    {"location": ("00",), "type": ("MSEED",)},
    {"direction": ("RX",)},
    {"protocol": ("SeedLink", "HTTP")},
    {"agent": ("slarchive*", "unspecified")},
    {"agent-family": ("Mozilla",)},
    {"stream": ("FR_F00A_00_HHZ/MSEED", "G_*")},
    {"server": ("node-?",), "network": ("1T",)},
    {"network": ("nothing",)},
    {"network": ("1T2024", "F?")},
    {"network": ("1T202*",), "station": ("*A",)},
    {"network": ("1T", "1T2026")},
    {"network": ("?T20[!x]?", "1T2026"), "channel": ("HH?",)},
    {"class": ("mirror", "f*")},
    {"country": ("FR", "private*")},
    {"country-name": ("United*",), "network": ("FR",)},
    {"city": ("Grenoble (FR)", "unknown*")},
    {"geohash": ("u0*",)},
    {"asn": ("AS2200*",)},
    {"institution": ("The *", "*operator)")},
]


def chosen(words: pa.ChunkedArray, patterns: tuple[str, ...]) -> pa.ChunkedArray:
    """Which of ``words`` match one of ``patterns``."""
    fits = [
        word
        for word in words.unique().to_pylist()
        if any(fnmatchcase(word or "", pattern.replace("[", "[[]")) for pattern in patterns)
    ]
    return pc.is_in(words, value_set=pa.array(fits, pa.string()))


@pytest.mark.parametrize("filters", FILTERED)
@pytest.mark.parametrize("first", [date(2026, 10, 1), date(2026, 9, 29)])
def test_filters(sample: DuckDBStore, facts: pa.Table, filters: dict, first: date) -> None:
    rows = facts.filter(pc.field("day") >= first.isoformat())
    for name, patterns in filters.items():
        fits = chosen(rows[name], patterns)
        if name == "network":
            fits = pc.or_(fits, chosen(rows["code"], patterns))
        rows = rows.filter(fits)
    by = ("month", "network") if "network" in filters else ("day",)
    query = Query(dimensions=by, first=first, filters=filters, measures=ALL)
    assert result_rows(sample, query) == brute(rows, by)
    whole = brute(rows, ()).get((), (0,) * len(ALL))
    assert tuple(totals(sample, query).values()) == whole


def test_client_as_a_filter(sample: DuckDBStore, facts: pa.Table) -> None:
    client = facts["client"][0].as_py()
    query = Query(dimensions=("client",), filters={"client": (client,)}, measures=ALL)
    assert list(result_rows(sample, query)) == [(client,)]


def test_sort_and_top(sample: DuckDBStore) -> None:
    by_bytes = run_query(sample, Query(dimensions=("network",), top=3)).to_pylist()
    assert [row["network"] for row in by_bytes] == ["FR", "G", "RA"]
    by_name = run_query(sample, Query(dimensions=("network",), sort="network", top=2)).to_pylist()
    assert [row["network"] for row in by_name] == ["1T2024", "1T2026"]
    months = run_query(sample, Query(dimensions=("month", "network"))).to_pylist()
    assert [row["month"] for row in months] == sorted(row["month"] for row in months)
    assert list(months[0]) == ["month", "network", "bytes", "packets", "transfers", "clients"]
    most = run_query(sample, Query(dimensions=("month", "network"), sort="clients")).to_pylist()
    clients = [row["clients"] for row in most]
    assert clients == sorted(clients, reverse=True)


@pytest.mark.parametrize(
    ("by", "sort", "top"),
    [
        (("month", "network"), "", 2),
        (("network", "week"), "clients", 3),
        (("month", "network-doi", "protocol"), "connections", 3),
        (("weekday", "server", "agent-family"), "", 4),
        (("day", "stream"), "stream", 1),
        (("month", "country"), "", 99),
    ],
)
def test_the_largest_of_the_whole_period_by_time(
    sample: DuckDBStore, facts: pa.Table, by: tuple[str, ...], sort: str, top: int
) -> None:
    """Against a count of the facts, with the labels of all other groups replaced."""
    first = date(2026, 9, 29)
    rows = facts.filter(pc.field("day") >= first.isoformat())
    ranked = [name for name in by if not DIMENSIONS[name].is_ordered]
    measure = ALL.index(sort) if sort in ALL else 0
    sizes = {key: row[measure] for key, row in brute(rows, tuple(ranked)).items()}
    names = sorted(sizes, key=lambda key: (-sizes[key], [(not word, word) for word in key]))[:top]
    groups = zip(*(rows[name].to_pylist() for name in ranked), strict=True)
    kept = pa.array([group in names for group in groups])
    for name in ranked:
        column = pc.if_else(kept, rows[name], "other")
        rows = rows.set_column(rows.column_names.index(name), name, column)
    query = Query(dimensions=by, first=first, measures=ALL, sort=sort, top=top)
    result = result_rows(sample, query)
    assert result == brute(rows, by)
    if not sort:
        order = [tuple(key[by.index(name)] for name in ranked) for key in result]
        times = len(order) // len(set(order))
        places = [*names, ("other",) * len(ranked)][: len(set(order))]
        assert order == places * times


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dimensions": ("planet",)}, "unknown dimension 'planet'"),
        ({"dimensions": ("day", "day")}, "named twice"),
        ({"measures": ("hits",)}, "unknown measure 'hits'"),
        ({"filters": {"planet": ("x",)}}, "unknown filter 'planet'"),
        ({"sort": "day"}, "cannot sort by 'day'"),
        ({"first": date(2026, 2, 1), "last": date(2026, 1, 1)}, "ends .* before it starts"),
    ],
)
def test_wrong_queries_say_what_is_wrong(given: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Query(**given)


def test_all_that_is_declared_has_a_help() -> None:
    for declared in (*DIMENSIONS.values(), *FILTERS.values(), *MEASURES.values()):
        assert declared.help


def test_injection_is_only_a_value_that_matches_nothing(sample: DuckDBStore) -> None:
    evil = "x' OR 1=1; DROP TABLE seen; --"
    for name in sorted(set(FILTERS) - {"direction", "protocol"}):  # these take known words only
        assert run_query(sample, Query(dimensions=("day",), filters={name: (evil,)})).num_rows == 0
    assert run_query(sample, Query()).to_pylist()[0]["bytes"] > 0


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("2026-11", date(2026, 11, 1), date(2026, 11, 30)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2026-11-24", date(2026, 11, 24), date(2026, 11, 24)),
    ],
)
def test_dates_as_people_write_them(text: str, first: date, last: date) -> None:
    assert (periods.first_day(text), periods.last_day(text)) == (first, last)


@pytest.mark.parametrize(
    "text", ["", "26", "2026-13", "2026-02-30", "2026-1", "now", "2026-11-24T"]
)
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(UsageError, match="not a date"):
        periods.first_day(text)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("1d", date(2026, 3, 31)),
        ("30d", date(2026, 3, 2)),
        ("2w", date(2026, 3, 18)),
        ("1m", date(2026, 3, 1)),
        ("3m", date(2026, 1, 1)),
        ("6mo", date(2025, 10, 1)),
        ("1q", date(2026, 1, 1)),
        ("4q", date(2025, 4, 1)),
        ("1y", date(2025, 4, 1)),
    ],
)
def test_last(text: str, first: date) -> None:
    assert periods.last(text, date(2026, 3, 31)) == (first, date(2026, 3, 31))


def test_a_length_has_as_many_rows_as_it_says() -> None:
    """On every day of two years, by the time of its unit."""
    for number in range(730):
        today = date(2026, 1, 1) + timedelta(days=number)
        for count, unit, time in (
            *((30, "d", "day"), (4, "w", "week"), (6, "m", "month"), (3, "m", "month")),
            *((4, "q", "quarter"), (1, "y", "year"), (2, "y", "year")),
        ):
            first, last = periods.last(f"{count}{unit}", today, (time, "network"))
            days = ((first + timedelta(days=n)) for n in range((last - first).days + 1))
            assert len({periods.label_of(day, time) for day in days}) == count
            assert last == today
            assert periods.days_of(periods.label_of(first, time))[0] == first


def test_periods_by_name() -> None:
    today = date(2026, 3, 31)

    def period(**words: str) -> tuple[date | None, date | None]:
        return parameters.period({name.replace("_", "-"): w for name, w in words.items()}, today)

    assert period(quarter="2025-Q4") == (date(2025, 10, 1), date(2025, 12, 31))
    assert period(**{"from": "2025-Q2", "to": "2025-Q3"}) == (date(2025, 4, 1), date(2025, 9, 30))
    assert period(last_month="yes") == (date(2026, 2, 1), date(2026, 2, 28))
    assert period(yesterday="yes") == (date(2026, 3, 30), date(2026, 3, 30))
    for words in (
        {"quarter": "2025-11"},
        {"month": "2025-Q4"},
        {"quarter": "2025-Q5"},
        {"yesterday": "no"},
        {"yesterday": "yes", "last-month": "yes"},
        {"quarter": "2025-Q4", "year": "2025"},
    ):
        with pytest.raises(UsageError):
            period(**words)


@pytest.mark.parametrize("text", ["", "d", "0d", "30", "3h", "99999y"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(UsageError):
        periods.last(text, date(2026, 3, 31))
