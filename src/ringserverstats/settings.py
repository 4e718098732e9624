"""Every setting, declared once; docs/settings.md describes each.

Precedence: command line, environment, configuration file, default. In the environment a setting is
``RINGSERVERSTATS_<NAME>``. The configuration file is ``ringserverstats.toml`` in the configuration
folder, or the file that ``RINGSERVERSTATS_CONFIG`` names.
"""

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from platformdirs import user_config_path, user_data_path

from ringserverstats.errors import UsageError

_PROGRAM = "ringserverstats"
_PREFIX = "RINGSERVERSTATS_"
CONFIG_VARIABLE = f"{_PREFIX}CONFIG"
DATABASE_VARIABLE = f"{_PREFIX}DATABASE"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def _folder(find: Callable[[str], Path]) -> Path:
    """Return a folder of the user; one in ``~``, which `_check_home` reports, without a home."""
    try:
        return find(_PROGRAM)
    except RuntimeError:
        return Path("~", _PROGRAM)


class Secret(str):
    """A text that ``repr`` does not show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _setting(*, old_name: str = "", variable: str = "", **limits: Any) -> msgspec.Meta:
    """Return what Settings declares of a field: names that also set it, and its limits.

    Args:
        old_name: its name in earlier releases.
        variable: an environment variable without the prefix that other programs use, too.
        limits: limits of its values, as `msgspec.Meta` takes them.
    """
    return msgspec.Meta(extra={"old_name": old_name, "variable": variable}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one process."""

    database: Annotated[str, _setting(variable="DATABASE_URI")] = ""
    config_folder: Path = msgspec.field(default_factory=lambda: _folder(user_config_path))
    secret: Secret | None = None
    keep_hosts: bool = False
    ipv6_prefix: Annotated[int, _setting(ge=1, le=128)] = 64
    geoip_city: Path | None = None
    geoip_asn: Path | None = None
    geohash_precision: Annotated[int, _setting(ge=1, le=12)] = 5
    rules: Path | None = None
    registry: str = "https://www.fdsn.org/ws/networks/1/query"
    embargo: tuple[str, ...] = ()
    min_clients: Annotated[int, _setting(old_name="small_counts", ge=0)] = 5
    min_clients_everywhere: bool = False
    eida_token: Secret | None = None
    max_rejects: Annotated[int, _setting(ge=0)] = 0
    timescaledb: Literal["auto", "yes", "no"] = "auto"
    transfer_retention_days: Annotated[int, _setting(old_name="keep_days", ge=0)] = 0
    query_timeout: Annotated[float, _setting(old_name="patience", ge=0)] = 60
    read_access: Annotated[Literal["public", "token"], _setting(old_name="reading")] = "public"
    open_ingest: bool = False
    post_limit: Annotated[str, _setting(pattern=r"^\d+(\.\d+)? ?[KMGT]?B$")] = "4GB"
    title: str = "Real-time data"
    root_path: Annotated[str, _setting(pattern=r"^(/[A-Za-z0-9._~-]+)*/?$")] = ""
    eida_node: Annotated[str, _setting(old_name="node")] = "SEEDLINK"
    influx_url: Annotated[Secret | None, _setting(variable="INFLUX_URL")] = None
    influx_token: Annotated[Secret | None, _setting(variable="INFLUXDB_TOKEN")] = None
    influx_hosthash: bool = True
    influx_public: bool = False
    influx_keep_days: Annotated[int, _setting(ge=0)] = 0
    lock_timeout: Annotated[float, _setting(old_name="wait", ge=0)] = 30
    memory: Annotated[str, _setting(pattern=r"^(\d+(\.\d+)? ?[KMGT]i?B)?$")] = ""

    @property
    def post_limit_bytes(self) -> int:
        """The largest posted log in bytes, both as sent and decompressed."""
        number = self.post_limit.rstrip(" KMGTB")
        unit = self.post_limit.removeprefix(number).strip().removesuffix("B")
        return int(float(number) * 1000 ** " KMGT".index(unit or " "))

    @property
    def is_postgresql(self) -> bool:
        """Whether the store is a PostgreSQL database."""
        return self.database.split("://", 1)[0] in _POSTGRESQL and "://" in self.database

    @property
    def secrets_folder(self) -> Path:
        """The folder of the secrets of stores, if ``secret`` does not have one.

        Raises:
            UsageError: it is in the home folder, and the user has none.
        """
        return (self.config_folder if self.secret else _check_home(self.config_folder)).absolute()

    @property
    def database_path(self) -> Path:
        """The file of the DuckDB store.

        Raises:
            UsageError: ``database`` is neither a DuckDB file nor a PostgreSQL URI, or the user has
                no home folder for the default.
        """
        uri = self.database
        if not uri:
            return _check_home(_folder(user_data_path)) / "ringserverstats.duckdb"
        if uri.startswith("duckdb://"):
            path = uri.removeprefix("duckdb://")
            if path.startswith("/") and path.strip("/"):
                return Path("/" + path.lstrip("/"))
        elif uri.endswith(".duckdb") and ":" not in uri:
            return Path(uri)
        scheme = re.match(r"[a-z+]+(?=://)", uri)
        raise UsageError(
            f"the database ({scheme[0] if scheme else 'not a URI'}) cannot be used. Set "
            "DATABASE_URI or --database to duckdb:///path/to/file (three slashes and the whole "
            "path) or postgresql://user@host/database, or leave it out."
        )


_DECLARED: dict[str, dict[str, str]] = {
    name: next((meta.extra for meta in getattr(hint, "__metadata__", ())), {})
    for name, hint in get_type_hints(Settings, include_extras=True).items()
}
#: Today's name of each setting that was renamed, by its old name.
RENAMED = {extra["old_name"]: name for name, extra in _DECLARED.items() if extra.get("old_name")}
_reported: set[str] = set()


def load(*, database: str | None = None, warn: Callable[[str], None]) -> Settings:
    """Return the settings of this process.

    Args:
        database: the store that the command line names.
        warn: called once per process with a message about each deprecated name.

    Raises:
        UsageError: a setting is invalid. The message does not show its value, a possible secret.
    """
    file = _config_file()
    values = {**_read_file(file, warn), **_read_environment(warn)}
    if database:
        values["database"] = database
    if isinstance(values.get("embargo"), list):  # codes count in capitals; fr must embargo FR
        values["embargo"] = [str(pattern).strip().upper() for pattern in values["embargo"]]
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_decode)
    except msgspec.ValidationError as error:
        problem, _, name = str(error).partition(" - at `$.")
        raise UsageError(
            f"the setting {name.strip('`') or 'in a file'} is invalid ({problem}). Check the "
            f"environment and {file}; docs/settings.md lists the settings."
        ) from None


def _check_home(path: Path) -> Path:
    """Return ``path``.

    Raises:
        UsageError: it is in the home folder of a user who has none.
    """
    if path.parts[:1] == ("~",):
        raise UsageError(
            f"{path} cannot be used: this user has no home folder. Set HOME, or both DATABASE_URI "
            f"and {_PREFIX}CONFIG_FOLDER"
        )
    return path


def _config_file() -> Path:
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not os.path.isfile(named):
        raise UsageError(f"{CONFIG_VARIABLE} names {named}, which is not a file; correct it")
    folder = os.environ.get(f"{_PREFIX}CONFIG_FOLDER") or _folder(user_config_path)
    return Path(named) if named else Path(folder) / "ringserverstats.toml"


def _read_file(file: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from None
    for old, new in RENAMED.items():
        if old in values:
            _report(f"{file}: the setting {old} is deprecated; use {new}", warn)
            values.setdefault(new, values[old])
            del values[old]
    return values


def _read_environment(warn: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of the environment. An empty variable counts as unset."""
    values: dict[str, Any] = {}
    for name, extra in _DECLARED.items():
        variable = _PREFIX + name.upper()
        old = _PREFIX + extra["old_name"].upper() if extra.get("old_name") else ""
        if os.environ.get(old):
            _report(f"{old} is deprecated; use {variable}", warn)
        for candidate in (variable, old, extra.get("variable", "")):
            if value := os.environ.get(candidate, "").strip():  # files of variables may end in CR
                values[name] = value
                break
    if "embargo" in values:
        values["embargo"] = [part for part in values["embargo"].split(",") if part.strip()]
    return values


def _report(message: str, warn: Callable[[str], None]) -> None:
    """Warn of a deprecated name, once per process."""
    if message not in _reported:
        _reported.add(message)
        warn(message)


def _decode(kind: type, value: Any) -> Any:
    """Convert a text to a `Path` or `Secret`, which msgspec does not know."""
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)
