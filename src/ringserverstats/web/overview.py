"""What the pages tell: the figures of one view, of one state of the store."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pyarrow.compute as pc

from ringserverstats.enrich.geoip import centre_of
from ringserverstats.enrich.labels import UNKNOWN
from ringserverstats.statistics.bounds import AT_MOST
from ringserverstats.statistics.charts import MapPoint, Series, world
from ringserverstats.statistics.client_list import profile_values
from ringserverstats.statistics.coverage import coverage
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS, OTHER
from ringserverstats.statistics.footnotes import client_footnotes, network_footnotes
from ringserverstats.statistics.periods import label_of
from ringserverstats.statistics.plan import needs_transfers
from ringserverstats.statistics.publish import Policy, Result, Role, result_for
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.sizes import human_bytes, human_count
from ringserverstats.store.base import Readable
from ringserverstats.web.page_tables import SHOWN, TABLES, Shown, shown, worth_showing
from ringserverstats.web.view import View

_MOST_SERIES = 7
_MOST_MAP_POINTS = 300
_MOST_STRIP = 92  # days that are shown one by one
# The part of days that may lack logs where two periods are compared.
_FAIR = 0.05
_NOT_KNOWN = "–"
_UNCOVERED = {"incomplete", "missing"}
_NO_LOG = "no log"
_PARTLY = "logs are not all in"


@dataclass(frozen=True)
class Kpi:
    """A number with its name, and how it changed since the period before."""

    name: str
    text: str
    change: str = ""
    points: str = ""


@dataclass(frozen=True)
class Figures:
    """All that a page shows but its charts' drawings."""

    kpis: Sequence[Kpi] = ()
    series: Series | None = None
    tables: Mapping[str, Shown] = field(default_factory=dict)
    map_points: Sequence[MapPoint] = ()
    nowhere: int = 0
    hours: Mapping[tuple[int, int], int] = field(default_factory=dict)
    coverage: Sequence[Mapping[str, Any]] = ()
    unread: Sequence[tuple[str, str]] = ()
    moved: str = ""
    notes: Sequence[str] = ()
    rejected: int = 0
    is_empty: bool = False


@dataclass(frozen=True)
class QueryContext:
    """Who asks what: one state of a store, by one reader."""

    store: Readable
    reader: Role
    policy: Policy

    def answer(self, query: Query) -> Result:
        """The answer that the reader may have."""
        return result_for(self.reader, self.store, query, self.policy)


def figures(asker: QueryContext, view: View) -> Figures:
    """The figures of a page."""
    whole = _whole(asker, view)
    earlier = view.before()
    all_days = _known_days(asker, view, earlier.first if view.is_compared else view.first)
    then, now = (
        [row for row in all_days if (row["day"] >= view.first.isoformat()) is is_now]
        for is_now in (False, True)
    )
    days = _coverage(view, now)
    if not (whole["bytes"] or whole["clients"]):
        return Figures(coverage=days, is_empty=True)
    servers = len({row["server"] for row in all_days})
    tables = worth_showing(asker.reader, len(profile_values(asker.store).classes), servers)
    answers = {name: asker.answer(table.query(view)) for name, table in tables.items()}
    is_fair = view.is_compared and max(_lost(now), _lost(then)) <= _FAIR
    before = _whole(asker, earlier) if is_fair else {}
    series = _series(asker, view, _holes(now, view.step), _holes(then, "day"))
    map_points, nowhere = _map_points(asker, view, answers["countries"])
    return Figures(
        kpis=_kpis(view, whole, before, answers, series),
        series=series,
        tables={
            name: shown(tables[name], view, answer, SHOWN, asker.reader)
            for name, answer in answers.items()
        },
        map_points=map_points,
        nowhere=nowhere,
        hours=_hours(asker, view),
        coverage=days,
        unread=_unread(asker, view, answers["stations"]),
        moved=_moved(asker, view),
        notes=_notes(asker, view, answers),
        rejected=_rejected(asker, view),
    )


def _known_days(asker: QueryContext, view: View, first: date) -> list[dict[str, Any]]:
    """What is known of each day from ``first`` on, of each server and direction, by day."""
    kept = {name: view.all_filters[name] for name in COVERAGE_FILTERS if name in view.all_filters}
    query = Query(first=first, last=view.last, filters=kept)
    rows: list[dict[str, Any]] = coverage(asker.store, query).to_pylist()
    return sorted(rows, key=lambda row: row["day"])


def _lost(days: Sequence[Mapping[str, Any]]) -> float:
    """Which part of ``days`` is not covered."""
    return sum(row["state"] in _UNCOVERED for row in days) / len(days) if days else 1.0


def _holes(days: Sequence[Mapping[str, Any]], step: str) -> dict[str, str]:
    """What is not known of a time, in words, by the times of which that is so."""
    states: dict[str, list[str]] = {}
    for row in days:
        states.setdefault(label_of(date.fromisoformat(row["day"]), step), []).append(row["state"])
    return {
        time: _NO_LOG if set(own) == {"missing"} else _PARTLY
        for time, own in states.items()
        if _UNCOVERED & set(own)
    }


def colours_order(asker: QueryContext) -> list[str]:
    """The networks of most bytes of all times, for as many as there are colours."""
    answer = asker.answer(Query(dimensions=("network",), measures=("bytes",), top=_MOST_SERIES))
    return [name for name in answer.rows["network"].to_pylist() if name and name != OTHER]


def _whole(asker: QueryContext, view: View) -> dict[str, Any]:
    measures = ["bytes", "packets", "clients"]
    query = view.query(measures=tuple(measures))
    if not query.has_stream_columns:  # else they would be counted from single transfers
        query = view.query(measures=(*measures, "connections"))
    rows = asker.answer(query).rows.to_pylist()
    return rows[0] if rows else dict.fromkeys(measures, 0)


def _kpis(
    view: View,
    whole: Mapping[str, Any],
    before: Mapping[str, Any],
    answers: Mapping[str, Result],
    series: Series,
) -> list[Kpi]:
    way = "received" if view.is_of_received else "sent"
    if len(view.all_filters["direction"]) > 1:
        way = "sent and received"
    bound = "≤ " if whole.get(AT_MOST) else ""
    countries = [name for name in answers["countries"].rows["country"].to_pylist() if name]
    found = [
        Kpi(
            way,
            human_bytes(whole["bytes"] or 0),
            _change(whole, before, "bytes"),
            _points(_totals(series)),
        ),
        Kpi("clients", f"{bound}{whole['clients'] or 0:,}", _change(whole, before, "clients")),
        Kpi("countries", f"{sum(len(name) == 2 for name in countries) or _NOT_KNOWN}"),
        Kpi("networks", f"{_count(answers['networks']):,}"),
        Kpi("stations", f"{_count(answers['stations']):,}"),
    ]
    if "connections" in whole:
        text = f"{bound}{whole['connections'] or 0:,}"
        found.append(Kpi("connections", text, _change(whole, before, "connections")))
    else:
        found.append(
            Kpi("packets", human_count(whole["packets"] or 0), _change(whole, before, "packets"))
        )
    return found


def _count(answer: Result) -> int:
    first = answer.rows.column_names[:2]
    rows = answer.rows.select([name for name in ("network", "station") if name in first])
    return len(rows.filter(pc.is_valid(rows.columns[-1])))


def _change(now: Mapping[str, Any], before: Mapping[str, Any], name: str) -> str:
    """By how much a number has changed, in words; empty where that is not known."""
    old, new = before.get(name), now.get(name)
    if not old or new is None or now.get(AT_MOST) or before.get(AT_MOST):
        return ""
    percent = 100 * (new - old) / old
    if abs(percent) < 0.5:
        return "unchanged"
    text = f"{percent:+.0f} %" if abs(percent) < 1000 else f"{new / old:,.0f} times"
    return text.replace("-", "\N{MINUS SIGN}")


def _totals(series: Series) -> list[int]:
    totals = dict.fromkeys(series.times, 0)
    for (time, _), amount in series.amounts.items():
        totals[time] += amount
    return list(totals.values())


def _points(amounts: Sequence[int]) -> str:
    """The points of a small line, in a field of 100 by 24."""
    most = max(amounts, default=0)
    if len(amounts) < 2 or not most:
        return ""
    step = 100 / (len(amounts) - 1)
    return " ".join(f"{n * step:.1f},{22 - 20 * one / most:.1f}" for n, one in enumerate(amounts))


def _series(
    asker: QueryContext, view: View, holes: Mapping[str, str], earlier: Mapping[str, str]
) -> Series:
    """Bytes by time, split as the view says: the largest by themselves, all others together."""
    rows = asker.answer(view.query(view.step, view.split, measures=("bytes",))).rows.to_pylist()
    sums: dict[str, int] = {}
    for row in rows:
        name = row[view.split] or UNKNOWN
        sums[name] = sums.get(name, 0) + (row["bytes"] or 0)
    largest = sorted(sums, key=lambda name: (name == OTHER, -sums[name], name))
    kept = [name for name in largest if name != OTHER][:_MOST_SERIES]
    names = kept if len(kept) == len(largest) else [*kept, OTHER]
    amounts: dict[tuple[str, str], int] = {}
    for row in rows:
        name = row[view.split] or UNKNOWN
        place = row[view.step], name if name in kept else OTHER
        amounts[place] = amounts.get(place, 0) + (row["bytes"] or 0)
    times = list(dict.fromkeys(label_of(day, view.step) for day in _days(view)))
    return Series(times, names, amounts, holes, _before(asker, view, earlier))


def _days(view: View) -> list[date]:
    return [view.first + timedelta(days=n) for n in range(view.days)]


def _before(asker: QueryContext, view: View, holes: Mapping[str, str]) -> list[int | None]:
    """Bytes of the days before, None where their logs are not all in; nothing but by day."""
    earlier = view.before()
    if not view.is_compared or view.step != "day" or earlier.days != view.days:
        return []
    rows = asker.answer(earlier.query("day", measures=("bytes",))).rows
    sums = dict(zip(rows["day"].to_pylist(), rows["bytes"].to_pylist(), strict=True))
    days = [day.isoformat() for day in _days(earlier)]
    return (
        [None if day in holes else sums.get(day) or 0 for day in days] if any(sums.values()) else []
    )


def _map_points(asker: QueryContext, view: View, countries: Result) -> tuple[list[MapPoint], int]:
    """Where the bytes went, and how many of them to places that are not known.

    The operator sees cells of a geohash; of others few clients would be seen there, so they see
    countries.
    """
    found: list[MapPoint] = []
    nowhere = 0
    if asker.reader.is_operator:
        query = view.query("geohash", "city", measures=("bytes", "clients"))
        for row in asker.answer(query).rows.to_pylist():
            place = None if row["geohash"] == UNKNOWN else centre_of(row["geohash"])
            if place is None:
                nowhere += row["bytes"] or 0
            else:
                found.append(MapPoint(*place, row["bytes"], _spot_text(row["city"], row)))
    else:
        places = world()["countries"]
        for row in countries.rows.to_pylist():
            place = places.get(row["country"])
            if place is None:
                nowhere += row["bytes"] or 0
            else:
                text = _spot_text(row["country-name"], row)
                found.append(MapPoint(place[0], place[1], row["bytes"], text))
    found.sort(key=lambda spot: -spot.bytes)
    return found[:_MOST_MAP_POINTS], nowhere


def _spot_text(name: str, row: Mapping[str, Any]) -> str:
    clients = f"{row['clients']:,} client{'s' if row['clients'] != 1 else ''}"
    return f"{name}: {human_bytes(row['bytes'])}, {clients}"


def _hours(asker: QueryContext, view: View) -> dict[tuple[int, int], int]:
    """Mean bytes by weekday and hour, of servers that log by the hour."""
    query = view.query("weekday", "hour", measures=("bytes",))
    kept = asker.store.kept_since
    if needs_transfers(query) and kept is not None and kept > view.first:
        return {}
    rows = asker.answer(query).rows.to_pylist()
    days = Counter(day.isoweekday() for day in _days(view))
    return {
        (int(row["weekday"]), int(row["hour"])): round(
            (row["bytes"] or 0) / days[int(row["weekday"])]
        )
        for row in rows
        if row["hour"] is not None and row["hour"].isdigit()  # else of few clients
    }


def _coverage(view: View, days: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By server and direction: how many days of each state, and which, where they are not many."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in days:
        server, direction, state = row["server"], row["direction"], row["state"]
        own = found.setdefault(
            (server, direction),
            {"server": server, "direction": direction, "days": [], "counts": Counter()},
        )
        own["counts"][state] += 1
        if view.days <= _MOST_STRIP:
            own["days"].append((row["day"], state))
    return [found[key] for key in sorted(found)]


def _unread(asker: QueryContext, view: View, shown_stations: Result) -> list[tuple[str, str]]:
    """Stations that were fed in, and that nobody read.

    Those that somebody read are in ``shown_stations``, unless a filter chooses among readers.
    """
    if view.all_filters["direction"] != ("TX",) or {"client", "class"} & set(view.filters):
        return []
    kept = {n: v for n, v in view.all_filters.items() if n in ("server", "network", "station")}

    def stations(direction: str) -> set[tuple[str, str]]:
        filters = {**kept, "direction": (direction,)}
        is_shown = direction == "TX" and set(view.all_filters) == set(filters)
        query = view.query("network", "station", measures=("transfers",), filters=filters)
        rows = (shown_stations if is_shown else asker.answer(query)).rows.to_pylist()
        return {(row["network"], row["station"]) for row in rows if row["station"]}

    fed = stations("RX")
    unread = fed - stations("TX") if fed else fed
    return sorted(pair for pair in unread if all(pair) and OTHER not in pair)


def _moved(asker: QueryContext, view: View) -> str:
    """How many clients came and went since the period before; for the operator alone."""
    if not (asker.reader.is_operator and view.is_compared):
        return ""
    sides = [
        set(asker.answer(one.query("client", measures=("bytes",))).rows["client"].to_pylist())
        for one in (view, view.before())
    ]
    new, gone = len(sides[0] - sides[1]), len(sides[1] - sides[0])
    return f"{new:,} new, {gone:,} gone since the period before" if sides[1] else ""


def _rejected(asker: QueryContext, view: View) -> int:
    """How many places in logs were rejected; for the operator alone."""
    if not asker.reader.is_operator:
        return 0
    return len(rejects(asker.store, view.query(), ("server", "direction")))


def _notes(asker: QueryContext, view: View, answers: Mapping[str, Result]) -> list[str]:
    groups = {group for name in answers for group in TABLES[name].by}
    near = sorted({name for answer in answers.values() for name in answer.nearest})
    notes = [*client_footnotes(asker.store, view.query(*sorted(groups))), *network_footnotes(near)]
    left = sorted({note for answer in answers.values() for note in answer.suppressed})
    return [*(note.text for note in notes), *left]
