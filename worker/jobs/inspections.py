"""What a child has said of the model it opened, kept in the model's row, so that nobody else has to open it to know.

It only informs: what goes wrong with one is logged and costs no job.
"""

import os
from pathlib import Path

import structlog
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from app.db.models import Job, Model
from app.db.session import transaction
from convpress.report import Inspection
from worker.jobs import results
from worker.sandbox.messages import MalformedOutput

LARGEST_BYTES = 1024**2
"""Some thousand layers; a row that is longer would be slow to read."""

log = structlog.get_logger(__name__)


def keep(job: Job, path: Path) -> None:
    """Put the inspection that a job's child may have left into the row of its model."""
    if not os.path.lexists(path):
        return
    try:
        _, found = results.take(Inspection, path, LARGEST_BYTES)
        with transaction() as session:
            told = (
                update(Model)
                .where(Model.sha256 == job.model_sha256)
                .values(inspection=found.model_dump())
            )
            session.execute(told.execution_options(synchronize_session=False))
    except (SQLAlchemyError, MalformedOutput) as error:
        log.warning("inspection not kept", job_id=str(job.id), error=str(error))
