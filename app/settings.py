"""Settings of the service in one typed and frozen class. Other modules do not read `KSEFD_...` variables."""

import os
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.client_addresses import read_networks
from app.errors import ConfigurationError


class KsefEnvironment(StrEnum):
    """The three environments of the ministry (ksef-docs, srodowiska.md)."""

    TEST = "test"
    DEMO = "demo"
    PRODUCTION = "production"


class LogFormat(StrEnum):
    """Format of log lines: `console` for people, `json` for machines, `auto` chooses `console` on a terminal."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


KSEF_URLS: Final = {
    KsefEnvironment.TEST: "https://api-test.ksef.mf.gov.pl/v2",
    KsefEnvironment.DEMO: "https://api-demo.ksef.mf.gov.pl/v2",
    KsefEnvironment.PRODUCTION: "https://api.ksef.mf.gov.pl/v2",
}

MOST_BYTES_OF_AN_OBJECT: Final = 80_000_000_000
"""Largest body that an object store takes: 10,000 parts of 8 MiB are 83.9 GB."""

LATARNIA_URL: Final = "https://api-latarnia.ksef.mf.gov.pl"


class Settings(BaseSettings):
    """Settings from the environment (`KSEFD_...`) or from the TOML file that `KSEFD_CONFIG` names.

    In the file a setting has its name without the prefix, in lower case: `data_dir = "/srv/ksefd"`. The environment overrides
    the file.
    """

    model_config = SettingsConfigDict(env_prefix="KSEFD_", frozen=True, extra="forbid")

    data_dir: Path = Field(Path("var"), description="Folder for the embedded database, local blobs and the master key.")
    database_url: str | None = Field(
        None, description="PostgreSQL to use. Unset: an embedded server under the data folder.", repr=False
    )
    blob_url: str | None = Field(
        None,
        description="Object store for uploads, chunks, parts and UPOs (s3://, gs://, az://, file://). Unset: the data folder.",
    )
    ksef_env: KsefEnvironment = Field(
        KsefEnvironment.TEST, description="Environment of KSeF that invoices are sent to."
    )
    ksef_url: str | None = Field(None, description="Base address of the KSeF API; overrides the environment's own.")
    latarnia_url: str | None = Field(
        None,
        description=(
            "Base address of the ministry's status service, which is shown but not used for decisions. Unset: the ministry's own "
            "address in production, none elsewhere. Empty: not used."
        ),
    )
    master_key_file: Path | None = Field(
        None,
        description="File with the key that encrypts secrets at rest, 32 bytes (hex or base64). Unset: created in the data folder.",
    )
    linger_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="How long a lane waits for more invoices before its session is sealed.",
    )
    midnight_margin_seconds: float = Field(
        900,
        ge=60,
        le=43_200,
        description="How long before midnight in Warsaw invoices of the day are sealed, even if their lane lingers longer.",
    )
    session_max_invoices: int = Field(
        10_000, ge=1, le=10_000, description="Most invoices in a session; a lower limit reported by KSeF overrides it."
    )
    part_bytes: int = Field(
        100_000_000,
        ge=1_000,
        le=100_000_000,
        description="Size of a package part before encryption, in bytes.",
    )
    pool_workers: int = Field(
        default_factory=lambda: max(1, os.cpu_count() or 1),
        ge=1,
        le=256,
        description="Processes that check invoices.",
    )
    fast_path: str = Field(
        "on",
        pattern="^(on|off)$",
        description="Whether plain invoices are recognised without parsing them. Off: every document is checked the full way.",
    )
    upload_concurrency: int = Field(4, ge=1, le=64, description="Parts that one worker sends to KSeF at the same time.")
    max_upload_bytes: int = Field(20_000_000_000, ge=1, description="Largest body of one upload, in bytes.")
    spool_limit_bytes: int = Field(
        100_000_000_000,
        ge=1,
        description="Total bytes of uploads waiting to be read; above it uploads get 503.",
    )
    queue_limit_invoices: int = Field(
        5_000_000,
        ge=1,
        description="Total invoices waiting to be sent to KSeF; above it uploads and single posts get 503.",
    )
    tenant_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of both limits that one of several tenants may use; above it that tenant gets 429.",
    )
    retention_days: int = Field(
        90,
        ge=1,
        le=36_500,
        description="Days after which bytes of finished invoices, and events, are removed; invoices and UPOs are kept.",
    )
    connections_per_address: int = Field(
        500,
        ge=0,
        le=100_000,
        description="Most connections of one client address, an IPv6 address by its /64; 0: no limit.",
    )
    trusted_proxies: str = Field(
        "",
        description=(
            "Addresses or networks of reverse proxies, separated by commas. Their connections are not limited, and their "
            "`X-Forwarded-For` and `X-Forwarded-Proto` are believed."
        ),
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="Format of log lines: for people, for machines, or chosen by the terminal."
    )
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level of log lines to write."
    )
    schema_dir: Path | None = Field(
        None, description="Folder with the official XSD files, instead of those of the package."
    )
    webhook_allow_http: bool = Field(False, description="Allow plain http for webhook addresses; for tests and demos.")
    webhook_allow_private: bool = Field(
        False, description="Allow private and loopback webhook addresses; for tests and demos."
    )
    stop_seconds: float = Field(
        20,
        ge=1,
        le=3_600,
        description="How long an orderly stop waits for running requests and jobs. What supervises `serve` should wait 20 seconds more.",
    )
    url: str = Field("http://127.0.0.1:8080", description="Address of the service, for the commands that use it.")
    api_key: str | None = Field(None, description="API key for the commands that use the service.", repr=False)

    @field_validator("latarnia_url")
    @classmethod
    def _is_web_address_or_empty(cls, value: str | None) -> str | None:
        return value if value == "" else cls._is_web_address(value)

    @field_validator("ksef_url", "url")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value.rstrip("/") if value else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        read_networks(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @model_validator(mode="after")
    def _limits_fit_each_other(self) -> Self:
        if self.max_upload_bytes > self.spool_limit_bytes:
            raise ValueError(
                "max_upload_bytes is above spool_limit_bytes: the service could never accept such an upload"
            )
        in_folder = self.blob_url is None or self.blob_url.startswith("file://")
        if not in_folder and self.max_upload_bytes > MOST_BYTES_OF_AN_OBJECT:
            raise ValueError(
                f"max_upload_bytes is above {MOST_BYTES_OF_AN_OBJECT}, the largest body that the object store of blob_url takes"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use arguments first, then the environment; `load_settings` passes values of the file as the weakest arguments."""
        return init_settings, env_settings

    @property
    def ksef_base_url(self) -> str:
        """The base address of the KSeF API, without a slash at its end."""
        return self.ksef_url or KSEF_URLS[self.ksef_env]

    @property
    def latarnia_base_url(self) -> str | None:
        """The base address of the status service; None when it is not used.

        The service of the test environment always reports TOTAL_FAILURE (ksef-latarnia, issue 15), and demo has none.
        """
        if self.latarnia_url is not None:
            return self.latarnia_url or None
        return LATARNIA_URL if self.ksef_env is KsefEnvironment.PRODUCTION and self.ksef_url is None else None

    @property
    def uses_fast_path(self) -> bool:
        """Plain invoices are recognised without parsing them."""
        return self.fast_path == "on"

    @property
    def checks_nip_checksums(self) -> bool:
        """Whether NIP checksums are checked: only production refuses a wrong one (ksef-docs, srodowiska.md)."""
        return self.ksef_env is KsefEnvironment.PRODUCTION


def secret_settings() -> list[str]:
    """Return the names of the settings that hold a secret; each may be given as a file, by its name with `_file`."""
    return [name for name, field in Settings.model_fields.items() if not field.repr]


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises ConfigurationError with one line that names the wrong setting."""
    values = _with_secrets_of_files(_file_values(os.environ.get("KSEFD_CONFIG")), "in the file of KSEFD_CONFIG")
    for name in Settings.model_fields:
        if f"KSEFD_{name.upper()}" in os.environ:
            values.pop(name, None)
    names = [name for secret in secret_settings() for name in (secret, f"{secret}_file")]
    given = {name: os.environ[f"KSEFD_{name.upper()}"] for name in names if f"KSEFD_{name.upper()}" in os.environ}
    values.update(_with_secrets_of_files(given, "in the environment"))
    values.update(overrides)
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        where = f"KSEFD_{name.upper()}: " if name else ""
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"{where}{reason}") from error


def _with_secrets_of_files(values: dict[str, Any], place: str) -> dict[str, Any]:
    """Replace each `<secret>_file` by the secret that the file holds. Raises ConfigurationError."""
    for name in secret_settings():
        path = values.pop(f"{name}_file", None)
        if path is None:
            continue
        variable = f"KSEFD_{name.upper()}_FILE"
        if name in values:
            raise ConfigurationError(
                f"{variable}: {variable.removesuffix('_FILE')} is set, too, {place}; set one of them"
            )
        try:
            text = Path(path).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{variable}: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{variable}: {path} is not text in UTF-8") from error
        secret = text.rstrip("\r\n")
        if not secret:
            raise ConfigurationError(f"{variable}: {path} is empty")
        values[name] = secret
    return values


def _file_values(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            raw = tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"KSEFD_CONFIG: cannot read {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"KSEFD_CONFIG: {path} is not TOML: {error}") from error
    return {key.lower().removeprefix("ksefd_"): value for key, value in raw.items()}
