"""File names of usage logs: kind, prefix and interval.

    node-a-txlog-20180330T00:00-20180331T00:00    up to v4.0.x
    rxlog-20261124T0000-20261125T0000.jsonl.gz    since v4.1.0, compressed by the operator

The two times are the interval in the server's local time. The server adds its interval in seconds
to local midnight, so at a change of clocks a day may be called ``20260329T0000-20260330T0100``.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo

from ringserverstats.errors import UsageError

_TIME = r"(\d{8}T\d{2}):?(\d{2})"
_NAME = re.compile(rf"(?:(.+)-)?(tx|rx|access)log-{_TIME}-{_TIME}(?=$|[.~\s_-])", re.ASCII)
_DAY, _HOUR, _TICK = timedelta(hours=26), timedelta(hours=1), timedelta.resolution
_MOST_BACK = timedelta(hours=1)  # Antarctica/Troll: 02:00 to 01:00
_TEMPORARY = (".tmp", ".part", ".partial", ".filepart", ".swp")
_FIRST_YEAR, _LAST_YEAR = 2000, 2100


@dataclass(frozen=True)
class FileName:
    """``kind`` is tx, rx, access or empty; ``start`` and ``end`` are local times of the server."""

    kind: str = ""
    prefix: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def day(self) -> date | None:
        """Local date of the middle of an interval of at most 26 hours; None if it is longer.

        A middle at midnight belongs to the day before: where clocks skip the first hour of a day,
        the hour before is called T2300 to T0100.
        """
        if self.start is None or self.end is None or self.end - self.start > _DAY:
            return None
        return (self.start + (self.end - self.start) / 2 - _TICK).date()

    def hour(self, zone: tzinfo) -> int | None:
        """Return the local hour of an interval within one hour in ``zone``; else None."""
        if self.start is None or self.end is None:
            return None
        start, end = (one.replace(tzinfo=zone).astimezone(UTC) for one in (self.start, self.end))
        length = min(self.end - self.start, end - start)  # less if clocks skip an hour in between
        is_within = (self.start + length - _TICK).hour == self.start.hour and length < _HOUR
        return self.start.hour if is_within or length == _HOUR else None


def read_name(name: str) -> FileName:
    """Parse ``name``, without its folder; an empty `FileName` if it is not a log's name."""
    match = _NAME.match(name)
    if not match:
        return FileName()
    prefix, kind, *times = match.groups()
    try:
        start, end = (
            datetime.strptime(day + minute, "%Y%m%dT%H%M") for day, minute in (times[:2], times[2:])
        )
    except ValueError:
        return FileName(kind=kind, prefix=prefix)
    # An hour after which clocks go back.
    if timedelta() <= start - end <= _MOST_BACK and start.year <= _LAST_YEAR:
        end = start + _HOUR
    if end <= start or start.year < _FIRST_YEAR or end.year > _LAST_YEAR:
        return FileName(kind=kind, prefix=prefix)
    return FileName(kind=kind, prefix=prefix, start=start, end=end)


def check_server_name(name: str) -> str:
    """Return ``name``.

    Raises:
        UsageError: it is not valid for a server.
    """
    if not is_server_name(name):
        raise UsageError(
            f"invalid server name {name!a}: use up to 64 letters, digits, . _ - and begin with a "
            "letter or digit"
        )
    return name


def is_server_name(name: str) -> bool:
    """Return True if ``name`` is valid for a new server."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) is not None


def is_temporary(name: str) -> bool:
    """Return True for the names of hidden files and of copies that are being written.

    rsync writes ``.NAME.XXXXXX``, Syncthing ``.syncthing.NAME.tmp``, macOS ``._NAME``.
    """
    return name.startswith(".") or name.endswith(_TEMPORARY)
