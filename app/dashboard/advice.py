"""Advice: the next step for each problem code, shown below the problem."""

from collections.abc import Mapping
from typing import Any

from app.dashboard.remedies import change_helps, suggested_fields
from convpress.formats import EXPORTERS, NOUNS

_ADVICE: Mapping[str, str] = {
    "budget_unreachable": (
        "Choose a larger budget or loss; the message names what can be reached."
    ),
    "account_incomplete": (
        "Tick the box to budget the counted operators alone; the report then says on top what it "
        "leaves out."
    ),
    "budget_invalid": (
        "Write the budget as a fraction (0.5 or 50%) or an amount (7.2G, 3.6 GMACs, 5.4M, "
        "20MB or 12ms)."
    ),
    "input_shape_required": (
        "The file does not state all sizes of its inputs. Enter them, such as 1x3x224x224."
    ),
    "input_shape_mismatch": (
        "The model does not run on these sizes. Enter the sizes that it was exported for."
    ),
    "input_shape_invalid": "Separate the sizes by x, such as 1x3x224x224.",
    "model_pickled": (f"Export it first, with {EXPORTERS}: pickles are never opened."),
    "model_unrecognised": f"Upload {NOUNS}.",
    "model_truncated": "The upload is incomplete: export or copy the file again.",
    "model_invalid": (
        "Check that the file loads and runs where it was exported, then export it again."
    ),
    "model_unsafe": (
        "The file contains something that no exported network needs, so it was not opened. "
        "Export the network alone."
    ),
    "model_over_limit": "An administrator can raise the limit that the message names.",
    "model_gone": "The stored model has expired. Upload it again.",
    "samples_gone": "The stored samples have expired. Send them again.",
    "file_gone": "The job's files have expired. Run it again.",
    "nothing_to_compress": "The model has no layer that can be factored.",
    "precision_invalid": (
        "Choose the precision float, or send what the message names: an ONNX model of one file."
    ),
    "verification_failed": "The compressed model failed its verification. Try a larger budget.",
    "out_of_memory": (
        "Enter a smaller input shape, or ask an administrator to raise the memory limit of a job."
    ),
    "job_timeout": (
        "Try calibration “none”, which takes seconds, or ask an administrator to raise the "
        "time limit of a job."
    ),
    "worker_lost": (
        "The workers that ran it died. Run it again; if that repeats, tell an administrator."
    ),
    "engine_error": (
        "Run it again. If that repeats, it is a fault of this service: tell its maintainers."
    ),
    "storage_full": "The disk is full. An administrator must free space.",
    "samples_invalid": (
        "Send an .npz file with one array for each input, under the input's name; samples lie"
        " along the first axis."
    ),
    "evaluation_gone": "The stored evaluation has expired. Send it again.",
    "evaluation_invalid": (
        "Send an .npz file with one array for each input, under the input's name, and labels or"
        " targets; samples lie along the first axis."
    ),
    "cost_table_missing": (
        "An administrator can make one with `convpress calibrate-host`; or leave out the budget of "
        "time."
    ),
    "threads_invalid": "Enter a number of threads that the message allows.",
    "target_invalid": "Choose a target that the message names, or none: the worker's host.",
    "cost_table_invalid": (
        "An administrator can make a new one with `convpress calibrate-host`."
    ),
    "device_unavailable": (
        "The GPU of the worker does not answer. Try again later, or tell an administrator."
    ),
    "model_unsupported": (
        "Export the model in a format, or without the feature, that the message names."
    ),
    "model_empty": ("The file has no content: export or copy it again."),
    "input_range_invalid": (
        "Write the range as 0,255, or a mean with its standard deviation."
    ),
    "calibration_invalid": (
        "Choose synthetic, none, or samples together with a file of samples."
    ),
    "scope_missing": "Sign in with a key that has this scope.",
    "quota_exceeded": "Wait until jobs have ended, or delete jobs.",
    "rate_exceeded": "Wait a minute.",
    "job_not_found": "It was deleted, or it belongs to another owner.",
    "keys_required": (
        "Open it on the machine that runs it, or ask an administrator to turn keys on."
    ),
}


def advice(code: str) -> str | None:
    """Return the next step for a problem; None where the problem itself says enough."""
    return _ADVICE.get(code)


def shown_error(error: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the problem of a failed job with its advice and its remedies."""
    if error is None:
        return None
    members = {
        name: error.get(name) for name in ("code", "detail", "field", "expected", "got")
    }
    return {
        **members,
        "advice": advice(error["code"]),
        "change_helps": change_helps(error),
        "suggested": suggested_fields(error),
    }
