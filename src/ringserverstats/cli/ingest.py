"""``ringserverstats ingest``: logs into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.common import console, load_settings, open_store, table
from ringserverstats.cli.inputs import NOTHING, find_inputs, input_options, reading
from ringserverstats.cli.options import database_option
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules, open_geography
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.ingest import Receipt

_MOST_SHOWN = 100


@click.command(
    "ingest",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats ingest /var/log/ringserver\n"
    "  ringserverstats ingest --as node-a txlog-20261124T0000-20261125T0000.gz\n"
    "  ssh node-b cat /data/txlog-20261124T0000-20261125T0000 |\n"
    "    ringserverstats ingest --as node-b --name txlog-20261124T0000-20261125T0000 -",
)
@input_options
@click.option("--dry-run", is_flag=True, help="Only tell what would be counted.")
@click.option("--json", "as_json", is_flag=True, help="The receipt as JSON.")
@click.option(
    "--strict",
    is_flag=True,
    help="End with 1 if anything is rejected, or no log is found.",
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="After an upgrade: what of FILES is rejected no longer leaves the list of rejects.",
)
@database_option
def command(
    files: tuple[str, ...],
    server: str | None,
    name: str | None,
    dry_run: bool,
    as_json: bool,
    strict: bool,
    retry_rejects: bool,
    database: str | None,
) -> None:
    """Read usage logs: files, folders, or `-` for standard input.

    Text and JSON Lines of every release of ringserver, plain or compressed (gzip, bzip2, xz, zstd),
    are told apart by what they hold. What is in the store already is not counted again. The server
    is named by --as, else by the prefix of the file's name (node-a-txlog-...), else `default`.
    Without FILES the registered paths are read (`ringserverstats server path`).
    """
    from ringserverstats.ingest import ingest

    if retry_rejects and "-" in files:
        raise UsageError("--retry-rejects takes files: standard input has no name to find them by")
    settings = load_settings(database)
    rules = load_rules(settings)
    store = open_store(settings, answers=False, changes=not dry_run)
    sources, others = find_inputs(files, server, name, store)
    with reading(sources) as progress:
        receipt = ingest(
            sources,
            store,
            ipv6_prefix=settings.ipv6_prefix,
            keep_hosts=settings.keep_hosts,
            geography=open_geography(settings),
            rules=rules,
            dry_run=dry_run,
            retry_rejects=retry_rejects,
            progress=progress,
        )
    receipt.other_files = others
    _tell(receipt)
    if as_json:
        _print_json(receipt)
    else:
        title = "would be counted in" if dry_run else "counted in"
        _print_table(receipt, f"{title} {store.label}")
    context = click.get_current_context()
    rejected = receipt.rejected + receipt.rejected_before
    if strict and (rejected or not sources or NOTHING in context.meta):
        context.exit(1)


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
        ("rejected before", receipt.rejected_before, "again: see ringserverstats rejects"),
        ("resolved", receipt.resolved, "rejected before, and no longer"),
        (
            "days guessed",
            receipt.days_guessed,
            "the log's name tells no interval: see --name",
        ),
        ("on other days", receipt.misdated, "see the note above"),
        ("of imported days", receipt.imported, "see the note above"),
        ("access lines", receipt.access_lines, "of access logs: not read yet"),
        ("other files", receipt.other_files, "in the folders: no usage logs by name"),
    ]
    for label, count, note in rows + [row for row in optional if row[1]]:
        told.add_row(label, f"{count:,}", note)
    console().print(told)
