"""Pages with statistics: dashboard, one network, one station, all rows of a table."""

import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ringserverstats.errors import RingserverStatsError
from ringserverstats.logs.constants import DIRECTIONS
from ringserverstats.statistics.publish import QueryContext, Role
from ringserverstats.statistics.query import Query
from ringserverstats.statistics.registry_list import registry
from ringserverstats.store.base import Readable
from ringserverstats.web.endpoint import Endpoint
from ringserverstats.web.overview import Content
from ringserverstats.web.page_content import page_content
from ringserverstats.web.page_tables import MAX_ROWS, SORTS, TABLES, find_table, table_data
from ringserverstats.web.rendering import Heading, render
from ringserverstats.web.service import Service
from ringserverstats.web.view import (
    SPLITS,
    STEPS,
    View,
    parse_view,
    presets,
    query_parameters,
    today,
)

log = logging.getLogger("ringserverstats.web")
_MAX_CODE = 100  # characters
Filters = Mapping[str, tuple[str, ...]]


def dashboard(service: Service, request: Request) -> Response:
    """Return the page of all data that match the filters in the address."""
    return _page(service, request, {}, Heading(service.settings.title))


def network(service: Service, request: Request) -> Response:
    """Return the page of one network."""
    return _page(service, request, {"network": (_code(request, "network"),)}, None)


def station(service: Service, request: Request) -> Response:
    """Return the page of one station."""
    fixed = {name: (_code(request, name),) for name in ("network", "station")}
    return _page(service, request, fixed, None)


def _code(request: Request, name: str) -> str:
    code = str(request.path_params[name])
    if not code or len(code) > _MAX_CODE or set(code) & set("*?,"):
        raise HTTPException(404, "this page does not exist")
    return code


def _page(service: Service, request: Request, fixed: Filters, heading: Heading | None) -> Response:
    role = request.user.role
    with service.snapshot() as store:
        data_period = service.data_period(store)
        view = parse_view(query_parameters(request), data_period, today(), SORTS, fixed)
        version = service.version(store, view.previous().first, view.last)
        servers = store.ask("SELECT name FROM server ORDER BY name")["name"].to_pylist()
        heading = heading or _heading(store, fixed)
    content = _content(service, role, view, version)
    return render(
        service,
        request,
        "page.html",
        heading,
        principal=request.user,
        content=content,
        view=view,
        data_period=data_period,
        presets=presets(today(), data_period),
        servers=servers,
        splits=SPLITS,
        steps=STEPS,
        choices=_choices(content),
    )


def _content(service: Service, role: Role, view: View, version: str) -> Content:
    def compute() -> Content:
        if view.fixed:
            with service.snapshot() as store:
                _check_known(store, QueryContext(store, role, service.policy), view.fixed)
        return page_content(service, role, view)

    return service.pages.get((role, view.key), version, compute)


def prepare_dashboard(service: Service) -> None:
    """Compute the dashboard, so that the first reader after a start does not wait."""
    role = Role(is_operator=service.settings.read_access == "token")
    try:
        with service.snapshot() as store:
            view = parse_view({}, service.data_period(store), today(), SORTS, {})
            version = service.version(store, view.previous().first, view.last)
        _content(service, role, view, version)
    except (HTTPException, RingserverStatsError):
        return  # there is no store yet, or it is unavailable: readers get the reason
    except Exception:  # the service goes on: a reader gets an error page
        log.exception("the dashboard was not prepared")


def _check_known(store: Readable, context: QueryContext, fixed: Filters) -> None:
    """Check that a network or station exists, for the reader: in the registry or in the data.

    Raises:
        HTTPException: it does not.
    """
    if "station" not in fixed and _registered(store, fixed["network"][0]):
        return
    filters = {"direction": DIRECTIONS, **fixed}
    rows = context.rows(Query(filters=filters, measures=("transfers",)))
    if not any(row["transfers"] != 0 for row in rows):
        asked = " ".join(code for (code,) in fixed.values())
        networks = ", ".join(context.role.networks)
        of_token = f" among the networks of your token: {networks}" if networks else ""
        raise HTTPException(404, f"there are no data of {asked}{of_token}")


def _registered(store: Readable, code: str) -> list[dict[str, Any]]:
    """Return the networks of the registry that ``code`` stands for."""
    return [row for row in registry(store).to_pylist() if code in (row["network"], row["code"])]


def _choices(content: Content) -> dict[str, list[str]]:
    """Return the values that filter fields offer: those in the tables of the page."""
    choices: dict[str, list[str]] = {}
    for name, table in content.overview.tables.items():
        key = TABLES[name].keys[-1]
        column = TABLES[name].by.index(key)
        choices[key] = [row.texts[column] for row in table.rows if row.address]
    return choices


def _heading(store: Readable, fixed: Filters) -> Heading:
    """Return the heading of a network or station, with names and DOI from the registry."""
    code = fixed["network"][0]
    rows = _registered(store, code)
    lines = tuple(
        f"{row['name']} ({row['first_day'][:4]}–{(row['last_day'] or '')[:4]})" for row in rows
    )
    doi = rows[0]["doi"] or "" if len(rows) == 1 else ""
    if "station" in fixed:
        return Heading(f"Station {code} {fixed['station'][0]}", lines[:1], doi)
    return Heading(f"Network {code}", lines[:5], doi)


def all_rows(service: Service, request: Request) -> Response:
    """Return the page of all rows of one table."""
    role = request.user.role
    table = find_table(request.path_params["name"], role)
    with service.snapshot() as store:
        data_period = service.data_period(store)
        view = parse_view(query_parameters(request), data_period, today(), SORTS, {})
        result = QueryContext(store, role, service.policy).result(table.query(view))
    return render(
        service,
        request,
        "table.html",
        Heading(table.title),
        principal=request.user,
        table=table_data(table, view, result, MAX_ROWS, role),
        notes=result.notes,
        view=view,
        max_rows=MAX_ROWS,
    )


ENDPOINTS = (
    Endpoint("/", dashboard, "Show the dashboard", media_types=["text/html"]),
    Endpoint("/network/{network}", network),
    Endpoint("/station/{network}/{station}", station),
    Endpoint("/tables/{name}", all_rows),
)
