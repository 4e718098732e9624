"""The pages: dashboard, one network, one station, a whole table, charts as files, signing in."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ringserverstats import __version__
from ringserverstats.errors import RingserverStatsError
from ringserverstats.statistics import charts
from ringserverstats.statistics.publish import Role
from ringserverstats.statistics.registry_list import registry
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.store.base import Readable
from ringserverstats.store.tokens import find_token
from ringserverstats.web.authorization import COOKIE, Principal, is_foreign
from ringserverstats.web.overview import Figures, QueryContext, colours_order, figures
from ringserverstats.web.page_tables import (
    MOST,
    SORTS,
    TABLES,
    Table,
    pattern_of,
    shown,
    tables_for,
)
from ringserverstats.web.responses import RefusedError
from ringserverstats.web.view import (
    SPLITS,
    STEPS,
    View,
    presets,
    today,
    view_of,
    words_of,
)

if TYPE_CHECKING:
    from ringserverstats.web.service import Service

#: The charts that pages show, and that are files too.
CHARTS = ("activity", "map", "hours")
_FILES = {"svg": "image/svg+xml", "png": "image/png"}
_MONTH = 31 * 86_400
_LONGEST_FORM = 10_000
_TITLES = {"activity": "Activity", "map": "From where", "hours": "When"}
_DOI = "https://doi.org/"
_NOBODY = Principal("", Role())

_templates = Environment(
    loader=PackageLoader("ringserverstats.web"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(version=__version__, doi=_DOI, pattern=pattern_of)
_templates.filters["bytes"] = human_bytes
_templates.filters["segment"] = lambda text: quote(text, safe="")


@dataclass(frozen=True)
class Content:
    """What a page shows, with its charts drawn for wide and narrow windows."""

    figures: Figures
    charts: Mapping[str, tuple[Markup, Markup]]
    colours: Mapping[str, str]


@dataclass(frozen=True)
class Heading:
    """What a page of one network or station is about."""

    title: str
    lines: tuple[str, ...] = ()
    doi: str = ""


def dashboard(service: "Service", request: Request) -> Response:
    """Everything, by the filters of the address."""
    return _page(service, request, {}, Heading(service.settings.title))


def network(service: "Service", request: Request) -> Response:
    """The same of one network."""
    code = request.path_params["network"]
    return _page(service, request, {"network": (_exact(code),)}, None)


def station(service: "Service", request: Request) -> Response:
    """The same of one station."""
    codes = {name: (_exact(request.path_params[name]),) for name in ("network", "station")}
    return _page(service, request, codes, None)


def _exact(code: str) -> str:
    if not code or len(code) > 100 or set(code) & set("*?,"):
        raise HTTPException(404, "there is no such page")
    return code


def _page(
    service: "Service",
    request: Request,
    fixed: Mapping[str, tuple[str, ...]],
    heading: Heading | None,
) -> Response:
    principal = service.principal(request)
    with service.reading() as store:
        bounds = service.bounds(store)
        view = view_of(words_of(request), bounds, today(), SORTS, fixed)
        key = principal.reader, view.key
        version = service.version(store, view.before().first, view.last)
        servers = store.ask("SELECT name FROM server ORDER BY name")["name"].to_pylist()
        heading = heading or _heading(store, fixed)
    content = service.pages.get(key, version, lambda: _content(service, principal, view))
    return _rendered(
        "page.html",
        request,
        service,
        principal,
        content=content,
        view=view,
        bounds=bounds,
        presets=presets(today(), bounds),
        servers=servers,
        heading=heading,
        splits=SPLITS,
        steps=STEPS,
        choices=_choices(content),
    )


def _choices(content: Content) -> dict[str, list[str]]:
    """What the fields of filters offer: what the page's tables name."""
    found: dict[str, list[str]] = {}
    for name, table in content.figures.tables.items():
        key = TABLES[name].keys[-1]
        place = TABLES[name].by.index(key)
        found[key] = [line.texts[place] for line in table.lines if line.address]
    return found


def _heading(store: Readable, fixed: Mapping[str, tuple[str, ...]]) -> Heading:
    """The name of a network or station, with what the registry knows of it."""
    code = fixed["network"][0]
    rows = [row for row in registry(store).to_pylist() if code in (row["network"], row["code"])]
    lines = [
        f"{row['name']} ({row['first_day'][:4]}–{(row['last_day'] or '')[:4]})" for row in rows
    ]
    doi = rows[0]["doi"] if len(rows) == 1 else ""
    if "station" in fixed:
        return Heading(f"Station {code} {fixed['station'][0]}", tuple(lines[:1]), doi or "")
    return Heading(f"Network {code}", tuple(lines[:5]), doi or "")


def _content(service: "Service", principal: Principal, view: View) -> Content:
    found, colours = _figures(service, principal, view)
    drawn: dict[str, tuple[Markup, Markup]] = {}
    for name in CHARTS:
        wide = charts.WIDE if name == "activity" else charts.HALF
        specs = [_spec(name, found, colours, width) for width in (wide, charts.NARROW)]
        if specs[0] is not None and specs[1] is not None:
            one, other = service.chart_renderer.svg([specs[0], specs[1]])
            drawn[name] = Markup(one), Markup(other)  # noqa: S704 - the library escapes all texts
    return Content(found, drawn, colours)


def _figures(
    service: "Service", principal: Principal, view: View
) -> tuple[Figures, dict[str, str]]:
    with service.reading() as store:
        asker = QueryContext(store, principal.reader, service.policy)
        version = store.ask("SELECT generation FROM store")["generation"][0].as_py()
        key = principal.reader, today()  # colours may change from day to day, no more often
        order = service.orders.get(key, version, lambda: colours_order(asker))
        found = figures(asker, view)
    names = found.series.names if found.series else ()
    fixed = order if view.split == "network" else ()
    colours = charts.coloured([name for name in names if name != "other"], fixed)
    return found, {**colours, "other": charts.REST}


def _spec(name: str, found: Figures, colours: Mapping[str, str], width: int) -> charts.Spec | None:
    """A chart of the page; None where there is nothing to show."""
    if found.series is None:
        return None
    if name == "activity":
        return charts.activity(found.series, colours, width=width)
    if name == "map":
        return charts.world_map(found.map_points, width=width) if found.map_points else None
    return charts.hours(found.hours, width=width) if found.hours else None


def table(service: "Service", request: Request) -> Response:
    """All rows of one table."""
    principal = service.principal(request)
    chosen = _table_of(request, principal)
    with service.reading() as store:
        bounds = service.bounds(store)
        view = view_of(words_of(request), bounds, today(), SORTS, {})
        answer = QueryContext(store, principal.reader, service.policy).answer(chosen.query(view))
    return _rendered(
        "table.html",
        request,
        service,
        principal,
        table=shown(chosen, view, answer, MOST, principal.reader),
        view=view,
        most=MOST,
        heading=Heading(chosen.title),
    )


def _table_of(request: Request, principal: Principal) -> Table:
    name = request.path_params["name"]
    if name not in TABLES:
        raise HTTPException(404, "there is no such page")
    if name not in tables_for(principal.reader):
        raise RefusedError(403, "single clients are for the operator alone; sign in as such")
    return TABLES[name]


def chart(service: "Service", request: Request) -> Response:
    """A chart, or the bars of a table, as a file."""
    principal = service.principal(request)
    name, format_ = request.path_params["name"], request.path_params["format"]
    if format_ not in _FILES:
        raise HTTPException(404, "there is no such file; charts are svg or png")
    with service.reading() as store:
        view = view_of(words_of(request), service.bounds(store), today(), SORTS, {})
        version = service.version(store, view.before().first, view.last)
    drawn = service.files.get(
        (name, format_, principal.reader, view.key),
        version,
        lambda: _file(service, request, principal, view, name, format_),
    )
    told = f"{name}-{view.first}-{view.last}.{format_}"
    headers = {"Content-Disposition": f'attachment; filename="{told}"'}
    return Response(drawn, media_type=_FILES[format_], headers=headers)


def _file(
    service: "Service", request: Request, principal: Principal, view: View, name: str, format_: str
) -> bytes:
    if name in CHARTS:
        found, colours = _figures(service, principal, view)
        spec, title = _spec(name, found, colours, charts.WIDE), _TITLES[name]
    else:
        chosen = _table_of(request, principal)
        with service.reading() as store:
            query = replace(chosen.query(view), top=40)
            answer = QueryContext(store, principal.reader, service.policy).answer(query)
        rows = [
            (" ".join(str(row[name] or "–") for name in chosen.keys), row["bytes"] or 0)
            for row in answer.rows.to_pylist()
        ]
        spec, title = charts.ranking(rows, width=charts.WIDE), chosen.title
    if spec is None:
        raise HTTPException(404, "there is nothing to draw in this period")
    whole = charts.for_file(spec, f"{service.settings.title}: {title}", _subtitle(view))
    if format_ == "png":
        return service.chart_renderer.png(whole)
    return service.chart_renderer.svg([whole])[0].encode()


def _subtitle(view: View) -> str:
    filters = (f"{name} {', '.join(values)}" for name, values in view.all_filters.items())
    return f"{view.first} to {view.last}; {'; '.join(filters)}"


def documentation_page(
    service: "Service", request: Request, description: Mapping[str, Any]
) -> Response:
    """What the service can be asked, for people."""
    heading = Heading("How to ask this service")
    return _rendered(
        "docs.html",
        request,
        service,
        _guest_or_nobody(service, request),
        heading=heading,
        description=description,
        origin=f"{request.url.scheme}://{request.url.netloc}",
        example=_example,
    )


def _guest_or_nobody(service: "Service", request: Request) -> Principal:
    """Who asks, of what everybody may read anyhow."""
    try:
        return service.principal(request)
    except (RefusedError, RingserverStatsError):
        return _NOBODY


def _example(operation: Mapping[str, Any]) -> str:
    """A query of an operation with some of its parameters."""
    shown = ("by", "last", "start", "network", "measure")
    told = {
        one["name"]: one["example"]
        for one in operation["parameters"]
        if one["name"] in shown and "example" in one
    }
    return f"?{urlencode(told, safe=',*')}" if told else ""


def signing_in(service: "Service") -> Callable[[Request], Awaitable[Response]]:
    """The page on which a token is given, and what takes it."""

    async def endpoint(request: Request) -> Response:
        if request.method != "POST":
            return _sign_in_page(service, request)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _LONGEST_FORM:
                raise RefusedError(413, "that is no token")
        token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        tokens = await to_thread.run_sync(service.tokens)
        if is_foreign(request):
            raise RefusedError(403, "sign in on the page of this service")
        found = find_token(tokens, token)
        if found is None:
            return _sign_in_page(service, request, "This token is not known, or was revoked.", 403)
        if found.may_ingest and not found.networks:
            return _sign_in_page(service, request, "This token posts logs, and shows no more.", 403)
        answer = RedirectResponse(_base(request) + "/", 303)
        answer.set_cookie(
            COOKIE,
            token,
            max_age=_MONTH,
            path=_base(request) + "/",
            secure=request.headers.get("origin", str(request.url)).startswith("https:"),
            httponly=True,
            samesite="lax",
        )
        return answer

    return endpoint


def _sign_in_page(
    service: "Service", request: Request, problem: str = "", status: int = 200
) -> Response:
    heading = Heading("Sign in")
    found = _rendered("sign_in.html", request, service, _NOBODY, heading=heading, problem=problem)
    found.status_code = status
    return found


def sign_out(request: Request) -> Response:
    """Let the browser forget the token."""
    if is_foreign(request):
        raise RefusedError(403, "sign out on the page of this service")
    answer = RedirectResponse(_base(request) + "/", 303)
    answer.delete_cookie(COOKIE, path=_base(request) + "/")
    return answer


def is_page(request: Request) -> bool:
    """Whether a browser shows what answers ``request``."""
    wants = request.headers.get("accept", "")
    path = urlsplit(str(request.url)).path
    return request.method == "GET" and "text/html" in wants and "/api/" not in path


def error_page(service: "Service", request: Request, status: int, message: str) -> Response:
    """What went wrong, with where to go on; of a token that is needed, where it is given."""
    if status == 401:
        found = _sign_in_page(service, request, _sentence(message), 401)
        if COOKIE in request.cookies:
            found.delete_cookie(COOKIE, path=_base(request) + "/")
        return found
    found = _rendered(
        "error.html",
        request,
        service,
        _NOBODY,
        heading=Heading("That did not work" if status != 404 else "Not found"),
        message=_sentence(message),
    )
    found.status_code = status
    return found


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:].rstrip(".") + "."


def _base(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")


def _rendered(
    template: str, request: Request, service: "Service", principal: Principal, **values: Any
) -> Response:
    return HTMLResponse(
        _templates.get_template(template).render(
            base=_base(request),
            site=service.settings.title,
            principal=principal,
            today=today(),
            **values,
        )
    )


ROUTES: dict[str, Callable[["Service", Request], Response]] = {
    "/network/{network}": network,
    "/station/{network}/{station}": station,
    "/tables/{name}": table,
    "/charts/{name}.{format}": chart,
}
