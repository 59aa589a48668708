"""The page of one job: its result, other budgets, every layer, and how to repeat it."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Security
from starlette.responses import Response

from app.auth.scopes import require
from app.dashboard import charts, job_report, paging, snippets
from app.dashboard.advice import shown_error
from app.dashboard.charts import Mark
from app.dashboard.layer_graph import fate
from app.dashboard.pages import render
from app.dashboard.paging import PageNumber
from app.db.session import transaction
from app.jobs import commands, logs, queries
from app.jobs.presentation import eta_seconds
from app.routes.jobs import JobId
from convpress import risk_levels
from convpress.phases import PHASES
from convpress.report import Report, Site
from convpress.schemas import LONGEST_NOTE
from convpress.states import TERMINAL
from convpress.text.quantities import percent

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
    """Another budget: its text, what it keeps, and the predicted error."""

    budget: str
    macs: int
    keep: float
    error: float
    chosen: bool


@router.get("/dashboard/jobs/{job_id}", dependencies=[Security(require("read"))])
def show_job(
    request: Request,
    job_id: JobId,
    sort: Annotated[Order, Query()] = "model",
    page: PageNumber = 1,
) -> Response:
    """Show a job in its present state."""
    with transaction() as session:
        job = commands.get(session, job_id)
        events = commands.events_after(session, job.id, 0)
        # The page follows the events after these, so the job must not be older than they are.
        session.refresh(job)
        siblings, _ = queries.page(
            session, queries.Filter(model_sha256=job.model_sha256), 9, None
        )
        log = logs.read(session, job)
        before = queries.waiting_before(session, job) if job.state == "queued" else None
    report = job_report.read(job)
    chart = report and frontier(report)
    layers = report and paging.cut(_sorted_places(report.sites, sort), page)
    return render(
        request,
        "job.html",
        job=job,
        error=shown_error(job.error),
        live=job.state not in TERMINAL,
        seen=events[-1].id if events else 0,
        siblings=[other for other in siblings if other.id != job.id],
        commands=snippets.commands(job, str(request.base_url).rstrip("/")),
        sort=sort,
        report=report,
        advice=job_report.read_advice(job),
        phases=PHASES,
        longest_note=LONGEST_NOTE,
        left=eta_seconds(job),
        before=before,
        thresholds=risk_levels,
        measured=report and job_report.measured_error(report),
        predicted=report and job_report.predicted_error(report),
        choices=report and choices(report),
        frontier=chart,
        labels=chart and charts.labels(chart),
        kind=report and job_report.kind(report),
        kept=report and job_report.kept(report),
        layers=layers,
        sites=report and layers and [report.sites[place] for place in layers.rows],
        fates=report
        and layers
        and [fate(report.sites[place]) for place in sorted(layers.rows)],
        log=log,
        columns=report and layers and _layer_columns(report.sites, layers.rows),
        layers_width=charts.LAYERS_WIDTH,
        layers_height=charts.LAYERS_HEIGHT,
    )


def _sorted_places(sites: Sequence[Site], sort: Order) -> Sequence[int]:
    """Return the places of the layers in an order; `model` is the order of the model."""
    places = range(len(sites))
    if sort not in _KEYS:
        return places
    key = _KEYS[sort]
    return sorted(places, key=lambda place: key(sites[place]))


def _layer_columns(
    sites: Sequence[Site], places: Sequence[int]
) -> Sequence[tuple[Site, charts.Column]]:
    """Return the layers at some places with their columns, in the order of the model."""
    shown = [sites[place] for place in sorted(places)]
    columns = charts.columns([(site.macs_before, site.macs_after) for site in shown])
    return list(zip(shown, columns, strict=True))


def choices(report: Report) -> Sequence[Choice]:
    """Return the budgets of the frontier, with the job's own marked."""
    kept = job_report.kept(report)
    points = job_report.choices(report)
    distances = [abs(keep - kept) for keep, _ in points]
    nearest = distances.index(min(distances)) if distances else None
    return [
        Choice(_budget(keep), point.macs, keep, error, place == nearest)
        for place, (point, (keep, error)) in enumerate(
            zip(report.frontier, points, strict=True)
        )
    ]


def _budget(keep: float) -> str:
    """Return a fraction as a budget; rounded up, so that it allows what the fraction allows.

    >>> _budget(0.49888046), _budget(1.0)
    ('0.4989', '1')
    """
    return f"{min(1.0, math.ceil(keep * 10_000 - 1e-9) / 10_000):g}"


def frontier(report: Report) -> charts.Tradeoff:
    """Return the chart of the predicted error at all budgets, with this job's errors marked."""
    kept = job_report.kept(report)
    predicted = job_report.predicted_error(report)
    name = f"predicted {percent(predicted)}"
    marks = [Mark(kept, predicted, "this job, predicted", measured=False, name=name)]
    measured = job_report.measured_error(report)
    if measured is not None:
        name = f"measured {percent(measured)}"
        marks.append(Mark(kept, measured, "this job, measured", name=name))
    return charts.tradeoff(
        job_report.choices(report), marks, job_report.kind(report).quantity
    )
