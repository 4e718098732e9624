"""``ringserverstats ingest``: read logs into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ringserverstats.cli.inputs import find_inputs, reading_progress
from ringserverstats.cli.options import Inputs, database_option, input_options
from ringserverstats.cli.terminal import console, load_settings, open_store, print_note, table
from ringserverstats.errors import UsageError
from ringserverstats.opening import load_rules, open_geoip
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.import_report import ImportReport

_MAX_SHOWN = 100


@click.command(
    "ingest",
    short_help="Read usage logs into the store.",
    epilog="Examples:\n\n\b\n"
    "  ringserverstats ingest /var/log/ringserver\n"
    "  ringserverstats ingest --as node-a txlog-20261124T0000-20261125T0000.gz\n"
    "  ssh node-b cat /data/txlog-20261124T0000-20261125T0000 |\n"
    "    ringserverstats ingest --as node-b --name txlog-20261124T0000-20261125T0000 -",
)
@input_options
@click.option("--dry-run", is_flag=True, help="Only show what would be counted.")
@click.option("--json", "as_json", is_flag=True, help="Print the import report as JSON.")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if more entries are rejected than the setting max_rejects (0), or no log is"
    " found.",
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="After an upgrade: list only the rejects of FILES that remain.",
)
@database_option
def command(
    inputs: Inputs, dry_run: bool, as_json: bool, strict: bool, retry_rejects: bool
) -> None:
    """Read usage logs into the store: files, folders, or `-` for standard input.

    Recognises text and JSON Lines of every release of ringserver, plain or compressed (gzip, bzip2,
    xz, zstd), by their content. Entries that are stored already are not counted again. The name of
    the server is that of --as, else the prefix of the file's name (node-a-txlog-...), else
    `default`. Without FILES, reads the registered paths (`ringserverstats server path`).
    """
    from ringserverstats.ingest import IngestOptions, ingest

    if retry_rejects and "-" in inputs.files:
        raise UsageError("--retry-rejects needs files: rejects are found by the name of their file")
    settings = load_settings()
    rules = load_rules(settings)
    store = open_store(settings, for_queries=False, changes=not dry_run)
    found = find_inputs(inputs, store)
    with reading_progress(found.sources) as progress:
        report = ingest(
            found.sources,
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
    report.other_files, report.temporary_files = found.other_files, found.temporary_files
    _print_notes(report)
    if as_json:
        _print_json(report)
    else:
        title = "would be counted in" if dry_run else "counted in"
        _print_table(report, f"{title} {store.label}")
    context = click.get_current_context()
    rejected = report.rejected + report.rejected_before
    too_many = rejected > settings.max_rejects
    if strict and (too_many or not found.sources or found.skipped or found.unmatched):
        context.exit(1)


def _print_notes(report: ImportReport) -> None:
    """Print notes and rejects on standard error."""
    for note in report.notes:
        print_note(note)
    for label, reject in report.rejects[:_MAX_SHOWN]:
        lines = f"line {reject.line}"
        if reject.lines > 1:
            lines = f"lines {reject.line} to {reject.line + reject.lines - 1}"
        click.echo(f"Rejected: {label}: {lines}: {reject.reason}", err=True)
    if report.rejected > _MAX_SHOWN:
        more = report.rejected - _MAX_SHOWN
        click.echo(f"Rejected: {more} more; --json lists up to 10,000", err=True)


def _print_json(report: ImportReport) -> None:
    import json

    rejects = [
        {"file": label, "line": reject.line, "lines": reject.lines, "reason": reject.reason}
        for label, reject in report.rejects
    ]
    click.echo(json.dumps({**report.shown, "rejects": rejects}, indent=2))


def _print_table(report: ImportReport, title: str) -> None:
    grid = table([("", False), ("", True), ("", False)], title)
    grid.show_header = False
    grid.columns[-1].no_wrap = False
    always: list[tuple[str, int, str]] = [
        ("files", report.files, ""),
        ("entries", report.entries, "new: one connection, one direction, one interval"),
        ("connections", report.connections, "of the new entries"),
        ("transfers", report.transfers, "new: one stream of one entry"),
        ("bytes", report.bytes, f"{human_bytes(report.bytes)}, sent and received (TX and RX)"),
        ("packets", report.packets, ""),
        ("known before", report.known, "entries that were stored already"),
    ]
    if_any: list[tuple[str, int, str]] = [
        ("in two files", report.in_copies, "identical entries of one interval: see the note"),
        ("other server", report.known_elsewhere, "entries stored for another server: check --as"),
        ("empty", report.empty, "blocks without a stream, counted nowhere else"),
        ("incomplete", report.incomplete, "ends of files that may still grow: read them again"),
        ("rejected", report.rejected, "entries: see above"),
        ("rejected before", report.rejected_before, "entries again: see ringserverstats rejects"),
        ("resolved", report.resolved, "entries rejected before, and no longer"),
        ("days guessed", report.days_guessed, "the log's name has no interval: see --name"),
        ("on other days", report.misdated, "see the note above"),
        ("of imported days", report.imported, "see the note above"),
        ("access lines", report.access_lines, "of access logs: not read yet"),
        ("other files", report.other_files, "in the folders: not named as usage logs"),
        ("temporary files", report.temporary_files, "hidden, or still being copied: not read"),
    ]
    for label, count, note in always + [row for row in if_any if row[1]]:
        grid.add_row(label, f"{count:,}", note)
    console().print(grid)
