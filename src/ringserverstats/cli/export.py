"""``ringserverstats export``: figures in the forms that other services take."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ringserverstats.cli.options import database_option, period, period_options
from ringserverstats.cli.terminal import (
    confirm,
    load_settings,
    open_store,
    print_export_report,
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
    "  ringserverstats export influxdb --month 2026-10"
)
_OF_INFLUXDB = (
    "Examples:\n\n\b\n"
    "  INFLUX_URL='http://localhost:8086?db=seismic' ringserverstats export influxdb\n"
    "  ringserverstats export influxdb --from 2026-11-01 --to 2026-11-24"
)


@click.group("export", epilog=_EXAMPLES)
def command() -> None:
    """Write figures in the forms that other services take."""


@command.command("eida", short_help="Write a month as EIDA's statistics have it.", epilog=_EXAMPLES)
@click.option("--month", required=True, metavar="YYYY-MM", help="The month.")
@click.option("--node", required=True, metavar="NAME", help="The node whose figures these are.")
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
    help="A file instead of standard output; packed by gzip if its name ends in .gz.",
)
@click.option(
    "--with-embargoed", is_flag=True, help="Also networks under embargo (setting embargo)."
)
@click.option("--url", metavar="URL", help="Also send it there; without -o it is only sent.")
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
    database: str | None,
) -> None:
    """Write one month as a payload of EIDA's statistics: JSON, by stream and country.

    It counts what SeedLink, DataLink and HTTP clients were sent of streams whose network is known.
    A request is one stream that one connection was sent, once a month. Clients are in it as
    HyperLogLog sketches, which tell how many they are. Nothing is sent unless --url says where:
    see the page on EIDA in the manual first. The token comes from the setting `eida_token`.
    """
    from ringserverstats.exports.eida.payload import figures, payload
    from ringserverstats.exports.eida.sketches import maker
    from ringserverstats.exports.eida.upload import check_token, check_url

    first, _ = period(None, None, month, None, None)
    if first is None:
        raise UsageError("--month is empty; write 2026-11")
    if not node.strip() or not node.isprintable():
        raise UsageError("--node is empty or holds what cannot be shown; name the node")
    settings = load_settings(database)
    sketch = maker()
    if url is not None:
        check_url(url)
        check_token(settings.eida_token)
    store = open_store(settings, answers=True, needed=True)
    chosen = listed(classes) or ((EXTERNAL,) if not classes else ("",))
    leave_out = () if with_embargoed else settings.embargo
    found = figures(store, first, classes=chosen, leave_out=leave_out)
    _tell(found, node, chosen)
    with tempfile.TemporaryFile() as packed:
        _pack(payload(found, sketch, datetime.now(UTC)), packed)
        if output is not None or url is None:
            _write(packed, output)
        if url is not None:
            _send(packed, url, settings.eida_token, f"{node} of {month}", found, yes=yes)


@command.command("influxdb", short_help="Fill or repair days in InfluxDB.", epilog=_OF_INFLUXDB)
@period_options
@database_option
def influxdb(
    first: str | None,
    final: str | None,
    month: str | None,
    year: str | None,
    length: str | None,
    database: str | None,
) -> None:
    """Let the InfluxDB of the setting `influx_url` have what the store has of these days.

    What else it has of these days under the same measurement goes. Days that logs change go there
    by themselves, after each ingest; this is for those that were read before it was set, and to
    repair. Without a period it is all of the store. It can be run again.
    """
    settings = load_settings(database)
    exporter = open_exporter(settings)
    if exporter is None:
        raise UsageError(
            "there is no InfluxDB: set INFLUX_URL, such as http://localhost:8086?db=NAME"
        )
    begin, end = period(first, final, month, year, length)
    store = open_store(settings, answers=True, needed=True)
    with progress_bar("InfluxDB", None) as progress:
        sent = exporter.export_range(
            store, begin, end, progress=lambda done, size: progress(done, total=size)
        )
    print_export_report(sent, exporter.database.name)
    if sent.problems:
        click.get_current_context().exit(1)


def _tell(found: Figures, node: str, classes: tuple[str, ...]) -> None:
    """What is in the figures and what is not, on standard error."""
    from ringserverstats.exports.eida.served import ASKED, NO_CODES, NOT_RESOLVED

    month = f"{found.month:%Y-%m}"
    click.echo(
        f"{node} {month}: {len(found.rows):,} rows, {found.requests:,} requests, "
        f"{human_bytes(found.bytes)}; clients of class: {', '.join(classes)}",
        err=True,
    )
    for reason in (ASKED, NOT_RESOLVED, NO_CODES):
        own = [one for one in found.left_out if one.reason == reason]
        if own:
            click.echo(f"Note: left out: {reason}{_amounts(own)}", err=True)
    _tell_days(found, month)


def _amounts(left_out: list[LeftOut]) -> str:
    codes = sorted({one.code for one in left_out if one.code is not None})
    named = f": {', '.join(codes)}" if codes else ""
    streams = sum(one.streams for one in left_out)
    return f"{named} (streams: {streams:,}, {human_bytes(sum(one.bytes for one in left_out))})"


def _tell_days(found: Figures, month: str) -> None:
    from ringserverstats.store.rollups import month_of

    last = month_of(found.month)[1]
    if last >= datetime.now(UTC).date():
        click.echo(f"Note: {month} is not over; its figures will grow", err=True)
    if len(found.days) < last.day:
        click.echo(
            f"Note: the logs of all servers cover {len(found.days)} of {last.day} days: "
            f"ringserverstats coverage --month {month}",
            err=True,
        )


def _pack(pieces: Iterable[bytes], packed: IO[bytes]) -> None:
    with gzip.GzipFile("", "wb", fileobj=packed, mtime=0) as file:
        file.writelines(pieces)


def _write(packed: IO[bytes], output: str | None) -> None:
    from ringserverstats.cli.output import opened

    packed.seek(0)
    with opened(output) as file:
        if output is not None and Path(output).suffix.lower() == ".gz":
            shutil.copyfileobj(packed, file)
        else:
            with gzip.GzipFile(fileobj=packed) as plain:
                shutil.copyfileobj(plain, file)


def _send(
    packed: IO[bytes], url: str, token: str | None, what: str, found: Figures, *, yes: bool
) -> None:
    """Send it, after it was asked for."""
    from ringserverstats.exports.eida.upload import check_token, check_url, send

    place, rows = check_url(url), len(found.rows)
    if not rows:
        raise UsageError(f"there are no rows for {what}, so that nothing is sent")
    if url.lower().startswith("http:"):
        click.echo("Warning: http shows the token to whoever is on the way; use https", err=True)
    asked = (
        f"Send {rows:,} rows for {what} to {place}? They replace what the node has there for this "
        "month, from dataselect too, wherever stream and country are the same: the service's table "
        "cannot tell real-time use apart."
    )
    if not yes:
        none = "nothing was sent, as there is no terminal to ask on; --yes confirms"
        confirm(asked, otherwise=f"{none}: {asked}")
    size = packed.seek(0, 2)
    packed.seek(0)
    click.echo(f"{place}: {send(url, check_token(token), packed, size)}", err=True)
