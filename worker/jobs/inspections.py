"""The inspections of models: the latest one of each owner is kept, to be shown.

An inspection only informs: an error here is logged and fails no job.
"""

import os
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.models import Job
from app.db.session import transaction
from app.jobs.owned_models import set_inspection
from convpress.limits import Limits
from convpress.report import Inspection
from worker.sandbox import outputs
from worker.sandbox.messages import MalformedOutput

# Some thousand layers; a longer row would be slow to read.
LARGEST_BYTES = 1024**2

log = structlog.get_logger(__name__)


def keep(job: Job, path: Path, limits: Limits) -> None:
    """Note the inspection of its model that a child may have written to `path`."""
    if not os.path.lexists(path):
        return
    try:
        _, inspection = outputs.take(Inspection, path, limits, LARGEST_BYTES)
        with transaction() as session:
            set_inspection(session, job, inspection.model_dump())
    except (SQLAlchemyError, MalformedOutput) as error:
        log.warning("inspection not kept", job_id=str(job.id), error=str(error))
