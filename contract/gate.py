"""The first wall: refuse a model by its container, before any library opens it."""

from pathlib import Path

from contract import bundle, onnx_gate, torchscript_gate
from contract.container import EXPECTED, FIELD, Format, identify
from contract.limits import Limits
from contract.refusal import Code, Refusal


def check(path: Path, wanted: Format, limits: Limits) -> None:
    """Check that the file at `path` is a model of the format `wanted`, and made of nothing but what a network needs.

    An ONNX model may refer to the files that came with it in one bundle, and to no others.

    Raises:
        Refusal: what `identify` raises, and `model_invalid`, `model_unsafe`, `model_unsupported` or `model_over_limit`.
    """
    found = identify(path)
    if found != wanted:
        raise Refusal(
            Code.MODEL_UNRECOGNISED, f"the file is {found}, not {wanted}", field=FIELD, expected=EXPECTED, got=found
        )
    if found == "onnx":
        archive = bundle.read(path)
        if archive is None:
            onnx_gate.check(path, limits)
        else:
            with bundle.model_of(path, archive) as (file, start, end):
                onnx_gate.check(file, limits, archive.beside, start, end)
    else:
        torchscript_gate.check(path, limits)
