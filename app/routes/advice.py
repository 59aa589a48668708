"""The advice on a model over HTTP: a job that compares ways to compress it, and makes none."""

from typing import Any

from fastapi import APIRouter, Depends, Request, Security
from starlette.responses import Response

from app.auth.quota import check_quota
from app.auth.scopes import require
from app.openapi import ADVICE_FORM, problems
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
        **problems(
            "multipart_invalid",
            "media_type_unsupported",
            "upload_too_large",
            "input_shape_invalid",
            "input_shape_required",
            "calibration_invalid",
            "input_range_invalid",
            "samples_invalid",
            "model_missing",
            "model_empty",
            "model_unrecognised",
            "model_truncated",
            "model_invalid",
            "model_over_limit",
            "model_unsupported",
            "model_pickled",
            "field_unknown",
            "field_repeated",
            "field_invalid",
            "labels_invalid",
            "webhook_invalid",
            "model_uri_invalid",
            "sha256_invalid",
            "model_ambiguous",
            "model_not_found",
            "model_gone",
            "idempotency_key_invalid",
            "idempotency_key_reused",
            "storage_full",
        ),
    },
)
async def create_advice(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Post a model, or name a stored one, and get a job that compares ways to compress it.

    The job is followed, cancelled and deleted as any other. When it has succeeded, its `advice` has
    the sentence, and `GET /jobs/{id}/report` returns all that was measured on the worker's host.
    """
    return await post_job(request, idempotency_key, ADVICE)
