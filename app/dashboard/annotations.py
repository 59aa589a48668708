"""The form of a job's labels and note, on the page of the job."""

from typing import Annotated

from fastapi import APIRouter, Form, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard.pages import see_other
from app.db.session import transaction
from app.jobs import annotations
from app.routes.jobs import JobId
from convpress.labels import parse_labels
from convpress.schemas import LONGEST_NOTE

router = APIRouter()


@router.post(
    "/dashboard/jobs/{job_id}/annotate", dependencies=[Security(require("submit"))]
)
def annotate_job(
    job_id: JobId,
    labels: Annotated[str, Form()] = "",
    note: Annotated[str, Form(max_length=2 * LONGEST_NOTE)] = "",
) -> Response:
    """Change the labels and the note of a job, and show the job.

    Raises:
        Problem: `job_not_found` or `note_invalid`.
        Refusal: `labels_invalid`.
    """
    with transaction() as session:
        annotations.annotate(session, job_id, labels=parse_labels(labels), note=note)
    return see_other(f"/dashboard/jobs/{job_id}#about")
