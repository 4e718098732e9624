"""What `ingest` and `verify` share: which logs to read, and the progress of reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ringserverstats.cli.terminal import progress_bar
from ringserverstats.errors import UsageError
from ringserverstats.logs.names import check_server_name

if TYPE_CHECKING:
    from ringserverstats.ingest import Progress
    from ringserverstats.logs.source import Source
    from ringserverstats.store.base import Store

#: Where the context tells that a registered path matches nothing.
NOTHING = "ringserverstats.nothing"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def input_options(command: _Command) -> _Command:
    """The arguments that `find_inputs` takes."""
    for option in reversed(
        (
            click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path()),
            click.option("--as", "server", metavar="NAME", help="The server that wrote the logs."),
            click.option(
                "--name", metavar="FILENAME", help="The log's file name, for input without one."
            ),
        )
    ):
        command = option(command)
    return command


def find_inputs(
    files: tuple[str, ...], server: str | None, name: str | None, store: Store
) -> tuple[list[Source], int]:
    """The logs to read, and how many other files lie in the folders.

    Without ``files``: those that the servers' registered paths mean (of ``server``, or of all).

    Raises:
        UsageError: the options do not fit, or there is nothing to read.
        SourceError: a file cannot be read.
    """
    from ringserverstats.logs.source import find

    if server is not None:
        check_server_name(server)
    if name is not None:
        _check_name(name, files)
    if files:
        sources, others = find(list(files), name=name, server=server)
    else:
        sources, others = _registered(server, store)
    if not sources:
        click.echo(
            "Note: no usage logs found; in folders they are known by their names, "
            "[prefix-]txlog-<from>-<to>. Name other files one by one.",
            err=True,
        )
    return sources, others


def _registered(server: str | None, store: Store) -> tuple[list[Source], int]:
    from ringserverstats.logs.source import find_registered

    asked = [one for one in store.servers() if server is None or one.is_called(server)]
    known = [one for one in asked if one.paths]
    if not known:
        raise UsageError(
            "there is nothing to read: name FILES or folders, or `-` for standard input, or "
            "register where a server's logs lie: ringserverstats server path NAME GLOB"
        )
    sources: list[Source] = []
    others = 0
    for one in known:
        found, more, nothing = find_registered(one.paths, server=one.name)
        sources += found
        others += more
        for pattern in nothing:
            click.echo(f"Note: {pattern!a}, of server {one.name!a}, matches nothing", err=True)
            click.get_current_context().meta[NOTHING] = True
    return sources, others


@contextmanager
def reading(sources: list[Source]) -> Iterator[Callable[[Progress], None]]:
    """A bar of how much of ``sources`` is read."""
    size = sum(source.size for source in sources)
    with progress_bar("reading", size, "{task.fields[lines]:,} lines", is_bytes=True) as progress:
        yield lambda now: progress(now.read, lines=now.lines)


def _check_name(name: str, files: tuple[str, ...]) -> None:
    from ringserverstats.logs.names import read_name

    if len(files) != 1 or os.path.isdir(files[0]):
        raise UsageError("--name is the name of one log; read the others apart")
    if read_name(name).start is None:
        raise UsageError(
            f"--name {name!a} tells no interval; write it as txlog-20261124T0000-20261125T0000"
        )
