"""``ringserverstats info``: what is in the store."""

from __future__ import annotations

import os

import click

from ringserverstats.cli.options import database_option
from ringserverstats.cli.terminal import console, load_settings, open_store, show, table
from ringserverstats.opening import open_exporter, open_geoip
from ringserverstats.statistics.sizes import human_bytes


@click.command(
    "info",
    short_help="Show what is in the store.",
    epilog="Examples:\n\n\b\n  ringserverstats info\n  ringserverstats info --json",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@database_option
def command(as_json: bool, database: str | None) -> None:
    """Show what is in the store: servers, days, counts, size, schema, and what tells places."""
    from ringserverstats.statistics.summary import summary

    settings = load_settings(database)
    store = open_store(settings, answers=True, needed=True)
    found = summary(store)
    exporter = open_exporter(settings)
    due = exporter.due(store) if exporter else []
    databases = open_geoip(settings).databases
    if as_json:
        import json
        from dataclasses import asdict

        told_of = [
            {
                "path": str(one.path),
                "kind": one.kind or None,
                "built": one.built.isoformat() if one.built else None,
                "problem": one.problem or None,
            }
            for one in databases
        ]
        whole = {**asdict(found), "databases": told_of}
        if exporter:
            oldest = due[0].day.isoformat() if due else None
            whole["influxdb"] = {"name": exporter.database.name, "due": len(due), "oldest": oldest}
        click.echo(json.dumps(whole, indent=2, default=int))
        return
    told = table([("", False), ("", False)])
    told.show_header = False
    told.add_row("store", found.store)
    is_lost = found.secret.startswith("/") and not os.path.exists(found.secret)
    told.add_row("secret", f"{found.secret}{' (missing!)' if is_lost else ''}")
    for name, value in found.features.items():
        told.add_row(name, value)
    for one in databases:
        told.add_row("places", f"{one.path}: {one.problem or f'{one.kind} of {one.built}'}")
    if not databases:
        told.add_row("places", "unknown: no database (settings geoip_city, geoip_asn)")
    if exporter:
        left = f"{len(due):,} days are due, the first is {due[0].day}" if due else "nothing is due"
        told.add_row("influxdb", f"{exporter.database.name}: {left}")
    told.add_row("embargo", ", ".join(ascii(one)[1:-1] for one in settings.embargo) or "none")
    told.add_row("small counts", f"under {settings.min_clients} clients")
    told.add_row("networks", f"{found.networks:,} in the registry")
    if found.pruned_before:
        told.add_row("pruned_month", f"months before {found.pruned_before}")
    told.add_row("size", human_bytes(found.size))
    told.add_row("schema", str(found.schema))
    told.add_row("entries", f"{found.entries:,}")
    told.add_row("transfers", f"{found.transfers:,}")
    told.add_row("clients", f"{found.clients:,}")
    told.add_row("streams", f"{found.streams:,}")
    show(told, console())
    servers = table(
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
    for server in found.servers:
        servers.add_row(
            server.name,
            server.timezone or "UTC, not told",
            server.first_day or "–",
            server.last_day or "–",
            f"{server.entries:,}",
            human_bytes(server.bytes_sent),
            human_bytes(server.bytes_received),
        )
    servers.caption = "day: the server's local date"
    servers.caption_justify = "left"
    show(servers, console())
