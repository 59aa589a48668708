"""The first wall: refuse a model by its container, before any library opens it."""

from pathlib import Path

from convpress.gate.identify import EXPECTED, FIELD, Format, identify
from convpress.gate.onnx import check as onnx_gate
from convpress.gate.torchscript import check as torchscript_gate
from convpress.limits import Limits
from convpress.refusal import Code, Refusal


def check(path: Path, wanted: Format, limits: Limits) -> None:
    """Check that the file at `path` is a model of the format `wanted`, and made of nothing but what a network needs.

    Raises:
        Refusal: what `identify` raises, and `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`.
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
    if found == "onnx":
        onnx_gate.check(path, limits)
    else:
        torchscript_gate.check(path, limits)
