"""A question becomes one SELECT, built from the declared columns alone; values are parameters."""

import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from difflib import get_close_matches

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.logs.batch import DIRECTIONS, PROTOCOLS
from ringserverstats.statistics.bounds import DISTINCT, with_bounds
from ringserverstats.statistics.dimensions import (
    DIMENSIONS,
    FILTERS,
    JOINS,
    MEASURES,
    OF_STREAM,
    OTHER,
    Dimension,
)
from ringserverstats.statistics.network_names import (
    NETWORKS,
    NetworkNames,
    like,
    matches,
    network_names_of,
)
from ringserverstats.store.base import Ask, Readable
from ringserverstats.store.rollups import month_of

#: By what of a stream is asked: the sums by day and by month, and the columns they have.
_ENTRY_COLUMNS = ("server", "direction", "protocol", "client_profile")
_TRANSFERS = "(SELECT *, 1 AS transfers FROM transfer) t"
_SUMS = {
    "nothing": ("connection_by_day", None, ()),
    "network": ("network_by_day", "station_by_month", ("network",)),
    "station": ("station_by_day", "station_by_month", ("network", "station")),
    "stream": ("by_day", "by_month", ("stream",)),
    "hour": ("hour_by_day", None, ("hour",)),
    "hour of stream": (_TRANSFERS, None, ("hour", "stream")),
}
#: Of all clients together, where nothing of them is asked, or only how many they are.
_TOTALS = ("station_total_by_day", None, ("network", "station"))
#: Who took something of a station or stream in a period: functions of its first and last day.
_ORIGINS = {
    "station": ("station_profiles_by_day", "station_profiles_by_month", ("network", "station")),
    "stream": ("stream_profiles_by_day", "stream_profiles_by_month", ("stream",)),
}
_FUNCTIONS = tuple(daily for daily, _, _ in _ORIGINS.values())
_AMOUNTS = ("bytes", "packets", "transfers")
_OF_STATION = NETWORKS | {"station"}
_PLAIN = NetworkNames()
_MEANS = "means"
_SUMMED = tuple(name for name, measure in MEASURES.items() if _MEANS not in measure.sql)
#: Filters of columns that have few values, all of which are known.
WORDS = {"direction": DIRECTIONS, "protocol": PROTOCOLS}
#: Filters of what coverage is known of.
OF_SERVER = ("server", "direction")
_ONE_DAY = timedelta(days=1)
# Of a filter: what more of takes seconds, or more, wherever it comes from.
_MOST_VALUES, _LONGEST_VALUE, _MOST_STARS = 500, 200, 10
_LATEST = date(9998, 12, 31)  # behind which there is no next month
_CHEAP = ("bytes", "packets", "transfers", "clients")


@dataclass(frozen=True)
class Query:
    """What is asked.

    Args:
        dimensions: names of groups, in the order of the answer's columns.
        first: first day, and ``last`` last day, both inclusive; None is no limit.
        filters: for each filter the values that are let in; ``*`` and ``?`` are wildcards.
        measures: names of measures; empty: all sums that can be had from small tables.
        sort: a group or measure; empty: by time where that is grouped by, else by bytes.
        top: that many rows; None is all.
    """

    dimensions: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    measures: tuple[str, ...] = ()
    sort: str = ""
    top: int | None = None

    def __post_init__(self) -> None:
        for given, known, kind in (
            (self.dimensions, DIMENSIONS, "group"),
            (tuple(self.filters), FILTERS, "filter"),
            (self.measures, MEASURES, "measure"),
        ):
            for name in given:
                if name not in known:
                    near = get_close_matches(name.lower(), known, n=1)
                    hint = f"did you mean {near[0]!r}? Known" if near else "known"
                    raise UsageError(f"there is no {kind} {name!r}; {hint}: {', '.join(known)}")
        for name, values in self.filters.items():
            if len(values) > _MOST_VALUES or any(_is_long(value) for value in values):
                raise UsageError(
                    f"{name} has too many values, or too long ones: up to {_MOST_VALUES}, of "
                    f"{_LONGEST_VALUE} signs and {_MOST_STARS} wildcards * each"
                )
        for name, words in WORDS.items():
            for value in self.filters.get(name, ()):
                if not any(_matches(word, (value,)) for word in words):
                    raise UsageError(f"there is no {name} {value!r}; known: {', '.join(words)}")
        if len(set(self.dimensions)) < len(self.dimensions) or len(set(self.measures)) < len(
            self.measures
        ):
            raise UsageError("a group or measure is named twice; name it once")
        if self.first and self.last and self.last < self.first:
            raise UsageError(f"the period ends ({self.last}) before it starts ({self.first})")
        if self.sort and self.sort not in (*self.dimensions, *self.shown):
            raise UsageError(
                f"cannot sort by {self.sort!r}; the answer has {', '.join(self.dimensions + self.shown)}"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures of the answer."""
        return self.measures or (_SUMMED if self._detail == "nothing" else _CHEAP)

    @property
    def _detail(self) -> str:
        """How much of a stream, or of a day, is asked for: a key of `_SUMS`."""
        is_of_hours = any(DIMENSIONS[name].of_hour for name in self.dimensions)
        names = [name for name in self.dimensions if DIMENSIONS[name].of_stream]
        names += [name for name in self.filters if FILTERS[name].of_stream]
        if not names:
            return "hour" if is_of_hours else "nothing"
        if is_of_hours:
            return "hour of stream"
        if set(names) <= NETWORKS:
            return "network"
        return "station" if set(names) <= _OF_STATION else "stream"

    @property
    def _filters_by_profile(self) -> bool:
        """Whether anything of clients is asked but how many they are."""
        return any("client_profile" in DIMENSIONS[name].joins for name in self.dimensions) or any(
            FILTERS[name].of_client_profile for name in self.filters
        )

    @property
    def _counts_apart(self) -> bool:
        """Whether clients are counted apart from what they took, in the period as one."""
        is_of_days = any("f.day" in DIMENSIONS[name].key for name in self.dimensions)
        is_of_what_was_taken = self._detail in _ORIGINS and not self._filters_by_profile
        return "clients" in self.shown and is_of_what_was_taken and not is_of_days

    @property
    def parts(self) -> dict[str, list[str]]:
        """The measures that are shown, by the kind of part of the answer that they come from."""
        single = "connections" if self._detail == "nothing" else "transfers"
        found = {
            kind: [name for name in self.shown if kind in MEASURES[name].sql]
            for kind in ("sums", single, _MEANS)
        }
        if self._counts_apart:
            found["sums"].remove("clients")
            found["client_profiles"] = ["clients"]
        return {kind: names for kind, names in found.items() if names}

    def tables(self, kind: str) -> tuple[str, str | None, tuple[str, ...]]:
        """Where a part comes from: tables by day and, if there is one, by month; their columns."""
        if kind == "client_profiles":
            return _ORIGINS[self._detail]
        counts_here = "clients" in self.shown and not self._counts_apart
        of_all = self._detail in ("network", "station") and not self._filters_by_profile
        daily, monthly, what = _TOTALS if of_all and not counts_here else _SUMS[self._detail]
        return {
            "sums": (daily, monthly, (*what, *_AMOUNTS)),
            _MEANS: (daily, None, (*what, *_AMOUNTS)),
            "connections": ("connection_by_day", None, ("connection", "entries")),
            "transfers": ("transfer", None, ("hour", "stream", "entry", "connection")),
        }[kind]

    @property
    def needs_transfers(self) -> bool:
        """Whether any of it comes from single transfers."""
        return self._detail == "hour of stream" or "transfers" in self.parts

    @property
    def has_stream_columns(self) -> bool:
        """Whether it splits or chooses by anything of streams."""
        return any(DIMENSIONS[name].of_stream for name in self.dimensions) or any(
            FILTERS[name].of_stream for name in self.filters
        )

    def network_names(self, ask: Ask, embargoed: tuple[str, ...] = ()) -> NetworkNames:
        """What codes stand for, as far as this question needs to know."""
        is_of_networks = NETWORKS & {*self.dimensions, *self.filters}
        if not is_of_networks and not (embargoed and self.has_stream_columns):
            return _PLAIN
        names = bool(NETWORKS & set(self.dimensions) - {"network"})
        patterns = () if embargoed else self.filters.get("network", ())
        return network_names_of(ask, names=names, patterns=patterns, embargoed=embargoed)

    def sql(self, network_names: NetworkNames = _PLAIN) -> tuple[str, list[object]]:
        """The SELECT and its parameters; ``network_names``: what codes stand for."""
        parameters = list[object]()
        parts = {
            kind: self._part(kind, measures, network_names, parameters)
            for kind, measures in self.parts.items()
        }
        named = ", ".join(f"{kind} AS ({sql})" for kind, sql in parts.items())
        labels, label_joins = [], []
        for n, name in enumerate(self.dimensions):
            group = DIMENSIONS[name]
            own = {"k": f"all_measures.k{n}"}
            labels.append(f'{_words(group.label, own)} AS "{name}"')
            if group.label_join:
                label_joins.append(_words(group.label_join, own))
        shown = [f'all_measures."{name}" AS "{name}"' for name in self.shown]
        limit = f" LIMIT {int(self.top)}" if self.top is not None else ""
        return (
            f"WITH {named}, all_measures AS ({self._united()})"
            f" SELECT {', '.join([*labels, *shown])} FROM all_measures"
            f" {' '.join(label_joins)}{self._order()}{limit}"
        ), parameters

    def _united(self) -> str:
        """SQL of all parts together: each has one row for a group, each measure is of one part."""
        keys = [f"k{n}" for n in range(len(self.dimensions))]
        selects = []
        for kind, measures in self.parts.items():
            own = (
                f'"{name}"' if name in measures else f'NULL::bigint AS "{name}"'
                for name in self.shown
            )
            selects.append(f"SELECT {', '.join([*keys, *own])} FROM {kind}")
        if len(selects) == 1:
            return selects[0]
        columns = ", ".join([*keys, *(f'max("{name}") AS "{name}"' for name in self.shown)])
        return f"SELECT {columns} FROM ({' UNION ALL '.join(selects)}) united" + _group_by(keys)

    def _part(
        self, kind: str, measures: list[str], network_names: NetworkNames, parameters: list[object]
    ) -> str:
        """SQL of the keys of all groups, with ``measures``."""
        groups = [DIMENSIONS[name] for name in self.dimensions]
        daily, monthly, columns = self.tables(kind)
        has_codes = "network" in columns
        needed = self._joins(network_names) - ({"stream"} if has_codes else set())
        keys = [self._key(group, network_names, parameters) for group in groups]
        source = self._rows(daily, monthly, columns, network_names, parameters)
        codes = "f." if has_codes else ""
        where = " AND ".join(_filters(self, network_names, parameters, codes=codes)) or "true"
        used = " ".join(MEASURES[name].sql[kind] for name in measures)
        sums = [f"sum(f.{name}) AS {name}" for name in _AMOUNTS if f"f.{name}" in used]
        if "clients" in measures:
            needed.add("client_profile")
        has_many_rows = kind == "sums" and daily == "by_day"
        if has_many_rows or ("clients" in measures and daily != "connection_by_day"):
            who = ["f.client_profile"] if "client_profile" in needed else []
            source, where = self._summed_first(source, where, columns, sums, network_names, who)
        joins = " ".join(sql for name, sql in JOINS.items() if name in needed)
        if has_codes:
            joins, *keys = (re.sub(r"\bs\.", "f.", sql) for sql in (joins, *keys))
        if kind == _MEANS:  # summed by the number of days first
            joins += f" JOIN ({self._covered(parameters)}) d ON " + " AND ".join(
                f"d.{name} = f.{name}" for name in ("server", "direction", "day")
            )
            own = [f"{key} AS k{n}" for n, key in enumerate(keys)]
            source = (
                f"(SELECT {', '.join([*own, 'd.days', *sums])} FROM {source} {joins} WHERE {where}"
                f"{_group_by([*keys, 'd.days'])}) f"
            )
            keys, joins, where = [f"f.k{n}" for n in range(len(keys))], "", "true"
        shown = [
            *(f"{key} AS k{n}" for n, key in enumerate(keys)),
            *(f'{MEASURES[name].sql[kind]} AS "{name}"' for name in measures),
        ]
        return f"SELECT {', '.join(shown)} FROM {source} {joins} WHERE {where}{_group_by(keys)}"

    def _names_networks(self, network_names: NetworkNames) -> bool:
        """Whether groups depend on what codes stand for."""
        if network_names.embargoed:
            return any(DIMENSIONS[name].of_stream for name in self.dimensions)
        return bool(NETWORKS & set(self.dimensions)) and bool(network_names.spans)

    def _joins(self, network_names: NetworkNames) -> set[str]:
        """The names of the tables that the groups need."""
        needed = {join for name in self.dimensions for join in DIMENSIONS[name].joins}
        if self._names_networks(network_names):
            needed.add("stream")
            if NETWORKS & set(self.dimensions) and network_names.spans:
                needed.add("network_period")
        return needed

    def _key(self, group: Dimension, network_names: NetworkNames, parameters: list[object]) -> str:
        """SQL of the key of ``group``: of networks that are not named, what they are together."""
        key = group.named if group.named and network_names.spans else group.key
        if not network_names.embargoed or not group.of_stream:
            return key
        hidden = network_names.is_hidden("upper(s.network) {}", "f.since", parameters)
        if group.name == "stream":  # of a name that is no identifier nobody knows whose it is
            return f"CASE WHEN coalesce({hidden}, true) THEN NULL ELSE {key} END"
        return f"CASE WHEN {hidden} THEN '{OTHER}' ELSE {key} END"

    def _summed_first(
        self,
        source: str,
        where: str,
        columns: tuple[str, ...],
        sums: list[str],
        network_names: NetworkNames,
        client_profile: list[str],
    ) -> tuple[str, str]:
        """SQL of ``source`` summed by all that the keys need of it, before names are joined.

        So the many rows are gone through once, by what they have themselves; but where that is all
        that they have, there would be no fewer. Returns what is still to be let in, too.
        """
        times = [DIMENSIONS[name] for name in self.dimensions if "f.day" in DIMENSIONS[name].key]
        is_one = len(times) == 1 and times[0].is_time
        day = [f"{times[0].key if is_one else 'f.day'} AS day"] if times else []
        wanted = {*self.dimensions, *(["network"] if self._names_networks(network_names) else [])}
        wanted |= (
            {"stream"} if any(DIMENSIONS[name].of_stream for name in self.dimensions) else set()
        )
        what = [name for name in columns if name in wanted and name not in _AMOUNTS]
        what += ["since"] if self._names_networks(network_names) else []
        who = [f"f.{name}" for name in _ENTRY_COLUMNS[:-1] if name in self.dimensions]
        if day == ["f.day AS day"] and {*columns} <= {*what, *_AMOUNTS}:
            return source, where
        own = [*day, *who, *client_profile, *(f"f.{name}" for name in what)]
        fewer = f"SELECT {', '.join([*own, *sums])} FROM {source} WHERE {where}{_group_by(own)}"
        return f"({fewer}) f", "true"

    def _rows(
        self,
        daily: str,
        monthly: str | None,
        columns: tuple[str, ...],
        network_names: NetworkNames,
        parameters: list[object],
    ) -> str:
        """SQL of the rows of the period, as ``f``: of its whole months and of its other days."""
        if any(DIMENSIONS[name].is_short for name in self.dimensions):
            monthly = None
        selects = []
        for begin, end, since in network_names.segments(self.first, self.last):
            told = [f"'{since}'::date AS since"] if self._names_networks(network_names) else []
            for table, first, last in _pieces(daily, monthly, begin, end):
                if daily in _FUNCTIONS:  # all of these days are like this one
                    names = ", ".join([f"'{since}'::date AS day", *told, *_ENTRY_COLUMNS, *columns])
                    limits = _limits(first, last, parameters)
                    selects.append(f"SELECT {names} FROM {table}({limits})")
                    continue
                day = "month" if table == monthly else "day"
                where = " AND ".join(_period(day, first, last, parameters)) or "true"
                who = _ENTRY_COLUMNS[:-1] if table == _TOTALS[0] else _ENTRY_COLUMNS
                names = ", ".join([f"{day} AS day", *told, *who, *columns])
                selects.append(f"SELECT {names} FROM {table} WHERE {where}")
        return f"({' UNION ALL '.join(selects)}) f"

    def _covered(self, parameters: list[object]) -> str:
        """The covered days, each with how many a mean of its server and direction is over."""
        filters = {name: self.filters[name] for name in OF_SERVER if name in self.filters}
        where = conditions(
            replace(self, dimensions=(), sort="", filters=filters), "f.day", parameters
        )
        times = [DIMENSIONS[name].key for name in self.dimensions if DIMENSIONS[name].is_time]
        return (
            "SELECT f.server, f.direction, f.day, count(*) OVER"
            f" (PARTITION BY {', '.join(['f.server', 'f.direction', *times])}) AS days"
            f" FROM complete_day f WHERE {' AND '.join(where) or 'true'}"
        )

    def _order(self) -> str:
        keys = {name: f"all_measures.k{n}" for n, name in enumerate(self.dimensions)}
        first = self.sort
        if not first and not any(DIMENSIONS[name].is_time for name in self.dimensions):
            first = self.shown[0]
        labels = {
            name: f"{keys[name]} NULLS LAST" if DIMENSIONS[name].is_time else f'"{name}" NULLS LAST'
            for name in self.dimensions
        }
        order = [labels[name] for name in self.dimensions if name != first]
        if first in labels:
            order.insert(0, labels[first])
        elif first:
            order.insert(0, f'all_measures."{first}" DESC NULLS LAST')
        return f" ORDER BY {', '.join(order)}" if order else ""


def conditions(query: Query, day: str, parameters: list[object]) -> list[str]:
    """SQL of the period and filters of ``query``; their values are added to ``parameters``.

    Args:
        day: the column of the day of the table ``f``.
    """
    return [
        *_period(day, query.first, query.last, parameters),
        *_filters(query, _PLAIN, parameters),
    ]


def _period(day: str, first: date | None, last: date | None, parameters: list[object]) -> list[str]:
    found = []
    for sign, limit in ((">=", first), ("<=", last)):
        if limit is not None:
            parameters.append(limit.isoformat())
            found.append(f"{day} {sign} ${len(parameters)}::date")
    return found


def _limits(first: date | None, last: date | None, parameters: list[object]) -> str:
    """SQL of a period's first and last day."""
    parameters += [(first or date.min).isoformat(), (last or date.max).isoformat()]
    return f"${len(parameters) - 1}::date, ${len(parameters)}::date"


def _filters(
    query: Query, network_names: NetworkNames, parameters: list[object], *, codes: str = ""
) -> list[str]:
    """Conditions on ``f``; ``codes`` is put before the codes of a stream, if ``f`` has these."""
    found = []
    network = f"{codes}network {{}}" if codes else OF_STREAM.format("network {}")
    if network_names.embargoed and any(FILTERS[name].of_stream for name in query.filters):
        column = f"upper({codes}network) {{}}"
        hidden = network_names.is_hidden(
            column if codes else OF_STREAM.format(column), "f.day", parameters
        )
        if "stream" in query.filters:  # of a name that is no identifier nobody knows whose it is
            hidden += f" OR {OF_STREAM.format('network IS NULL')}"
        found.append(f"NOT coalesce({hidden}, false)")
    for name, values in query.filters.items():
        one = FILTERS[name]
        if name in WORDS:  # of which there are few, and databases know how many rows have each
            let_in = [f"'{word}'" for word in WORDS[name] if _matches(word, values)]
            found.append(one.sql.format(f"{one.column} IN ({', '.join(let_in)})"))
            continue
        if name == "network":
            choices = network_names.is_of(values, network, "f.day", parameters)
            found.append(f"({' OR '.join(choices) or 'false'})")
            continue
        is_own = bool(codes) and one.of_stream
        choices = []
        for value in values:
            if name == "location" and value == "--":
                value = ""
            parameters.append(like(value))
            column = codes + one.column if is_own else one.column
            choices.append(f"{column} LIKE ${len(parameters)}::text ESCAPE '\\'")
        choice = f"({' OR '.join(choices) or 'false'})"
        found.append(choice if is_own else one.sql.format(choice))
    return found


def _is_long(value: str) -> bool:
    return len(value) > _LONGEST_VALUE or value.count("*") > _MOST_STARS


def _matches(word: str, values: tuple[str, ...]) -> bool:
    return any(matches(word, value) for value in values)


def _pieces(
    daily: str, monthly: str | None, first: date | None, last: date | None
) -> list[tuple[str, date | None, date | None]]:
    """The tables that tell of the days from ``first`` to ``last``, each with its own days."""
    if monthly is None or max(first or _LATEST, last or _LATEST) > _LATEST:
        return [(daily, first, last)]
    start = first if first is None or first.day == 1 else month_of(first)[1] + _ONE_DAY
    end = last if last is None or last == month_of(last)[1] else month_of(last)[0] - _ONE_DAY
    if start and end and start > end:
        return [(daily, first, last)]
    found = [(monthly, start, end)]
    if first != start and start:
        found.append((daily, first, start - _ONE_DAY))
    if last != end and end:
        found.append((daily, end + _ONE_DAY, last))
    return found


def _group_by(keys: list[str]) -> str:
    """By position, as an expression may be one of its own."""
    return f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else ""


def label_of(time: str, day: str) -> str:
    """SQL of what a group of ``time`` shows for the column ``day``."""
    group = DIMENSIONS[time]
    return _words(group.label, {"k": f"({group.key.replace('f.day', day)})"})


def _words(sql: str, words: dict[str, str]) -> str:
    """``sql`` with the key's placeholder ``k``, a word of its own, replaced."""
    return re.sub(r"\bk\b", lambda match: words[match[0]], sql)


def ask(store: Readable, query: Query) -> pa.Table:
    """The answer: a column for each group, in the order asked, then one for each measure.

    Where the period has pruned months, a column `bounds.AT_MOST` says which rows count clients and
    connections at most.

    Raises:
        UsageError: it would come from single transfers of days whose transfers are not kept.
    """
    check_kept(store, query)
    with store.reading(limited=True) as read:
        return result_in(read, query)


def result_in(read: Ask, query: Query, *, embargoed: tuple[str, ...] = ()) -> pa.Table:
    """The answer of `ask`, from one reading.

    Args:
        embargoed: patterns of networks of which no split tells, and which no filter chooses.
    """
    answer = read(*query.sql(query.network_names(read, embargoed)))
    if not DISTINCT & set(query.shown):
        return answer
    times = [name for name in query.dimensions if DIMENSIONS[name].is_time]
    return with_bounds(read, answer, times, query.first, query.last)


def check_kept(store: Readable, query: Query) -> None:
    """Make sure that the transfers that ``query`` needs are kept.

    Raises:
        UsageError: they are not.
    """
    since = store.kept_since if query.needs_transfers else None
    if since is not None and (query.first is None or query.first < since):
        first = store.ask("SELECT min(day) AS day FROM connection_by_day", [])["day"][0].as_py()
        if first is not None and max(first, query.first or first) < since:
            what = " and ".join(query.parts.get("transfers", ("figures",)))
            by = "stream" if "transfers" in query.parts else "hour"
            raise UsageError(
                f"{what} by {by} are known of single "
                f"transfers alone, which are kept since {since}: ask from that day on"
            )


def totals(store: Readable, query: Query) -> dict[str, int]:
    """The measures over all that ``query`` lets in, ungrouped."""
    answer: dict[str, int] = ask(store, ungrouped(query)).to_pylist()[0]
    return answer


def ungrouped(query: Query) -> Query:
    """The question of the total of what ``query`` asks."""
    return replace(query, dimensions=(), measures=query.shown, sort="", top=None)
