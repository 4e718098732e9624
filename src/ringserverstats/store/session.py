"""A transaction of a store, in SQL that DuckDB and PostgreSQL both understand."""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from ringserverstats.store.rollups import Rollup


class Session(Protocol):
    """What the two kinds of stores do in ways of their own, within one transaction.

    Parameters are ``$1``, ``$2``, ... in the SQL.
    """

    #: The tables of transfers whose rows can be changed, each with the columns of their entry.
    facts: tuple[str, ...]
    #: The tables of sums by client_profile whose rows can be changed.
    profile_rollup_tables: tuple[str, ...]

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows of a SELECT, or of what a change returns."""

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """The answer to a SELECT, as `ringserverstats.store.base.Ask` gives it."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a change; returns how many rows it is of."""

    def register(self, name: str, rows: pa.Table) -> None:
        """Let SQL see ``rows`` as the table ``name``, in this transaction."""

    def create_temp_table_as(self, name: str, select: str) -> None:
        """Let ``name`` be a table of what ``select`` finds now, in this transaction, once."""

    def add_names(self, table: str, given: pa.Table) -> None:
        """Add those rows of ``given`` whose key is not there yet. ``table`` names its key too."""

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        """Add to the ledger, the facts and all sums.

        Args:
            entries: rows of schema `ENTRIES`, with ``row`` and ``number`` (of their transfers).
            transfers: rows of schema `TRANSFERS`, those of the entries, in their order.
            streams: rows of schema `STREAMS`, one for each stream of these.
        """

    def rebuild_rollup(self, one: Rollup, where: str, parameters: Sequence[object]) -> None:
        """Make those sums anew for whose keys ``where`` is true, from transfers ``f``.

        ``where`` has a place ``{time}`` for the column of the day.
        """

    def replace_rollup(self, one: Rollup, where: str, select: str) -> None:
        """Put the rows of ``select``, keys and values of sums, in the place of those of ``where``.

        ``select`` may read the same sums.
        """
