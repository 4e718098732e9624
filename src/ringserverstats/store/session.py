"""The transaction of a store, in SQL that DuckDB and PostgreSQL both support."""

from collections.abc import Sequence
from typing import Any, Protocol

import pyarrow as pa

from ringserverstats.store.rollups import Rollup


class Session(Protocol):
    """One transaction. Each engine implements it. Parameters are ``$1``, ``$2``, ... in the SQL."""

    #: Tables of transfers that can be updated. They also hold the columns of the entry.
    facts: tuple[str, ...]
    #: Tables of rollups by client profile that can be updated.
    profile_rollup_tables: tuple[str, ...]

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT or of a RETURNING clause."""

    def table(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """Return the result of a SELECT, with the types of `ringserverstats.store.base.Ask`."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement and return the number of rows it changed."""

    def register(self, name: str, rows: pa.Table) -> None:
        """Make ``rows`` the table ``name`` for the SQL of this transaction."""

    def create_temp_table_as(self, name: str, select: str) -> None:
        """Create the table ``name`` of this transaction from the result of ``select``."""

    def add_names(self, table: str, rows: pa.Table) -> None:
        """Insert the rows with a new key into ``table``, which is also the name of its key."""

    def add_entries(self, entries: pa.Table, transfers: pa.Table, streams: pa.Table) -> None:
        """Insert new entries into the ledger, the transfers and all rollups.

        Args:
            entries: rows of schema `ENTRIES`, with ``row`` and ``number`` (``entry`` in transfers).
            transfers: their transfers, rows of schema `TRANSFERS`, in the order of the entries.
            streams: rows of schema `STREAMS`, one for each stream of the transfers.
        """

    def rebuild_rollup(self, rollup: Rollup, where: str, parameters: Sequence[object]) -> None:
        """Compute those rows of ``rollup`` for which ``where`` holds from the transfers ``f``.

        Args:
            where: SQL with the field ``{time}`` for the column of the day or month.
        """

    def replace_rollup(self, rollup: Rollup, where: str, select: str) -> None:
        """Replace the rows of ``rollup`` for which ``where`` holds by the result of ``select``.

        Args:
            select: SQL of keys and values. It may read the same rollup.
        """
