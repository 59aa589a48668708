"""The service's settings, from environment variables CONVPRESS_<NAME>; defaults run it embedded."""

import base64
import binascii
import os
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from convpress.limits import Limits

# Celery and obstore accept more schemes, none of which is tested with this service.
_SCHEMES = {
    "broker": ("redis", "rediss", "redis+socket"),
    "bucket": ("s3", "gs", "az", "azure", "abfs", "abfss"),
    "collector": ("http", "https"),
}
_DATABASES = "postgresql+psycopg://USER:PASSWORD@HOST/NAME or sqlite:///PATH"

# Dates overflow beyond these bounds.
_Seconds = Annotated[float, Field(gt=0, le=365 * 86400)]
_Days = Annotated[float, Field(gt=0, le=36500)]


class Settings(BaseSettings):
    """Places, limits and switches.

    >>> Settings(data_dir=Path("/srv/convpress")).sql_url
    'sqlite:////srv/convpress/convpress.db'
    """

    model_config = SettingsConfigDict(
        # Frozen: settings are keys of caches. Inputs are hidden: URLs contain passwords.
        env_prefix="CONVPRESS_",
        env_nested_delimiter="__",
        frozen=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default=Path("var"),
        description="Folder for artifacts and, embedded, for the database and the broker",
    )
    database_url: str | None = Field(
        default=None,
        description="postgresql+psycopg://USER:PASSWORD@HOST/NAME; "
        "a SQLite file in the data folder if unset",
    )
    storage_url: str | None = Field(
        default=None,
        description="Bucket for artifacts (s3://bucket/prefix, gs://, az://), with the provider's "
        "own variables for credentials; the data folder if unset",
    )
    redirect_downloads: bool = Field(
        default=False,
        description="Redirect downloads to the bucket, to addresses that expire",
    )
    model_uri_prefixes: tuple[str, ...] = Field(
        default=(),
        description='JSON list of prefixes that model_uri may name, such as ["s3://models/"]',
    )
    broker_url: str | None = Field(
        default=None,
        description="Redis, as redis://HOST:PORT/NUMBER; files in the data folder if unset",
    )
    # Without API keys whoever reaches the address may use the service.
    host: str = Field(
        default="127.0.0.1", description="Address that `convpress serve` listens on"
    )
    port: int = Field(
        default=8000,
        ge=1,
        le=65535,
        description="Port that `convpress serve` listens on",
    )
    api_keys: bool = Field(
        default=False,
        description="Require an API key; needed for any address but this machine's own",
    )
    owner_requests_per_minute: int = Field(
        default=600,
        ge=1,
        description="Requests a minute that the keys of one owner may send, all together",
    )
    owner_unfinished_jobs: int = Field(
        default=50,
        ge=1,
        description="Queued and running jobs that one owner may have at a time",
    )
    owner_stored_bytes: int = Field(
        default=100 * 1024**3,
        gt=0,
        description="Bytes of models, analyses and artifacts that one owner may store",
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description='Sites whose pages may use the service, as JSON: ["https://..."]',
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description=(
            'Addresses of proxies whose X-Forwarded headers are trusted, as JSON: ["10.0.0.1"]'
        ),
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Lowest level that is logged"
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector for traces, such as http://collector:4318; "
        "no traces if unset",
    )
    max_upload_bytes: int = Field(
        default=2 * 1024**3,
        gt=0,
        description="Largest model that is accepted, in bytes",
    )
    limits: Limits = Field(
        default=Limits(),
        description="Limits on a model's container; set one as CONVPRESS_LIMITS__<NAME>",
    )
    analysis_bytes: int = Field(
        default=1024**3,
        ge=0,
        description="Largest analysis that is stored for another budget, in bytes; 0 stores none",
    )
    costs_dir: Path | None = Field(
        default=None,
        description="Folder of the cost tables, FORMAT.json for each format, of this host or "
        "another device; `costs` in the data folder if unset",
    )
    calibrate_when_idle: bool = Field(
        default=False,
        description="Whether workers measure the cost tables that their host lacks, while no job "
        "waits or runs",
    )
    spare_child: bool = Field(
        default=True,
        description="Whether a worker keeps a sandboxed process that has imported the engine for "
        "its next job",
    )
    photographs_dir: Path | None = Field(
        default=None,
        description="Folder of your own photographs (JPEG, PNG, WebP), which calibration crops in "
        "addition to the bundled ones",
    )
    job_memory_bytes: int = Field(
        default=8 * 1024**3,
        ge=1024**3,
        description="Address space of the process that opens a model, in bytes",
    )
    device: str = Field(
        default="cpu",
        pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$",
        description="Device for calibration and factoring: cpu, or a GPU as cuda or cuda:N; "
        "a model can then reach the GPU's driver (SECURITY.md)",
    )
    accept_models_that_can_escape: bool = Field(
        default=False,
        description="Serve although the sandbox is incomplete on this host; `convpress doctor` "
        "shows which walls are missing",
    )
    # A job of a hostile model would otherwise keep its worker for ever.
    job_timeout_seconds: _Seconds = Field(
        default=3600, description="Wall-clock limit of one job"
    )
    lease_seconds: _Seconds = Field(
        default=30, description="Seconds for which a silent worker keeps its job"
    )
    # A model that kills its worker must not go from worker to worker.
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Attempts at a job whose workers die before it fails",
    )
    sweep_seconds: _Seconds = Field(
        default=5, description="Pause between two rounds of the sweeper"
    )
    upload_days: _Days = Field(
        default=30, description="Days after its last job until a model is deleted"
    )
    artifact_days: _Days = Field(
        default=30,
        description="Days after its end until a job's artifact and report are deleted",
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="Key that signs webhooks, whsec_ and base64; no webhooks if unset",
    )
    # Otherwise a webhook could call services that only this host reaches.
    webhook_private_targets: bool = Field(
        default=False,
        description="Let webhooks call addresses that are not on the internet",
    )
    webhook_retry_seconds: float = Field(
        default=5,
        gt=0,
        le=86400,
        description=(
            "Seconds before a webhook's first retry; each later pause is five times as long"
        ),
    )
    worker_concurrency: int = Field(
        default=1, ge=1, description="Jobs that one worker runs at the same time"
    )
    job_threads: int | None = Field(
        default=None,
        ge=1,
        description="Threads that one job calibrates on, at most 4; the processor's cores divided "
        "by the jobs of a worker if unset",
    )

    @field_validator("webhook_secret")
    @classmethod
    def _check_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        """Refuse a key that could be guessed, or that receivers cannot read."""
        if secret is None:
            return None
        prefix, _, encoded = secret.get_secret_value().partition("_")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            # Too short, so that one message below covers both faults.
            key = b""
        # Sizes of the Standard Webhooks scheme.
        if prefix != "whsec" or not 24 <= len(key) <= 64:
            raise ValueError("a secret is whsec_ and the base64 of 24 to 64 bytes")
        return secret

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Refuse settings that contradict each other, and name the variable to change."""
        # A switch without the setting that it belongs to would have no effect, unnoticed.
        if self.webhook_private_targets and self.webhook_secret is None:
            raise ValueError(
                "CONVPRESS_WEBHOOK_PRIVATE_TARGETS needs CONVPRESS_WEBHOOK_SECRET"
            )
        if self.redirect_downloads and self.storage_url is None:
            raise ValueError("CONVPRESS_REDIRECT_DOWNLOADS needs CONVPRESS_STORAGE_URL")
        return self

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_collector(cls, url: str | None) -> str | None:
        """Refuse an address that cannot be a collector: traces would be lost in silence."""
        if not _has_scheme(url, "collector"):
            raise ValueError("a collector is http://HOST:4318, or https")
        return url

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, url: str | None) -> str | None:
        """Refuse unknown databases, and SQLite in memory: each process would have its own."""
        if url is None:
            return None
        # The engine reads settings too, where the server's packages may be missing.
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError) as error:
            raise ValueError(f"a database is {_DATABASES}") from error
        is_postgres = parsed.drivername in ("postgresql", "postgresql+psycopg")
        in_memory = parsed.database in (None, "", ":memory:")
        is_sqlite_file = parsed.drivername == "sqlite" and not in_memory
        if not is_postgres and not is_sqlite_file:
            raise ValueError(f"a database is {_DATABASES}")
        return url

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, url: str | None) -> str | None:
        """Refuse an unknown broker at the start, and not with each message."""
        if not _has_scheme(url, "broker"):
            raise ValueError(
                "a broker is redis://HOST:PORT/NUMBER, rediss:// or redis+socket://PATH"
            )
        return url

    @field_validator("storage_url")
    @classmethod
    def _check_storage(cls, url: str | None) -> str | None:
        """Refuse anything but a bucket: a store in a folder is the data folder's."""
        if not _has_scheme(url, "bucket"):
            raise ValueError(
                "a bucket is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
            )
        return url

    @field_validator("model_uri_prefixes")
    @classmethod
    def _check_prefixes(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse prefixes that end within a name: they would allow longer names as well."""
        if not all("://" in prefix and prefix.endswith("/") for prefix in prefixes):
            raise ValueError("a prefix is a URL that ends in /, such as s3://models/")
        return prefixes

    @property
    def sql_url(self) -> str:
        """The database's URL, or the embedded default."""
        # Absolute, because a worker may run in another folder.
        return self.database_url or f"sqlite:///{self.data_dir.absolute()}/convpress.db"

    @property
    def costs_folder(self) -> Path:
        """The folder of cost tables, or the default in the data folder."""
        return self.costs_dir or self.data_dir / "costs"

    @property
    def threads_of_job(self) -> int:
        """The threads of one job, or by default its share of the cores, at least one."""
        if self.job_threads is not None:
            return self.job_threads
        return max(1, len(os.sched_getaffinity(0)) // self.worker_concurrency)

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker is a folder of files, without a server."""
        return self.broker_url is None


def _has_scheme(url: str | None, kind: str) -> bool:
    """Tell whether a URL is unset, or has one of the schemes of its kind."""
    if url is None:
        return True
    scheme, _, _ = url.partition("://")
    return scheme in _SCHEMES[kind]


# Cached: a process keeps the settings it has started with.
@cache
def get_settings() -> Settings:
    """Return the process's settings, read from the environment once."""
    return Settings()


def faults(error: ValidationError) -> str:
    """Return the faults of the settings, one a line, each after the name of its variable."""
    lines = []
    for fault in error.errors():
        variables = [f"CONVPRESS_{name}".upper() for name in fault["loc"]]
        lines.append(": ".join([*variables, fault["msg"]]))
    return "\n".join(lines)
