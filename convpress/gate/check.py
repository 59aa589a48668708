"""The first wall: refuse an unsafe model by its container, before any library opens it."""

from pathlib import Path

from convpress.gate.identify import EXPECTED, FIELD, Format, identify
from convpress.gate.onnx.check import require_safe_onnx
from convpress.gate.torchscript.check import require_safe_torchscript
from convpress.limits import Limits
from convpress.refusal import Code, Refusal


def require_safe(path: Path, expected: Format, limits: Limits) -> None:
    """Require that the file at `path` is a model of a format, with nothing that no network needs.

    Raises:
        Refusal: the codes of `identify`, and `model_invalid`, `model_unsafe`, `model_unsupported`
            or `model_over_limit`.
    """
    actual = identify(path)
    if actual != expected:
        raise Refusal(
            Code.MODEL_UNRECOGNISED,
            f"the file is {actual}, not {expected}",
            field=FIELD,
            expected=EXPECTED,
            got=actual,
        )
    if actual == "onnx":
        require_safe_onnx(path, limits)
    else:
        require_safe_torchscript(path, limits)
