"""The report of one ingest, and the footnotes of that report."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ringserverstats.logs.batch import Reject
from ringserverstats.store.base import CountedElsewhere, Server

#: The note on the first logs of a store without locations.
NO_GEOIP = (
    "no GeoIP database is configured: countries and cities of these clients stay unknown. Set "
    "geoip_city, or install the extra geoip, before you read more logs"
)


@dataclass
class ImportReport:
    """Counts of one ingest. Bytes and packets are those of new entries.

    ``counted_elsewhere`` are the new entries of the other server that has most of them.
    """

    files: int = 0
    entries: int = 0
    connections: int = 0
    transfers: int = 0
    bytes: int = 0
    packets: int = 0
    known: int = 0
    known_elsewhere: int = 0
    in_copies: int = 0
    empty: int = 0
    incomplete: int = 0
    rejected: int = 0
    rejected_before: int = 0
    resolved: int = 0
    days_guessed: int = 0
    misdated: int = 0
    imported: int = 0
    access_lines: int = 0
    other_files: int = 0
    temporary_files: int = 0
    rejects: list[tuple[str, Reject]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counted_elsewhere: CountedElsewhere | None = None

    @property
    def shown(self) -> dict[str, Any]:
        """What is reported, by name."""
        return {name: value for name, value in vars(self).items() if name != "counted_elsewhere"}


def time_zone_note(label: str, server: Server) -> str:
    """Return the note on a log with times outside the interval of its name."""
    time_zone = server.timezone or "UTC, as no time zone is configured"
    return (
        f"the log times of {label} are outside the interval in its name, as local time of server "
        f"{server.name!r} ({time_zone}). The name decides the day. If it is the log's own name, "
        f"correct the time zone: ringserverstats server timezone {server.name} Area/City"
    )


def count_notes(report: ImportReport, misdated_days: list[date]) -> Iterator[str]:
    """Yield the notes on entries that were counted before.

    Args:
        misdated_days: days of the entries that are in the store on another day, sorted.
    """
    if report.misdated:
        yield (
            f"{report.misdated} entries are in the store on other days than in these logs: they "
            "were read before without the log's name, or in another time zone. These days are "
            "incomplete. Delete them and read their logs again: ringserverstats delete --server "
            f"NAME --from {misdated_days[0]} --to {misdated_days[-1]}"
        )
    if report.imported:
        yield (
            f"{report.imported} entries are on days that were imported from release 0.17, and were "
            "not counted again. To count their logs instead, delete these days first: "
            "ringserverstats delete --server NAME --from DAY --to DAY"
        )
    if report.in_copies:
        yield (
            f"{report.in_copies} identical entries in two files of one interval: a moved log, or a "
            "copy. They were counted once"
        )
    if report.known_elsewhere:
        yield (
            f"{report.known_elsewhere} entries are also in the store under another server, and "
            "count for each. If these are logs of one server: ringserverstats server merge"
        )
