"""Find the logs to read, and show the progress of reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.terminal import print_note, progress_bar
from ringserverstats.errors import UsageError
from ringserverstats.logs.names import check_server_name

if TYPE_CHECKING:
    from ringserverstats.cli.options import Inputs
    from ringserverstats.ingest import Progress
    from ringserverstats.logs.source import Source
    from ringserverstats.store.base import Store

#: Key of the context's ``meta``: a registered path matches no file.
UNMATCHED_PATH = "ringserverstats.unmatched_path"


def find_inputs(inputs: Inputs, store: Store) -> tuple[list[Source], int]:
    """Return the logs to read, and the number of other files in the folders.

    Without files: the logs at the registered paths of the server, or of all servers.

    Raises:
        UsageError: the options do not fit together, or there is nothing to read.
        SourceError: a file cannot be read.
    """
    from ringserverstats.logs.source import find

    if inputs.server is not None:
        check_server_name(inputs.server)
    if inputs.name is not None:
        _check_name(inputs.name, inputs.files)
    if inputs.files:
        sources, others = find(list(inputs.files), name=inputs.name, server=inputs.server)
    else:
        sources, others = _find_registered(inputs.server, store)
    if not sources:
        print_note(
            "no usage logs found. Folders are searched for files named "
            "[prefix-]txlog-<from>-<to>. Name other files one by one."
        )
    return sources, others


def _find_registered(server_name: str | None, store: Store) -> tuple[list[Source], int]:
    from ringserverstats.logs.source import find_registered

    servers = [
        server
        for server in store.servers()
        if server.paths and (server_name is None or server.is_called(server_name))
    ]
    if not servers:
        raise UsageError(
            "there is nothing to read: name FILES or folders, or `-` for standard input, or "
            "register the paths of a server's logs: ringserverstats server path NAME GLOB"
        )
    sources: list[Source] = []
    others = 0
    for server in servers:
        logs, other_files, unmatched = find_registered(server.paths, server=server.name)
        sources += logs
        others += other_files
        for pattern in unmatched:
            print_note(f"the path {pattern!a} of server {server.name!a} matches no file")
            click.get_current_context().meta[UNMATCHED_PATH] = True
    return sources, others


@contextmanager
def reading_progress(sources: list[Source]) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar for reading ``sources``."""
    size = sum(source.size for source in sources)
    with progress_bar("reading", size, "{task.fields[lines]:,} lines", is_bytes=True) as progress:
        yield lambda now: progress(now.read, lines=now.lines)


def _check_name(name: str, files: tuple[str, ...]) -> None:
    from ringserverstats.logs.names import read_name

    if len(files) != 1 or os.path.isdir(files[0]):
        raise UsageError("--name is the file name of one log; read the others separately")
    if read_name(name).start is None:
        raise UsageError(
            f"--name {name!a} has no interval; write it as txlog-20261124T0000-20261125T0000"
        )
