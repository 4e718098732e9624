"""Reasons of rejects. They quote nothing of the log's text, which holds addresses."""

from ringserverstats.logs.batch import MOST_STREAMS

NO_END = "block with no END before the next START"
NO_START = "line outside of a block"
BAD_LINE = "line inside a block that is not `stream bytes packets`"
LARGE = "number larger than 2^63-1"
BAD_START = "START line that cannot be read"
BAD_END = "END line that cannot be read"
OTHER_END = "END line with another client or direction than its START"
BAD_TIME = "invalid time, or not between 2000 and the day after tomorrow"
BAD_ADDRESS = "invalid IP address"
TOO_LONG = "line longer than 1 MiB"
TOO_MANY = f"entry with more than {MOST_STREAMS} streams"
NO_OBJECT = "line that is not a JSON object"
LONG_OBJECT = "line longer than 16 MiB"


def field_reason(name: str) -> str:
    """Return the reason for a JSON object with a bad field ``name``."""
    return f"JSON object with a missing or invalid `{name}`"


def total_reason(total: int, added: int) -> str:
    """Return the reason for an entry with a wrong checksum (both in bytes)."""
    return f"total is {total} but the lines add up to {added} (entry rejected, none of it counted)"
