"""``ringserverstats info``: show what the store contains."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import console, load_settings, open_store, show, table
from ringserverstats.opening import open_exporter, open_geoip
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.enrich.geoip import Database
    from ringserverstats.settings import Settings
    from ringserverstats.statistics.summary import ServerSummary, Summary
    from ringserverstats.store.base import PendingDay


@dataclass(frozen=True)
class _Info:
    """What the command shows; without an exporter its name is None."""

    settings: Settings
    summary: Summary
    databases: list[Database]
    exporter: str | None
    pending: list[PendingDay]


@click.command(
    "info",
    short_help="Show what the store contains.",
    epilog="Examples:\n\n\b\n  ringserverstats info\n  ringserverstats info --json",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@database_option
def command(as_json: bool) -> None:
    """Show what the store contains: servers, days, counts, size, schema; and GeoIP databases."""
    from ringserverstats.statistics.summary import summary

    settings = load_settings()
    store = open_store(settings, for_queries=True, must_exist=True)
    exporter = open_exporter(settings)
    info = _Info(
        settings,
        summary(store),
        open_geoip(settings).databases,
        exporter.database.name if exporter else None,
        exporter.pending(store) if exporter else [],
    )
    if as_json:
        import json

        click.echo(json.dumps(_json(info), indent=2, default=int))
        return
    grid = table([("", False), ("", False)])
    grid.show_header = False
    for label, value in _rows(info):
        grid.add_row(label, value)
    show(grid, console())
    _print_servers(info.summary.servers)


def _json(info: _Info) -> dict[str, Any]:
    databases = [
        {
            "path": str(database.path),
            "kind": database.kind or None,
            "built": database.built.isoformat() if database.built else None,
            "problem": database.problem or None,
        }
        for database in info.databases
    ]
    fields = {**asdict(info.summary), "databases": databases}
    if info.exporter:
        oldest = info.pending[0].day.isoformat() if info.pending else None
        fields["influxdb"] = {
            "name": info.exporter,
            "pending_days": len(info.pending),
            "oldest_pending_day": oldest,
        }
    return fields


def _rows(info: _Info) -> list[tuple[str, str]]:
    summary, embargo = info.summary, info.settings.embargo
    return [
        ("store", summary.store),
        ("secret", _secret(summary.secret)),
        *summary.features.items(),
        *_geoip_rows(info.databases),
        *_exporter_rows(info),
        ("embargo", ", ".join(ascii(network)[1:-1] for network in embargo) or "none"),
        ("small counts", f"fewer than {info.settings.min_clients} clients"),
        ("networks", f"{summary.networks:,} in the registry"),
        *([("pruned", f"months before {summary.pruned_before}")] if summary.pruned_before else []),
        ("size", human_bytes(summary.size)),
        ("schema", str(summary.schema)),
        ("entries", f"{summary.entries:,}"),
        ("transfers", f"{summary.transfers:,}"),
        ("clients", f"{summary.clients:,}"),
        ("streams", f"{summary.streams:,}"),
    ]


def _secret(secret: str) -> str:
    is_lost = secret.startswith("/") and not os.path.exists(secret)
    return f"{secret}{' (missing!)' if is_lost else ''}"


def _geoip_rows(databases: list[Database]) -> list[tuple[str, str]]:
    if not databases:
        return [("locations", "unknown: no GeoIP database (settings geoip_city, geoip_asn)")]
    return [
        (
            "locations",
            f"{database.path}: {database.problem or f'{database.kind} of {database.built}'}",
        )
        for database in databases
    ]


def _exporter_rows(info: _Info) -> list[tuple[str, str]]:
    if info.exporter is None:
        return []
    days = info.pending
    state = (
        f"{len(days):,} days are pending, from {days[0].day} on" if days else "no day is pending"
    )
    return [("influxdb", f"{info.exporter}: {state}")]


def _print_servers(servers: list[ServerSummary]) -> None:
    grid = table(
        [
            ("server", False),
            ("time zone", False),
            ("first day", False),
            ("last day", False),
            ("entries", True),
            ("sent (TX)", True),
            ("received (RX)", True),
        ]
    )
    for server in servers:
        grid.add_row(
            server.name,
            server.timezone or "UTC, not configured",
            server.first_day or "–",
            server.last_day or "–",
            f"{server.entries:,}",
            human_bytes(server.bytes_sent),
            human_bytes(server.bytes_received),
        )
    grid.caption = "day: the server's local date"
    show(grid, console())
