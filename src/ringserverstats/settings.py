"""Every setting, once. Order: command line, environment, configuration file, default.

In the environment a setting is ``RINGSERVERSTATS_<NAME>``; the store alone is ``DATABASE_URI``, as
release 0.17 had it. The configuration file is ``ringserverstats.toml`` in the configuration folder,
or the one that ``RINGSERVERSTATS_CONFIG`` names.
"""

import os
from pathlib import Path

from platformdirs import user_config_path, user_data_path
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ringserverstats.errors import UsageError

_PROGRAM = "ringserverstats"
CONFIG_VARIABLE = "RINGSERVERSTATS_CONFIG"


def _config_file() -> Path:
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else user_config_path(_PROGRAM) / "ringserverstats.toml"


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(
        env_prefix="RINGSERVERSTATS_", extra="forbid", populate_by_name=True
    )

    database: str = Field(
        default="",
        validation_alias=AliasChoices("RINGSERVERSTATS_DATABASE", "DATABASE_URI"),
        description="The store: `duckdb:///path/to/file` or the path of a file ending in .duckdb. "
        "Unset: a DuckDB file in the user's data folder.",
    )
    config_folder: Path = Field(
        default_factory=lambda: user_config_path(_PROGRAM),
        description="Where the secrets of stores lie.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="The store's secret, 64 hexadecimal digits, instead of its file.",
    )
    keep_hosts: bool = Field(
        default=False, description="Also store addresses and host names in clear."
    )
    ipv6_prefix: int = Field(
        default=64,
        ge=1,
        le=128,
        description="How many bits of an IPv6 address tell a client. Fixed when a store is made.",
    )
    wait: float = Field(
        default=30, ge=0, description="Seconds to wait for another process that uses the store."
    )
    memory: str = Field(
        default="",
        pattern=r"^(\d+(\.\d+)? ?[KMGT]i?B)?$",
        description="What DuckDB may use, such as `400MB`; the rest goes to disk. Unset: 75MB "
        "to read logs, 1GB to answer.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = TomlConfigSettingsSource(settings_cls, toml_file=_config_file())
        return init_settings, env_settings, file

    @property
    def database_path(self) -> Path:
        """The file of the embedded store.

        Raises:
            UsageError: the database is none that this release knows.
        """
        uri = self.database
        if not uri:
            return user_data_path(_PROGRAM) / "ringserverstats.duckdb"
        if uri.startswith("duckdb://"):
            path = uri.removeprefix("duckdb://")
            if path.startswith("/") and path.strip("/"):
                return Path("/" + path.lstrip("/"))
        elif "://" not in uri and uri.endswith(".duckdb"):
            return Path(uri)
        kind = uri.split("://", 1)[0] if "://" in uri else "a file name"
        raise UsageError(
            f"the database cannot be {kind[:20]!r} (this release has the embedded store only); set "
            "DATABASE_URI or --database to duckdb:///path/to/file, or leave it out"
        )


def load(*, database: str | None = None) -> Settings:
    """The settings of this process; ``database`` is what the command line says.

    Raises:
        UsageError: a setting is wrong; no value is shown, as it may be a secret.
    """
    file = _config_file()
    if CONFIG_VARIABLE in os.environ and not file.is_file():
        raise UsageError(f"{CONFIG_VARIABLE} names {file}, which is no file; correct or unset it")
    try:
        return Settings(database=database) if database else Settings()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        )
        raise UsageError(f"wrong setting: {wrong}; see the environment and {file}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # of the TOML file
        raise UsageError(f"{file} is no valid TOML: {error}") from None
