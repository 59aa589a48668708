"""What the API's description says beyond the code: the form of a new job, and the problems of each call."""

from importlib.metadata import version
from typing import Any, get_args

from app.errors import KINDS, document
from app.uploads import remote, submission
from app.webhooks import call
from convpress import budgets, calibration, formats, labels, shapes
from convpress.gate import samples
from convpress.schemas import PROBLEM_MEDIA_TYPE

TITLE = "convpress"
VERSION = version("convpress")
SUMMARY = "Makes trained convolutional networks cheaper, without any data"
DESCRIPTION = f"""
Post {formats.NOUNS} with a FLOPs budget; get the same model back with its convolutions factored to fit.

```sh
curl -F model=@model.onnx -F flops_budget=0.5 http://127.0.0.1:8000/jobs
```

answers with the job and its `Location`. Follow it until its `state` is `succeeded`, then fetch what it made:

```sh
curl http://127.0.0.1:8000/jobs/$ID
curl -OJ http://127.0.0.1:8000/jobs/$ID/artifact
curl http://127.0.0.1:8000/jobs/$ID/report
```

Every error is a problem document (RFC 9457) with a stable `code`; a failed job carries the same object as its `error`.
"""

JOB_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "anyOf": [{"required": [field]} for field in budgets.KINDS],
                    "oneOf": [{"required": [field]} for field in submission.SOURCES],
                    "if": {
                        "properties": {calibration.FIELD: {"const": "samples"}},
                        "required": [calibration.FIELD],
                    },
                    "then": {"required": [samples.FIELD]},
                    "dependentSchemas": {
                        samples.FIELD: {"properties": {calibration.FIELD: {"const": "samples"}}},
                        budgets.LATENCY.field: {
                            "properties": {budgets.AT_ANY_PRICE: {"const": "false"}}
                        },
                        calibration.RANGE: {
                            "properties": {calibration.MEAN: False, calibration.DEVIATION: False}
                        },
                    },
                    "additionalProperties": False,
                    "properties": {
                        budgets.FLOPS.field: {
                            "type": "string",
                            "description": f"What to keep: {budgets.FLOPS.expected}",
                            "example": "0.5",
                        },
                        **{
                            kind.field: {
                                "type": "string",
                                "description": f"As well, or instead: {kind.expected}",
                            }
                            for kind in budgets.KINDS.values()
                            if kind is not budgets.FLOPS
                        },
                        budgets.AT_ANY_PRICE: {
                            "type": "string",
                            "enum": ["true", "false"],
                            "description": "Whether layers may become slower than they are; without, and where the "
                            "worker's host has a cost table, none does",
                        },
                        shapes.FIELD: {
                            "type": "string",
                            "description": f"Only for a model that does not carry its input's sizes: {shapes.EXPECTED}",
                        },
                        calibration.FIELD: {
                            "type": "string",
                            "enum": list(get_args(calibration.Calibration)),
                            "description": "Inputs that the model is measured on before it is factored: such as the "
                            "service makes itself; none, so that its weights count alone; or the samples that are sent "
                            "along. Left out, the samples if there are some, else synthetic ones",
                        },
                        calibration.RANGE: {
                            "type": "string",
                            "description": "What values the model's images have, where the service need not find out: "
                            f"{calibration.EXPECTED_RANGE}",
                            "example": "0,255",
                        },
                        calibration.MEAN: {
                            "type": "string",
                            "description": "In the range's place, by what images of values 0 to 1 are standardised: "
                            f"{calibration.EXPECTED_NUMBERS}",
                        },
                        calibration.DEVIATION: {
                            "type": "string",
                            "description": f"With the mean: {calibration.EXPECTED_NUMBERS}",
                        },
                        labels.FIELD: {
                            "type": "string",
                            "description": f"To find the job by: {labels.EXPECTED}",
                            "example": "team=vision",
                        },
                        call.FIELD: {
                            "type": "string",
                            "format": "uri",
                            "description": f"Called when the job has ended: {call.EXPECTED}",
                        },
                        submission.SHA256: {
                            "type": "string",
                            "pattern": "^[0-9a-f]{64}$",
                            "description": "In the file's place: a model that is stored already",
                        },
                        remote.FIELD: {
                            "type": "string",
                            "format": "uri",
                            "description": f"In the file's place: {remote.EXPECTED}",
                        },
                        samples.FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": f"A file: {samples.EXPECTED}",
                        },
                        formats.FIELD: {
                            "type": "string",
                            "format": "binary",
                            "description": f"The file: {formats.EXPECTED}",
                        },
                    },
                },
            }
        },
    }
}
"""The fields stand in the order in which they are best sent: what is wrong with a field is told when it has come."""

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
ANY_PROBLEM: dict[str, Any] = {
    "description": "Any other problem",
    "content": {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM}},
}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that a call may answer with, by status."""
    described: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        examples = described.setdefault(
            kind.status, {"content": {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM, "examples": {}}}}
        )["content"][PROBLEM_MEDIA_TYPE]["examples"]
        examples[code] = {"value": document({"code": code, "detail": kind.title}, "/jobs")}
        described[kind.status]["description"] = " or ".join(f"`{name}`" for name in examples)
    return described
