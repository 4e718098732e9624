"""Suggestions for filters that match nothing in a store."""

from difflib import get_close_matches

from ringserverstats.enrich.networks import short_of
from ringserverstats.statistics.dimensions import FILTERS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.run import run_query
from ringserverstats.statistics.wildcards import matches_any
from ringserverstats.store.base import Readable

_MOST_SHOWN = 10
_LEAST_SIMILARITY = 0.5


def suggestions(store: Readable, query: Query) -> list[str]:
    """Return a message for each value of a filter that no row of the whole store has."""
    return [
        message
        for name, values in query.filters.items()
        if not FILTERS[name].values
        for message in _unmatched(name, values, _existing(store, name))
    ]


def _existing(store: Readable, name: str) -> list[str]:
    rows = run_query(store, Query(dimensions=(name,), measures=("bytes",)))
    labels = [label for label in rows[name].to_pylist() if label is not None]
    codes = filter(None, map(short_of, labels)) if name == "network" else ()
    return sorted({*labels, *codes})


def _unmatched(name: str, values: tuple[str, ...], existing: list[str]) -> list[str]:
    missing = (
        value
        for value in values
        if not any(
            matches_any(one, ("" if value == FILTERS[name].empty else value,)) for one in existing
        )
    )
    return [f"no {name} matches {value!a}. {_hint(value, existing)}" for value in missing]


def _hint(value: str, existing: list[str]) -> str:
    existing = list(filter(None, existing))
    by_capitals = {one.upper(): one for one in existing}
    near = get_close_matches(value.upper(), by_capitals, n=1, cutoff=_LEAST_SIMILARITY)
    if near:
        return f"Did you mean {by_capitals[near[0]]}?"
    more = ", ..." if len(existing) > _MOST_SHOWN else ""
    return f"The store has {', '.join(existing[:_MOST_SHOWN]) or 'none'}{more}"
