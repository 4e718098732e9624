"""``ringserverstats ingest``: logs into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.inputs import NOTHING, find_inputs, input_options, reading
from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import console, load_settings, open_store, table
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules, open_geoip
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.import_report import ImportReport

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
    from ringserverstats.ingest import IngestOptions, ingest

    if retry_rejects and "-" in files:
        raise UsageError("--retry-rejects takes files: standard input has no name to find them by")
    settings = load_settings(database)
    rules = load_rules(settings)
    store = open_store(settings, answers=False, changes=not dry_run)
    sources, others = find_inputs(files, server, name, store)
    with reading(sources) as progress:
        report = ingest(
            sources,
            store,
            IngestOptions(
                ipv6_prefix=settings.ipv6_prefix,
                keep_hosts=settings.keep_hosts,
                geoip=open_geoip(settings),
                rules=rules,
                dry_run=dry_run,
                retry_rejects=retry_rejects,
            ),
            progress=progress,
        )
    report.other_files = others
    _tell(report)
    if as_json:
        _print_json(report)
    else:
        title = "would be counted in" if dry_run else "counted in"
        _print_table(report, f"{title} {store.label}")
    context = click.get_current_context()
    rejected = report.rejected + report.rejected_before
    if strict and (rejected or not sources or NOTHING in context.meta):
        context.exit(1)


def _tell(report: ImportReport) -> None:
    for note in report.notes:
        click.echo(f"Note: {note}", err=True)
    for label, reject in report.rejects[:_MOST_SHOWN]:
        lines = f"line {reject.line}"
        if reject.lines > 1:
            lines = f"lines {reject.line} to {reject.line + reject.lines - 1}"
        click.echo(f"Rejected: {label}: {lines}: {reject.reason}", err=True)
    if report.rejected > _MOST_SHOWN:
        more = report.rejected - _MOST_SHOWN
        click.echo(f"Rejected: {more} more; --json tells up to 10,000", err=True)


def _print_json(report: ImportReport) -> None:
    import json

    rejects = [
        {"file": label, "line": one.line, "lines": one.lines, "reason": one.reason}
        for label, one in report.rejects
    ]
    click.echo(json.dumps({**vars(report), "rejects": rejects}, indent=2))


def _print_table(report: ImportReport, title: str) -> None:
    told = table([("", False), ("", True), ("", False)], title)
    told.show_header = False
    told.columns[-1].no_wrap = False
    rows: list[tuple[str, int, str]] = [
        ("files", report.files, ""),
        ("entries", report.entries, "new: one connection, one direction, one interval"),
        ("connections", report.connections, "that the new entries belong to"),
        ("transfers", report.transfers, "new: one stream of one entry"),
        ("bytes", report.bytes, f"{human_bytes(report.bytes)}, sent and received (TX and RX)"),
        ("packets", report.packets, ""),
        ("known before", report.known, "entries that were counted already"),
    ]
    optional: list[tuple[str, int, str]] = [
        (
            "other server",
            report.known_elsewhere,
            "entries that another server has too: check --as",
        ),
        ("empty", report.empty, "blocks without a stream, counted nowhere else"),
        ("incomplete", report.incomplete, "ends of files that may still grow: read them again"),
        ("rejected", report.rejected, "see above"),
        ("rejected before", report.rejected_before, "again: see ringserverstats rejects"),
        ("resolved", report.resolved, "rejected before, and no longer"),
        (
            "days guessed",
            report.days_guessed,
            "the log's name tells no interval: see --name",
        ),
        ("on other days", report.misdated, "see the note above"),
        ("of imported days", report.imported, "see the note above"),
        ("access lines", report.access_lines, "of access logs: not read yet"),
        ("other files", report.other_files, "in the folders: no usage logs by name"),
    ]
    for label, count, note in rows + [row for row in optional if row[1]]:
        told.add_row(label, f"{count:,}", note)
    console().print(told)
