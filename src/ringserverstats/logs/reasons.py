"""Why something of a log is rejected. Reasons hold nothing of the log's text."""

from ringserverstats.logs.batch import MOST_STREAMS

NO_END = "block with no END before the next START"
NO_START = "line outside of a block"
BAD_LINE = "line inside a block that is no `stream bytes packets`"
LARGE = "number over 2^63-1"
BAD_START = "START line that cannot be read"
BAD_END = "END line that cannot be read"
OTHER_END = "END line of another client or direction than its START"
BAD_TIME = "time that is no date between 2000 and the day after tomorrow"
BAD_ADDRESS = "address that is no IP address"
TOO_LONG = "line over 1 MiB"
TOO_MANY = f"entry of over {MOST_STREAMS} streams"


def total_reason(total: int, found: int) -> str:
    """Why an entry whose checksum fails is left out."""
    return f"total is {total} but the lines add up to {found} (entry rejected, none of it counted)"
