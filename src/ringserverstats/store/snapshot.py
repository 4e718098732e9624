"""One state of a store, of which much is asked while others wait to write."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask, Readable


@dataclass(frozen=True)
class Snapshot:
    """What `Readable` has, of one reading."""

    label: str
    kept_since: date | None
    _read: Ask

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[Ask]:  # noqa: ARG002 - it is all along
        yield self._read

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        """One question."""
        return self._read(sql, parameters)


@contextmanager
def snapshot(store: Readable, *, limited: bool = True) -> Iterator[Readable]:
    """One state of ``store``; ``limited`` as `Readable.reading` has it."""
    with store.reading(limited=limited) as read:
        yield Snapshot(store.label, store.kept_since, read)
