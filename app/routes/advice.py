"""The advice on a model over HTTP: a job that compares ways to compress it, and makes none."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Security
from starlette.responses import Response

from app.auth.quota import check_quota
from app.auth.scopes import require
from app.openapi import ADVICE_FORM, SUBMISSION_PROBLEMS, problems
from app.routes.jobs import IdempotencyKey, post_job
from convpress import schemas
from convpress.options import ADVICE

router = APIRouter(tags=["jobs"])

_JOB: Any = schemas.Job.model_config["json_schema_extra"]
_EXAMPLE = _JOB["example"] | {
    "flops_budget": None,
    "evaluation_sha256": None,
    "evaluation_metric": None,
    "kind": "advice",
    "result": None,
    "advice": {
        "choice": "int8 alone",
        "text": "Int8 alone: 1.5 times as fast, expected to lose 0.30 % of its right answers (risk "
        "low); low rank adds nothing to it on this host.",
    },
}


@router.post(
    "/advice",
    dependencies=[Security(require("submit")), Depends(check_quota)],
    status_code=202,
    response_model=schemas.Job,
    openapi_extra=ADVICE_FORM,
    responses={
        202: {"content": {"application/json": {"example": _EXAMPLE}}},
        303: {"description": "The job's page, where `Accept` names `text/html`"},
        **problems(*SUBMISSION_PROBLEMS),
    },
)
async def create_advice(
    request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Post a model, or name a stored one, and get a job that compares ways to compress it.

    The job is followed, cancelled and deleted as any other. When it has succeeded, its `advice` has
    the sentence, and `GET /jobs/{id}/report` returns all that was measured on the worker's host.
    """
    return await post_job(request, idempotency_key, ADVICE)
