"""One state of a store for several queries, while other processes wait to write."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import pyarrow as pa

from ringserverstats.store.base import Ask, Readable

_MOST_ROWS = 1000  # of a result that is kept until the end of the snapshot


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
    kept_since = store.kept_since  # before: no connection is waited for while another is held
    with store.reading(limited=limited) as read:
        yield Snapshot(store.label, kept_since, _memoised(read))


def _memoised(read: Ask) -> Ask:
    """Return ``read`` with a memory of small results, which stay the same in one transaction.

    The queries of a page resolve the same network codes again and again.
    """
    results: dict[tuple[str, str], pa.Table] = {}

    def ask(sql: str, parameters: Sequence[object] = ()) -> pa.Table:
        key = sql, repr(parameters)
        if key in results:
            return results[key]
        result = read(sql, parameters)
        if len(result) <= _MOST_ROWS:
            results[key] = result
        return result

    return ask
