"""Health checks for orchestrators: does the process live, and can it serve?"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import func, select

from app import data_folder
from app.data_folder import DataFolderGone
from app.db.migrations import is_current
from app.db.models import Job, Worker
from app.db.session import get_engine, now, transaction
from app.errors import Problem
from app.openapi import problems
from app.queue.celery_client import check_broker
from app.settings import get_settings
from app.storage import get_storage, model_key

router = APIRouter(tags=["health"])

# A worker sweeps every few seconds, and less often while it fails.
_PATIENCE_SECONDS = 60.0
_PATIENCE_SWEEPS = 5

log = structlog.get_logger(__name__)


class Readiness(BaseModel):
    """The parts that the service needs; each is `ok`."""

    database: str
    storage: str
    broker: str
    data_folder: str
    sweeper: str


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Answer while the process lives and its event loop runs."""
    return {"status": "ok"}


@router.get("/readyz", responses=problems("not_ready"))
def get_readiness() -> Readiness:
    """Check the parts that the service needs.

    A migrated database, a writable store, a broker that takes messages, the data folder of this
    process's start, and workers that return overdue leases.
    """
    results = {name: _failure(name, check) for name, check in _CHECKS.items()}
    failed = {name: reason for name, reason in results.items() if reason}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Problem(
            "not_ready", reasons, field=", ".join(failed), headers={"Retry-After": "5"}
        )
    return Readiness(**dict.fromkeys(_CHECKS, "ok"))


def _failure(name: str, check: Callable[[], None]) -> str | None:
    """Return the reason why a check failed, or None."""
    try:
        check()
    except Exception as error:
        log.warning("not ready", part=name, error=str(error))
        if isinstance(error, _Unready | DataFolderGone):
            return str(error)
        # The text of other errors may contain addresses and passwords.
        return type(error).__name__
    return None


class _Unready(Exception):
    """A part answers, but cannot be used."""


def _database() -> None:
    with get_engine(get_settings().sql_url).connect() as connection:
        if not is_current(connection):
            raise _Unready("its schema is of another version; run the migrations")


def _storage() -> None:
    with get_storage().stage() as probe:
        try:
            probe.write(b"?")
            probe.flush()
        finally:
            Path(probe.name).unlink()
    # Staging is local; only a request shows that a bucket answers.
    get_storage().size(model_key("0" * 64))


def _sweeper() -> None:
    """Check that a worker returns overdue leases.

    Without workers, or while they have just begun, none need to be returned.
    """
    patience = timedelta(
        seconds=max(_PATIENCE_SECONDS, _PATIENCE_SWEEPS * _sweep_seconds())
    )
    with transaction() as session:
        at = now(session)
        swept_at = session.scalar(select(func.max(Worker.seen_at)))
        overdue = select(Job.id).where(
            Job.state == "running", Job.lease_expires_at < at - patience
        )
        is_stuck = session.scalar(overdue.limit(1)) is not None
    if is_stuck or (swept_at is not None and swept_at < at - patience):
        raise _Unready(
            f"no worker has returned overdue leases for {patience.total_seconds():g} seconds; "
            "start one, or see the logs of the workers"
        )


def _sweep_seconds() -> float:
    seconds: float = get_settings().sweep_seconds
    return seconds


_CHECKS: Mapping[str, Callable[[], None]] = {
    "database": _database,
    "storage": _storage,
    "broker": check_broker,
    "data_folder": lambda: data_folder.check(get_settings()),
    "sweeper": _sweeper,
}
