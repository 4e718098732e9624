"""``ringserverstats ingest``: logs into the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ringserverstats.cli.common import (
    check_server_name,
    console,
    database_option,
    human_bytes,
    load_settings,
    open_store,
    table,
)
from ringserverstats.errors import UsageError

if TYPE_CHECKING:
    from ringserverstats.ingest import Progress, Receipt

_MOST_SHOWN = 100


@click.command(
    "ingest",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats ingest /var/log/ringserver\n"
    "  ringserverstats ingest --as node-a txlog-20261124T0000-20261125T0000.gz\n"
    "  ssh node-b cat /data/txlog-20261124T0000-20261125T0000 |\n"
    "    ringserverstats ingest --as node-b --name txlog-20261124T0000-20261125T0000 -",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--as", "server", metavar="NAME", help="The server that wrote the logs.")
@click.option("--name", metavar="FILENAME", help="The log's file name, for input without one.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be counted.")
@click.option("--json", "as_json", is_flag=True, help="The receipt as JSON.")
@click.option(
    "--strict", is_flag=True, help="End with 1 if anything was rejected, or no log found."
)
@database_option
def command(
    files: tuple[str, ...],
    server: str | None,
    name: str | None,
    dry_run: bool,
    as_json: bool,
    strict: bool,
    database: str | None,
) -> None:
    """Read usage logs: files, folders, or `-` for standard input.

    Text and JSON Lines of every release of ringserver, plain or compressed (gzip, bzip2, xz, zstd),
    are told apart by what they hold. What is in the store already is not counted again. The server
    is named by --as, else by the prefix of the file's name (node-a-txlog-...), else `default`.
    """
    from ringserverstats.ingest import ingest
    from ringserverstats.logs.source import find

    if server is not None:
        check_server_name(server)
    if name is not None:
        _check_name(name, files)
    settings = load_settings(database)
    sources, others = find(list(files), name=name, server=server)
    if not sources:
        click.echo(
            "Note: no usage logs found; in folders they are known by their names, "
            "[prefix-]txlog-<from>-<to>. Name other files one by one.",
            err=True,
        )
    store = open_store(settings, answers=False)
    with _progress(sum(source.size for source in sources)) as progress:
        receipt = ingest(
            sources,
            store,
            ipv6_prefix=settings.ipv6_prefix,
            keep_hosts=settings.keep_hosts,
            dry_run=dry_run,
            progress=progress,
        )
    receipt.other_files = others
    _tell(receipt)
    if as_json:
        _print_json(receipt)
    else:
        title = "would be counted in" if dry_run else "counted in"
        _print_table(receipt, f"{title} {store.label}")
    if strict and (receipt.rejected or not sources):
        click.get_current_context().exit(1)


def _check_name(name: str, files: tuple[str, ...]) -> None:
    from ringserverstats.logs.names import read_name

    if len(files) > 1 or os.path.isdir(files[0]):
        raise UsageError("--name is the name of one log; read the others apart")
    if read_name(name).start is None:
        raise UsageError(
            f"--name {name!a} tells no interval; write it as txlog-20261124T0000-20261125T0000"
        )


@contextmanager
def _progress(size: int) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich import progress as bars

    with bars.Progress(
        bars.TextColumn("reading"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[lines]:,} lines"),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=console(error=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=size or None, lines=0)
        yield lambda now: bar.update(task, completed=now.read, lines=now.lines)


def _tell(receipt: Receipt) -> None:
    for note in receipt.notes:
        click.echo(f"Note: {note}", err=True)
    for label, reject in receipt.rejects[:_MOST_SHOWN]:
        lines = f"line {reject.line}"
        if reject.lines > 1:
            lines = f"lines {reject.line} to {reject.line + reject.lines - 1}"
        click.echo(f"Rejected: {label}: {lines}: {reject.reason}", err=True)
    if receipt.rejected > _MOST_SHOWN:
        more = receipt.rejected - _MOST_SHOWN
        click.echo(f"Rejected: {more} more; --json tells up to 10,000", err=True)


def _print_json(receipt: Receipt) -> None:
    import json

    rejects = [
        {"file": label, "line": one.line, "lines": one.lines, "reason": one.reason}
        for label, one in receipt.rejects
    ]
    click.echo(json.dumps({**vars(receipt), "rejects": rejects}, indent=2))


def _print_table(receipt: Receipt, title: str) -> None:
    told = table([("", False), ("", True), ("", False)], title)
    told.show_header = False
    told.columns[-1].no_wrap = False
    rows: list[tuple[str, int, str]] = [
        ("files", receipt.files, ""),
        ("entries", receipt.entries, "new: one connection, one direction, one interval"),
        ("connections", receipt.connections, "that the new entries belong to"),
        ("transfers", receipt.transfers, "new: one stream of one entry"),
        ("bytes", receipt.bytes, f"{human_bytes(receipt.bytes)}, sent and received (TX and RX)"),
        ("packets", receipt.packets, ""),
        ("known before", receipt.known, "entries that were counted already"),
    ]
    optional: list[tuple[str, int, str]] = [
        (
            "other server",
            receipt.known_elsewhere,
            "entries that another server has too: check --as",
        ),
        ("empty", receipt.empty, "blocks without a stream, counted nowhere else"),
        ("incomplete", receipt.incomplete, "ends of files that may still grow: read them again"),
        ("rejected", receipt.rejected, "see above"),
        ("resolved", receipt.resolved, "rejected before, and no longer"),
        (
            "days guessed",
            receipt.days_guessed,
            "the log's name tells no interval: see --name",
        ),
        ("access lines", receipt.access_lines, "of access logs: not read yet"),
        ("other files", receipt.other_files, "in the folders: no usage logs by name"),
    ]
    for label, count, note in rows + [row for row in optional if row[1]]:
        told.add_row(label, f"{count:,}", note)
    console().print(told)
