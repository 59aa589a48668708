"""The first wall: refuse an unsafe model by its container, before any library opens it."""

from pathlib import Path

from convpress.formats import EXPECTED, FIELD, Format
from convpress.gate.identify import identify
from convpress.gate.registry import GATES
from convpress.limits import Limits
from convpress.refusal import Code, Refusal


def require_safe(path: Path, expected: Format, limits: Limits) -> None:
    """Require that the file at `path` is a model of a format, with nothing that no network needs.

    Raises:
        Refusal: the codes of `identify`, and `model_invalid`, `model_unsafe`, `model_unsupported`
            or `model_over_limit`.
    """
    actual = identify(path)
    # The format was recorded when the upload came; what a child writes may be of any.
    if actual != expected:
        raise Refusal(
            Code.MODEL_UNRECOGNISED,
            f"the file is {actual}, not {expected}",
            field=FIELD,
            expected=EXPECTED,
            got=actual,
        )
    GATES[actual].check(path, limits)
