"""The inspections of models: the latest one is in the model's row, to be shown.

An inspection only informs: an error here is logged and fails no job.
"""

import os
from pathlib import Path

import structlog
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from app.db.models import Job, Model
from app.db.session import transaction
from convpress.limits import Limits
from convpress.report import Inspection
from worker.sandbox import outputs
from worker.sandbox.messages import MalformedOutput

# Some thousand layers; a longer row would be slow to read.
LARGEST_BYTES = 1024**2

log = structlog.get_logger(__name__)


def keep(job: Job, path: Path, limits: Limits) -> None:
    """Put the inspection that a child may have written to `path` into the row of its model."""
    if not os.path.lexists(path):
        return
    try:
        _, inspection = outputs.take(Inspection, path, limits, LARGEST_BYTES)
        inspected = update(Model).where(Model.sha256 == job.model_sha256)
        inspected = inspected.values(inspection=inspection.model_dump())
        with transaction() as session:
            session.execute(inspected.execution_options(synchronize_session=False))
    except (SQLAlchemyError, MalformedOutput) as error:
        log.warning("inspection not kept", job_id=str(job.id), error=str(error))
