"""Answers in the form of EIDA's statistics service, of what was read in real time.

What parameters and answers mean: the service's OpenAPI description (1.0.0), ``/dataselect/public``;
the path here is ``/eidaws/statistics/1/seedlink/public``. What counts: `served`, as in the months
that `eida` writes. Requests are those of single months, so that they add up over months, as bytes
do; clients are distinct over all months of a row.

Nothing of a network under embargo is in any answer, nor of one that is not resolved: sums over all
networks are sums over those that may be named. So no answer, and no difference of answers, depends
on what was served of such a network, and one that is asked for is refused before the store is
asked. Countries, networks and months are told with whatever number of clients they had, as in
`published`.

Requests can be counted only where single transfers are kept. A question that begins before is
refused, as a sum that silently lacks months looks like a whole one; also where nothing was served
then, which might tell of a network under embargo.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from ringserverstats.errors import UsageError
from ringserverstats.exports.eida.request import (
    RefusedError,
    Request,
    format_of,
    request_of,
    shown,
)
from ringserverstats.exports.eida.served import (
    ASKED,
    SERVED,
    answered,
    reading,
    reason_against,
    with_registers,
)
from ringserverstats.exports.eida.sketches import maker
from ringserverstats.statistics.bounds import pruned_months
from ringserverstats.statistics.network_names import code_networks, matches_network
from ringserverstats.statistics.publish import Policy
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.rollups import month_of

#: Version of the interface.
VERSION = "1.0.0"
#: Columns of an answer; sketches are behind them.
COLUMNS = (
    "date", "node", "network", "station", "location", "channel", "country", "bytes", "nb_reqs",
    "nb_successful_reqs", "clients",
)  # fmt: skip
_SKETCH = "hll_clients"
_ALL = "*"  # what is summed
_FORMULA = ("=", "+", "-", "@")
_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json"}
_ONE_DAY = timedelta(days=1)
_ROWS_AT_ONCE = 1000

_DATES = {"month": "substr(month::text, 1, 7)", "year": "substr(month::text, 1, 4)"}
_MEMBERS = ", array_agg(DISTINCT client::text) AS members"
_IS_ENTRY = """
SELECT EXISTS (
    SELECT 1 FROM network_by_day f
      LEFT JOIN network_period n ON n.code = f.network AND f.day BETWEEN n.first_day AND n.last_day
     WHERE {where} AND coalesce(n.network, f.network) IN ({networks})
) AS is_entry
"""

Sketch = Callable[[bytes], str]


@dataclass(frozen=True)
class Reply:
    """What is answered: a status of HTTP, the type of the text, and the text in pieces."""

    status: int
    media_type: str
    body: Iterable[bytes]


def answer(store: Store, query_string: str, *, node: str, policy: Policy, today: date) -> Reply:
    """The answer to ``GET /eidaws/statistics/1/seedlink/public?QUERY``.

    Args:
        store: what is asked, in one state of it.
        query_string: as it came, from anybody.
        node: the name of the node whose figures these are.
        policy: tells which networks are under embargo.
        today: tells the last month, where the query_string does not.

    Returns:
        All in the form that was asked for, with one of these statuses: 200, also without rows; 400,
        where the query_string is wrong, or of months whose requests cannot be counted any more; 401, where
        it is of a network under embargo; 501, where it wants sketches, which python-hll2 makes, and
        that is not installed here.

    Raises:
        StoreError: the store cannot be used, or took too long.
    """
    form = format_of(query_string)
    try:
        request = request_of(query_string, today)
        code = (request.network or "").upper()
        if code and matches_network(code, code, policy.embargoed):
            raise RefusedError(401, "this network is restricted; public answers do not tell of it")
        sketch = _maker() if request.has_sketches else None
        found = _found(store, request, node, policy)
    except RefusedError as error:
        told = (_json_head if form == "json" else _csv_head)(query_string, error=str(error))
        return Reply(error.status, _MEDIA_TYPES[form], [told])
    rows = _results(found, request, node, sketch)
    body = (
        _json(query_string, rows)
        if form == "json"
        else _csv(query_string, rows, has_sketches=bool(sketch))
    )
    return Reply(200, _MEDIA_TYPES[form], body)


def _maker() -> Sketch:
    try:
        return maker()
    except UsageError:
        raise RefusedError(
            501, "this server makes no sketches of clients; ask without 'hllvalues'"
        ) from None


def _found(store: Store, request: Request, node: str, policy: Policy) -> pa.Table:
    """The rows, sorted; ``members`` or ``registers`` only where there are sketches.

    Raises:
        RefusedError: they cannot be told.
    """
    if request.nodes is not None and node not in request.nodes:
        return pa.table({})
    key = store.open(create=False).keys.sketches if request.has_sketches else b""
    since = store.kept_since
    with store.reading(limited=True) as ask:
        networks = _let_in(ask, policy)
        if request.network is not None:
            networks = [one for one in networks if one == request.network]
        _check_kept(ask, request, since)
        found = answered(
            ask,
            _sums(request),
            reading(request.first, request.last),
            networks=networks,
            countries=request.countries or (),
        )
        if request.network is not None and not len(found):
            _check_entry(ask, networks)
    return with_registers(found, key) if request.has_sketches else found


def _let_in(ask: Ask, policy: Policy) -> list[str]:
    """The networks that may be named."""
    reasons: dict[str, set[str | None]] = {}
    for code, network in code_networks(ask):
        reasons.setdefault(network, set()).add(reason_against(code, network, policy.embargoed))
    return sorted(network for network, own in reasons.items() if None in own and ASKED not in own)


def _check_kept(ask: Ask, request: Request, since: date | None) -> None:
    """Make sure that all requests of the period can be counted.

    Args:
        since: from when on transfers are kept; None: all are.

    Raises:
        RefusedError: they cannot.
    """
    pruned = pruned_months(ask, request.first, request.last)
    begins = [month_of(month)[1] + _ONE_DAY for month in pruned] + ([since] if since else [])
    begin = max(begins, default=request.first)
    if begin > request.first:
        whole = begin if begin.day == 1 else month_of(begin)[1] + _ONE_DAY
        raise RefusedError(
            400,
            "single transfers of months that are long ago are not kept, so that their requests"
            f" cannot be counted; ask with start={whole.isoformat()[:7]} or later",
        )


def _check_entry(ask: Ask, networks: list[str]) -> None:
    """Make sure that one of ``networks`` was ever served, if not in the period."""
    asked = reading(None, None)
    if (
        not networks
        or not answered(ask, _IS_ENTRY, asked, networks=networks)["is_entry"][0].as_py()
    ):
        raise RefusedError(400, "there is no entry for this network; give its extended code")


def _sums(request: Request) -> str:
    """SQL of the rows, with places for networks and countries."""
    dates = [sql for detail, sql in _DATES.items() if detail in request.details]
    all_ = f"'{_ALL}'::text"
    return f"""{SERVED}
SELECT {dates[0] if dates else all_} AS date,
       {"network" if request.level == "network" else all_} AS network,
       {"country" if "country" in request.details else all_} AS country,
       sum(bytes) AS bytes, count(*) AS requests, count(DISTINCT client) AS clients
       {_MEMBERS if request.has_sketches else ""}
  FROM served WHERE {"true" if request.countries is None else "country IN ({countries})"}
 GROUP BY 1, 2, 3 HAVING count(*) > 0 ORDER BY 1, 2, 3
"""


def _results(
    found: pa.Table, request: Request, node: str, sketch: Sketch | None
) -> Iterator[list[dict[str, Any]]]:
    """The rows as they are told, some at once. No request of a ringserver's log has failed."""
    node = node if request.level else _ALL
    for batch in found.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield [
            {
                "date": row["date"],
                "node": node,
                "network": row["network"],
                **dict.fromkeys(("station", "location", "channel"), _ALL),
                "country": row["country"] or None,
                "bytes": int(row["bytes"]),
                "nb_reqs": row["requests"],
                "nb_successful_reqs": row["requests"],
                "clients": row["clients"],
                **({_SKETCH: sketch(row["registers"])} if sketch else {}),
            }
            for row in batch.to_pylist()
        ]


def _json_head(query_string: str, **more: str) -> bytes:
    head = {"version": VERSION, "request_parameters": shown(query_string), **more}
    return json.dumps(head).encode()


def _json(query_string: str, rows: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    yield _json_head(query_string).removesuffix(b"}") + b', "results": ['
    separator = "\n"
    for some in rows:
        yield (separator + ",\n".join(map(json.dumps, some))).encode()
        separator = ",\n"
    yield b"]}\n"


def _csv_head(query_string: str, **more: str) -> bytes:
    head = {"version": VERSION, "request_parameters": shown(query_string), **more}
    return "".join(f"# {name}: {text}\n" for name, text in head.items()).encode()


def _csv(
    query_string: str, rows: Iterable[list[dict[str, Any]]], *, has_sketches: bool
) -> Iterator[bytes]:
    yield (
        _csv_head(query_string)
        + ",".join([*COLUMNS, *([_SKETCH] if has_sketches else [])]).encode()
    )
    yield b"\n"
    for some in rows:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(_cells, some))
        yield text.getvalue().encode()


def _cells(row: dict[str, Any]) -> list[Any]:
    """A row's values; a text that a spreadsheet would run as a formula is behind an apostrophe."""
    return [
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in row.values()
    ]
