"""Analyses that are kept between jobs: of each model the latest, beside the model in the store, and gone with it.

They only save time: what goes wrong with one is logged and costs no job.
"""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

import convpress
import worker.engine
from app.db.models import Job, Model
from app.db.session import transaction
from app.storage import Storage, analysis_key
from app.uploads.retention import delete_analyses
from convpress.formats import FORMATS
from worker.jobs import results
from worker.sandbox.messages import MalformedOutput

_LIBRARIES = {"numpy", "safetensors", "torch"}.union(*(spec.packages for spec in FORMATS.values()))
_CHUNK = 1024**2
_HEADER_BYTES = 16 * 1024**2
"""What a file may have beside its arrays."""
_RESERVE_BYTES = 1024**3
"""What it leaves free on the disk, for uploads."""

log = structlog.get_logger(__name__)


def key_of(job: Job, costs: str | None = None) -> str:
    """Name the place of the analysis that a job needs: the same for all that differ in their budgets alone.

    `costs` is the SHA-256 of the cost table, if there is one.
    """
    settings = [
        job.input_shape,
        job.calibration,
        job.samples_sha256,
        job.input_range,
        job.input_mean,
        job.input_std,
        costs,
        _engine(),
    ]
    return analysis_key(job.model_sha256, hashlib.sha256(json.dumps(settings).encode()).hexdigest())


def keep(storage: Storage, job: Job, key: str, path: Path, largest: int) -> None:
    """Put the analysis that a job's child may have left into the store, in the place of the model's earlier one."""
    if not os.path.lexists(path):
        return
    try:
        with results.open_plain(path, largest + _HEADER_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            if storage.free_bytes() < size + _RESERVE_BYTES:
                return
            delete_analyses(storage, job.model_sha256)
            with transaction() as session:  # before there is a file, so that none is uncounted
                counted = (
                    update(Model)
                    .where(Model.sha256 == job.model_sha256)
                    .values(analysis_bytes=size)
                )
                session.execute(counted.execution_options(synchronize_session=False))
            results.keep(storage, iter(lambda: file.read(_CHUNK), b""), lambda _: key)
    except (OSError, SQLAlchemyError, MalformedOutput) as error:
        log.warning("analysis not kept", job_id=str(job.id), error=str(error))


@cache
def _engine() -> str:
    """Return what tells this engine from every other one: its code, and the versions of what it calculates with."""
    digest = hashlib.sha256(
        " ".join(f"{name} {version(name)}" for name in sorted(_LIBRARIES)).encode()
    )
    for package in (convpress, worker.engine):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
