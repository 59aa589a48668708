"""The precision of a compressed model: float, int8, or a choice for each layer."""

from typing import Literal, get_args

from convpress.refusal import Code, Refusal
from convpress.text.spelling import did_you_mean

Precision = Literal["float", "int8", "auto"]
"""How the layers of an artifact compute.

`float` leaves their types. With `int8` all layers that lose little by it compute with whole
numbers of 8 bits. With `auto` the budgets choose for each layer.
"""

FIELD = "precision"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FLOAT: Precision = "float"
INT8: Precision = "int8"
AUTO: Precision = "auto"


def parse_precision(text: str | None) -> Precision:
    """Read a precision; no text means float.

    Raises:
        Refusal: `precision_invalid`.

    >>> parse_precision(" INT8 "), parse_precision("")
    ('int8', 'float')
    """
    name = (text or "").strip().lower() or FLOAT
    if name in PRECISIONS:
        return name
    raise Refusal(
        Code.PRECISION_INVALID,
        f"{name[:80]!r} is no precision{did_you_mean(name, PRECISIONS)}",
        field=FIELD,
        expected="float, int8 or auto",
        got=name[:80],
    )


def require_ranges(precision: Precision, calibration: str) -> None:
    """Check that a job in int8 measures the ranges of its activations.

    Raises:
        Refusal: `precision_invalid`.
    """
    if precision == FLOAT or calibration != "none":
        return
    raise Refusal(
        Code.PRECISION_INVALID,
        "int8 needs the ranges of the model's activations, which calibration=none does not measure",
        field=FIELD,
        expected="float, or another calibration",
        got=precision,
    )


def require_onnx(precision: Precision, model_format: str) -> None:
    """Check that a model that is not to stay in float is an ONNX one.

    Raises:
        Refusal: `precision_invalid`.
    """
    if precision == FLOAT or model_format == "onnx":
        return
    raise Refusal(
        Code.PRECISION_INVALID,
        "int8 is for ONNX models: export the model to ONNX, or compress it in float",
        field=FIELD,
        expected="float, or an ONNX model",
        got=f"{precision} for a model of the format {model_format}",
    )
