"""What the settings name, opened: the store, the databases of places, the rules, the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ringserverstats.errors import StoreError, UsageError

if TYPE_CHECKING:
    from ringserverstats.enrich.geography import Geography
    from ringserverstats.enrich.rules import Rules
    from ringserverstats.outlets.sending import Outlet
    from ringserverstats.settings import Settings
    from ringserverstats.statistics.published import Policy
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
    from ringserverstats.store.common import Options

    secret = settings.secret
    options = Options(
        secret=read_secret(secret) if secret else None,
        secrets=settings.config_folder.absolute(),
        ipv6_prefix=settings.ipv6_prefix,
        wait=settings.wait,
        memory=settings.memory or (_ANSWER_MEMORY if answers else _INGEST_MEMORY),
        tell=tell,
        patience=settings.patience,
        timescaledb=settings.timescaledb,
        keep_days=settings.keep_days,
    )
    store: Store
    if settings.is_postgresql:
        from ringserverstats.store.postgresql import PostgreSQLStore

        store = PostgreSQLStore(settings.database, options)
    else:
        from ringserverstats.store.duckdb import DuckDBStore

        store = DuckDBStore(settings.database_path.absolute(), options)
    if needed and not store.exists():
        tables = "make its tables with: ringserverstats migrate, then "
        tables = tables if settings.is_postgresql else ""
        raise StoreError(
            f"there is no store {store.label} yet; {tables}read logs into it with: "
            "ringserverstats ingest FILE..."
        )
    return store


def open_outlet(settings: Settings) -> Outlet | None:
    """The InfluxDB that ``settings`` name; None: they name none.

    Raises:
        UsageError: its address is none, or a package is missing.
    """
    if not settings.influx_url:
        return None
    try:
        from ringserverstats.outlets.influxdb import open_influxdb
    except ImportError:
        raise UsageError(
            "InfluxDB needs one more package; install it with: "
            "pip install 'ringserverstats[influxdb]'"
        ) from None
    from ringserverstats.outlets.points import Rules
    from ringserverstats.outlets.sending import Outlet

    database = open_influxdb(
        settings.influx_url, settings.influx_token, keep_days=settings.influx_keep_days
    )
    policy = public_policy(settings) if settings.influx_public else None
    return Outlet(database, Rules(settings.influx_hosthash, policy))


def open_geography(settings: Settings) -> Geography:
    """The databases of places that ``settings`` name, or that are found."""
    from ringserverstats.enrich.geography import Geography

    return Geography(settings.geoip_city, settings.geoip_asn, precision=settings.geohash_precision)


def load_rules(settings: Settings) -> Rules:
    """The operator's rules: those that the setting names, or that lie in the folder."""
    from ringserverstats.enrich import rules

    path = settings.config_folder / "clients.toml"
    return rules.load(settings.rules or (path if path.is_file() else None))


def public_policy(settings: Settings) -> Policy:
    """What ``settings`` keep from everybody."""
    from ringserverstats.statistics.published import Policy

    return Policy(settings.embargo, settings.small_counts)
