"""Charts of pages and bar charts of tables, as files to download."""

from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ringserverstats.statistics import charts
from ringserverstats.statistics.publish import QueryContext, Role
from ringserverstats.web.endpoint import Endpoint
from ringserverstats.web.page_content import CHARTS, chart_spec, overview_and_colours
from ringserverstats.web.page_tables import SORTS, Table, find_table
from ringserverstats.web.service import Service
from ringserverstats.web.view import View, parse_view, query_parameters, today

_MEDIA_TYPES = {"svg": "image/svg+xml", "png": "image/png"}
_MAX_BARS = 40


def chart_file(service: Service, request: Request) -> Response:
    """Return a chart as SVG or PNG."""
    role = request.user.role
    name, format_ = request.path_params["name"], request.path_params["format"]
    if format_ not in _MEDIA_TYPES:
        raise HTTPException(404, "this file does not exist; charts are svg or png")
    table = None if name in CHARTS else find_table(name, role)
    with service.snapshot() as store:
        data_period = service.data_period(store)
        view = parse_view(query_parameters(request), data_period, today(), SORTS, {})
        version = service.version(store, view.previous().first, view.last)

    def draw() -> bytes:
        if table is None:
            overview, colours = overview_and_colours(service, role, view)
            spec, title = chart_spec(name, overview, colours, charts.WIDE), CHARTS[name]
        else:
            spec, title = _bars(service, role, table, view), table.title
        if spec is None:
            raise HTTPException(404, "this chart has nothing to show in this period")
        whole = charts.for_file(spec, f"{service.settings.title}: {title}", _subtitle(view))
        if format_ == "png":
            return service.chart_renderer.png(whole)
        return service.chart_renderer.svg([whole])[0].encode()

    image = service.chart_files.get((name, format_, role, view.key), version, draw)
    file_name = f"{name}-{view.first}-{view.last}.{format_}"
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    return Response(image, media_type=_MEDIA_TYPES[format_], headers=headers)


def _bars(service: Service, role: Role, table: Table, view: View) -> charts.Spec:
    """Return a bar chart of the first rows of ``table``."""
    query = replace(table.query(view), top=_MAX_BARS)
    with service.snapshot() as store:
        rows = QueryContext(store, role, service.policy).rows(query)
    bars = [
        (" ".join(str(row[key] or "–") for key in table.keys), row["bytes"] or 0) for row in rows
    ]
    return charts.ranking(bars, width=charts.WIDE)


def _subtitle(view: View) -> str:
    filters = (f"{name} {', '.join(values)}" for name, values in view.all_filters.items())
    return f"{view.first} to {view.last}; {'; '.join(filters)}"


ENDPOINTS = (Endpoint("/charts/{name}.{format}", chart_file),)
