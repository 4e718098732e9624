"""The sums that are kept beside the facts, declared once and all written in the same way."""

from dataclasses import dataclass

_WHO = ("server", "direction", "protocol", "origin")


@dataclass(frozen=True)
class Sum:
    """A table of sums.

    ``source`` is the table of new rows that is added to it (``fresh_transfer``, ``fresh_entry``),
    ``keys`` its key columns with their SQL over that source, ``values`` likewise what adds up.
    """

    table: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]


_PLAIN = {name: name for name in _WHO}
_AMOUNTS = {"bytes": "sum(bytes)", "packets": "sum(packets)", "transfers": "count(*)"}

SUMS = (
    Sum("by_day", "fresh_transfer", {"day": "day", **_PLAIN, "stream": "stream"}, _AMOUNTS),
    Sum(
        "by_month",
        "fresh_transfer",
        {"month": "date_trunc('month', day)::date", **_PLAIN, "stream": "stream"},
        _AMOUNTS,
    ),
    Sum(
        "connection_by_day",
        "fresh_entry",
        {"day": "day", **_PLAIN, "connection": "connection"},
        {"entries": "count(*)"},
    ),
)


def merge_statement(one: Sum) -> str:
    """SQL that adds the new rows of ``one.source`` to the sums in ``one.table``."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in one.keys.items())
    values = ", ".join(f"{sql}::bigint AS {name}" for name, sql in one.values.items())
    group = ", ".join(str(number + 1) for number in range(len(one.keys)))
    same = " AND ".join(f"old.{name} = new.{name}" for name in one.keys)
    added = ", ".join(f"{name} = old.{name} + new.{name}" for name in one.values)
    columns = [*one.keys, *one.values]
    return (
        f"MERGE INTO {one.table} AS old"
        f" USING (SELECT {keys}, {values} FROM {one.source} GROUP BY {group}) AS new"
        f" ON {same}"
        f" WHEN MATCHED THEN UPDATE SET {added}"
        f" WHEN NOT MATCHED THEN INSERT ({', '.join(columns)})"
        f" VALUES ({', '.join('new.' + name for name in columns)})"
    )
