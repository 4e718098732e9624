"""Open what the settings name: store, exporter, GeoIP databases, client rules, policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringserverstats.errors import StoreError

if TYPE_CHECKING:
    from ringserverstats.enrich.geoip import GeoIP
    from ringserverstats.enrich.rules import Rules
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.settings import Settings
    from ringserverstats.statistics.publish import Policy
    from ringserverstats.store.base import Store

_INGEST_MEMORY = "96MB"
_QUERY_MEMORY = "1GB"


def open_store(
    settings: Settings,
    *,
    for_queries: bool,
    notify: Callable[[str], None],
    must_exist: bool = False,
) -> Store:
    """Return the store that ``settings`` name.

    Args:
        for_queries: use the memory limit for queries, not the smaller one for reading logs.
        notify: called with messages for the user, such as that another process has the lock.
        must_exist: raise an error if the store does not exist.

    Raises:
        StoreError: the store does not exist, but must.
    """
    from ringserverstats.keys import read_secret
    from ringserverstats.store.sql_store import Options

    secret = settings.secret
    options = Options(
        secret=read_secret(secret) if secret else None,
        secrets=settings.secrets_folder,
        ipv6_prefix=settings.ipv6_prefix,
        lock_timeout=settings.lock_timeout,
        memory=settings.memory or (_QUERY_MEMORY if for_queries else _INGEST_MEMORY),
        notify=notify,
        query_timeout=settings.query_timeout,
        timescaledb=settings.timescaledb,
    )
    store: Store
    if settings.is_postgresql:
        from ringserverstats.store.postgresql.store import PostgreSQLStore

        store = PostgreSQLStore(settings.database, options)
    else:
        from ringserverstats.store.duckdb.store import DuckDBStore

        store = DuckDBStore(settings.database_path.absolute(), options)
    if must_exist and not store.exists():
        migrate = "create its tables with: ringserverstats migrate, then "
        raise StoreError(
            f"there is no store {store.label} yet; {migrate if settings.is_postgresql else ''}read "
            "logs into it with: ringserverstats ingest FILE..."
        )
    return store


def open_exporter(settings: Settings) -> InfluxExporter | None:
    """Return the exporter to the InfluxDB that ``settings`` name; None if they name none.

    Raises:
        UsageError: a setting of InfluxDB is invalid.
    """
    if not settings.influx_url:
        return None
    from ringserverstats.exports.influxdb.client import open_influxdb
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.exports.influxdb.points import PointOptions

    database = open_influxdb(
        settings.influx_url, settings.influx_token, keep_days=settings.influx_keep_days
    )
    policy = public_policy(settings) if settings.influx_public else None
    return InfluxExporter(database, PointOptions(settings.influx_hosthash, policy))


def open_geoip(settings: Settings) -> GeoIP:
    """Return the GeoIP databases that ``settings`` name, or that are installed."""
    from ringserverstats.enrich.geoip import GeoIP

    return GeoIP(settings.geoip_city, settings.geoip_asn, precision=settings.geohash_precision)


def load_rules(settings: Settings) -> Rules:
    """Return the client rules of the setting ``rules``, or of the configuration folder."""
    from ringserverstats.enrich import rules

    path = settings.config_folder / "clients.toml"
    return rules.load(settings.rules or (path if path.is_file() else None))


def public_policy(settings: Settings) -> Policy:
    """Return what ``settings`` hide from the public: embargoed networks, rows of few clients."""
    from ringserverstats.statistics.publish import Policy

    return Policy(settings.embargo, settings.min_clients, settings.min_clients_everywhere)
