"""The analyses in the store: each owner's latest of each model, for the owner's later jobs.

They are deleted with the model.

An analysis only saves time: an error here is logged and fails no job.
"""

import hashlib
import json
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

import convpress
import worker.engine
from app.db.models import Job
from app.db.session import transaction
from app.jobs.owned_models import set_analysis_bytes
from app.storage import Storage, analysis_key
from app.uploads.retention import delete_analyses
from convpress.formats import FORMATS
from worker.jobs import results
from worker.sandbox import outputs
from worker.sandbox.messages import MalformedOutput

# The engine computes with these; another version may give other numbers.
_LIBRARIES = {"numpy", "safetensors", "torch"}.union(
    *(spec.packages for spec in FORMATS.values())
)
_CHUNK = 1024**2
# The bound on an analysis counts its arrays; this is the most that the rest of the file can take.
_HEADER_BYTES = 16 * 1024**2
# The cache leaves this much of the disk free for uploads.
_RESERVE_BYTES = 1024**3

log = structlog.get_logger(__name__)


def key_of(job: Job, costs: str | None = None, photographs: Path | None = None) -> str:
    """Return the storage key of the analysis that a job needs.

    Jobs of one owner that differ in budgets alone share it.

    `costs` is the SHA-256 of the cost table, or None without one. `photographs` is the operator's
    folder of photographs, or None without one.
    """
    parts = [job.options.analysis_key(), costs, _engine_version()]
    if photographs is not None:
        parts.append(_listing(photographs))
    settings = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return analysis_key(job.model_sha256, job.owner, settings)


def keep(storage: Storage, job: Job, key: str, path: Path, largest: int) -> None:
    """Put the analysis that a child may have written to `path` into the store.

    It replaces the owner's earlier one of the model.
    """
    if not os.path.lexists(path):
        return
    try:
        with outputs.open_plain(path, largest + _HEADER_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            if storage.free_bytes() < size + _RESERVE_BYTES:
                return
            delete_analyses(storage, job.model_sha256, job.owner)
            # Before the file exists, so that no file is uncounted.
            with transaction() as session:
                set_analysis_bytes(session, job, size)
            results.keep(storage, iter(lambda: file.read(_CHUNK), b""), lambda _: key)
    except (OSError, SQLAlchemyError, MalformedOutput) as error:
        log.warning("analysis not kept", job_id=str(job.id), error=str(error))


def _listing(folder: Path) -> str:
    """Return the names, sizes and times of a folder's files, as text; empty if it is missing."""
    try:
        files = sorted(folder.iterdir())
        stats = [(path.name, path.stat()) for path in files]
    except OSError:
        return ""
    return json.dumps([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])


@cache
def _engine_version() -> str:
    """Return the SHA-256 of the engine's code and photographs, and of its libraries' versions."""
    versions = " ".join(f"{name} {version(name)}" for name in sorted(_LIBRARIES))
    digest = hashlib.sha256(versions.encode())
    for package in (convpress, worker.engine):
        for path in sorted(Path(package.__path__[0]).rglob("*")):
            if path.suffix in (".py", ".jpg"):
                digest.update(path.read_bytes())
    return digest.hexdigest()
