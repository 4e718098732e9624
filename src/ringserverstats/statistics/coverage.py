"""Coverage: which days of which server the store has logs of. A day without a log is not zero.

A day of a server and direction is *complete* (logs that were read whole cover all its minutes, even
if entries were rejected), *empty* (the same, and nothing was sent or received: a ringserver writes
such logs when clients connect but receive nothing), *incomplete* (with a reason), or *missing*.
"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.statistics.dimensions import COVERAGE_FILTERS
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.sql import conditions
from ringserverstats.store.base import Readable

STATES = ("complete", "empty", "incomplete", "missing")
PERIODS = ("day", "month")

# One row for each day of a server and direction on which logs exist or are expected. {low} and
# {high} are the period, or NULL. Logs are expected in a server's time of service. If it is not
# configured: from {low}, or the server's first day, to {high} ({late}), or the last day of any
# server, up to yesterday.
_DAYS = """
WITH entry AS (
    SELECT server, direction, day, sum(entries) AS entries FROM connection_by_day
     WHERE day >= coalesce({low}::date - 366, '2000-01-01')
       AND day <= coalesce({high}::date, '2100-01-01') GROUP BY server, direction, day
), logged_day AS (
    SELECT server, direction, day FROM log_interval UNION SELECT server, direction, day FROM entry
), pair AS (
    SELECT server, 'TX'::direction AS direction FROM server
    UNION SELECT server, direction FROM logged_day
), span AS (
    SELECT f.server, f.direction,
           greatest(coalesce(v.first_day, {low}::date, min(k.day)), {low}::date) AS first_day,
           least(v.last_day, {high}::date, greatest(max(k.day), {late}::date,
                 CASE WHEN v.last_day IS NULL
                      THEN least((SELECT max(day) FROM logged_day), {yesterday}::date)
                      ELSE {yesterday}::date END)) AS last_day
      FROM pair f JOIN server v ON v.server = f.server
      LEFT JOIN logged_day k ON k.server = f.server AND k.direction = f.direction
     WHERE {where} GROUP BY f.server, f.direction, v.first_day, v.last_day
), known AS (
    SELECT p.server, p.direction, d.day::date AS day, c.minutes, c.complete,
           coalesce(e.entries, 0) AS entries,
           EXISTS (SELECT 1 FROM entry o WHERE o.server = p.server AND o.direction = p.direction
                    AND o.day BETWEEN c.first_day AND c.last_day) AS is_used,
           EXISTS (SELECT 1 FROM reject r WHERE r.server = p.server AND r.direction = p.direction
                    AND r.day BETWEEN c.first_day AND c.last_day) AS has_rejects,
           EXISTS (SELECT 1 FROM reject r WHERE r.server = p.server AND r.direction = p.direction
                    AND r.lines = 0 AND r.day BETWEEN c.first_day AND c.last_day) AS is_damaged
      FROM span p
      JOIN generate_series(timestamp '2000-01-01', {end}::timestamp, interval '1 day') AS d(day)
        ON d.day BETWEEN p.first_day AND p.last_day
      LEFT JOIN coverage c
        ON c.server = p.server AND c.direction = p.direction AND c.day = d.day::date
      LEFT JOIN entry e
        ON e.server = p.server AND e.direction = p.direction AND e.day = d.day::date
), dated AS (
    SELECT server, direction, day, entries, coalesce(minutes, 0) AS minutes, is_damaged,
           has_rejects,
           CASE WHEN complete AND minutes = 1440
                THEN CASE WHEN is_used OR has_rejects THEN 'complete' ELSE 'empty' END
                WHEN minutes IS NOT NULL OR entries > 0 THEN 'incomplete'
                ELSE 'missing' END AS state
      FROM known
)
"""
#: SQL of the number of rejected entries of a day of ``dated d``.
REJECTS = """
(SELECT coalesce(sum(r.entries), 0)::bigint FROM reject r
  WHERE r.server = d.server AND r.direction = d.direction AND r.day = d.day)
"""
_CLOCK = (
    "lpad((({minute} - {minute} % 60) / 60)::integer::text, 2, '0')"
    " || ':' || lpad(({minute} % 60)::text, 2, '0')"
)
# The parts of incomplete days that no log covers, as text.
_UNCOVERED_TIMES = f"""
SELECT server, direction, day,
       string_agg({_CLOCK.format(minute="reached")} || ' to ' || {_CLOCK.format(minute="first")},
                  ', ' ORDER BY reached) AS times
  FROM (SELECT server, direction, day, first, coalesce(max(last) OVER (
                   PARTITION BY server, direction, day ORDER BY first, last
                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS reached
          FROM (SELECT i.server, i.direction, i.day, i.first_minute::integer AS first,
                       i.last_minute::integer AS last
                  FROM log_interval i JOIN dated d ON d.server = i.server
                   AND d.direction = i.direction AND d.day = i.day
                 WHERE d.state = 'incomplete'
                 UNION ALL SELECT server, direction, day, 1440, 1440 FROM dated
                 WHERE state = 'incomplete' AND minutes > 0) AS part) AS piece
 WHERE first > reached GROUP BY server, direction, day
"""
_REASON = """
CASE WHEN d.state <> 'incomplete' THEN NULL
     WHEN d.day > {yesterday}::date THEN 'not over yet'
     WHEN d.is_damaged THEN 'a log is damaged'
     WHEN d.minutes = 0 THEN 'a log was read without its name'
     WHEN t.times IS NOT NULL THEN 'no log of ' || t.times
     WHEN d.has_rejects AND d.entries = 0 THEN 'all entries were rejected'
     ELSE 'a log must be read again' END
"""
_BY_DAY = f"""
SELECT v.name AS server, d.direction::text AS direction, d.day::text AS day, d.state AS state,
       {_REASON} AS reason, d.minutes::bigint AS minutes, d.entries::bigint AS entries,
       {REJECTS} AS rejects
  FROM dated d JOIN server v ON v.server = d.server
  LEFT JOIN ({_UNCOVERED_TIMES}) t
    ON t.server = d.server AND t.direction = d.direction AND t.day = d.day
 ORDER BY v.name, d.direction::text DESC, d.day
"""
# Consecutive days with the same gap, then the servers with the same range.
_RANGES = f"""
SELECT string_agg(server, ', ' ORDER BY server) AS servers, direction, state, reason,
       first_day::text AS first_day, last_day::text AS last_day, days
  FROM (SELECT server, direction, state, reason, min(day) AS first_day, max(day) AS last_day,
               count(*) AS days
          FROM (SELECT server, direction, state, reason, day::date AS day,
                       day::date - row_number() OVER (
                           PARTITION BY server, direction, state, reason ORDER BY day)::integer
                       AS island
                  FROM ({_BY_DAY}) AS by_day WHERE state IN ('incomplete', 'missing')) AS gap
         GROUP BY server, direction, state, reason, island) AS range
 GROUP BY direction, state, reason, first_day, last_day, days
 ORDER BY first_day, servers, direction DESC, state
"""
_BY_MONTH = f"""
SELECT server, direction, substr(day, 1, 7) AS month,
       {", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in STATES)},
       sum(entries)::bigint AS entries, sum(rejects)::bigint AS rejects
  FROM ({_BY_DAY}) d
 GROUP BY 1, 2, 3 ORDER BY server, direction DESC, month
"""


def coverage(store: Readable, query: Query, *, by: str = "day") -> pa.Table:
    """Return the coverage of the period, servers and directions of ``query``.

    Without a period, days are those from a server's first day to the last day of any server, within
    its time of service if that is configured.

    Args:
        store: the store.
        query: its period and `COVERAGE_FILTERS` apply.
        by: ``day`` or ``month``.

    Returns:
        By day: columns server, direction, day, state, reason (why a day is incomplete, else None),
        minutes, entries, rejects (rejected entries). By month: the number of days of each state
        instead of state, reason and minutes.

    Raises:
        UsageError: ``by`` is neither.
    """
    if by not in PERIODS:
        raise UsageError(f"unknown period {by!r} of coverage. Known: {', '.join(PERIODS)}")
    return select_days(store, query, _BY_DAY if by == "day" else _BY_MONTH)


def gap_ranges(store: Readable, query: Query) -> pa.Table:
    """Return the incomplete and missing days in the period of ``query`` as ranges of days.

    Returns:
        Columns servers (names, separated by commas), direction, state, reason, first_day, last_day,
        days, sorted by first_day.
    """
    return select_days(store, query, _RANGES)


def select_days(store: Readable, query: Query, select: str) -> pa.Table:
    """Return the result of ``select`` on ``dated``: the days of `coverage`, with their states."""
    parameters: list[object] = []
    filters = Query(filters=query.only(*COVERAGE_FILTERS).filters)
    where = conditions(filters, "f.day", parameters)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    limits = {
        "low": query.first,
        "high": query.last,
        "late": min(query.last, yesterday) if query.last else None,
        "yesterday": yesterday,
        "end": yesterday + timedelta(days=3),
    }
    placeholders = {}
    for name, limit in limits.items():
        parameters.append(limit and limit.isoformat())
        placeholders[name] = f"${len(parameters)}"
    sql = _DAYS.format(where=where, **placeholders)
    return store.ask(sql + select.replace("{yesterday}", placeholders["yesterday"]), parameters)
