"""One state of a store for several queries, while other processes wait to write."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask, Readable


@dataclass(frozen=True)
class Snapshot:
    """A `Readable` over one transaction."""

    label: str
    kept_since: date | None
    _read: Ask

    @contextmanager
    def reading(self, *, limited: bool = False) -> Iterator[Ask]:  # noqa: ARG002 - set by `snapshot`
        yield self._read

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        return self._read(sql, parameters)


@contextmanager
def snapshot(store: Readable, *, limited: bool = True) -> Iterator[Readable]:
    """Open one state of ``store``.

    Args:
        limited: as in `Readable.reading`.
    """
    with store.reading(limited=limited) as read:
        yield Snapshot(store.label, store.kept_since, read)
