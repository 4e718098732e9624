"""Every setting, once. Order: command line, environment, configuration file, default.

In the environment a setting is ``RINGSERVERSTATS_<NAME>``; the store is also ``DATABASE_URI``, as
release 0.17 had it. The configuration file is ``ringserverstats.toml`` in the configuration folder,
or the one that ``RINGSERVERSTATS_CONFIG`` names.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from platformdirs import user_config_path, user_data_path

from ringserverstats.errors import UsageError

_PROGRAM = "ringserverstats"
_PREFIX = "RINGSERVERSTATS_"
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
DATABASE_VARIABLE = "DATABASE_URI"
#: Settings that the environment also tells by names that others use.
_ALSO = {
    "database": DATABASE_VARIABLE,
    "influx_url": "INFLUX_URL",
    "influx_token": "INFLUXDB_TOKEN",
}
_LISTS = {"embargo"}  # which the environment tells with commas


class Secret(str):
    """A text that is not shown by accident."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one process; docs/settings.md says what each is for."""

    database: str = ""
    config_folder: Path = msgspec.field(default_factory=lambda: user_config_path(_PROGRAM))
    secret: Secret | None = None
    keep_hosts: bool = False
    ipv6_prefix: Annotated[int, msgspec.Meta(ge=1, le=128)] = 64
    geoip_city: Path | None = None
    geoip_asn: Path | None = None
    geohash_precision: Annotated[int, msgspec.Meta(ge=1, le=12)] = 5
    rules: Path | None = None
    registry: str = "https://www.fdsn.org/ws/networks/1/query"
    embargo: tuple[str, ...] = ()
    min_clients: Annotated[int, msgspec.Meta(ge=0)] = 5
    eida_token: Secret | None = None
    timescaledb: Literal["auto", "yes", "no"] = "auto"
    transfer_retention_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    query_timeout: Annotated[float, msgspec.Meta(ge=0)] = 60
    read_access: Literal["public", "token"] = "public"
    open_ingest: bool = False
    post_limit: Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)? ?[KMGT]?B$")] = "4GB"
    title: str = "Real-time data"
    root_path: str = ""
    eida_node: str = "SEEDLINK"
    influx_url: Secret | None = None
    influx_token: Secret | None = None
    influx_hosthash: bool = True
    influx_public: bool = False
    influx_keep_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    lock_timeout: Annotated[float, msgspec.Meta(ge=0)] = 30
    memory: Annotated[str, msgspec.Meta(pattern=r"^(\d+(\.\d+)? ?[KMGT]i?B)?$")] = ""

    @property
    def most_posted(self) -> int:
        """Bytes of a posted log, as it comes and unpacked, at most."""
        number = self.post_limit.rstrip(" KMGTB")
        unit = self.post_limit.removeprefix(number).strip().removesuffix("B")
        return int(float(number) * 1000 ** " KMGT".index(unit or " "))

    @property
    def is_postgresql(self) -> bool:
        """Whether the store is a PostgreSQL database."""
        return self.database.split("://", 1)[0] in _POSTGRESQL and "://" in self.database

    @property
    def database_path(self) -> Path:
        """The file of the embedded store.

        Raises:
            UsageError: the database is none that this program knows.
        """
        uri = self.database
        if not uri:
            return user_data_path(_PROGRAM) / "ringserverstats.duckdb"
        if uri.startswith("duckdb://"):
            path = uri.removeprefix("duckdb://")
            if path.startswith("/") and path.strip("/"):
                return Path("/" + path.lstrip("/"))
        elif uri.endswith(".duckdb") and ":" not in uri:
            return Path(uri)
        kind = re.match(r"[a-z+]+(?=://)", uri)
        raise UsageError(
            f"the database ({kind[0] if kind else 'no URI'}) cannot be used; set DATABASE_URI or "
            "--database to duckdb:///path/to/file (three slashes and the whole path) or "
            "postgresql://user@host/database, or leave it out"
        )


def load(*, database: str | None = None) -> Settings:
    """The settings of this process; ``database`` is what the command line says.

    Raises:
        UsageError: a setting is wrong; no value is shown, as it may be a secret.
    """
    file = _config_file()
    told = {**_of_file(file), **_of_environment()}
    if database:
        told["database"] = database
    if isinstance(told.get("embargo"), list):  # a small letter must not let a network out
        told["embargo"] = [str(pattern).strip().upper() for pattern in told["embargo"]]
    try:
        return msgspec.convert(told, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        expected, _, name = str(error).partition(" - at `$.")
        raise UsageError(
            f"the setting {name.strip('`') or 'in a file'} is wrong ({expected}): see the "
            f"environment and {file}; docs/settings.md says what settings may be"
        ) from None


def _config_file() -> Path:
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not os.path.isfile(named):
        raise UsageError(f"{CONFIG_VARIABLE} names {named}, which is no file; correct or unset it")
    folder = os.environ.get(f"{_PREFIX}CONFIG_FOLDER") or user_config_path(_PROGRAM)
    return Path(named) if named else Path(folder) / "ringserverstats.toml"


def _of_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is no valid TOML: {error}") from None


def _of_environment() -> dict[str, Any]:
    """The settings that the environment tells; an empty variable tells none."""
    told: dict[str, Any] = {
        name: os.environ[_PREFIX + name.upper()]
        for name in Settings.__struct_fields__
        if os.environ.get(_PREFIX + name.upper())
    }
    for name in _LISTS & set(told):
        told[name] = [part for part in told[name].split(",") if part.strip()]
    for name, variable in _ALSO.items():
        if name not in told and os.environ.get(variable):
            told[name] = os.environ[variable]
    return told


def _decode(kind: type, value: Any) -> Any:
    """Types that the library does not know: both are made of a text."""
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)
