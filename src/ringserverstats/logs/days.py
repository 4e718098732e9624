"""The day of an entry: the server's local date at which its period starts.

The rules, in order:

1. the file's name gives an interval of at most 26 hours: the date of the interval's middle;
   a longer one: the local date of max(connect time, the name's start);
2. JSON Lines without a name: the local date of ``log_start_time``;
3. text without a name: the local date of max(connect time, local midnight before the log time
   less 5 s). The server may take those seconds to write its blocks at midnight.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

import numpy as np

from ringserverstats.logs.batch import UNSPECIFIED, Batch, Int8s, Int64s
from ringserverstats.logs.names import FileName

NO_HOUR = -1
_WRITE_SECONDS = 5
_DAY = 86_400
_QUARTER = 900  # seconds; offsets from UTC change only at quarters of an hour
_EARLY, _LATE = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True)
class Days:
    """Per entry: ``day`` (days since 1970-01-01), ``hour`` (local, or `NO_HOUR`).

    ``guessed`` counts the entries of rule 3. ``contradicts``: the log times are outside the
    interval of the file's name in the server's time zone.
    """

    day: Int64s
    hour: Int8s
    guessed: int
    contradicts: bool


def days(batch: Batch, name: FileName, zone: tzinfo) -> Days:
    """Return the day of each entry of ``batch`` from a file with ``name``."""
    guessed = 0
    connect_time = np.minimum(batch.connect_time, batch.log_time)  # the clock may have been wrong
    if name.day is not None:
        day = np.full(len(batch), np.datetime64(name.day, "D").astype(np.int64))
    elif name.start is not None:
        first = np.datetime64(name.start.date(), "D").astype(np.int64)
        day = np.maximum(_local_day(connect_time, zone), first)
    else:
        has_start = batch.start_time != UNSPECIFIED
        guessed = int((~has_start).sum())
        midnight = _local_day(batch.log_time - _WRITE_SECONDS, zone)
        guess = np.maximum(_local_day(connect_time, zone), midnight)
        start = _local_day(np.where(has_start, batch.start_time, 0), zone)
        day = np.where(has_start, start, guess)
    hour = name.hour(zone)
    return Days(
        day=day,
        hour=np.full(len(batch), NO_HOUR if hour is None else hour, np.int8),
        guessed=guessed,
        contradicts=_contradicts(batch, name, zone),
    )


def local(times: Int64s, zone: tzinfo) -> Int64s:
    """Convert seconds since 1970 UTC to seconds since 1970 on the wall clock of ``zone``."""
    quarters, index = np.unique(times // _QUARTER, return_inverse=True)
    offsets = [_offset(int(quarter) * _QUARTER, zone) for quarter in quarters]
    return times + np.array(offsets, np.int64)[index]


def _offset(time: int, zone: tzinfo) -> int:
    offset = datetime.fromtimestamp(time, UTC).astimezone(zone).utcoffset()
    return int((offset or timedelta()).total_seconds())


def _local_day(times: Int64s, zone: tzinfo) -> Int64s:
    return local(times, zone) // _DAY


def _contradicts(batch: Batch, name: FileName, zone: tzinfo) -> bool:
    if name.start is None or name.end is None or not len(batch):
        return False
    start, end = name.start.replace(tzinfo=zone), name.end.replace(tzinfo=zone)
    if start.utcoffset() != end.utcoffset():
        return False  # names are off by an hour on such a day
    earliest, latest = int(batch.log_time.min()), int(batch.log_time.max())
    return (
        earliest < (start - _EARLY).timestamp()
        or latest > (end.astimezone(UTC) + _LATE).timestamp()
    )
