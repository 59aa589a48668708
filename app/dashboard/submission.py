"""The form of new jobs: one model, and a job for each of the FLOPs budgets in its field."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Security
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from app import data_folder
from app.auth.quota import check_quota, check_unfinished
from app.auth.scopes import caller_of, require
from app.dashboard.pages import see_other
from app.db.models import Job
from app.db.session import transaction
from app.jobs import commands
from app.queue.celery_client import enqueue
from app.settings import get_settings
from app.storage import get_storage
from app.uploads.submission import Submission, receive_submission
from convpress.budgets import FLOPS
from convpress.options import FIELD_PARSERS
from convpress.refusal import Code, Refusal

# Enough for a curve; each is a job that others wait for.
_MOST = 10
_SEPARATOR = re.compile(r";|,\s")
# A decimal comma, which the parser of one budget refuses or reads.
_ONE_NUMBER = re.compile(r"\d*,\d+\s*\D*")

router = APIRouter()


class BudgetField:
    """The parser of the field: returns the first budget, and keeps all texts in `budgets`."""

    def __init__(self) -> None:
        self.budgets: Sequence[str] = ()

    def __call__(self, text: str) -> Any:  # noqa: ANN401 - what the parser of one budget returns
        """Read the field.

        Raises:
            Refusal: `budget_invalid`, also for more than `_MOST` budgets.
        """
        self.budgets = split_budgets(text)
        budgets = [FIELD_PARSERS[FLOPS.field](each) for each in self.budgets]
        return budgets[0] if budgets else FIELD_PARSERS[FLOPS.field](text)


def split_budgets(text: str, field: str = FLOPS.field) -> list[str]:
    """Return the budgets of a list, without repetitions.

    Where commas or semicolons are followed by spaces, a comma between digits is a decimal one.

    Raises:
        Refusal: `budget_invalid` for more than `_MOST`.

    >>> split_budgets("0.7, 0.5, 0.5; 3.6 GMACs"), split_budgets("0,5"), split_budgets(" ")
    (['0.7', '0.5', '3.6 GMACs'], ['0,5'], [])
    >>> split_budgets("0,7; 0,5"), split_budgets("0.7,0.5,0.3")
    (['0,7', '0,5'], ['0.7', '0.5', '0.3'])
    """
    if _ONE_NUMBER.fullmatch(text.strip()):
        return [text.strip()]
    separator = _SEPARATOR if _SEPARATOR.search(text) else ","
    parts = [part.strip() for part in re.split(separator, text)]
    budgets = list(dict.fromkeys(part for part in parts if part))
    if len(budgets) > _MOST:
        raise Refusal(
            Code.BUDGET_INVALID,
            f"a form takes at most {_MOST} budgets",
            field=field,
            expected=f"at most {_MOST} budgets, such as 0.7, 0.5, 0.3",
            got=f"{len(budgets)} budgets",
        )
    return budgets


@router.post(
    "/dashboard/jobs", dependencies=[Security(require("submit")), Depends(check_quota)]
)
async def submit_jobs(request: Request) -> Response:
    """Store a model, add a job for each FLOPs budget, and show the job, or the jobs of the model.

    Raises:
        Problem: `quota_exceeded`, and those of `app.uploads.submission`.
    """
    data_folder.check(get_settings())
    field = BudgetField()
    async with receive_submission(request, {FLOPS.field: field}) as submission:
        jobs = await run_in_threadpool(_accept, request, submission, field.budgets)
    if len(jobs) == 1:
        return see_other(f"/dashboard/jobs/{jobs[0].id}")
    return see_other(f"/?q={submission.sha256}")


def _accept(
    request: Request, submission: Submission, budgets: Sequence[str]
) -> Sequence[Job]:
    """Store the model and commit all jobs, or none, and only then tell the workers."""
    # Once more: the upload may have taken long.
    data_folder.check(get_settings())
    check_unfinished(caller_of(request), max(len(budgets), 1))
    storage = get_storage()
    with transaction() as session:
        jobs = [
            commands.create(session, storage, each)[0]
            for each in _each(submission, budgets)
        ]
    for job in jobs:
        enqueue(job.id)
    return jobs


def _each(submission: Submission, budgets: Sequence[str]) -> Sequence[Submission]:
    """Return a submission for each FLOPs budget; the given one where the form has none."""
    if not budgets:
        return [submission]
    options = submission.options
    return [
        replace(
            submission,
            options=replace(options, budgets={**options.budgets, FLOPS.field: budget}),
        )
        for budget in budgets
    ]
