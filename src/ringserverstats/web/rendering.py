"""Renders HTML from the templates."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ringserverstats import __version__
from ringserverstats.statistics.sizes import human_bytes
from ringserverstats.web.authorization import ANONYMOUS, Principal
from ringserverstats.web.page_tables import pattern_of
from ringserverstats.web.service import Service
from ringserverstats.web.view import today

_templates = Environment(
    loader=PackageLoader("ringserverstats.web"),
    autoescape=select_autoescape(("html",)),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(version=__version__, doi="https://doi.org/", pattern=pattern_of)
_templates.filters["bytes"] = human_bytes
_templates.filters["sentence"] = lambda text: text[:1].upper() + text[1:] + "."
_templates.filters["segment"] = lambda text: quote(text, safe="")


@dataclass(frozen=True)
class Heading:
    """The heading of a page: title, lines below it, and the DOI of a network."""

    title: str
    lines: tuple[str, ...] = ()
    doi: str = ""


def render(
    service: Service,
    request: Request,
    template: str,
    heading: Heading,
    *,
    principal: Principal = ANONYMOUS,
    **values: Any,
) -> Response:
    """Return the HTML of ``template`` with ``values``."""
    return HTMLResponse(
        _templates.get_template(template).render(
            base=base_path(request),
            site=service.settings.title,
            limits_all=service.policy.limits_all,
            principal=principal,
            today=today(),
            heading=heading,
            **values,
        )
    )


def base_path(request: Request) -> str:
    """Return the path below which a proxy shows this service, without the slash at its end."""
    return str(request.scope.get("root_path", "")).rstrip("/")
