"""The first wall: refuse a model by its container, before any library opens it."""

from pathlib import Path

from convpress.formats import EXPECTED, FIELD, Format
from convpress.gate.identify import identify
from convpress.gate.registry import GATES
from convpress.limits import Limits
from convpress.refusal import Code, Refusal


def check(path: Path, wanted: Format, limits: Limits) -> None:
    """Check that the file at `path` is a model of the format `wanted`, and nothing else.

    Raises:
        Refusal: those of `identify`, and `model_invalid`, `model_unsafe`, `model_unsupported` or
            `model_over_limit`.
    """
    found = identify(path)
    if found != wanted:
        raise Refusal(
            Code.MODEL_UNRECOGNISED,
            f"the file is {found}, not {wanted}",
            field=FIELD,
            expected=EXPECTED,
            got=found,
        )
    GATES[found].check(path, limits)
