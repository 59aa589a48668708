"""The error for bad input: a stable code, the field, the expected value and the received one."""

from enum import StrEnum
from typing import Any

# A model decides what a refusal quotes. With these limits a refusal fits into one message of the
# engine and one row of a table, even where JSON takes twelve bytes for a character.
_LONGEST_DETAIL = 1500
_LONGEST_MEMBER = 750


class Code(StrEnum):
    """Every reason to refuse an input or to fail its job; stable, listed in docs/api.md."""

    ACCOUNT_INCOMPLETE = "account_incomplete"
    BUDGET_MISSING = "budget_missing"
    BUDGET_INVALID = "budget_invalid"
    BUDGET_UNREACHABLE = "budget_unreachable"
    COST_TABLE_INVALID = "cost_table_invalid"
    COST_TABLE_MISSING = "cost_table_missing"
    EVALUATION_INVALID = "evaluation_invalid"
    EVALUATION_GONE = "evaluation_gone"
    DEVICE_UNAVAILABLE = "device_unavailable"
    FORM_INVALID = "form_invalid"
    INPUT_SHAPE_REQUIRED = "input_shape_required"
    INPUT_SHAPE_INVALID = "input_shape_invalid"
    INPUT_SHAPE_MISMATCH = "input_shape_mismatch"
    MODEL_MISSING = "model_missing"
    MODEL_EMPTY = "model_empty"
    MODEL_UNRECOGNISED = "model_unrecognised"
    MODEL_TRUNCATED = "model_truncated"
    MODEL_PICKLED = "model_pickled"
    MODEL_INVALID = "model_invalid"
    MODEL_UNSAFE = "model_unsafe"
    MODEL_OVER_LIMIT = "model_over_limit"
    MODEL_UNSUPPORTED = "model_unsupported"
    MODEL_GONE = "model_gone"
    NOTHING_TO_COMPRESS = "nothing_to_compress"
    PRECISION_INVALID = "precision_invalid"
    INPUT_RANGE_INVALID = "input_range_invalid"
    CALIBRATION_INVALID = "calibration_invalid"
    SAMPLES_INVALID = "samples_invalid"
    SAMPLES_GONE = "samples_gone"
    VERIFICATION_FAILED = "verification_failed"
    OUT_OF_MEMORY = "out_of_memory"
    ENGINE_ERROR = "engine_error"
    JOB_TIMEOUT = "job_timeout"
    WORKER_LOST = "worker_lost"
    STORAGE_FULL = "storage_full"
    TARGET_INVALID = "target_invalid"
    THREADS_INVALID = "threads_invalid"
    LABELS_INVALID = "labels_invalid"


class Refusal(ValueError):
    """An input that cannot be served, with the reason in terms that its sender can act on.

    Texts that are too long to read are cut in the middle.

    >>> refusal = Refusal(Code.BUDGET_INVALID, "not above zero", field="flops_budget", got="0")
    >>> refusal.as_dict()["code"], refusal.field
    ('budget_invalid', 'flops_budget')
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        field: str | None = None,
        expected: str | None = None,
        got: str | None = None,
    ) -> None:
        self.code = code
        self.detail = shortened(detail, _LONGEST_DETAIL)
        self.field = _shortened_member(field)
        self.expected = _shortened_member(expected)
        self.got = _shortened_member(got)
        super().__init__(self.detail)

    def as_dict(self) -> dict[str, Any]:
        """Return the members as JSON values, without those that are absent."""
        members = {
            "code": str(self.code),
            "detail": self.detail,
            "field": self.field,
            "expected": self.expected,
            "got": self.got,
        }
        # Problem documents omit a member without a value, and so does the stored error of a job.
        return {key: value for key, value in members.items() if value is not None}


def shortened(text: str, longest: int) -> str:
    """Return a text of at most `longest` characters; a longer one loses its middle.

    >>> shortened("0123456789", 8)
    '012...89'
    """
    if len(text) <= longest:
        return text
    end = (longest - 3) // 2
    begin = longest - 3 - end
    return f"{text[:begin]}...{text[-end:]}"


def _shortened_member(text: str | None) -> str | None:
    return None if text is None else shortened(text, _LONGEST_MEMBER)
