"""Computes the content of pages: data of a view, and charts of these data."""

from collections.abc import Mapping

from markupsafe import Markup

from ringserverstats.statistics import charts
from ringserverstats.statistics.publish import QueryContext, Role
from ringserverstats.web.overview import (
    Content,
    Overview,
    networks_by_size,
    read_overview,
)
from ringserverstats.web.service import Service
from ringserverstats.web.view import View, today

#: Titles of the charts that pages show and that can be downloaded.
CHARTS = {"activity": "Activity", "map": "Client locations", "hours": "Hours"}


def page_content(service: Service, role: Role, view: View) -> Content:
    """Return the content of a page."""
    overview, colours = overview_and_colours(service, role, view)
    images: dict[str, tuple[Markup, Markup]] = {}
    for name in CHARTS:
        width = charts.WIDE if name == "activity" else charts.HALF
        specs = [
            spec
            for pixels in (width, charts.NARROW)
            if (spec := chart_spec(name, overview, colours, pixels)) is not None
        ]
        if specs:
            wide, narrow = service.chart_renderer.svg(specs)
            images[name] = Markup(wide), Markup(narrow)  # noqa: S704 - the library escapes texts
    return Content(overview, images, colours)


def overview_and_colours(
    service: Service, role: Role, view: View
) -> tuple[Overview, dict[str, str]]:
    """Return the data of a page, and the colour of each series."""
    with service.snapshot() as store:
        context = QueryContext(store, role, service.policy)
        version = store.ask("SELECT generation FROM store")["generation"][0].as_py()
        key = role, today()  # colours may change from day to day, but not more often
        networks = service.networks_by_size.get(key, version, lambda: networks_by_size(context))
        overview = read_overview(context, view)
    names = overview.series.names if overview.series else ()
    fixed = networks if view.split == "network" else ()
    colours = charts.coloured([name for name in names if name != "other"], fixed)
    return overview, {**colours, "other": charts.REST}


def chart_spec(
    name: str, overview: Overview, colours: Mapping[str, str], width: int
) -> charts.Spec | None:
    """Return a chart of a page; None if there are no data for it."""
    if overview.series is None:
        return None
    if name == "activity":
        return charts.activity(overview.series, colours, width=width)
    if name == "map":
        points = overview.map_points
        return charts.world_map(points, width=width) if points else None
    return charts.hours(overview.hours, width=width) if overview.hours else None
