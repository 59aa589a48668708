"""One job: what came of it at a glance, what other budgets would give, every layer, and how to do it again."""

import math
import shlex
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard import charts, formatting, job_report
from app.dashboard.charts import Mark
from app.dashboard.pages import render
from app.db.models import Job
from app.db.session import transaction
from app.jobs import commands as jobs
from app.jobs import queries
from app.routes.jobs import JobId
from app.settings import get_settings
from convpress import budgets as budget
from convpress.report import Report, Site
from convpress.states import TERMINAL

router = APIRouter()

Order = Literal["model", "name", "form", "before", "after", "saved", "error"]
_KEYS: dict[Order, Callable[[Site], Any]] = {
    "name": lambda site: site.name.lower(),
    "form": lambda site: site.form or "",
    "before": lambda site: -site.macs_before,
    "after": lambda site: -site.macs_after,
    "saved": lambda site: site.macs_after - site.macs_before,
    "error": lambda site: -(site.error or 0.0),
}


class Choice(NamedTuple):
    """Another budget: as it is asked for, what it keeps, and the error that is predicted."""

    budget: str
    macs: int
    keep: float
    error: float
    chosen: bool


@router.get("/dashboard/jobs/{job_id}", dependencies=[Security(require("read"))])
def show_job(
    request: Request, job_id: JobId, sort: Annotated[Order, Query()] = "model"
) -> Response:
    """Show a job as it stands."""
    with transaction() as session:
        job = jobs.get(session, job_id)
        events = jobs.events_after(session, job.id, 0)
        session.refresh(
            job
        )  # not older than its events: who follows it is told of all that comes after these
        siblings, _ = queries.page(session, queries.Filter(model_sha256=job.model_sha256), 9, None)
    report = job_report.read(job)
    return render(
        request,
        "job.html",
        job=job,
        error=formatting.shown_error(job.error),
        live=job.state not in TERMINAL,
        seen=events[-1].id if events else 0,
        siblings=[other for other in siblings if other.id != job.id],
        commands=repeat(job, str(request.base_url).rstrip("/")),
        sort=sort,
        report=report,
        output_error=report and job_report.output_error(report),
        choices=report and choices(report),
        frontier=report and frontier(report),
        kind=report and job_report.kind(report),
        kept=report and job_report.kept(report),
        sites=report and (sorted(report.sites, key=_KEYS[sort]) if sort in _KEYS else report.sites),
        columns=report
        and charts.columns([(site.macs_before, site.macs_after) for site in report.sites]),
        layers_height=charts.LAYERS_HEIGHT,
    )


def choices(report: Report) -> Sequence[Choice]:
    """Return the budgets of the frontier, the one that was taken marked."""
    kept = job_report.kept(report)
    points = job_report.choices(report)
    taken = min(range(len(points)), key=lambda at: abs(points[at][0] - kept), default=None)
    return [
        Choice(_budget(keep), point.macs, keep, error, at == taken)
        for at, (point, (keep, error)) in enumerate(zip(report.frontier, points, strict=True))
    ]


def _budget(keep: float) -> str:
    """Write a fraction so that it is no less than it was.

    >>> _budget(0.49888046), _budget(1.0)
    ('0.4989', '1')
    """
    return f"{min(1.0, math.ceil(keep * 10_000 - 1e-9) / 10_000):g}"


def frontier(report: Report) -> charts.Tradeoff:
    """Lay out what other budgets would give, and what this job took."""
    mark = Mark(job_report.kept(report), report.predicted_error**0.5, "this job")
    return charts.tradeoff(job_report.choices(report), [mark], job_report.kind(report).what)


def repeat(job: Job, server: str) -> dict[str, str]:
    """Return what to type so that a shell, and Python, do the same again."""
    values = (
        *job.budgets.items(),
        (budget.AT_ANY_PRICE, "true" if job.flops_at_any_price else ""),
        ("input_shape", job.input_shape),
        ("calibration", job.calibration),
        ("input_range", job.input_range),
        ("input_mean", job.input_mean),
        ("input_std", job.input_std),
        ("labels", ",".join(f"{name}={value}" for name, value in job.labels.items())),
    )
    given = [(name, value) for name, value in values if value]
    lines = [f"curl {shlex.quote(f'{server}/jobs')}"]
    if get_settings().api_keys:
        lines.append('-H "Authorization: Bearer $CONVPRESS_KEY"')
    lines += [f"--form-string {shlex.quote(f'{name}={value}')}" for name, value in given]
    if job.samples_sha256:
        lines.append("-F samples=@samples.npz")
    lines.append(f"-F {shlex.quote(f'model=@{_quoted(job.filename)}')}")
    apart = (budget.FLOPS.field, budget.AT_ANY_PRICE, "labels")
    options = [(name, repr(value)) for name, value in given if name not in apart]
    options += [(budget.AT_ANY_PRICE, "True")] if job.flops_at_any_price else []
    options += [("labels", repr(dict(job.labels)))] if job.labels else []
    options += [("samples", repr("samples.npz"))] if job.samples_sha256 else []
    asked = [repr(job.flops_budget)] if job.flops_budget else []
    arguments = [repr(job.filename), *asked, *(f"{name}={value}" for name, value in options)]
    key = ', os.environ["CONVPRESS_KEY"]' if get_settings().api_keys else ""
    python = [
        *(["import os", ""] if key else []),
        "from convpress.client.client import Client",
        "",
        f"with Client({server!r}{key}) as client:",
        f"    job = client.submit({', '.join(arguments)})",
        "    client.wait(job)",
        f"    client.download(job, {'compressed-' + job.filename!r})",
    ]
    return {"curl": " \\\n  ".join(lines), "python": "\n".join(python)}


def _quoted(filename: str) -> str:
    """Write a file's name so that curl takes it for nothing else."""
    escaped = filename.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
