"""Comparisons: chosen jobs in one chart, and in chosen columns."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard import charts, comparison_columns, formatting, job_report, paging
from app.dashboard.charts import Mark
from app.dashboard.comparison_columns import COLUMNS, USUAL, ColumnName, SummarisedJob
from app.dashboard.pages import render
from app.dashboard.paging import PageNumber
from app.db.models import Job
from app.db.session import transaction
from app.errors import Problem
from app.jobs import commands
from convpress.report import Report, Site

MOST = 50
"""The most jobs of one page."""
# Layers stand side by side.
_WITH_LAYERS = 2
# More names would cover one another.
_MOST_NAMED = 6

router = APIRouter()

JobIds = Annotated[list[str] | None, Query()]
Columns = Annotated[list[ColumnName] | None, Query()]


class ReportedJob(NamedTuple):
    """A job and its report."""

    job: Job
    report: Report | None


@router.get("/dashboard/compare", dependencies=[Security(require("read"))])
def compare_jobs(
    request: Request,
    job: JobIds = None,
    column: Columns = None,
    sort: Annotated[ColumnName | None, Query()] = None,
    descending: bool = False,
    page: PageNumber = 1,
) -> Response:
    """Show jobs in chosen columns; of two jobs also the layers."""
    rows = _jobs(job)
    has_layers = len(rows) == _WITH_LAYERS
    reports: list[ReportedJob] = []
    summarised = []
    for row in rows:
        report = job_report.read(row)
        summarised.append(summarised_job(row, report))
        # Only of two: reports are large.
        if has_layers:
            reports.append(ReportedJob(row, report))
    names = column or USUAL
    tradeoff = tradeoff_of(summarised)
    if sort is not None:
        summarised = comparison_columns.ordered(
            summarised, COLUMNS[sort], descending=descending
        )
    choice = [
        *(("job", str(row.id)) for row in rows),
        *(("column", name) for name in names),
    ]
    return render(
        request,
        "compare.html",
        summarised=summarised,
        ids=[str(row.id) for row in rows],
        columns=COLUMNS,
        names=names,
        sort=sort,
        descending=descending,
        choice=urlencode(choice),
        tradeoff=tradeoff,
        labels=tradeoff and charts.labels(tradeoff),
        reported=reports,
        layers=paging.cut(_paired_layers(reports) if has_layers else [], page),
    )


@router.get("/dashboard/compare.csv", dependencies=[Security(require("read"))])
def download_comparison(job: JobIds = None, column: Columns = None) -> Response:
    """Return the comparison as CSV, with figures that are not rounded."""
    rows = [summarised_job(row, job_report.read(row)) for row in _jobs(job)]
    content = comparison_columns.as_csv(rows, column or USUAL)
    headers = {"Content-Disposition": 'attachment; filename="comparison.csv"'}
    return Response(content, 200, headers, "text/csv; charset=utf-8")


def _jobs(ids: Sequence[str] | None) -> list[Job]:
    """Return the jobs of a comparison.

    Raises:
        Problem: `job_not_found`, or `request_invalid` where there are none or too many.
    """
    if not ids or len(ids) > MOST:
        raise Problem(
            "request_invalid",
            f"a comparison takes 1 to {MOST} jobs",
            field="job",
            expected="?job=ID&job=ID",
            got=f"{len(ids or ())} jobs",
        )
    with transaction() as session:
        return [commands.get(session, job_id) for job_id in ids]


def summarised_job(job: Job, report: Report | None) -> SummarisedJob:
    """Return a job with the figures of its report."""
    return SummarisedJob(job, None if report is None else job_report.summary(report))


def tradeoff_of(jobs: Sequence[SummarisedJob]) -> charts.Tradeoff | None:
    """Return the chart of the jobs' results; the curve is the latest prediction."""
    known = [(job, summary) for job, summary in jobs if summary]
    if not known:
        return None
    models = {job.model_sha256 for job, _ in known}
    # A job that left the model as it is has no other budgets to show.
    curves = [summary.curve for _, summary in known if len(summary.curve) > 1]
    curve = curves[0] if curves and len(models) == 1 else ()
    marks = [
        Mark(
            summary.keep,
            summary.predicted if summary.measured is None else summary.measured,
            f"{job.filename}, {formatting.budgets(job.budgets)}",
            f"/dashboard/jobs/{job.id}",
            measured=summary.measured is not None,
            name=formatting.budgets(job.budgets) if len(known) <= _MOST_NAMED else "",
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
