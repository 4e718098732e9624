"""``ringserverstats serve``: the web service, for development and small sites."""

from __future__ import annotations

import os

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings
from ringserverstats.errors import UsageError
from ringserverstats.settings import DATABASE_VARIABLE

_LOCAL = ("127.0.0.1", "::1", "localhost")


@click.command(
    "serve",
    short_help="Show the pages, answer by HTTP, receive logs.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats serve\n"
    "  ringserverstats serve --host 0.0.0.0 --port 8000\n"
    "  wget --post-file txlogs.log -O - http://localhost:8000\n"
    "  gunicorn -k uvicorn_worker.UvicornWorker -w 2 ringserverstats.web:app",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@database_option
def command(host: str, port: int, database: str | None) -> None:
    """Show the pages, answer by HTTP and receive logs, until it is stopped.

    The command line may use the same store meanwhile. From elsewhere logs are posted with a token
    (`ringserverstats token add NAME --ingest`). Behind a proxy, or for many readers, let gunicorn
    or uvicorn run ringserverstats.web:app.
    """
    settings = load_settings(database)
    if database or settings.database:
        os.environ[DATABASE_VARIABLE] = settings.database
    try:
        import uvicorn

        from ringserverstats import opening
    except ImportError:
        raise UsageError(
            "the web service needs more packages; install them with: "
            "pip install 'ringserverstats[web]'"
        ) from None
    store = opening.open_store(settings, answers=True, tell=lambda _: None)
    click.echo(f"store: {store.label}", err=True)
    if host not in _LOCAL:
        click.echo(
            "Note: everybody who reaches this machine can read the pages over unencrypted HTTP; a "
            "proxy in front (nginx, Caddy) adds HTTPS",
            err=True,
        )
    uvicorn.run(
        "ringserverstats.web:app",
        host=host,
        port=port,
        access_log=False,  # which would hold addresses
        server_header=False,
        forwarded_allow_ips="",
        # Longer than proxies and clients keep connections (nginx: 60 s), which else use one again
        # at the moment at which it is closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        log_level="info",
    )
