"""Comparisons: all jobs of one model in one chart, or two jobs in every detail."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard import charts, formatting, job_report, paging
from app.dashboard.charts import Mark
from app.dashboard.job_report import Summary
from app.dashboard.pages import render
from app.dashboard.paging import PageNumber
from app.db.models import Job
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands, queries
from app.jobs.presentation import present_model
from convpress.report import Report, Site

_MOST = 50

router = APIRouter()


class ReportedJob(NamedTuple):
    """A job and its report."""

    job: Job
    report: Report | None


class SummarisedJob(NamedTuple):
    """A job and the figures of its report."""

    job: Job
    summary: Summary | None


@router.get("/dashboard/models/{sha256}", dependencies=[Security(require("read"))])
def show_model(request: Request, sha256: str) -> Response:
    """Show an uploaded model, its latest jobs, and the trade-off of each."""
    with transaction() as session:
        model = present_model(session, commands.get_model(session, sha256))
        page, next_cursor = queries.page(session, queries.Filter(model_sha256=sha256), _MOST, None)
    jobs = [_summarised(job, job_report.read(job)) for job in page]
    return render(
        request,
        "model.html",
        model=model,
        summarised=jobs,
        more=next_cursor is not None,
        tradeoff=_tradeoff(jobs),
    )


@router.get("/dashboard/compare", dependencies=[Security(require("read"))])
def compare_jobs(
    request: Request, job: Annotated[list[str] | None, Query()] = None, page: PageNumber = 1
) -> Response:
    """Show two jobs side by side."""
    if not job or len(job) != 2:
        raise Problem(
            "request_invalid",
            "a comparison takes two jobs",
            field="job",
            expected="?job=ID&job=ID",
            got=f"{len(job or ())} jobs",
        )
    with transaction() as session:
        rows = [commands.get(session, job_id) for job_id in job]
        jobs = [ReportedJob(row, job_report.read(row)) for row in rows]
    return render(
        request,
        "compare.html",
        reported=jobs,
        tradeoff=_tradeoff([_summarised(*reported) for reported in jobs]),
        layers=paging.cut(_paired_layers(jobs), page),
        output_error=job_report.output_error,
    )


def _summarised(job: Job, report: Report | None) -> SummarisedJob:
    return SummarisedJob(job, None if report is None else job_report.summary(report))


def _tradeoff(jobs: Sequence[SummarisedJob]) -> charts.Tradeoff | None:
    """Return the chart of the jobs' results; the curve is the prediction of the latest."""
    known = [(job, summary) for job, summary in jobs if summary]
    if not known:
        return None
    models = {job.model_sha256 for job, _ in known}
    curve = known[0][1].curve if len(models) == 1 else ()
    marks = [
        Mark(
            summary.keep,
            summary.error,
            f"{job.filename}, {formatting.budgets(job.budgets)}",
            f"/dashboard/jobs/{job.id}",
        )
        for job, summary in known
    ]
    return charts.tradeoff(curve, marks)


def _paired_layers(
    jobs: Sequence[ReportedJob],
) -> list[tuple[str, Site | None, Site | None]]:
    """Return the layers of two jobs, paired by name, in the order of the first."""
    first, second = (_layers_by_name(job.report) for job in jobs)
    names = dict.fromkeys((*first, *second))
    return [(name, first.get(name), second.get(name)) for name in names]


def _layers_by_name(report: Report | None) -> dict[str, Site]:
    return {site.name: site for site in report.sites} if report else {}
