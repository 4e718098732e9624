"""The sums that are kept beside the facts, declared once and all written in the same way."""

from dataclasses import dataclass

_WHO = ("server", "direction", "protocol", "origin")


@dataclass(frozen=True)
class Sum:
    """A table of sums.

    ``source`` is the table of new rows that is added to it (a key of `SOURCES`),
    ``keys`` its key columns with their SQL over that source, ``values`` likewise what adds up.
    ``is_fine``: it is as fine as an entry, so that the rows of an entry that is alone with its
    keys (column ``alone`` of the source) are appended, without a look for rows to add them to.
    """

    table: str
    source: str
    keys: dict[str, str]
    values: dict[str, str]
    is_fine: bool = False

    @property
    def time(self) -> str:
        """The key column that is a date."""
        return "month" if "month" in self.keys else "day"


_PLAIN = {name: name for name in _WHO}
_AMOUNTS = {"bytes": "sum(bytes)", "packets": "sum(packets)", "transfers": "count(*)"}

#: The same rows, not of a batch but of all transfers (``f``).
SOURCES = {
    "fresh_transfer": "transfer f",
    "fresh_entry": "(SELECT DISTINCT day, server, direction, protocol, origin, connection, entry"
    " FROM transfer) f",
}

SUMS = (
    Sum(
        "by_day",
        "fresh_transfer",
        {"day": "day", **_PLAIN, "stream": "stream"},
        _AMOUNTS,
        is_fine=True,
    ),
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


def statements(one: Sum) -> list[str]:
    """SQL that adds the new rows of ``one.source`` to the sums in ``one.table``."""
    columns = [*one.keys, *one.values]
    keys = ", ".join(f"{sql} AS {name}" for name, sql in one.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in one.values.items())
    group = ", ".join(str(number + 1) for number in range(len(one.keys)))
    same = " AND ".join(f"old.{name} = new.{name}" for name in one.keys)
    added = ", ".join(f"{name} = old.{name} + new.{name}" for name in one.values)
    where = " WHERE NOT alone" if one.is_fine else ""
    merge = (
        f"MERGE INTO {one.table} AS old"
        f" USING (SELECT {keys}, {values} FROM {one.source}{where} GROUP BY {group}) AS new"
        f" ON {same}"
        f" WHEN MATCHED THEN UPDATE SET {added}"
        f" WHEN NOT MATCHED THEN INSERT ({', '.join(columns)})"
        f" VALUES ({', '.join('new.' + name for name in columns)})"
    )
    if not one.is_fine:
        return [merge]
    own = ", ".join([*one.keys.values(), "bytes", "packets", "1"])
    append = (
        f"INSERT INTO {one.table} ({', '.join(columns)}) SELECT {own} FROM {one.source} WHERE alone"
    )
    return [append, merge]


def counted(one: Sum, where: str) -> str:
    """SQL of the sums ``one`` as the transfers tell them, of those that ``where`` lets in."""
    keys = ", ".join(f"{sql} AS {name}" for name, sql in one.keys.items())
    values = ", ".join(f"{sql} AS {name}" for name, sql in one.values.items())
    group = ", ".join(str(number + 1) for number in range(len(one.keys)))
    return f"SELECT {keys}, {values} FROM {SOURCES[one.source]} WHERE {where} GROUP BY {group}"
