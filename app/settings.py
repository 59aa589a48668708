"""Every setting of the service, read from the environment as CONVPRESS_<NAME>; the defaults run it embedded."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from contract.limits import Limits


class Settings(BaseSettings):
    """Where things are, and how much of each is allowed.

    >>> Settings(data_dir=Path("/srv/convpress")).sql_url
    'sqlite:////srv/convpress/convpress.db'
    """

    model_config = SettingsConfigDict(env_prefix="CONVPRESS_", env_nested_delimiter="__", frozen=True)

    data_dir: Path = Field(
        default=Path("var"), description="Folder for artifacts and, embedded, for the database and the broker"
    )
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL; a SQLite file in the data folder if unset"
    )
    broker_url: str | None = Field(default=None, description="Celery broker URL; files in the data folder if unset")
    host: str = Field(default="127.0.0.1", description="Address that `convpress serve` listens on")
    port: int = Field(default=8000, ge=1, le=65535, description="Port that `convpress serve` listens on")
    api_keys: bool = Field(
        default=False, description="Serve those alone who hold a key; needed for any address but this machine's own"
    )
    owner_requests_per_minute: int = Field(default=600, ge=1, description="Requests that one owner's keys may send")
    owner_unfinished_jobs: int = Field(default=50, ge=1, description="Jobs of one owner that wait or run at a time")
    owner_stored_bytes: int = Field(default=100 * 1024**3, gt=0, description="Models and artifacts kept for one owner")
    cors_origins: tuple[str, ...] = Field(
        default=(), description='Sites whose pages may use the service, as JSON: ["https://..."]'
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(), description='Addresses whose X-Forwarded headers are believed, as JSON: ["10.0.0.1"]'
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged"
    )
    max_upload_bytes: int = Field(default=2 * 1024**3, gt=0, description="Largest model that is accepted, in bytes")
    limits: Limits = Field(
        default=Limits(), description="What a model's container may hold; one by one as CONVPRESS_LIMITS__<NAME>"
    )
    job_memory_bytes: int = Field(
        default=8 * 1024**3, ge=1024**3, description="Address space of the process that opens a model, in bytes"
    )
    accept_models_that_can_escape: bool = Field(
        default=False,
        description="Serve although this host cannot shut models in; `convpress doctor` says what is open",
    )
    job_timeout_seconds: float = Field(default=3600, gt=0, description="Wall-clock limit of one job")
    lease_seconds: float = Field(
        default=30, gt=0, description="How long a silent worker keeps a job before it is given back"
    )
    max_attempts: int = Field(default=3, ge=1, description="How many workers may die of a job before it fails")
    sweep_seconds: float = Field(default=5, gt=0, description="Pause between two rounds of the sweeper")
    worker_concurrency: int = Field(default=1, ge=1, description="Jobs that one worker runs at a time")

    @property
    def sql_url(self) -> str:
        """The database's URL, embedded default resolved."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute()}/convpress.db"

    @property
    def embedded_broker(self) -> bool:
        """Whether the broker is the folder of files that needs no server."""
        return self.broker_url is None


@cache
def get_settings() -> Settings:
    """Return the process's settings, read from the environment once."""
    return Settings()
