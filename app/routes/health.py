"""Health checks for orchestrators: does the process live, and can it serve?"""

from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from fastapi import APIRouter
from pydantic import BaseModel

from app.db.migrations import is_current
from app.db.session import get_engine
from app.errors import Problem
from app.openapi import problems
from app.queue.celery_client import check_broker
from app.settings import get_settings
from app.storage import get_storage, model_key

router = APIRouter(tags=["health"])

log = structlog.get_logger(__name__)


class Readiness(BaseModel):
    """The parts that the service needs; each is `ok`."""

    database: str
    storage: str
    broker: str


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Answer while the process lives and its event loop runs."""
    return {"status": "ok"}


@router.get("/readyz", responses=problems("not_ready"))
def get_readiness() -> Readiness:
    """Check the parts that the service needs: a migrated database, a writable store, a broker."""
    results = {name: _failure(name, check) for name, check in _CHECKS.items()}
    failed = {name: reason for name, reason in results.items() if reason}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Problem("not_ready", reasons, field=", ".join(failed), headers={"Retry-After": "5"})
    return Readiness(database="ok", storage="ok", broker="ok")


def _failure(name: str, check: Callable[[], None]) -> str | None:
    """Return the reason why a check failed, or None."""
    try:
        check()
    except Exception as error:
        log.warning("not ready", part=name, error=str(error))
        if isinstance(error, _Unready):
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


_CHECKS: Mapping[str, Callable[[], None]] = {
    "database": _database,
    "storage": _storage,
    "broker": check_broker,
}
