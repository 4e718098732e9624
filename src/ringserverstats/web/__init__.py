"""The web service: receives logs, answers queries, shows pages.

``ringserverstats.web:app`` is what gunicorn and uvicorn run. It is created, with the settings of
the process, on first access.
"""

import functools
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    app: Starlette


def __getattr__(name: str) -> "Starlette":
    if name != "app":
        raise AttributeError(name)
    return _create_app()


@functools.cache
def _create_app() -> "Starlette":
    from ringserverstats import memory, settings

    memory.share()
    from ringserverstats.web.application import create

    warnings: list[str] = []
    app = create(settings.load(warn=warnings.append))
    for warning in warnings:  # only now is the log set up
        logging.getLogger("ringserverstats.web").warning(warning)
    return app
