"""What can be done about a failed job: run it again as it is, change an option, or neither."""

import math
import re
from collections.abc import Mapping
from typing import Any

from convpress import shapes
from convpress.budgets import KINDS
from convpress.refusal import Code, Refusal

_PASSING = frozenset(
    {
        Code.DEVICE_UNAVAILABLE,
        Code.STORAGE_FULL,
        Code.WORKER_LOST,
        Code.ENGINE_ERROR,
        Code.JOB_TIMEOUT,
        Code.OUT_OF_MEMORY,
        Code.COST_TABLE_MISSING,
        Code.COST_TABLE_INVALID,
        Code.MODEL_OVER_LIMIT,
    }
)
"""Faults of the service or of its limits: an administrator or time may take them away."""

_BY_OPTIONS = frozenset(
    {
        Code.BUDGET_UNREACHABLE,
        Code.ACCOUNT_INCOMPLETE,
        Code.VERIFICATION_FAILED,
        Code.INPUT_SHAPE_REQUIRED,
        Code.INPUT_SHAPE_INVALID,
        Code.INPUT_SHAPE_MISMATCH,
        Code.OUT_OF_MEMORY,
        Code.JOB_TIMEOUT,
    }
)
"""Faults that another budget or input shape may avoid."""

# As `worker.engine.selection.unreachable` writes the least budget.
_LEAST = re.compile(r"at least (0\.\d{4}|1\.0000), or .*")


def retry_helps(error: Mapping[str, Any] | None) -> bool:
    """Return whether the same job may succeed another time; a cancelled job has no error."""
    return error is None or _code(error) in _PASSING


def change_helps(error: Mapping[str, Any]) -> bool:
    """Return whether the job may succeed with other options, or another time."""
    return _code(error) in _BY_OPTIONS | _PASSING


def suggested_fields(error: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields that would avoid an error, as far as the error itself tells.

    >>> suggested_fields({"code": "input_shape_mismatch", "field": "input_shape",
    ...                   "expected": "1x3x32x32"})
    {'input_shape': '1x3x32x32'}
    """
    field, expected = error.get("field"), error.get("expected") or ""
    if error.get("code") == Code.BUDGET_UNREACHABLE and field in KINDS:
        least = _LEAST.fullmatch(expected)
        if least is None:
            return {}
        # The error rounds to four digits, and a budget below the least would fail again.
        return {field: f"{min(math.ceil(float(least[1]) * 1000 + 0.1) / 1000, 1.0):g}"}
    if field == shapes.FIELD and _is_shape(expected):
        return {field: expected}
    return {}


def _is_shape(text: str) -> bool:
    try:
        return shapes.parse_input_shape(text) is not None
    except Refusal:
        return False


def _code(error: Mapping[str, Any]) -> str:
    return str(error.get("code"))
