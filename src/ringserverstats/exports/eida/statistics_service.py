"""Results in the format of EIDA's statistics service, for data sent in real time.

Parameters and results: the service's OpenAPI description (1.0.0), ``/dataselect/public``; the path
here is ``/eidaws/statistics/1/seedlink/public``. Module `served` defines what counts, as for the
months that `payload` writes. Requests are counted per month, so that they add up over months, as
bytes do. Clients are distinct over all months of a row.

Results contain nothing of networks under embargo or without a known extended code: totals are over
the networks that may be named. So neither a result nor a difference of results depends on data of
such a network. A request for an embargoed network is refused before the store is queried.
Countries, networks and months are shown with any number of clients, as in `statistics.publish`, but
without sketches of few clients, which are their registers.

Requests can be counted only while individual transfers are kept. A request for a period that starts
earlier is refused, because a total that lacks months looks like a complete one. It is refused even
if nothing was sent then; otherwise it would reveal data of a network under embargo.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ringserverstats.errors import UsageError
from ringserverstats.exports.eida.request import (
    RefusedError,
    Request,
    escape,
    format_of,
    request_of,
)
from ringserverstats.exports.eida.served import (
    EMBARGOED,
    SERVED,
    exclusion_reason,
    query_served,
    reader_query,
    with_registers,
)
from ringserverstats.exports.eida.sketches import load_encoder
from ringserverstats.statistics.bounds import pruned_months
from ringserverstats.statistics.network_names import code_networks, matches_network
from ringserverstats.statistics.publish import Policy
from ringserverstats.statistics.suppression import suppress
from ringserverstats.store.base import Ask, Store
from ringserverstats.store.rollups import month_of

#: Version of the API.
VERSION = "1.0.0"
#: Columns of a result, before the sketches.
COLUMNS = (
    "date", "node", "network", "station", "location", "channel", "country", "bytes", "nb_reqs",
    "nb_successful_reqs", "clients",
)  # fmt: skip
_LABELS = ["date", "network", "country"]
_SKETCH = "hll_clients"
_ALL = "*"  # an aggregated column
_FORMULA = ("=", "+", "-", "@")
_MEDIA_TYPES = {"csv": "text/csv", "json": "application/json"}
_ONE_DAY = timedelta(days=1)
_BATCH = 1000  # rows

_DATES = {"month": "substr(month::text, 1, 7)", "year": "substr(month::text, 1, 4)"}
_MEMBERS = ", array_agg(DISTINCT client::text) AS members"
_IS_ENTRY = """
SELECT EXISTS (
    SELECT 1 FROM network_by_day f
      LEFT JOIN network_period n ON n.code = f.network AND f.day BETWEEN n.first_day AND n.last_day
     WHERE {where} AND coalesce(n.network, f.network) IN ({networks})
) AS is_entry
"""

_Encode = Callable[[bytes], str]


@dataclass(frozen=True)
class Reply:
    """An HTTP response: status, media type, and the body in pieces."""

    status: int
    media_type: str
    body: Iterable[bytes]


def respond(store: Store, query_string: str, *, node: str, policy: Policy, today: date) -> Reply:
    """Return the response to ``GET /eidaws/statistics/1/seedlink/public?QUERY``.

    Args:
        store: one state of a store.
        query_string: as received, from anybody.
        node: the name of this node.
        policy: what is withheld: networks under embargo, and few clients.
        today: the default of the last month.

    Returns:
        A reply in the requested format, with one of these statuses: 200, also without rows; 400, if
        the query string is invalid, or requests of the period cannot be counted any more; 401, for
        a network under embargo; 501, for sketches if python-hll2 is not installed.

    Raises:
        StoreError: the store cannot be used, or the query took too long.
    """
    format_ = format_of(query_string)
    try:
        request = request_of(query_string, today)
        code = (request.network or "").upper()
        if code and matches_network(code, code, policy.embargoed):
            raise RefusedError(401, "this network is restricted; public results do not contain it")
        encode = _load_encoder() if request.has_sketches else None
        rows = _query(store, request, node, policy)
    except RefusedError as error:
        head = (_json_head if format_ == "json" else _csv_head)(query_string, error=str(error))
        return Reply(error.status, _MEDIA_TYPES[format_], [head])
    batches = _batches(rows, request, node, encode)
    if format_ == "json":
        body = _json(query_string, batches)
    else:
        body = _csv(query_string, batches, has_sketches=request.has_sketches)
    return Reply(200, _MEDIA_TYPES[format_], body)


def _load_encoder() -> _Encode:
    try:
        return load_encoder()
    except UsageError:
        raise RefusedError(
            501, "this server provides no sketches of clients; request without 'hllvalues'"
        ) from None


def _query(store: Store, request: Request, node: str, policy: Policy) -> pa.Table:
    """Return the rows, sorted, with ``registers`` if the request has sketches.

    Raises:
        RefusedError: the rows cannot be computed, or the network is unknown.
    """
    if request.nodes is not None and node not in request.nodes:
        return pa.table({})
    key = store.open(create=False).keys.sketches if request.has_sketches else b""
    since = store.kept_since
    with store.reading(limited=True) as ask:
        networks = _public_networks(ask, policy)
        if request.network is not None:
            networks = [network for network in networks if network == request.network]
        _check_kept(ask, request, since)
        rows = query_served(
            ask,
            _sql(request),
            reader_query(request.first, request.last),
            networks=networks,
            countries=request.countries or (),
        )
        if request.network is not None and not len(rows):
            _check_entry(ask, networks)
    few = _few_clients(rows, policy)
    if policy.limits_all:
        rows, few = rows.filter(pc.invert(few)), few.filter(pc.invert(few))
    return _with_sketches(rows, few, key) if request.has_sketches else rows


def _few_clients(rows: pa.Table, policy: Policy) -> pa.Array:
    """Return which rows have few clients, or would reveal such a row with a total."""
    if policy.min_clients <= 1:
        return pa.repeat(False, len(rows))
    cells = suppress(rows.select(_LABELS), rows["clients"], _LABELS, policy.min_clients).cells
    return pa.array(cells)


def _with_sketches(rows: pa.Table, hidden: pa.Array, key: bytes) -> pa.Table:
    """Return ``rows`` with ``registers``, null where ``hidden``, instead of ``members``."""
    result = with_registers(rows, key)
    shown = pc.if_else(hidden, None, result["registers"])
    return result.drop_columns(["registers"]).append_column("registers", shown)


def _public_networks(ask: Ask, policy: Policy) -> list[str]:
    """Return the networks that may be named."""
    reasons: dict[str, set[str | None]] = {}
    for code, network in code_networks(ask):
        reasons.setdefault(network, set()).add(exclusion_reason(code, network, policy.embargoed))
    return sorted(
        network
        for network, of_codes in reasons.items()
        if None in of_codes and EMBARGOED not in of_codes
    )


def _check_kept(ask: Ask, request: Request, since: date | None) -> None:
    """Check that all requests of the period can be counted.

    Args:
        ask: queries the store.
        request: its period.
        since: first day whose transfers are kept; None: all are.

    Raises:
        RefusedError: they cannot.
    """
    pruned = pruned_months(ask, request.first, request.last)
    begins = [month_of(month)[1] + _ONE_DAY for month in pruned] + ([since] if since else [])
    begin = max(begins, default=request.first)
    if begin > request.first:
        month = begin if begin.day == 1 else month_of(begin)[1] + _ONE_DAY
        raise RefusedError(
            400,
            "individual transfers of old months are not kept, so that their requests cannot be "
            f"counted; request start={month.isoformat()[:7]} or later",
        )


def _check_entry(ask: Ask, networks: list[str]) -> None:
    """Check that data of one of ``networks`` was ever sent, in or outside the period.

    Raises:
        RefusedError: none was.
    """
    query = reader_query(None, None)
    if (
        not networks
        or not query_served(ask, _IS_ENTRY, query, networks=networks)["is_entry"][0].as_py()
    ):
        raise RefusedError(400, "there is no entry for this network; give its extended code")


def _sql(request: Request) -> str:
    """Return SQL with fields for networks and countries."""
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


def _batches(
    rows: pa.Table, request: Request, node: str, encode: _Encode | None
) -> Iterator[list[dict[str, Any]]]:
    """Yield batches of rows of the result. Logs of ringserver contain no failed requests."""
    node = node if request.level else _ALL
    for batch in rows.to_batches(max_chunksize=_BATCH):
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
                **({_SKETCH: _sketch(row["registers"], encode)} if encode else {}),
            }
            for row in batch.to_pylist()
        ]


def _sketch(registers: bytes | None, encode: _Encode) -> str | None:
    return None if registers is None else encode(registers)


def _head(query_string: str, more: dict[str, str]) -> dict[str, str]:
    return {"version": VERSION, "request_parameters": escape(query_string), **more}


def _json_head(query_string: str, **more: str) -> bytes:
    return json.dumps(_head(query_string, more)).encode()


def _json(query_string: str, batches: Iterable[list[dict[str, Any]]]) -> Iterator[bytes]:
    yield _json_head(query_string).removesuffix(b"}") + b', "results": ['
    separator = "\n"
    for rows in batches:
        yield (separator + ",\n".join(map(json.dumps, rows))).encode()
        separator = ",\n"
    yield b"]}\n"


def _csv_head(query_string: str, **more: str) -> bytes:
    head = _head(query_string, more)
    return "".join(f"# {name}: {text}\n" for name, text in head.items()).encode()


def _csv(
    query_string: str, batches: Iterable[list[dict[str, Any]]], *, has_sketches: bool
) -> Iterator[bytes]:
    columns = [*COLUMNS, *([_SKETCH] if has_sketches else [])]
    yield _csv_head(query_string) + f"{','.join(columns)}\n".encode()
    for rows in batches:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(map(_cells, rows))
        yield text.getvalue().encode()


def _cells(row: dict[str, Any]) -> list[Any]:
    """Return a row's values; an apostrophe keeps spreadsheets from running texts as formulas."""
    return [
        f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
        for value in row.values()
    ]
