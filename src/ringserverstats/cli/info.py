"""``ringserverstats info``: show what the store contains."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import console, load_settings, open_store, show, table
from ringserverstats.opening import open_exporter, open_geoip
from ringserverstats.statistics.sizes import human_bytes

if TYPE_CHECKING:
    from ringserverstats.enrich.geoip import Database
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.settings import Settings
    from ringserverstats.statistics.summary import ServerSummary, Summary
    from ringserverstats.store.base import Store


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
    info = summary(store)
    databases = open_geoip(settings).databases
    exporter = open_exporter(settings)
    export = _export_state(exporter, store) if exporter else None
    if as_json:
        import json

        fields = {**asdict(info), "databases": list(map(_database_json, databases))}
        fields |= {"influxdb": export} if export else {}
        click.echo(json.dumps(fields, indent=2, default=int))
        return
    grid = table([("", False), ("", False)])
    grid.show_header = False
    for label, value in _rows(info, settings, databases, export):
        grid.add_row(label, value)
    show(grid, console())
    _print_servers(info.servers)


def _export_state(exporter: InfluxExporter, store: Store) -> dict[str, Any]:
    days = exporter.pending(store)
    return {
        "name": exporter.database.name,
        "pending_days": len(days),
        "oldest_pending_day": days[0].day.isoformat() if days else None,
    }


def _database_json(database: Database) -> dict[str, str | None]:
    return {
        "path": str(database.path),
        "kind": database.kind or None,
        "built": database.built.isoformat() if database.built else None,
        "problem": database.problem or None,
    }


def _rows(
    info: Summary, settings: Settings, databases: list[Database], export: dict[str, Any] | None
) -> list[tuple[str, str]]:
    is_lost = info.secret.startswith("/") and not os.path.exists(info.secret)
    return [
        ("store", info.store),
        ("secret", f"{info.secret}{' (missing!)' if is_lost else ''}"),
        *info.features.items(),
        *_geoip_rows(databases),
        *([("influxdb", _pending_text(export))] if export else []),
        ("embargo", ", ".join(ascii(network)[1:-1] for network in settings.embargo) or "none"),
        ("suppressed", f"rows with fewer than {settings.min_clients} clients"),
        ("networks", f"{info.networks:,} in the registry"),
        *([("pruned", f"months before {info.pruned_before}")] if info.pruned_before else []),
        *(
            ("token", f"{token.name}: posts {token.posts}, reads {token.reads}")
            for token in info.tokens
        ),
        ("size", human_bytes(info.size)),
        ("schema", str(info.schema)),
        ("entries", f"{info.entries:,}"),
        ("transfers", f"{info.transfers:,}"),
        ("clients", f"{info.clients:,}"),
        ("streams", f"{info.streams:,}"),
    ]


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


def _pending_text(export: dict[str, Any]) -> str:
    days, oldest = export["pending_days"], export["oldest_pending_day"]
    return f"{export['name']}: " + (
        f"{days:,} days pending, from {oldest} on" if days else "no day is pending"
    )


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
