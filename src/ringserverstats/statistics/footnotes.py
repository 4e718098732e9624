"""Footnotes for a result: incomplete days, rejected entries, pruned months, classes, sources."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.statistics.bounds import pruned_months
from ringserverstats.statistics.client_list import profile_values
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS, LOCATION_DIMENSIONS
from ringserverstats.statistics.gaps import GroupGaps, total_gaps
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.sizes import counted
from ringserverstats.store.base import Readable

#: Dimensions and filters that pruning deletes.
_PRUNED = frozenset({"client", "user", "city", "geohash", "asn", "institution", "agent"})
#: How the footnotes on incomplete and missing days, and on rejected entries, begin.
GAPS, REJECTED = "server days", "rejected"
_DBIP = "DBIP"  # the types of its databases start so; its licence requires attribution


@dataclass(frozen=True)
class Footnote:
    """``text``, and the ``command`` that shows details, if any."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.command}" if self.command else self.text


def log_footnotes(
    store: Readable, query: Query, groups: GroupGaps, *, with_rejects: bool
) -> list[Footnote]:
    """Return footnotes on incomplete and missing days and on rejected entries.

    Args:
        store: the store.
        query: the query of the result.
        groups: the gaps of its groups, by `gaps`.
        with_rejects: rejected entries are reported.
    """
    footnotes = []
    if gap := total_gaps(groups):
        states = ((gap.incomplete, "incomplete"), (gap.missing, "missing"))
        counts = ", ".join(f"{count} {state}" for count, state in states if count)
        text = f"{GAPS}: {counts} of {gap.days}"
        footnotes.append(Footnote(text, _command("coverage", query)))
    if with_rejects and (text := rejected_text(rejects(store, query, COVERAGE_FILTERS))):
        footnotes.append(Footnote(f"{REJECTED}: {text}", _command("rejects", query)))
    return footnotes


def bound_footnotes(query: Query, days: Sequence[date]) -> list[Footnote]:
    """Return footnotes on measures that are lower bounds.

    Args:
        query: the query of the result.
        days: the days of its period of which packets are unknown.
    """
    footnotes = []
    if days:
        text = (
            f"packets are a lower bound: on {counted(len(days), 'day')} ({days[0]} to {days[-1]}) "
            "logs have bytes without packets, as ringserver until v2013.284 and release 0.17 "
            "recorded none"
        )
        footnotes.append(Footnote(text))
    if "connections" in query.measures:
        text = (
            "connections are a lower bound: those of one client that begin in the same second "
            "count once"
        )
        footnotes.append(Footnote(text))
    return footnotes


def running_footnotes(label: str) -> list[Footnote]:
    """Return the footnote on the running day, month, ...; ``label`` is empty without one."""
    return [Footnote(f"running: {label} is not over")] if label else []


def rejected_text(rows: pa.Table) -> str:
    """Return the numbers of rejected entries and their lines, as text; empty without any.

    Args:
        rows: the rejects, as `reject_list.rejects` returns them.
    """
    if not len(rows):
        return ""
    single = rows.filter(pc.greater(rows["lines"], 0))
    entries, lines = (pc.sum(single[name]).as_py() for name in ("entries", "lines"))
    logs = len(rows) - len(single)
    parts = []
    if entries:
        parts.append(f"{counted(entries, 'entry', 'entries')} ({counted(lines, 'line')})")
    if logs:
        parts.append(counted(logs, "damaged or refused log"))
    return ", ".join(parts)


def range_text(row: Mapping[str, Any]) -> str:
    """Return the text on a row of `coverage.gap_ranges`."""
    days = f" to {row['last_day']} ({counted(row['days'], 'day')})" if row["days"] > 1 else ""
    reason = f": {row['reason']}" if row["reason"] else ""
    servers = f"{row['servers']} ({row['direction']})"
    return f"{servers}: {row['state']} {row['first_day']}{days}{reason}"


def client_footnotes(store: Readable, query: Query) -> list[Footnote]:
    """Return footnotes on pruned months, classes of clients, and the source of locations."""
    footnotes = []
    columns = {*query.dimensions, *query.filters}
    pruned = sorted(_PRUNED & columns)
    months = sorted(pruned_months(store.ask, query.first, query.last)) if pruned else []
    if months:
        text = (
            f"{months[0]:%Y-%m} to {months[-1]:%Y-%m} are pruned: of their clients only country, "
            f"class and agent family are kept, not {', '.join(pruned)}"
        )
        footnotes.append(Footnote(text))
    values = profile_values(store)
    if "class" in query.filters:
        footnotes.append(Footnote(f"clients of class: {', '.join(query.filters['class'])}"))
    elif len(values.classes) > 1 and "class" not in query.dimensions:
        footnotes.append(Footnote(f"clients of all classes: {', '.join(values.classes)}"))
    is_dbip = any(source.startswith(_DBIP) for source in values.location_sources)
    if is_dbip and LOCATION_DIMENSIONS & columns:
        footnotes.append(Footnote("locations: IP Geolocation by DB-IP, https://db-ip.com"))
    return footnotes


def network_footnotes(nearest: list[str]) -> list[Footnote]:
    """Return the footnote on networks that count for days on which they did not operate."""
    if not nearest:
        return []
    text = (
        "on some days no network was operating, and they count as the nearest network: "
        f"{', '.join(nearest)}"
    )
    return [Footnote(text, "ringserverstats networks unknown")]


def _command(name: str, query: Query) -> str:
    """Return the command that shows details for the period, servers and directions of ``query``."""
    words = ["ringserverstats", name]
    if query.first:
        words += ["--from", query.first.isoformat()]
    if query.last:
        words += ["--to", query.last.isoformat()]
    if "server" in query.filters:
        words += ["--server", shlex.quote(",".join(query.filters["server"]))]
    directions = query.filters.get("direction", ())
    if directions != ("TX",) and name == "coverage":
        words += ["--direction", ",".join(directions) or "TX,RX"]
    return " ".join(words)
