"""The list of jobs at `/`, and the buttons that act on a job."""

from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Query, Request, Security
from pydantic import BeforeValidator
from starlette.responses import Response

from app.auth.quota import check_quota, check_unfinished
from app.auth.scopes import caller_of, require
from app.dashboard.pages import is_fragment, own_path, render, see_other
from app.dashboard.submission import split_budgets
from app.db.session import transaction
from app.jobs import commands, queries, ranking
from app.jobs.ranking import Figure
from app.queue.celery_client import enqueue
from app.routes.jobs import JobId, delete_job
from app.settings import get_settings
from app.storage import get_storage
from convpress import shapes
from convpress.budgets import KINDS, parse_allow_incomplete, parse_budgets
from convpress.max_loss import parse_max_loss
from convpress.refusal import Code, Refusal
from convpress.states import State

_PAGE = 50

router = APIRouter()

AnyState = Annotated[State | None, BeforeValidator(lambda text: text or None)]
Text = Annotated[str | None, Form()]
Next = Annotated[str | None, Form(alias="next")]


@router.get("/", dependencies=[Security(require("read"))])
def show_jobs(
    request: Request,
    state: Annotated[AnyState, Query()] = None,
    q: Annotated[str, Query(max_length=200)] = "",
    sort: Annotated[Figure | None, Query()] = None,
    descending: bool = False,
    cursor: str | None = None,
) -> Response:
    """Show a page of jobs, newest first or by a figure; htmx requests the table alone."""
    which = queries.Filter(states=[state] if state else (), search=q.strip())
    with transaction() as session:
        if sort is None:
            jobs, next_cursor = queries.page(session, which, _PAGE, cursor)
        else:
            jobs, next_cursor = ranking.page_by(
                session, which, sort, _PAGE, cursor, descending=descending
            )
        counts = queries.count(session, which)

    def link(**changes: str | None) -> str:
        parameters: dict[str, str | None] = {
            "state": state,
            "q": q,
            "sort": sort,
            "descending": "true" if descending else None,
            **changes,
        }
        query = urlencode({name: value for name, value in parameters.items() if value})
        return f"/?{query}" if query else "/"

    return render(
        request,
        "_jobs.html" if is_fragment(request) else "jobs.html",
        jobs=jobs,
        counts=counts,
        total=sum(counts.values()),
        state=state,
        q=q,
        sort=sort,
        descending=descending,
        cursor=cursor,
        link=link,
        here=link(cursor=cursor),
        older=next_cursor and link(cursor=next_cursor),
        largest=get_settings().max_upload_bytes,
    )


@router.post(
    "/dashboard/jobs/{job_id}/cancel", dependencies=[Security(require("submit"))]
)
def cancel_job(job_id: JobId, back: Next = None) -> Response:
    """Stop a job, and go back."""
    with transaction() as session:
        commands.cancel(session, job_id)
    return see_other(own_path(back))


@router.post(
    "/dashboard/jobs/{job_id}/delete", dependencies=[Security(require("submit"))]
)
def forget_job(job_id: JobId, back: Next = None) -> Response:
    """Delete a job, and go back."""
    delete_job(job_id)
    return see_other(own_path(back))


@router.post(
    "/dashboard/jobs/{job_id}/again",
    dependencies=[Security(require("submit")), Depends(check_quota)],
)
def repeat_job(
    request: Request,
    job_id: JobId,
    flops_budget: Text = None,
    params_budget: Text = None,
    bytes_budget: Text = None,
    latency_budget: Text = None,
    max_loss: Text = None,
    input_shape: Text = None,
    allow_incomplete_account: Text = None,
) -> Response:
    """Post a job like this one, with what the form changes, and show it.

    The form changes budgets, the largest loss, the input shape, and whether the account may be
    incomplete. A field with several budgets makes a job for each; the jobs of the model are shown
    then.

    Raises:
        Refusal: `budget_invalid` or `input_shape_invalid`.
    """
    texts = {
        "flops_budget": flops_budget,
        "params_budget": params_budget,
        "bytes_budget": bytes_budget,
        "latency_budget": latency_budget,
    }
    choices = _choices({field: text for field in KINDS if (text := texts[field])})
    if max_loss:
        parse_max_loss(max_loss)
    if input_shape:
        shapes.parse_input_shape(input_shape)
    check_unfinished(caller_of(request), len(choices))
    with transaction() as session:
        jobs = [
            commands.repeat(
                session,
                get_storage(),
                job_id,
                budgets=budgets,
                max_loss=max_loss,
                input_shape=input_shape,
                allow_incomplete_account=parse_allow_incomplete(
                    allow_incomplete_account
                ),
            )
            for budgets in choices
        ]
    for job in jobs:
        enqueue(job.id)
    if len(jobs) == 1:
        return see_other(f"/dashboard/jobs/{jobs[0].id}")
    return see_other(f"/?q={jobs[0].model_sha256}")


def _choices(texts: Mapping[str, str]) -> Sequence[Mapping[str, str]]:
    """Return the budgets of each job: one field may have a list of them.

    Raises:
        Refusal: `budget_invalid`, also where two fields have lists.
    """
    lists = {
        field: split_budgets(text, field) or [text] for field, text in texts.items()
    }
    several = [field for field, budgets in lists.items() if len(budgets) > 1]
    if len(several) > 1:
        raise Refusal(
            Code.BUDGET_INVALID,
            "only one field may have several budgets",
            field=several[1],
            expected="one budget, such as 0.5",
            got=texts[several[1]][:80],
        )
    common = {field: budgets[0] for field, budgets in lists.items()}
    choices = [common]
    if several:
        [field] = several
        choices = [{**common, field: budget} for budget in lists[field]]
    for choice in choices:
        if choice:
            parse_budgets(choice)
    return choices
