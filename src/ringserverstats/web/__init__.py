"""The web service: receives logs, answers questions, shows pages.

``ringserverstats.web:app`` is what gunicorn and uvicorn run; it is made, with the settings of the
process, when it is first asked for.
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
    return _made()


@functools.cache
def _made() -> "Starlette":
    from ringserverstats import memory, settings

    memory.share()
    from ringserverstats.web.service import create

    warnings: list[str] = []
    made = create(settings.load(warn=warnings.append))
    for warning in warnings:  # only now is the log set up
        logging.getLogger("ringserverstats.web").warning(warning)
    return made
