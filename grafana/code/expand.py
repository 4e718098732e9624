"""Queries of panels with macros and variables expanded, as Grafana sends them.

For tests and benchmarks; the rules are those of the manuals of its data sources.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date

_SECONDS = {"1d": 86_400}


def postgresql(
    text: str, first: date, last: date, selected: Mapping[str, Sequence[str]], *, timescaledb: bool
) -> str:
    """Return a query for PostgreSQL.

    Args:
        text: the query with macros.
        first: first day of the dashboard's period.
        last: last day of the period.
        selected: by name, the selected values of variables; others are "All".
        timescaledb: the data source has TimescaleDB.
    """
    span = f"'{first}T00:00:00Z' AND '{last}T23:59:59.999Z'"

    def group(match: re.Match[str]) -> str:
        seconds = _SECONDS[match[2]]
        if timescaledb:
            return f"time_bucket('{seconds}.000s',{match[1]})"
        return f"floor(extract(epoch from {match[1]})/{seconds})*{seconds}"

    def value(match: re.Match[str]) -> str:
        if match[1] not in selected:
            return "'*'"
        return ",".join("'" + item.replace("'", "''") + "'" for item in selected[match[1]])

    text = text.replace("$__timeTo()", f"'{last}T23:59:59.999Z'")
    text = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {span}", text)
    text = re.sub(r"\$__timeGroup\(([^,]*),\s*'(\w+)'\)", group, text)
    return re.sub(r"\$\{(\w+):sqlstring\}", value, text)


def influxql(text: str, first: date, last: date, selected: Mapping[str, Sequence[str]]) -> str:
    """Return a query for InfluxDB 1.x; arguments as those of `postgresql`."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in selected:
            return ".*"
        return "|".join(
            re.sub(r"([\\^$.*+?()\[\]{}|/])", r"\\\1", item) for item in selected[match[1]]
        )

    span = f"time >= '{first}T00:00:00Z' AND time <= '{last}T23:59:59.999Z'"
    text = text.replace("$timeFilter", span)
    return re.sub(r"\$\{(\w+):regex\}", value, text)
