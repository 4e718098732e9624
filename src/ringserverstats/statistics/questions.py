"""A question becomes one SELECT, built from the declared columns alone; values are parameters."""

import re
from calendar import monthrange
from dataclasses import dataclass, field, replace
from datetime import date
from difflib import get_close_matches
from fnmatch import fnmatchcase

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.logs.batch import DIRECTIONS, PROTOCOLS
from ringserverstats.statistics.columns import FILTERS, GROUPS, JOINS, MEASURES, Measure
from ringserverstats.store.base import Store

_TABLES = {
    "by_day": "f.day",
    "by_month": "f.month",
    "connection_by_day": "f.day",
    "transfer": "f.day",
}
_MEANS = "means"
_SUMMED = tuple(name for name, measure in MEASURES.items() if _MEANS not in measure.sql)
_WORDS = {"direction": DIRECTIONS, "protocol": PROTOCOLS}
#: Filters of what coverage is known of.
OF_SERVER = ("server", "direction")
_CHEAP = ("bytes", "packets", "transfers", "clients")


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        by: names of groups, in the order of the answer's columns.
        first: first day, and ``last`` last day, both inclusive; None is no limit.
        filters: for each filter the values that are let in; ``*`` and ``?`` are wildcards.
        measures: names of measures; empty: all sums that can be had from small tables.
        sort: a group or measure; empty: by time where that is grouped by, else by bytes.
        top: that many rows; None is all.
    """

    by: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    measures: tuple[str, ...] = ()
    sort: str = ""
    top: int | None = None

    def __post_init__(self) -> None:
        for given, known, kind in (
            (self.by, GROUPS, "group"),
            (tuple(self.filters), FILTERS, "filter"),
            (self.measures, MEASURES, "measure"),
        ):
            for name in given:
                if name not in known:
                    near = get_close_matches(name.lower(), known, n=1)
                    hint = f"did you mean {near[0]!r}? Known" if near else "known"
                    raise UsageError(f"there is no {kind} {name!r}; {hint}: {', '.join(known)}")
        for name, words in _WORDS.items():
            for value in self.filters.get(name, ()):
                if not any(fnmatchcase(word, value) for word in words):
                    raise UsageError(f"there is no {name} {value!r}; known: {', '.join(words)}")
        if len(set(self.by)) < len(self.by) or len(set(self.measures)) < len(self.measures):
            raise UsageError("a group or measure is named twice; name it once")
        if self.first and self.last and self.last < self.first:
            raise UsageError(f"the period ends ({self.last}) before it starts ({self.first})")
        if self.sort and self.sort not in (*self.by, *self.shown):
            raise UsageError(
                f"cannot sort by {self.sort!r}; the answer has {', '.join(self.by + self.shown)}"
            )

    @property
    def shown(self) -> tuple[str, ...]:
        """The measures of the answer."""
        return self.measures or (_CHEAP if self._of_stream else _SUMMED)

    @property
    def _of_stream(self) -> bool:
        return any(GROUPS[name].of_stream for name in self.by) or any(
            FILTERS[name].of_stream for name in self.filters
        )

    @property
    def tables(self) -> dict[str, tuple[str, list[str]]]:
        """The table and measures of each kind that the answer comes from."""
        shown = [MEASURES[name] for name in self.shown]

        def names(kind: str, measures: list[Measure]) -> list[str]:
            return [measure.name for measure in measures if kind in measure.sql]

        found = {}
        if names("sums", shown):
            found["sums"] = (self._sums_table, names("sums", shown))
        kind, table = (
            ("transfers", "transfer") if self._of_stream else ("connections", "connection_by_day")
        )
        if names(kind, shown):
            found[kind] = (table, names(kind, shown))
        if names(_MEANS, shown):  # last, as what is not covered has none
            found[_MEANS] = ("by_day", names(_MEANS, shown))
        return found

    @property
    def _sums_table(self) -> str:
        whole_months = (self.first is None or self.first.day == 1) and (
            self.last is None or self.last.day == monthrange(self.last.year, self.last.month)[1]
        )
        fine = any(GROUPS[name].finest == "by_day" for name in self.by)
        return "by_month" if whole_months and not fine else "by_day"

    def sql(self) -> tuple[str, list[object]]:
        """The SELECT and its parameters."""
        parts, parameters = [], list[object]()
        for kind, (table, measures) in self.tables.items():
            parts.append(f"{kind} AS ({self._part(kind, table, measures, parameters)})")
        kinds = list(self.tables)
        joined = kinds[0]
        for kind in kinds[1:]:
            same = " AND ".join(
                f"{kind}.k{n} IS NOT DISTINCT FROM {kinds[0]}.k{n}" for n in range(len(self.by))
            )
            side = "LEFT JOIN" if kind == _MEANS else "JOIN"
            joined += f" {side} {kind} ON {same or 'true'}"
        measures = [
            f'{kind}."{name}"' for kind, (_, names) in self.tables.items() for name in names
        ]
        keys = [f"{kinds[0]}.k{n}" for n in range(len(self.by))]
        labels, label_joins = [], []
        for n, name in enumerate(self.by):
            group = GROUPS[name]
            own = {"k": f"all_measures.k{n}"}
            labels.append(f'{_words(group.label, own)} AS "{name}"')
            if group.label_join:
                label_joins.append(_words(group.label_join, own))
        shown = [f'all_measures."{name}" AS "{name}"' for name in self.shown]
        limit = f" LIMIT {int(self.top)}" if self.top is not None else ""
        return (
            f"WITH {', '.join(parts)}, all_measures AS"
            f" (SELECT {', '.join([*keys, *measures])} FROM {joined})"
            f" SELECT {', '.join([*labels, *shown])} FROM all_measures"
            f" {' '.join(label_joins)}{self._order()}{limit}"
        ), parameters

    def _part(self, kind: str, table: str, measures: list[str], parameters: list[object]) -> str:
        day = _TABLES[table]
        groups = [GROUPS[name] for name in self.by]
        needed = {join for group in groups for join in group.joins}
        if "clients" in measures:
            needed.add("origin")
        joins = " ".join(sql for name, sql in JOINS.items() if name in needed)
        if kind == _MEANS:
            joins += f" JOIN ({self._covered(parameters)}) d USING (server, direction, day)"
        columns = [
            *(f"{group.key.format(day=day)} AS k{n}" for n, group in enumerate(groups)),
            *(f'{MEASURES[name].sql[kind]} AS "{name}"' for name in measures),
        ]
        where = " AND ".join(conditions(self, day, parameters)) or "true"
        group_by = ", ".join(str(n + 1) for n in range(len(groups)))
        return f"SELECT {', '.join(columns)} FROM {table} f {joins} WHERE {where}" + (
            f" GROUP BY {group_by}" if groups else ""
        )

    def _covered(self, parameters: list[object]) -> str:
        """The covered days, each with how many a mean of its server and direction is over."""
        filters = {name: self.filters[name] for name in OF_SERVER if name in self.filters}
        where = conditions(replace(self, by=(), sort="", filters=filters), "f.day", parameters)
        times = [GROUPS[name].key.format(day="f.day") for name in self.by if GROUPS[name].is_time]
        return (
            "SELECT f.server, f.direction, f.day, count(*) OVER"
            f" (PARTITION BY {', '.join(['f.server', 'f.direction', *times])}) AS days"
            f" FROM covered_day f WHERE {' AND '.join(where) or 'true'}"
        )

    def _order(self) -> str:
        keys = {name: f"all_measures.k{n}" for n, name in enumerate(self.by)}
        first = self.sort
        if not first and not any(GROUPS[name].is_time for name in self.by):
            first = self.shown[0]
        labels = {
            name: f"{keys[name]} NULLS LAST" if GROUPS[name].is_time else f'"{name}" NULLS LAST'
            for name in self.by
        }
        order = [labels[name] for name in self.by if name != first]
        if first in labels:
            order.insert(0, labels[first])
        elif first:
            order.insert(0, f'all_measures."{first}" DESC NULLS LAST')
        return f" ORDER BY {', '.join(order)}" if order else ""


def conditions(question: Question, day: str, parameters: list[object]) -> list[str]:
    """SQL of the period and filters of ``question``; their values are added to ``parameters``.

    Args:
        day: the column of the day, or month, of the table ``f``.
    """
    found = []
    for sign, limit in ((">=", question.first), ("<=", question.last)):
        if limit is not None:
            parameters.append(limit.isoformat())
            found.append(f"{day} {sign} ${len(parameters)}::date")
    for name, values in question.filters.items():
        one = FILTERS[name]
        choices = []
        for value in values:
            if name == "location" and value == "--":
                value = ""
            parameters.append(_pattern(value))
            choices.append(f"{one.column} LIKE ${len(parameters)}::text ESCAPE '\\'")
        found.append(one.sql.format(f"({' OR '.join(choices) or 'false'})"))
    return found


def label_of(time: str, day: str) -> str:
    """SQL of what a group of ``time`` shows for the column ``day``."""
    group = GROUPS[time]
    return _words(group.label, {"k": f"({group.key.format(day=day)})"})


def _words(sql: str, words: dict[str, str]) -> str:
    """``sql`` with the key's placeholder ``k``, a word of its own, replaced."""
    return re.sub(r"\bk\b", lambda match: words[match[0]], sql)


def _pattern(value: str) -> str:
    r"""A value with FDSN wildcards as a LIKE pattern, escaped by ``\``."""
    for sign in ("\\", "%", "_"):
        value = value.replace(sign, "\\" + sign)
    return value.replace("*", "%").replace("?", "_")


def ask(store: Store, question: Question) -> pa.Table:
    """The answer: a column for each group, in the order asked, then one for each measure."""
    return store.ask(*question.sql())


def totals(store: Store, question: Question) -> dict[str, int]:
    """The measures over all that ``question`` lets in, ungrouped."""
    whole = replace(question, by=(), measures=question.shown, sort="", top=None)
    answer: dict[str, int] = ask(store, whole).to_pylist()[0]
    return answer
