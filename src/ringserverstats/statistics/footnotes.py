"""Footnotes of a result, each only if rows of the result are concerned.

What a footnote depends on is read through the result of the same role, so that it reveals nothing.
"""

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.enrich.labels import PRIVATE_NETWORK, UNKNOWN
from ringserverstats.statistics.bounds import pruned_months
from ringserverstats.statistics.client_list import profile_values
from ringserverstats.statistics.dimensions import (
    LOCATION_DIMENSIONS,
    NETWORK_DIMENSIONS,
)
from ringserverstats.statistics.gaps import GroupGaps, running_time, total_gaps
from ringserverstats.statistics.packets import PacketlessDays
from ringserverstats.statistics.publish import QueryContext, Result
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.statistics.run import network_names_for
from ringserverstats.statistics.sizes import counted
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Readable

#: Dimensions and filters that pruning deletes.
_PRUNED = frozenset({"client", "user", "city", "geohash", "asn", "institution", "agent"})
#: How the footnotes on incomplete and missing days, and on rejected entries, begin.
GAPS, REJECTED = "server days", "rejected"
_DEFAULT_DIRECTIONS: dict[str, tuple[str, ...]] = {"coverage": ("TX",), "rejects": ()}
_DBIP = "DBIP"  # the types of its databases start so; its licence requires attribution
_NEAREST = """
SELECT DISTINCT w.network FROM network_by_day f
  JOIN network_period w ON w.code = f.network AND f.day BETWEEN w.first_day AND w.last_day
 WHERE w.is_nearest AND w.network <> w.code AND {where}
"""


@dataclass(frozen=True)
class Footnote:
    """``text``, and the ``command`` that shows details, if any."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.command}" if self.command else self.text


def log_footnotes(context: QueryContext, query: Query, groups: GroupGaps) -> list[Footnote]:
    """Return footnotes on incomplete and missing days and, for the operator, on rejected entries.

    Args:
        context: the store and the role.
        query: the query of the result.
        groups: the gaps of its groups, by `gaps`.
    """
    footnotes = []
    if gap := total_gaps(groups):
        states = ((gap.incomplete, "incomplete"), (gap.missing, "missing"))
        counts = ", ".join(f"{count} {state}" for count, state in states if count)
        text = f"{GAPS}: {counts} of {gap.days}"
        footnotes.append(Footnote(text, _command("coverage", query)))
    if not context.role.is_operator:  # rejected entries may be of embargoed networks
        return footnotes
    if text := rejected_text(rejects(context.store, query)):
        footnotes.append(Footnote(f"{REJECTED}: {text}", _command("rejects", query)))
    return footnotes


def result_footnotes(
    context: QueryContext, query: Query, result: Result, packetless: PacketlessDays
) -> list[Footnote]:
    """Return footnotes on lower bounds, pruned months, classes, sources, networks.

    Args:
        context: the store and the role.
        query: the query of the result.
        result: the result.
        packetless: its days without packets.
    """
    pruned = pruned_footnotes(context, query)
    if result.is_empty(query) and not packetless.rows:
        return pruned
    rows = result.rows
    return [
        *packet_footnotes(packetless),
        *_connection_footnotes(query, rows),
        *_hour_footnotes(query, rows),
        *pruned,
        *class_footnotes(query, _classes(context, query)),
        *location_footnotes(context.store, query, rows),
        *network_footnotes(context, query),
    ]


def packet_footnotes(packetless: PacketlessDays) -> list[Footnote]:
    """Return the footnote on days of which packets are unknown."""
    days = packetless.days
    if not days:
        return []
    text = (
        f"packets are a lower bound: on {counted(len(days), 'day')} ({days[0]} to {days[-1]}) logs "
        "have bytes without packets, as ringserver until v2013.284 and release 0.17 recorded none"
    )
    return [Footnote(text)]


def _connection_footnotes(query: Query, rows: pa.Table) -> list[Footnote]:
    if "connections" not in query.measures or not any(rows["connections"].to_pylist()):
        return []
    text = (
        "connections are a lower bound: those of one client that begin in the same second count "
        "once"
    )
    return [Footnote(text)]


def _hour_footnotes(query: Query, rows: pa.Table) -> list[Footnote]:
    if not query.has_hours or not rows["hour"].null_count:
        return []
    text = (
        "rows without an hour are of logs that cover more than an hour; set ringserver's "
        "TransferLogInterval to 1 for logs by the hour"
    )
    return [Footnote(text)]


def running_footnotes(query: Query, rows: pa.Table, today: date) -> list[Footnote]:
    """Return the footnote on the day, month, ... of ``rows`` that is not over."""
    label = running_time(query, rows, today)
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


def pruned_footnotes(context: QueryContext, query: Query) -> list[Footnote]:
    """Return the footnote on pruned months, if the result needs what they do not keep."""
    columns = sorted(_PRUNED & {*query.dimensions, *query.filters})
    pruned = pruned_months(context.store.ask, query.first, query.last) if columns else {}
    if not pruned:
        return []
    # Without these filters, which match nothing in these months.
    kept = {name: values for name, values in query.filters.items() if name not in _PRUNED}
    by_month = replace(_grouped(query, "month"), filters=kept)
    labels = {row["month"] for row in context.rows(by_month)}
    months = [month for month in (f"{day:%Y-%m}" for day in sorted(pruned)) if month in labels]
    if not months:
        return []
    text = (
        f"{months[0]} to {months[-1]} are pruned: of their clients only country, class and agent "
        f"family are kept, not {', '.join(columns)}"
    )
    return [Footnote(text)]


def class_footnotes(query: Query, classes: Collection[str | None]) -> list[Footnote]:
    """Return the footnote on the classes of clients, if the result has several or a filter.

    Args:
        query: the query of the result.
        classes: the classes of its clients.
    """
    if "class" in query.filters:
        return [Footnote(f"clients of class: {', '.join(query.filters['class'])}")]
    names = sorted(filter(None, classes))
    return [Footnote(f"clients of all classes: {', '.join(names)}")] if len(names) > 1 else []


def _classes(context: QueryContext, query: Query) -> list[str | None]:
    """Return the classes of the clients of a result, if it does not show them."""
    if "class" in {*query.dimensions, *query.filters}:
        return []
    if len(profile_values(context.store).classes) <= 1:
        return []
    return [row["class"] for row in context.rows(_grouped(query, "class"))]


def location_footnotes(store: Readable, query: Query, rows: pa.Table) -> list[Footnote]:
    """Return the footnote on the source of locations, if ``rows`` have locations."""
    columns = LOCATION_DIMENSIONS & {*query.dimensions, *query.filters}
    shown = LOCATION_DIMENSIONS & {*query.dimensions}
    labels = (label for name in shown for label in pc.unique(rows[name]).to_pylist())
    is_located = shown != columns or any(
        label not in (None, UNKNOWN, PRIVATE_NETWORK) for label in labels
    )
    if not columns or not is_located:
        return []
    if not any(source.startswith(_DBIP) for source in profile_values(store).location_sources):
        return []
    return [Footnote("locations: IP Geolocation by DB-IP, https://db-ip.com")]


def network_footnotes(context: QueryContext, query: Query) -> list[Footnote]:
    """Return the footnote on networks that count for days on which they did not operate."""
    if not context.role.is_operator or not NETWORK_DIMENSIONS & {*query.dimensions, *query.filters}:
        return []
    nearest = _nearest_networks(context, query)
    if not nearest:
        return []
    text = (
        "on some days no network was operating, and they count as the nearest network: "
        f"{', '.join(nearest)}"
    )
    return [Footnote(text, "ringserverstats networks unknown")]


def _nearest_networks(context: QueryContext, query: Query) -> list[str]:
    """Return the networks of a result that did not operate on some of its days."""
    store = context.store
    spans = network_names_for(store.ask, query).spans
    networks = {span.network for span in spans if span.is_nearest}
    if not networks:
        return []
    parameters: list[object] = []
    where = conditions(query.of_entries(), "f.day", parameters)
    rows = store.ask(_NEAREST.format(where=where), parameters)
    networks &= set(rows["network"].to_pylist())
    if networks and query.of_entries().filters != query.filters:
        networks &= {row["network"] for row in context.rows(_grouped(query, "network"))}
    return sorted(networks)


def _grouped(query: Query, dimension: str) -> Query:
    """Return the query of the bytes by ``dimension`` of the same rows."""
    return replace(
        query, dimensions=(dimension,), measures=("bytes",), sort="", top=None, limit=None
    )


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
    if directions != _DEFAULT_DIRECTIONS[name]:
        words += ["--direction", ",".join(directions) or "TX,RX"]
    return " ".join(words)
