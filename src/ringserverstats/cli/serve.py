"""``ringserverstats serve``: run the web service for development and small sites."""

from __future__ import annotations

import errno
import os

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import load_settings, print_note
from ringserverstats.errors import UsageError
from ringserverstats.settings import DATABASE_VARIABLE

_BACKLOG = 64  # connections that are accepted before their limit applies to them
_LOCAL = ("127.0.0.1", "::1", "localhost")


@click.command(
    "serve",
    short_help="Run the web service: pages, API, log upload.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats serve\n"
    "  ringserverstats serve --host 0.0.0.0 --port 8000\n"
    "  wget --post-file txlogs.log -O - "
    "'localhost:8000/?server=node-a&name=txlog-20261124T0000-20261125T0000'\n"
    "  gunicorn -k uvicorn_worker.UvicornWorker -w 2 ringserverstats.web:app",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@database_option
def command(host: str, port: int) -> None:
    """Run the web service, which shows the pages, answers the API and receives logs.

    The command line can use the same store meanwhile. Other hosts need a token to post logs
    (`ringserverstats token add NAME --ingest`). Behind a proxy, or for many users, run
    ringserverstats.web:app with gunicorn or uvicorn.
    """
    settings = load_settings()
    os.environ[DATABASE_VARIABLE] = settings.database  # ringserverstats.web:app reads it
    try:
        import uvicorn

        from ringserverstats import opening
    except ImportError:
        raise UsageError(
            "the web service needs more packages; install them with: "
            "pip install 'ringserverstats[web]'"
        ) from None
    _check_port(host, port)
    store = opening.open_store(settings, for_queries=True, notify=lambda _: None)
    click.echo(f"store: {store.label}", err=True)
    if host not in _LOCAL:
        print_note(
            "everybody who reaches this machine can read the pages over unencrypted HTTP; a proxy "
            "in front (nginx, Caddy) adds HTTPS"
        )
    uvicorn.run(
        "ringserverstats.web:app",
        host=host,
        port=port,
        http="ringserverstats.web.connections:LimitedProtocol",
        backlog=_BACKLOG,
        access_log=False,  # it would contain addresses
        server_header=False,
        forwarded_allow_ips="",
        # Longer than proxies and clients keep idle connections (nginx: 60 s). Otherwise they may
        # reuse a connection at the moment at which it is closed.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        log_level="info",
    )


def _check_port(host: str, port: int) -> None:
    """Make sure that nothing else listens, before uvicorn reports that it has started.

    Raises:
        UsageError: ``port`` is in use, or ``host`` is no address of this machine.
    """
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"port {port} is in use; choose another with --port") from None
        raise UsageError(f"cannot listen on {host!a}, port {port}: {error.strerror}") from None
