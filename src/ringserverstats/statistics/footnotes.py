"""What the reader of an answer should know of it, wherever it is shown."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from ringserverstats.statistics.bounds import pruned_months
from ringserverstats.statistics.client_list import known
from ringserverstats.statistics.coverage import Gaps
from ringserverstats.statistics.dimensions import LOCATION_DIMENSIONS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.reject_list import rejects
from ringserverstats.store.base import Readable

#: What of clients is not kept of pruned months.
_PRUNED_AWAY = frozenset({"client", "city", "geohash", "asn", "institution", "agent"})
_DBIP = "DBIP"  # with which the kinds of its databases begin; its licence asks to be named


@dataclass(frozen=True)
class Footnote:
    """``text``, and the ``command`` that tells more, where there is one."""

    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.command}" if self.command else self.text


def of_logs(
    store: Readable, query: Query, holes: Mapping[str | None, Gaps], *, with_rejects: bool
) -> list[Footnote]:
    """That logs of the period are not all in, and, to who may know, what of them was rejected."""
    found = []
    incomplete = sum(one.incomplete for one in holes.values())
    missing = sum(one.missing for one in holes.values())
    if incomplete + missing:
        days = sum(one.days for one in holes.values())
        states = ((incomplete, "incomplete"), (missing, "missing"))
        told = ", ".join(f"{count} {state}" for count, state in states if count)
        found.append(Footnote(f"server days: {told} of {days}", _command("coverage", query)))
    lines: list[int] = []
    if with_rejects:
        lines = rejects(store, query, ("server", "direction"))["lines"].to_pylist()
    if lines:
        parts = [f"{sum(lines):,} lines of logs of this period"] if any(lines) else []
        parts += [f"the rest of {lines.count(0):,} damaged logs"] if 0 in lines else []
        found.append(Footnote(f"rejected: {', '.join(parts)}", _command("rejects", query)))
    return found


def of_clients(store: Readable, query: Query) -> list[Footnote]:
    """Which clients are counted, what is not kept of them, whose database tells places."""
    return [*_of_pruned(store, query), *_of_whom(store, query)]


def of_networks(nearest: list[str]) -> list[Footnote]:
    """That some networks count as those that were the nearest in time."""
    if not nearest:
        return []
    told = (
        f"none was operating on some days, which count as the nearest network: {', '.join(nearest)}"
    )
    return [Footnote(told, "ringserverstats networks unknown")]


def _of_pruned(store: Readable, query: Query) -> list[Footnote]:
    """That clients of old months are not known, where a question asks about them."""
    asked = _PRUNED_AWAY & {*query.dimensions, *query.filters}
    if not asked:
        return []
    months = sorted(pruned_months(store.ask, query.first, query.last))
    if not months:
        return []
    return [
        Footnote(
            f"{months[0]:%Y-%m} to {months[-1]:%Y-%m} are pruned: of their clients only country, "
            "class and agent family are kept, and what they did is not under "
            f"{', '.join(sorted(asked))}"
        )
    ]


def _of_whom(store: Readable, query: Query) -> list[Footnote]:
    found = []
    told = known(store)
    if "class" in query.filters:
        found.append(Footnote(f"clients of class: {', '.join(query.filters['class'])}"))
    elif len(told.classes) > 1 and "class" not in query.dimensions:
        found.append(Footnote(f"clients of all classes: {', '.join(told.classes)}"))
    is_of_dbip = any(source.startswith(_DBIP) for source in told.location_sources)
    if is_of_dbip and LOCATION_DIMENSIONS & {*query.dimensions, *query.filters}:
        found.append(Footnote("places: IP Geolocation by DB-IP, https://db-ip.com"))
    return found


def _command(name: str, query: Query) -> str:
    """The command that tells more of the period, servers and directions of ``query``."""
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
