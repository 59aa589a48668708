"""For orchestrators: whether the process lives, and whether it can serve."""

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
    """What the service needs, and that each of it answers."""

    database: str
    storage: str
    broker: str


@router.get("/healthz")
async def get_health() -> dict[str, str]:
    """Tell that the process lives and its event loop turns."""
    return {"status": "ok"}


@router.get("/readyz", responses=problems("not_ready"))
def get_readiness() -> Readiness:
    """Try what the service needs: a migrated database, a store that takes files, a broker."""
    failed = {name: reason for name, check in _CHECKS.items() if (reason := _try(name, check))}
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Problem("not_ready", reasons, field=", ".join(failed), headers={"Retry-After": "5"})
    return Readiness(database="ok", storage="ok", broker="ok")


def _try(name: str, check: Callable[[], None]) -> str | None:
    """Return why a check failed, in words that give no address or password away."""
    try:
        check()
    except Exception as error:
        log.warning("not ready", part=name, error=str(error))
        return str(error) if isinstance(error, _Unready) else type(error).__name__
    return None


class _Unready(Exception):
    """Something answers, but not as it should."""


def _database() -> None:
    with get_engine(get_settings().sql_url).connect() as connection:
        if not is_current(connection):
            raise _Unready("its schema is not the one of this version; run the migrations")


def _storage() -> None:
    with get_storage().stage() as probe:
        try:
            probe.write(b"?")
            probe.flush()
        finally:
            Path(probe.name).unlink()
    get_storage().size(model_key("0" * 64))  # a bucket has to answer, whatever it says


_CHECKS: Mapping[str, Callable[[], None]] = {
    "database": _database,
    "storage": _storage,
    "broker": check_broker,
}
