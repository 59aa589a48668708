"""The page of a model: its jobs in one chart, and the advice on it."""

from fastapi import APIRouter, Depends, Request, Security
from starlette.responses import Response

from app.auth.quota import check_quota
from app.auth.scopes import require
from app.dashboard import job_report
from app.dashboard.comparison import MOST, summarised_job, tradeoff_of
from app.dashboard.pages import render, see_other
from app.db.session import transaction
from app.jobs import advice, commands, queries
from app.jobs.presentation import present_model
from app.queue.celery_client import enqueue
from app.storage import get_storage
from convpress.options import ADVICE, COMPRESSION
from convpress.states import TERMINAL

router = APIRouter()


@router.get("/dashboard/models/{sha256}", dependencies=[Security(require("read"))])
def show_model(request: Request, sha256: str) -> Response:
    """Show an uploaded model, the latest advice on it, its latest jobs, and their trade-offs."""
    of_model = queries.Filter(model_sha256=sha256, kind=COMPRESSION)
    advising = queries.Filter(model_sha256=sha256, kind=ADVICE)
    with transaction() as session:
        model = present_model(session, commands.get_model(session, sha256))
        page, next_cursor = queries.page(session, of_model, MOST, None)
        advices, _ = queries.page(session, advising, 1, None)
        adviser = advices[0] if advices else None
        events = commands.events_after(session, adviser.id, 0) if adviser else []
        if adviser:
            # the page follows the events after these, so the job must not be older than they are
            session.refresh(adviser)
    jobs = [summarised_job(job, job_report.read(job)) for job in page]
    return render(
        request,
        "model.html",
        model=model,
        filename=next((job.filename for job in (*page, *advices)), None),
        summarised=jobs,
        more=next_cursor is not None,
        tradeoff=tradeoff_of(jobs),
        adviser=adviser,
        measured=adviser and job_report.read_advice(adviser),
        live=adviser is not None and adviser.state not in TERMINAL,
        seen=events[-1].id if events else 0,
    )


@router.post(
    "/dashboard/models/{sha256}/advice",
    dependencies=[Security(require("submit")), Depends(check_quota)],
)
def ask_for_advice(sha256: str) -> Response:
    """Add an advice on a model, and show the model, which follows it.

    Raises:
        Problem: `quota_exceeded`, and those of `app.jobs.advice.advise`.
    """
    with transaction() as session:
        job = advice.advise(session, get_storage(), sha256)
    enqueue(job.id)
    return see_other(f"/dashboard/models/{job.model_sha256}#advice")
