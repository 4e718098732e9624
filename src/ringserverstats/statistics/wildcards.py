"""Patterns with the wildcards ``*`` and ``?``."""

from collections.abc import Iterable


def matches(word: str, pattern: str) -> bool:
    """Return True if ``pattern`` matches the whole of ``word`` exactly.

    Backtracks to the last ``*`` only, so that no pattern takes exponential time.
    """
    position = place = 0
    star, retry = -1, 0
    while position < len(word):
        sign = pattern[place : place + 1]
        if sign == "*":
            star, retry = place, position
            place += 1
        elif sign in ("?", word[position]):
            place += 1
            position += 1
        elif star >= 0:
            retry += 1
            place, position = star + 1, retry
        else:
            return False
    return not pattern[place:].strip("*")


def matches_any(word: str, patterns: Iterable[str]) -> bool:
    """Return True if one of ``patterns`` matches ``word``, without regard to case."""
    return any(matches(word.upper(), pattern.upper()) for pattern in patterns)


def like(pattern: str) -> str:
    r"""Return ``pattern`` for SQL's LIKE with the escape character ``\``."""
    for sign in ("\\", "%", "_"):
        pattern = pattern.replace(sign, "\\" + sign)
    return pattern.replace("*", "%").replace("?", "_")
