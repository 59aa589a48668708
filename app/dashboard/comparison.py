"""Jobs beside each other: all of one model on one chart, or two in every detail."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard import charts, formatting, job_report
from app.dashboard.charts import Mark
from app.dashboard.pages import render
from app.db.models import Job
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands, queries
from app.jobs.presentation import present_model
from convpress.report import Report, Site

_MOST = 50

router = APIRouter()


class Told(NamedTuple):
    """A job and its report."""

    job: Job
    report: Report | None


@router.get("/dashboard/models/{sha256}", dependencies=[Security(require("read"))])
def show_model(request: Request, sha256: str) -> Response:
    """Show an uploaded model, its latest jobs, and what each of them traded."""
    with transaction() as session:
        model = present_model(commands.get_model(session, sha256))
        found, next_cursor = queries.page(session, queries.Filter(model_sha256=sha256), _MOST, None)
    told = [Told(job, job_report.read(job)) for job in found]
    return render(
        request, "model.html", model=model, told=told, more=next_cursor is not None, tradeoff=_tradeoff(told),
        output_error=job_report.output_error,
    )  # fmt: skip


@router.get("/dashboard/compare", dependencies=[Security(require("read"))])
def compare_jobs(request: Request, job: Annotated[list[str] | None, Query()] = None) -> Response:
    """Show two jobs side by side."""
    if not job or len(job) != 2:
        raise Problem(
            "request_invalid",
            "two jobs are compared at a time",
            field="job",
            expected="?job=ID&job=ID",
            got=f"{len(job or ())} jobs",
        )
    with transaction() as session:
        told = [
            Told(found, job_report.read(found))
            for found in (commands.get(session, job_id) for job_id in job)
        ]
    return render(
        request, "compare.html", told=told, tradeoff=_tradeoff(told), layers=_beside(told),
        output_error=job_report.output_error,
    )  # fmt: skip


def _tradeoff(told: Sequence[Told]) -> charts.Tradeoff | None:
    """Lay out what was made, above what the latest of the jobs says could be had of its model."""
    known = [(job, report) for job, report in told if report]
    if not known:
        return None
    same = len({job.model_sha256 for job, _ in known}) == 1
    marks = [
        Mark(
            report.keep,
            job_report.output_error(report),
            f"{job.filename}, {formatting.budgets(job.budgets)}",
            f"/dashboard/jobs/{job.id}",
        )
        for job, report in known
    ]
    return charts.tradeoff(job_report.curve(known[0][1]) if same else (), marks)


def _beside(told: Sequence[Told]) -> list[tuple[str, Site | None, Site | None]]:
    """Pair the layers of two jobs by name, in the order of the first."""
    first, second = (
        {site.name: site for site in report.sites} if report else {} for _, report in told
    )
    return [(name, first.get(name), second.get(name)) for name in dict.fromkeys((*first, *second))]
