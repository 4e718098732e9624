"""``ringserverstats export``: export statistics to other services."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ringserverstats.cli.options import Period, database_option, period_of, period_options
from ringserverstats.cli.terminal import (
    confirm,
    load_settings,
    open_store,
    print_export_report,
    print_note,
    print_warning,
    progress_bar,
)
from ringserverstats.enrich.labels import EXTERNAL
from ringserverstats.errors import UsageError
from ringserverstats.opening import open_exporter
from ringserverstats.statistics.periods import listed
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.exports.eida.payload import Figures, LeftOut

_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats export eida --month 2026-10 --node EXAMPLE -o 2026-10.json.gz\n"
    "  ringserverstats export eida --month 2026-10 --node EXAMPLE --class 'external,mirror'\n"
    "  ringserverstats export eida --month 2026-10 --node EXAMPLE --url https://test.example.org/\n"
    "  ringserverstats export influxdb --month 2026-10\n"
    "  ringserverstats export parquet /srv/figures"
)
_PARQUET_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  ringserverstats export parquet /srv/figures\n"
    "  ringserverstats export parquet /srv/figures --last-month"
)
_INFLUXDB_EXAMPLES = (
    "Examples:\n\n\b\n"
    "  INFLUX_URL='http://localhost:8086?db=seismic' ringserverstats export influxdb\n"
    "  ringserverstats export influxdb --from 2026-11-01 --to 2026-11-24"
)


@click.group("export", epilog=_EXAMPLES)
def command() -> None:
    """Export statistics to other services."""


@command.command("eida", short_help="Write a month for EIDA's statistics.", epilog=_EXAMPLES)
@click.option("--month", required=True, metavar="YYYY-MM", help="The month.")
@click.option("--node", required=True, metavar="NAME", help="The name of your node.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    metavar="LIST",
    help=f"Only clients of these classes; * and ? are wildcards. Default: {EXTERNAL}.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    help="Write to this file instead of standard output; .gz compresses it.",
)
@click.option(
    "--with-embargoed", is_flag=True, help="Also networks under embargo (setting embargo)."
)
@click.option("--url", metavar="URL", help="Send it to this service; -o writes it as well.")
@click.option("--yes", is_flag=True, help="Send it without asking.")
@database_option
def eida(
    month: str,
    node: str,
    classes: tuple[str, ...],
    output: str | None,
    with_embargoed: bool,
    url: str | None,
    yes: bool,
) -> None:
    """Write one month as a payload of EIDA's statistics: JSON, by stream and country.

    Counts data sent to SeedLink, DataLink and HTTP clients, of streams with a known network. A
    request is one stream sent to one connection, counted once a month. HyperLogLog sketches count
    the clients. Nothing is sent without --url: read the page on EIDA in the manual first. The
    setting `eida_token` is the token.
    """
    from ringserverstats.exports.eida.payload import figures, payload
    from ringserverstats.exports.eida.sketches import load_encoder
    from ringserverstats.exports.eida.upload import check_token, check_url

    first = _first_day(month)
    if not node.strip() or not node.isprintable():
        raise UsageError("--node is empty or not printable; give the name of your node")
    settings = load_settings()
    encode = load_encoder()
    if url is not None:
        check_url(url)
        check_token(settings.eida_token)
    store = open_store(settings, for_queries=True, must_exist=True)
    chosen = listed(classes) or ((EXTERNAL,) if not classes else ("",))
    leave_out = () if with_embargoed else settings.embargo
    statistics = figures(store, first, classes=chosen, leave_out=leave_out)
    _print_summary(statistics, node, chosen)
    with tempfile.TemporaryFile() as file:
        file.writelines(payload(statistics, encode, datetime.now(UTC)))
        if output is not None or url is None:
            _write(file, output)
        if url is not None:
            upload = _Upload(url, settings.eida_token, f"{node} of {month}", len(statistics.rows))
            upload.confirm(yes=yes)
            upload.send(file)


@command.command("influxdb", short_help="Export days to InfluxDB again.", epilog=_INFLUXDB_EXAMPLES)
@period_options
@database_option
def influxdb(period: Period) -> None:
    """Replace days in the InfluxDB of the setting `influx_url` by those of the store.

    Deletes all other points of these days in the same measurement. Days that change are exported by
    themselves after each command; use this for earlier days, and for repairs. Without a period, all
    days of the store are exported. It can be repeated.
    """
    settings = load_settings()
    exporter = open_exporter(settings)
    if exporter is None:
        raise UsageError(
            "there is no InfluxDB: set INFLUX_URL, such as http://localhost:8086?db=NAME"
        )
    store = open_store(settings, for_queries=True, must_exist=True)
    with progress_bar("InfluxDB", None) as progress:
        report = exporter.export_range(store, period.first, period.last, progress=progress)
    print_export_report(report, exporter.database.name)
    if report.problems:
        click.get_current_context().exit(1)


@command.command("parquet", short_help="Write daily figures as files.", epilog=_PARQUET_EXAMPLES)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@period_options
@database_option
def parquet(folder: Path, period: Period) -> None:
    """Write daily figures into FOLDER as Parquet files, one per month, for pandas, R or DuckDB.

    A row has the figures of a day, server, direction, protocol, network, station, location,
    channel, class, country and agent family. Distinct clients do not add up over rows. The table
    `coverage` has the complete, incomplete and missing days, `columns.csv` the meaning of all
    columns. Months of the period are written whole and replace earlier files. These are the
    operator's figures: nothing is suppressed.
    """
    from ringserverstats.exports.parquet import export_months

    store = open_store(load_settings(), for_queries=True, must_exist=True)
    with progress_bar("months", None) as progress:
        report = export_months(store, folder, period.first, period.last, progress=progress)
    click.echo(f"wrote {report.months:,} months with {report.rows:,} rows to {folder}", err=True)


def _first_day(month: str) -> date:
    first = period_of(month=month).first
    if first is None:
        raise UsageError("--month is empty; write 2026-11")
    return first


def _print_summary(statistics: Figures, node: str, classes: tuple[str, ...]) -> None:
    """Print on standard error what the statistics contain, what is left out, and missing days."""
    from ringserverstats.exports.eida.payload import UNSTORABLE
    from ringserverstats.exports.eida.served import EMBARGOED, NO_CODES, UNRESOLVED
    from ringserverstats.store.rollups import month_of

    month = f"{statistics.month:%Y-%m}"
    click.echo(
        f"{node} {month}: {len(statistics.rows):,} rows, {statistics.requests:,} requests, "
        f"{human_bytes(statistics.bytes)}; clients of class: {', '.join(classes)}",
        err=True,
    )
    for reason in (EMBARGOED, UNRESOLVED, NO_CODES, UNSTORABLE):
        parts = [part for part in statistics.left_out if part.reason == reason]
        if parts:
            print_note(f"left out: {reason}{_amounts(parts)}")
    last = month_of(statistics.month)[1]
    if last >= datetime.now(UTC).date():
        print_note(f"{month} is not over; its figures will grow")
    if len(statistics.days) < last.day:
        print_note(
            f"the logs of all servers cover {len(statistics.days)} of {last.day} days: "
            f"ringserverstats coverage --month {month}"
        )


def _amounts(parts: list[LeftOut]) -> str:
    codes = sorted({part.code for part in parts if part.code is not None})
    names = f": {', '.join(codes)}" if codes else ""
    streams = sum(part.streams for part in parts)
    return f"{names} (streams: {streams:,}, {human_bytes(sum(part.bytes for part in parts))})"


def _write(payload: IO[bytes], output: str | None) -> None:
    from ringserverstats.cli.output import open_output

    payload.seek(0)
    with open_output(output) as file:
        if output is not None and Path(output).suffix.lower() == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                shutil.copyfileobj(payload, packed)
        else:
            shutil.copyfileobj(payload, file)


@dataclass(frozen=True)
class _Upload:
    """An upload of ``rows`` rows for ``what``, a node and month."""

    url: str
    token: str | None
    what: str
    rows: int

    def confirm(self, *, yes: bool) -> None:
        """Ask whether to send, unless ``yes``.

        Raises:
            UsageError: there is nothing to send, or no terminal to ask on.
        """
        from ringserverstats.exports.eida.upload import check_url

        if not self.rows:
            raise UsageError(f"there are no rows for {self.what}; nothing was sent")
        if self.url.lower().startswith("http:"):
            print_warning("http shows the token to everybody on the way; use https")
        question = (
            f"Send {self.rows:,} rows for {self.what} to {check_url(self.url)}? They replace rows "
            "of the node for this month with the same stream and country, also those from "
            "dataselect: the service cannot distinguish real-time data."
        )
        if not yes:
            reason = "nothing was sent, because there is no terminal to ask on; --yes confirms"
            confirm(question, otherwise=f"{reason}: {question}")

    def send(self, payload: IO[bytes]) -> None:
        """Send the payload and print the response."""
        from ringserverstats.exports.eida.upload import check_token, check_url, upload

        size = payload.seek(0, 2)
        payload.seek(0)
        response = upload(self.url, check_token(self.token), payload, size)
        click.echo(f"{check_url(self.url)}: {response}", err=True)
