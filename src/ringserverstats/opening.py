"""What the settings name, opened: the store, the databases of places, the rules, the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringserverstats.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ringserverstats.enrich.geoip import GeoIP
    from ringserverstats.enrich.rules import Rules
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.settings import Settings
    from ringserverstats.statistics.publish import Policy
    from ringserverstats.store.base import Store

_INGEST_MEMORY = "96MB"
_ANSWER_MEMORY = "1GB"


def open_store(
    settings: Settings, *, answers: bool, tell: Callable[[str], None], needed: bool = False
) -> Store:
    """The store that ``settings`` name.

    Args:
        answers: give it the memory for questions.
        tell: called with what the user should know.
        needed: it must be there.

    Raises:
        StoreError: it is not, but needed.
    """
    from ringserverstats.keys import read_secret
    from ringserverstats.store.sql_store import Options

    secret = settings.secret
    options = Options(
        secret=read_secret(secret) if secret else None,
        secrets=settings.config_folder.absolute(),
        ipv6_prefix=settings.ipv6_prefix,
        lock_timeout=settings.lock_timeout,
        memory=settings.memory or (_ANSWER_MEMORY if answers else _INGEST_MEMORY),
        tell=tell,
        query_timeout=settings.query_timeout,
        timescaledb=settings.timescaledb,
        transfer_retention_days=settings.transfer_retention_days,
    )
    store: Store
    if settings.is_postgresql:
        from ringserverstats.store.postgresql.store import PostgreSQLStore

        store = PostgreSQLStore(settings.database, options)
    else:
        from ringserverstats.store.duckdb.store import DuckDBStore

        store = DuckDBStore(settings.database_path.absolute(), options)
    if needed and not store.exists():
        tables = "make its tables with: ringserverstats migrate, then "
        tables = tables if settings.is_postgresql else ""
        raise StoreError(
            f"there is no store {store.label} yet; {tables}read logs into it with: "
            "ringserverstats ingest FILE..."
        )
    return store


def open_exporter(settings: Settings) -> InfluxExporter | None:
    """The InfluxDB that ``settings`` name; None: they name none.

    Raises:
        UsageError: its address is none, or a package is missing.
    """
    if not settings.influx_url:
        return None
    try:
        from ringserverstats.exports.influxdb.client import open_influxdb
    except ImportError:
        raise UsageError(
            "InfluxDB needs one more package; install it with: "
            "pip install 'ringserverstats[influxdb]'"
        ) from None
    from ringserverstats.exports.influxdb.exporter import InfluxExporter
    from ringserverstats.exports.influxdb.points import Rules

    database = open_influxdb(
        settings.influx_url,
        settings.influx_token,
        transfer_retention_days=settings.influx_keep_days,
    )
    policy = public_policy(settings) if settings.influx_public else None
    return InfluxExporter(database, Rules(settings.influx_hosthash, policy))


def open_geoip(settings: Settings) -> GeoIP:
    """The databases of places that ``settings`` name, or that are found."""
    from ringserverstats.enrich.geoip import GeoIP

    return GeoIP(settings.geoip_city, settings.geoip_asn, precision=settings.geohash_precision)


def load_rules(settings: Settings) -> Rules:
    """The operator's rules: those that the setting names, or that lie in the folder."""
    from ringserverstats.enrich import rules

    path = settings.config_folder / "clients.toml"
    return rules.load(settings.rules or (path if path.is_file() else None))


def public_policy(settings: Settings) -> Policy:
    """What ``settings`` keep from everybody."""
    from ringserverstats.statistics.publish import Policy

    return Policy(settings.embargo, settings.min_clients)
