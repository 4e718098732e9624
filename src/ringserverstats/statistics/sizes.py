"""Numbers as people read them."""

from ringserverstats.statistics.charts import UNITS


def human_bytes(count: int) -> str:
    """``count`` in decimal units, three digits: 1.20 GB."""
    size, units = float(count), iter(UNITS)
    unit = next(units)
    while size >= 999.5 and unit != UNITS[-1]:
        size, unit = size / 1000, next(units)
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"
