"""Questions of panels as Grafana sends them: with their macros and variables put in.

As the manuals of its data sources have it, for tests and benchmarks.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date

_SECONDS = {"1d": 86_400}


def postgresql(
    text: str, first: date, last: date, chosen: Mapping[str, Sequence[str]], *, timescaledb: bool
) -> str:
    """A question to PostgreSQL; a variable that is not ``chosen`` is "All".

    Args:
        text: with macros.
        first: the first day of the dashboard's period, ``last`` its last one.
        last: see ``first``.
        chosen: the values of variables.
        timescaledb: the source is told that it has TimescaleDB.
    """
    span = f"'{first}T00:00:00Z' AND '{last}T23:59:59.999Z'"

    def group(match: re.Match[str]) -> str:
        seconds = _SECONDS[match[2]]
        if timescaledb:
            return f"time_bucket('{seconds}.000s',{match[1]})"
        return f"floor(extract(epoch from {match[1]})/{seconds})*{seconds}"

    def value(match: re.Match[str]) -> str:
        if match[1] not in chosen:
            return "'*'"
        return ",".join("'" + one.replace("'", "''") + "'" for one in chosen[match[1]])

    text = re.sub(r"\$__timeFilter\(([^)]*)\)", rf"\1 BETWEEN {span}", text)
    text = re.sub(r"\$__timeGroup\(([^,]*),\s*'(\w+)'\)", group, text)
    return re.sub(r"\$\{(\w+):sqlstring\}", value, text)


def influxql(text: str, first: date, last: date, chosen: Mapping[str, Sequence[str]]) -> str:
    """A question to InfluxDB 1.x, likewise."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in chosen:
            return ".*"
        return "|".join(re.sub(r"([\\^$.*+?()\[\]{}|/])", r"\\\1", one) for one in chosen[match[1]])

    span = f"time >= '{first}T00:00:00Z' AND time <= '{last}T23:59:59.999Z'"
    text = text.replace("$timeFilter", span)
    return re.sub(r"\$\{(\w+):regex\}", value, text)
