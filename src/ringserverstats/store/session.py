"""The transaction of a store, in SQL that DuckDB and PostgreSQL both support."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Protocol

import pyarrow as pa

from ringserverstats.store.rollups import Rollup


class Session(Protocol):
    """One transaction. Each engine implements it. Parameters are ``$1``, ``$2``, ... in the SQL."""

    #: Tables of transfers that can be updated. They also hold the columns of the entry.
    facts: tuple[str, ...]

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

    def add_entries(self, entries: pa.Table, transfers: pa.Table) -> None:
        """Insert new entries into the ledger and the transfers.

        Args:
            entries: rows of schema `ENTRIES`, with ``row`` and ``number`` (``entry`` in transfers).
            transfers: their transfers, rows of schema `TRANSFERS`, in the order of the entries.
        """

    def add_to_ledger(self, entries: pa.Table) -> None:
        """Insert new entries into the ledger; ``entries``: rows of schema `ENTRIES`."""

    def delete_transfers(self, before: date) -> None:
        """Delete the transfers of all days before ``before``."""

    def stored(self, rollup: Rollup) -> str:
        """Return the name of the table that holds the rows of ``rollup`` of built days."""

    def build_rollups(self, rollups: Sequence[Rollup], where: str) -> None:
        """Build the rows of ``rollups`` of the days ``f`` for which ``where`` holds.

        The days or months have no rows yet.
        """

    def insert_rollup(self, rollup: Rollup, select: str) -> None:
        """Insert the result of ``select``, which has the columns of ``rollup``, as its rows."""
