"""Results for texts that occur in every piece of a log."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

_T = TypeVar("_T")
_CACHED = 1 << 12
# Clients choose parts of the texts, which may be as long as a line.
_LONGEST = 256


def cache_short(function: Callable[[bytes], _T]) -> Callable[[bytes], _T]:
    """Return ``function`` with a cache of its results for short texts."""
    cached = lru_cache(_CACHED)(function)
    return lambda text: cached(text) if len(text) <= _LONGEST else function(text)
