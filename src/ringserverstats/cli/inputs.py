"""Find the logs to read, and show the progress of reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ringserverstats.cli.terminal import print_note, progress_bar
from ringserverstats.errors import UsageError
from ringserverstats.logs.names import check_server_name

if TYPE_CHECKING:
    from ringserverstats.cli.options import Inputs
    from ringserverstats.ingest import Progress
    from ringserverstats.logs.source import Found, Source
    from ringserverstats.store.base import Server, Store


def find_inputs(inputs: Inputs, store: Store) -> Found:
    """Return the logs to read, after a note on each file that is skipped.

    Without files: the logs at the registered paths of the server, or of all servers.

    Raises:
        UsageError: the options do not fit together, or there is nothing to read.
        SourceError: a file cannot be read.
    """
    from ringserverstats.logs.source import find

    servers = store.servers() if store.exists() else []
    known = {name for server in servers for name in (server.name, *server.former_names)}
    if inputs.server is not None and inputs.server not in known:
        check_server_name(inputs.server)
    if inputs.name is not None:
        _check_name(inputs.name, inputs.files)
    if inputs.files:
        found = find(list(inputs.files), name=inputs.name, server=inputs.server, known=known)
    else:
        found = _find_registered(inputs.server, servers)
    for message in found.skipped:
        print_note(f"skipped {message}")
    if not found.sources:
        print_note(
            "no usage logs found. Folders are searched for files named "
            "[prefix-]txlog-<from>-<to>. Name other files one by one."
        )
    return found


def _find_registered(server_name: str | None, servers: list[Server]) -> Found:
    from ringserverstats.logs.source import Found, find_registered

    registered = [
        server
        for server in servers
        if server.paths and (server_name is None or server.is_called(server_name))
    ]
    if not registered:
        raise UsageError(
            "there is nothing to read: name FILES or folders, or `-` for standard input, or "
            "register the paths of a server's logs: ringserverstats server path NAME GLOB"
        )
    found = Found()
    for server in registered:
        known = len(found.unmatched)
        find_registered(found, server.paths, server=server.name)
        for pattern in found.unmatched[known:]:
            print_note(f"the path {pattern!a} of server {server.name!a} matches no file")
    return found


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
