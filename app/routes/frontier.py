"""The frontier of a job over HTTP: the predicted error at other budgets."""

from fastapi import APIRouter, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.db.session import transaction
from app.http.conditional import conditional_json
from app.jobs.advice import get_compressed
from app.jobs.frontier import read_frontier
from app.openapi import problems
from app.routes.jobs import JobId
from app.storage import get_storage
from convpress import schemas

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/{job_id}/frontier",
    dependencies=[Security(require("read"))],
    response_model=schemas.Frontier,
    responses={
        304: {"description": "The client has this frontier"},
        **problems(
            "job_not_found",
            "job_unfinished",
            "job_failed",
            "artifact_missing",
            "file_gone",
            "file_damaged",
            "report_unreadable",
        ),
    },
)
def get_frontier(request: Request, job_id: JobId) -> Response:
    """Return the predicted error at other budgets. The report has the same points."""
    with transaction() as session:
        job = get_compressed(session, job_id)
    frontier = read_frontier(job, get_storage())
    content = frontier.model_dump_json().encode()
    return conditional_json(request, content, {"Cache-Control": "private, no-cache"})
