"""The parts of openapi.json that FastAPI cannot derive: the form of a new job, and problems."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, get_args

from app.errors import PROBLEM_TYPES, document
from app.uploads import remote, submission
from app.webhooks import url as webhook_url
from convpress import (
    budgets,
    calibration,
    evaluation,
    formats,
    labels,
    max_loss,
    precision,
    shapes,
    targets,
    threads,
)
from convpress.gate import samples
from convpress.options import ADVICE_FIELDS
from convpress.schemas import PROBLEM_MEDIA_TYPE

TITLE = "convpress"
VERSION = version("convpress")
SUMMARY = "Makes trained convolutional networks cheaper, without any data"
EXAMPLE_ADDRESS = "http://127.0.0.1:8000"
"""The service's address in the description; `app.routes.description` replaces it."""

DESCRIPTION = f"""
[Back to the jobs of this service]({EXAMPLE_ADDRESS}/)

Post {formats.NOUNS} with a FLOPs budget.
You get back the same model with its convolutions factored to fit the budget.

```sh
curl -F model=@model.onnx -F flops_budget=0.5 {EXAMPLE_ADDRESS}/jobs
```

answers with the job and its `Location`.
Follow the job until its `state` is `succeeded`, then download its files:

```sh
curl {EXAMPLE_ADDRESS}/jobs/$ID
curl -OJ {EXAMPLE_ADDRESS}/jobs/$ID/artifact
curl {EXAMPLE_ADDRESS}/jobs/$ID/report
```

Every error is a problem document (RFC 9457) with a stable `code`.
A failed job has the same document as its `error`.
"""

# FLOPs lead in every list of budgets, so their field is written out first.
_OTHER_BUDGETS = [kind for kind in budgets.KINDS.values() if kind is not budgets.FLOPS]

# In the order in which clients had best send them: a fault in a field is reported when the field
# has arrived, before the files.
_FIELDS: dict[str, dict[str, Any]] = {
    budgets.FLOPS.field: {
        "type": "string",
        "description": f"The FLOPs to keep: {budgets.FLOPS.expected}",
        "example": "0.5",
    },
    **{
        kind.field: {
            "type": "string",
            "description": f"In addition or instead: {kind.expected}",
        }
        for kind in _OTHER_BUDGETS
    },
    max_loss.FIELD: {
        "type": "string",
        "description": "Instead of the FLOPs budget, the largest loss: the service looks for the "
        "cheapest artifact that keeps it, by the metric of the evaluation, or else by the "
        f"agreement with the original: {max_loss.EXPECTED}",
    },
    # Forms have texts only, so that a boolean is one of two words.
    budgets.AT_ANY_PRICE: {
        "type": "string",
        "enum": ["true", "false"],
        "description": "Whether layers may become slower. Otherwise none does by the cost table of "
        "the target, or of the worker's host if one was measured there; without these, none of at "
        "most four input channels does",
    },
    budgets.ALLOW_INCOMPLETE: {
        "type": "string",
        "enum": ["true", "false"],
        "description": "Whether a budget of FLOPs may hold for the counted operators alone, where "
        "the model has others with weights whose FLOPs are not known",
    },
    precision.FIELD: {
        "type": "string",
        "enum": list(precision.PRECISIONS),
        "description": "For ONNX models: `int8` computes all layers in int8 that lose little, and "
        "needs no budget; `auto` chooses for each layer by the budgets. The default is `float`",
    },
    targets.FIELD: {
        "type": "string",
        "enum": list(targets.TARGETS),
        "description": "The processor to optimise for: its cost table says which layers are fast. "
        "The default is the worker's host, if a table was measured there",
    },
    threads.FIELD: {
        "type": "string",
        "description": "The threads that original and artifact are timed on, from 1 to "
        f"{threads.MOST}. The default is 1",
    },
    shapes.FIELD: {
        "type": "string",
        "description": "Only for a model that does not contain its input's sizes: "
        f"{shapes.EXPECTED}",
    },
    calibration.FIELD: {
        "type": "string",
        "enum": list(get_args(calibration.Calibration)),
        "description": "Inputs that the model is measured on before it is factored: `synthetic` "
        "images, which the service makes; the `samples` of this form; or `none`, which considers "
        "the weights only. The default is `samples` if the form has some, else `synthetic`",
    },
    calibration.RANGE: {
        "type": "string",
        "description": "The values of the model's images, if the service should not determine them "
        f"itself: {calibration.EXPECTED_RANGE}",
        "example": "0,255",
    },
    calibration.MEAN: {
        "type": "string",
        "description": "Instead of the range, the mean by which images with values from 0 to 1 are "
        f"standardised: {calibration.EXPECTED_NUMBERS}",
    },
    calibration.DEVIATION: {
        "type": "string",
        "description": f"The standard deviation, with the mean: {calibration.EXPECTED_NUMBERS}",
    },
    evaluation.METRIC: {
        "type": "string",
        "enum": list(get_args(evaluation.Metric)),
        "description": "The metric of the evaluation. The default is `top-1`",
    },
    evaluation.OUTPUT: {
        "type": "string",
        "description": "The name of the output that is measured, of a model with several",
    },
    labels.FIELD: {
        "type": "string",
        "description": f"Labels to find the job by: {labels.EXPECTED}",
        "example": "team=vision",
    },
    webhook_url.FIELD: {
        "type": "string",
        "format": "uri",
        "description": f"Called when the job has ended: {webhook_url.EXPECTED}",
    },
    submission.SHA256: {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "Instead of the file: a model that is already stored",
    },
    remote.FIELD: {
        "type": "string",
        "format": "uri",
        "description": f"Instead of the file: {remote.EXPECTED}",
    },
    samples.FIELD: {
        "type": "string",
        "format": "binary",
        "description": f"A file: {samples.EXPECTED}",
    },
    evaluation.FIELD: {
        "type": "string",
        "format": "binary",
        "description": "A file, on which the metric is measured before and after: "
        f"{evaluation.EXPECTED}",
    },
    formats.FIELD: {
        "type": "string",
        "format": "binary",
        "description": f"The file: {formats.EXPECTED}",
    },
}

_ADVICE_NAMES = {
    *(*ADVICE_FIELDS, *submission.SOURCES),
    *(labels.FIELD, webhook_url.FIELD, samples.FIELD),
}

# Both schemas state the rules of `app.uploads.submission`, so that generated clients, and
# tests that are generated from them, send no form that is refused for its shape.
_ADVICE_SCHEMA: dict[str, Any] = {
    "type": "object",
    # Exactly one source of the model.
    "oneOf": [{"required": [field]} for field in submission.SOURCES],
    "if": {
        "properties": {calibration.FIELD: {"const": "samples"}},
        "required": [calibration.FIELD],
    },
    "then": {"required": [samples.FIELD]},
    "dependentSchemas": {
        samples.FIELD: {"properties": {calibration.FIELD: {"const": "samples"}}},
        calibration.RANGE: {
            "properties": {calibration.MEAN: False, calibration.DEVIATION: False}
        },
    },
    "dependentRequired": {
        calibration.MEAN: [calibration.DEVIATION],
        calibration.DEVIATION: [calibration.MEAN],
    },
    # A misspelt field is refused: an option that is ignored in silence costs a whole job.
    "additionalProperties": False,
    "properties": {
        name: field for name, field in _FIELDS.items() if name in _ADVICE_NAMES
    },
}
_INT8 = {
    "required": [precision.FIELD],
    "properties": {precision.FIELD: {"const": precision.INT8}},
}
_JOB_SCHEMA: dict[str, Any] = {
    **_ADVICE_SCHEMA,
    # At least one budget, a largest loss, or int8.
    "anyOf": [
        *({"required": [field]} for field in (*budgets.KINDS, max_loss.FIELD)),
        _INT8,
    ],
    "dependentSchemas": {
        **_ADVICE_SCHEMA["dependentSchemas"],
        max_loss.FIELD: {"properties": {budgets.FLOPS.field: False}},
        budgets.LATENCY.field: {
            "properties": {budgets.AT_ANY_PRICE: {"const": "false"}}
        },
    },
    "dependentRequired": {
        **_ADVICE_SCHEMA["dependentRequired"],
        evaluation.METRIC: [evaluation.FIELD],
        evaluation.OUTPUT: [evaluation.FIELD],
    },
    "properties": _FIELDS,
}


def _body(schema: Mapping[str, Any]) -> dict[str, Any]:
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


JOB_FORM = _body(_JOB_SCHEMA)
"""The body of `POST /jobs`, which reads its form itself."""
ADVICE_FORM = _body(_ADVICE_SCHEMA)
"""The body of `POST /advice`, likewise."""

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
ANY_PROBLEM: dict[str, Any] = {
    "description": "Any other problem",
    "content": {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM}},
}


SUBMISSION_PROBLEMS = (
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
)
"""The codes with which any form that brings a model is refused."""


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route that may answer with these problems, by status."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = PROBLEM_TYPES[code]
        examples = by_status.setdefault(status, {})
        # The title stands for the detail, which only a real request has.
        examples[code] = {"value": document({"code": code, "detail": title}, "/jobs")}
    return {
        status: _problem_response(examples) for status, examples in by_status.items()
    }


def _problem_response(examples: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": _PROBLEM, "examples": examples}
    return {
        "content": {PROBLEM_MEDIA_TYPE: content},
        "description": " or ".join(f"`{code}`" for code in examples),
    }
