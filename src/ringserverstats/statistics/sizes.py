"""Numbers and bytes for people: 2.20 billion, 1.20 GB."""

UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

_LARGE = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"))
_LONG = 10**7


def human_count(count: int) -> str:
    """Return all digits of ``count``, or three from ten million on: 2.20 billion."""
    for size, word in _LARGE:
        if count >= max(size, _LONG):
            ratio = count / size
            digits = 2 if ratio < 10 else 1 if ratio < 100 else 0
            return f"{ratio:.{digits}f} {word}"
    return f"{count:,}"


def human_bytes(count: int) -> str:
    """Return ``count`` bytes with a decimal unit and three digits: 1.20 GB."""
    size, units = float(count), iter(UNITS)
    unit = next(units)
    while size >= 999.5 and unit != UNITS[-1]:
        size, unit = size / 1000, next(units)
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return ``count`` with its noun: 1 day, 1,200 days. ``many``: its plural if not in -s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
