"""The SELECT of a plan. Only declared columns are in its text; values are parameters."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from ringserverstats.enrich.networks import is_temporary
from ringserverstats.statistics.dimensions import (
    COVERAGE_FILTERS,
    DIMENSIONS,
    FILTERS,
    JOINS,
    MEASURES,
    OTHER,
    STREAM_FILTER,
    Filter,
)
from ringserverstats.statistics.network_names import NetworkNames, matches_network
from ringserverstats.statistics.plan import ENTRY_COLUMNS, Part, Piece, Plan, PreAggregation
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.wildcards import like, matches, matches_any

# A longer log has no hour, so its day must not be among those that the mean of an hour is over.
_IS_HOURLY = (
    "NOT EXISTS (SELECT 1 FROM log_interval l WHERE l.server = f.server"
    " AND l.direction = f.direction AND l.day = f.day AND l.last_minute - l.first_minute > 60)"
)
_COVERED_JOIN = (
    " LEFT JOIN covered_day d ON d.server = f.server AND d.direction = f.direction"
    " AND d.day = f.day"
)


def select_sql(plan: Plan) -> tuple[str, list[object]]:
    """Return the SELECT of ``plan`` and its parameters.

    Its columns are the dimensions and measures of the query, by their names.
    """
    query = plan.query
    parameters = list[object]()
    subqueries = _subqueries(plan, parameters)
    labels, joins = _labels(query)
    columns = [f'{label} AS "{name}"' for name, label in labels.items()]
    columns += [f'all_measures."{name}" AS "{name}"' for name in query.shown]
    most = query.limit if query.ranked or query.limit is not None else query.top
    limit = f" LIMIT {int(most)}" if most is not None else ""
    return (
        f"{subqueries} SELECT {', '.join(columns)} FROM all_measures"
        f" {' '.join(joins)}{_order(query)}{limit}"
    ), parameters


def _subqueries(plan: Plan, parameters: list[object]) -> str:
    """Return WITH of the largest groups if they are ranked, the parts, and ``all_measures``."""
    subqueries = []
    if plan.ranking:
        subqueries.append(f"largest AS ({_largest(plan.ranking, parameters)})")
    if any(part.kind == "means" for part in plan.parts):
        subqueries.append(f"covered_day AS ({_covered_days(plan.query, parameters)})")
    subqueries += [f"{part.kind} AS ({_part(plan, part, parameters)})" for part in plan.parts]
    return f"WITH {', '.join([*subqueries, f'all_measures AS ({_united(plan)})'])}"


def _largest(ranking: Plan, parameters: list[object]) -> str:
    """Return the SELECT of the keys and the rank, from 1, of the largest groups.

    A group that is called `OTHER` counts as one of the others, so that no two rows are alike.
    """
    query = ranking.query
    subqueries = _subqueries(ranking, parameters)
    labels, joins = _labels(query)
    order = [f'all_measures."{query.sort}" DESC', *labels.values()]
    is_other = _all([f"{label} = '{OTHER}'" for label in labels.values()])
    keys = [f"all_measures.k{number}" for number in range(len(labels))]
    return (
        f"{subqueries} SELECT {', '.join(keys)}, row_number() OVER"
        f" (ORDER BY {', '.join(f'{term} NULLS LAST' for term in order)}) AS rank"
        f" FROM all_measures {' '.join(joins)} WHERE NOT coalesce({is_other}, false)"
        f" ORDER BY rank LIMIT {int(query.top or 0)}"
    )


def _labels(query: Query) -> tuple[dict[str, str], list[str]]:
    """Return the SQL of each dimension of the result, and the joins that they need."""
    labels, joins = {}, []
    if query.ranked:
        joins.append("LEFT JOIN largest ON largest.rank = all_measures.rank")
    for number, name in enumerate(query.dimensions):
        dimension, key = DIMENSIONS[name], f"all_measures.k{number}"
        join = dimension.label_join
        if name in query.ranked:
            key = f"largest.k{query.ranked.index(name)}"
            join = join and f"LEFT {join.removeprefix('LEFT ')}"
        label = dimension.label.format(key=key)
        if name in query.ranked:
            label = f"CASE WHEN all_measures.rank IS NULL THEN '{OTHER}' ELSE {label} END"
        labels[name] = label
        if join:
            joins.append(join.format(key=key))
    return labels, joins


def conditions(query: Query, day: str, parameters: list[object]) -> str:
    """Return the SQL condition of the period and filters of ``query`` on the table ``f``.

    Args:
        query: the query; its network filters are compared with codes only.
        day: the column of the day.
        parameters: the parameters of the statement, to which values are appended.
    """
    return _all(
        [
            *_period(day, query.first, query.last, parameters),
            *_filters(query, NetworkNames(), parameters),
        ]
    )


def _bind(parameters: list[object], value: object, type_: str) -> str:
    """Append ``value`` to ``parameters`` and return its placeholder."""
    parameters.append(value)
    return f"${len(parameters)}::{type_}"


def _bind_like(parameters: list[object], pattern: str, operator: str = "LIKE") -> str:
    return f"{operator} {_bind(parameters, like(pattern), 'text')} ESCAPE '\\'"


def _all(texts: Sequence[str]) -> str:
    return " AND ".join(texts) or "true"


def _any(texts: Sequence[str]) -> str:
    return f"({' OR '.join(texts) or 'false'})"


def _group_by(keys: Sequence[str]) -> str:
    """Return GROUP BY with positions, as two parameters of equal value are different keys."""
    return f" GROUP BY {', '.join(str(n + 1) for n in range(len(keys)))}" if keys else ""


def _key_columns(query: Query) -> list[str]:
    """Return the key columns of parts: one for each dimension, ``rank`` for all that are ranked."""
    names = enumerate(query.dimensions)
    keys = [f"k{number}" for number, name in names if name not in query.ranked]
    return [*keys, "rank"] if query.ranked else keys


def _united(plan: Plan) -> str:
    """Return the SQL that joins the parts by their keys; each measure is in one part only."""
    keys = _key_columns(plan.query)
    selects = []
    for part in plan.parts:
        measures = (
            f'"{name}"' if name in part.measures else f'NULL::bigint AS "{name}"'
            for name in plan.query.shown
        )
        selects.append(f"SELECT {', '.join([*keys, *measures])} FROM {part.kind}")
    if len(selects) == 1:
        return selects[0]
    columns = ", ".join([*keys, *(f'max("{name}") AS "{name}"' for name in plan.query.shown)])
    return f"SELECT {columns} FROM ({' UNION ALL '.join(selects)}) united{_group_by(keys)}"


def _order(query: Query) -> str:
    columns = {}
    for number, name in enumerate(query.dimensions):
        column = f"all_measures.k{number}" if DIMENSIONS[name].is_ordered else f'"{name}"'
        columns[name] = "all_measures.rank" if name in query.ranked else column
    first = query.sort_column
    start = [f'all_measures."{first}" DESC'] if first in query.shown else []
    if first in columns:
        start.append(f'"{first}"' if first in query.ranked else columns[first])
    order = dict.fromkeys([*start, *columns.values()])
    return f" ORDER BY {', '.join(f'{term} NULLS LAST' for term in order)}" if order else ""


def _part(plan: Plan, part: Part, parameters: list[object]) -> str:
    """Return the SELECT of the keys (`_key_columns`) and measures of a part."""
    codes = "f" if part.source.has_codes else "s"
    keys, ranks = _keys(plan, codes)
    rows = _rows(plan, part, parameters)
    where = _all(_filters(plan.query, plan.network_names, parameters, has_codes=codes == "f"))
    if part.pre_aggregation:
        columns = _first_step_columns(plan, part.pre_aggregation)
        amounts = [f"sum(f.{name}) AS {name}" for name in part.amounts]
        rows = (
            f"(SELECT {', '.join([*columns, *amounts])} FROM {rows}"
            f" WHERE {where}{_group_by(columns)}) f"
        )
        where = "true"
    joins = "".join(f" {JOINS[name].format(codes=codes)}" for name in part.joins) + ranks
    if part.kind == "means":
        return _means(plan.query, part, keys, f"{rows}{_COVERED_JOIN}{joins} WHERE {where}")
    measures = {f'"{name}"': MEASURES[name].sql[part.kind] for name in part.measures}
    return _aggregated(keys, measures, f"{rows}{joins} WHERE {where}")


def _aggregated(keys: Mapping[str, str], values: Mapping[str, str], rows: str) -> str:
    """Return the SELECT of ``values`` by ``keys``, each SQL by its name, from ``rows``."""
    columns = [f"{sql} AS {name}" for name, sql in {**keys, **values}.items()]
    return f"SELECT {', '.join(columns)} FROM {rows}{_group_by([*keys])}"


def _keys(plan: Plan, codes: str) -> tuple[dict[str, str], str]:
    """Return the SQL of each of `_key_columns`, and the join that ranks need."""
    query = plan.query
    sql = {
        name: DIMENSIONS[name].key_sql(codes=codes, resolved=bool(plan.network_names.spans))
        for name in query.dimensions
    }
    keys = [key for name, key in sql.items() if name not in query.ranked]
    join = ""
    if query.ranked:
        tests = enumerate(sql[name] for name in query.ranked)
        same = [f"largest.k{number} IS NOT DISTINCT FROM {key}" for number, key in tests]
        join = f" LEFT JOIN largest ON {_all(same)}"
        keys.append("largest.rank")
    return dict(zip(_key_columns(query), keys, strict=True)), join


def _means(query: Query, part: Part, keys: Mapping[str, str], rows: str) -> str:
    """Return the SELECT of means; without covered days they are NULL, without rows on them 0.

    Args:
        query: the query.
        part: the part of its means.
        keys: the SQL of the keys.
        rows: rows of the period as ``f``, joined with covered days as ``d``.
    """
    of_server = {name: f"f.{name}" for name in query.dimensions if name in COVERAGE_FILTERS}
    amounts = {name: f"sum(f.{name})" for name in part.amounts}
    sums = _aggregated({**keys, **of_server, "days": "d.days"}, amounts, rows)
    covered = dict(of_server)
    for number, name in enumerate(query.dimensions):
        if name in query.of_day:
            covered[f"k{number}"] = DIMENSIONS[name].key_sql()
    join, is_covered = "", "EXISTS (SELECT 1 FROM covered_day)"
    if covered:
        columns = ", ".join(f"{sql} AS {name}" for name, sql in covered.items())
        same = _all([f"c.{name} = f.{name}" for name in covered])
        join = f" LEFT JOIN (SELECT DISTINCT {columns} FROM covered_day f) c ON {same}"
        is_covered = f"bool_or(c.{next(iter(covered))} IS NOT NULL)"
    if query.has_hours:
        is_covered += f" AND f.k{query.dimensions.index('hour')} IS NOT NULL"
    measures = {
        f'"{name}"': MEASURES[name].sql[part.kind].format(is_covered=is_covered)
        for name in part.measures
    }
    return _aggregated({name: f"f.{name}" for name in keys}, measures, f"({sums}) f{join}")


def _first_step_columns(plan: Plan, first_step: PreAggregation) -> list[str]:
    day = [f"{DIMENSIONS[first_step.time].key_sql()} AS day"] if first_step.time else []
    since = ["f.since"] if plan.resolves_networks else []
    return [*day, *(f"f.{name}" for name in first_step.columns), *since]


def _rows(plan: Plan, part: Part, parameters: list[object]) -> str:
    """Return the SQL of the rows of the period as ``f``, from the tables of all pieces."""
    selects = [_piece(plan, part, piece, parameters) for piece in part.pieces]
    return f"({' UNION ALL '.join(selects)}) f"


def _piece(plan: Plan, part: Part, piece: Piece, parameters: list[object]) -> str:
    source = part.source
    resolve_day = f"'{piece.resolve_day}'::date"
    since = [f"{resolve_day} AS since"] if plan.resolves_networks else []
    entry_columns = ENTRY_COLUMNS if source.has_profiles else ENTRY_COLUMNS[:-1]
    columns = [*since, *entry_columns, *source.columns, *source.values]
    if source.is_function:  # without days, which all resolve alike
        first, last = (piece.first or date.min), (piece.last or date.max)
        days = ", ".join(_bind(parameters, day.isoformat(), "date") for day in (first, last))
        return f"SELECT {', '.join([f'{resolve_day} AS day', *columns])} FROM {piece.table}({days})"
    day = "month" if piece.is_monthly else "day"
    where = _all(_period(day, piece.first, piece.last, parameters))
    return f"SELECT {', '.join([f'{day} AS day', *columns])} FROM {piece.table} WHERE {where}"


def _covered_days(query: Query, parameters: list[object]) -> str:
    """Return the SELECT of covered days, each with the number of days that its mean is over."""
    where = conditions(query.only(*COVERAGE_FILTERS), "f.day", parameters)
    if query.has_hours:
        where += f" AND {_IS_HOURLY}"
    means = ["f.server", "f.direction", *(DIMENSIONS[name].key_sql() for name in query.of_day)]
    return (
        f"SELECT f.server, f.direction, f.day, count(*) OVER (PARTITION BY {', '.join(means)}) AS"
        f" days FROM complete_day f WHERE {where}"
    )


def _period(day: str, first: date | None, last: date | None, parameters: list[object]) -> list[str]:
    return [
        f"{day} {sign} {_bind(parameters, limit.isoformat(), 'date')}"
        for sign, limit in ((">=", first), ("<=", last))
        if limit is not None
    ]


def _filters(
    query: Query, names: NetworkNames, parameters: list[object], *, has_codes: bool = False
) -> list[str]:
    """Return the conditions of the filters on ``f``; ``has_codes``: it has the codes of streams."""
    texts = []
    if names.embargoed:
        texts.append(_not_embargoed(names, parameters, has_codes=has_codes))
    for name, values in query.filters.items():
        filter_ = FILTERS[name]
        if filter_.values:  # without parameters, as planners know how many rows have each value
            words = ", ".join(f"'{word}'" for word in filter_.values if matches_any(word, values))
            texts.append(filter_.sql.format(condition=f"{filter_.column} IN ({words})"))
        elif name == "network":
            network = _of_codes("{network} {{test}}", has_codes=has_codes)
            texts.append(_any(_is_network(names, values, network, "f.day", parameters)))
        else:
            texts.append(_pattern_filter(filter_, values, parameters, has_codes=has_codes))
    return texts


def _pattern_filter(
    filter_: Filter, values: tuple[str, ...], parameters: list[object], *, has_codes: bool
) -> str:
    """Return the condition of a filter. All but server names match without regard to case."""
    operator = "LIKE" if filter_.name in COVERAGE_FILTERS else "ILIKE"
    patterns = ("" if value == filter_.empty else value for value in values)
    tests = [
        f"{filter_.column} {_bind_like(parameters, pattern, operator)}" for pattern in patterns
    ]
    if has_codes and filter_.of_stream:
        return f"f.{filter_.column} IN (SELECT {filter_.column} FROM stream WHERE {_any(tests)})"
    return filter_.sql.format(condition=_any(tests))


def _of_codes(template: str, *, has_codes: bool) -> str:
    """Return the SQL template of a condition on the ``{network}`` of ``f`` or of its stream."""
    if has_codes:
        return template.format(network="f.network")
    return STREAM_FILTER.format(condition=template.format(network="network"))


def _not_embargoed(names: NetworkNames, parameters: list[object], *, has_codes: bool) -> str:
    network = _of_codes("upper({network}) {{test}}", has_codes=has_codes)
    hidden = _is_embargoed(names, network, "f.day", parameters)
    return f"NOT coalesce({hidden}, false)"


def _is_network(
    names: NetworkNames,
    patterns: Iterable[str],
    network: str,
    day: str,
    parameters: list[object],
) -> list[str]:
    """Return conditions, of which one is true if one of ``patterns`` matches the network.

    Args:
        names: what codes resolve to.
        patterns: patterns of codes and networks.
        network: SQL template with the field ``{test}`` for a test of the code.
        day: the column of the day.
        parameters: the parameters of the statement.
    """

    def is_code(code: str) -> str:
        return network.format(test=f"= {_bind(parameters, code, 'text')}")

    texts = []
    for pattern in patterns:
        texts.append(network.format(test=_bind_like(parameters, pattern)))
        texts += [
            is_code(code)
            for code in names.codes
            if matches_network(code, code, (pattern,)) and not matches(code, pattern)
        ]
        for span in names.spans:
            if matches_any(span.network, (pattern,)) and not matches(span.code, pattern):
                test, first, last = (
                    is_code(span.code),
                    _bind(parameters, span.first_day, "date"),
                    _bind(parameters, span.last_day, "date"),
                )
                texts.append(f"({test} AND {day} BETWEEN {first} AND {last})")
    return texts


def _is_embargoed(names: NetworkNames, network: str, day: str, parameters: list[object]) -> str:
    """Return the condition that the network is embargoed; arguments as those of `_is_network`.

    A temporary code on days on which its network is unknown is embargoed if one of its networks may
    be.
    """
    texts = _is_network(names, names.embargoed, network, day, parameters)
    for code in sorted(filter(is_temporary, {code.upper() for code in names.codes})):
        if not any(_may_match_year(code, pattern) for pattern in names.embargoed):
            continue
        tests = [network.format(test=f"= {_bind(parameters, code, 'text')}")]
        for span in names.spans:
            if span.code == code:
                first = _bind(parameters, span.first_day, "date")
                last = _bind(parameters, span.last_day, "date")
                tests.append(f"NOT {day} BETWEEN {first} AND {last}")
        texts.append(f"({_all(tests)})")
    return " OR ".join(texts)


def _may_match_year(code: str, pattern: str) -> bool:
    """Return True if ``pattern`` may match ``code`` with some start year."""
    begin = pattern[: len(code)]
    return matches(code, begin[: begin.index("*") + 1] if "*" in begin else begin)
