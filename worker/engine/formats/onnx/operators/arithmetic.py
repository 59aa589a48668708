"""ONNX's element-wise mathematics, comparisons and logic as torch functions."""

import operator as python
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    UnlistedError,
    without_attributes,
)

DTYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.FLOAT16: torch.float32,
    TensorProto.BFLOAT16: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.BOOL: torch.bool,
}
"""The torch type of each of ONNX's element types; half precision is computed as float32."""


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    """Divide; quotients of integers are rounded towards zero.

    >>> _quotient(torch.tensor(-7), torch.tensor(2)).item()
    -3
    """
    if a.is_floating_point():
        return a / b
    return torch.div(a, b, rounding_mode="trunc")


def _power(operator: Operator) -> Function:
    """Raise to a power, in the element type of the base."""
    # torch refuses negative powers of integers.
    operator.require_floats()

    def power(base: Tensor, exponent: Tensor) -> Tensor:
        return torch.pow(base, exponent).to(base.dtype)

    return power


def _modulo(operator: Operator) -> Function:
    """Return the remainder with the sign of the divisor, or with `fmod` of the dividend."""
    # ONNX's fmod and torch's have the sign of the dividend.
    if operator.get("fmod", 0):
        return torch.fmod
    return torch.remainder


def _folded(combine: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """Return the entry of an operator that combines any number of inputs, from left to right."""
    return without_attributes(lambda *values: reduce(combine, values))


def _mean(*values: Tensor) -> Tensor:
    """Return the mean of several tensors, element by element.

    >>> _mean(torch.tensor(1.0), torch.tensor(2.0), torch.tensor(6.0)).item()
    3.0
    """
    total: Tensor = reduce(python.add, values)
    return total / len(values)


def _cast(operator: Operator) -> Function:
    """Cast to another element type; those that torch cannot compute with are left out."""
    dtype = DTYPES.get(operator.get("to"))
    if dtype is None:
        raise UnlistedError("Cast")
    return lambda x: x.to(dtype)


def _clip(operator: Operator) -> Function:
    """Up to opset 10 the bounds are attributes, from 11 on inputs."""
    if operator.opset < 11:
        lower = operator.get("min")
        upper = operator.get("max")
        return lambda x: _clamp(x, lower, upper)
    return _clamp


def _clamp(x: Tensor, lower: Any = None, upper: Any = None) -> Tensor:  # noqa: ANN401 - numbers or tensors
    """Limit values to a range that may be open at either end."""
    # torch refuses to clamp without bounds.
    if lower is None and upper is None:
        return x
    return torch.clamp(x, lower, upper)


def _shift(operator: Operator) -> Function:
    """Shift the bits of unsigned integers to the left or to the right."""
    if operator.get("direction") == "LEFT":
        return torch.bitwise_left_shift
    return torch.bitwise_right_shift


def _is_infinite(operator: Operator) -> Function:
    """Return where values are infinite, of either sign or of one."""
    # By default both signs count.
    detects_negative = operator.get("detect_negative", 1)
    detects_positive = operator.get("detect_positive", 1)

    def is_infinite(x: Tensor) -> Tensor:
        detected = torch.zeros_like(x, dtype=torch.bool)
        if detects_negative:
            detected = detected | torch.isneginf(x)
        if detects_positive:
            detected = detected | torch.isposinf(x)
        return detected

    return is_infinite


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return elements of `a` where a condition holds, else of `b`."""
    return torch.where(condition, a, b)


def _like(x: Tensor, other: Any) -> Tensor:  # noqa: ANN401 - whatever has a dtype
    """Cast to the element type of another value."""
    return x.to(other.dtype)


TABLE: dict[str, Builder] = {
    "Abs": without_attributes(torch.abs),
    "Acos": without_attributes(torch.acos),
    "Acosh": without_attributes(torch.acosh),
    "Add": without_attributes(torch.add),
    "And": without_attributes(torch.logical_and),
    "Asin": without_attributes(torch.asin),
    "Asinh": without_attributes(torch.asinh),
    "Atan": without_attributes(torch.atan),
    "Atanh": without_attributes(torch.atanh),
    "BitShift": _shift,
    "BitwiseAnd": without_attributes(torch.bitwise_and),
    "BitwiseNot": without_attributes(torch.bitwise_not),
    "BitwiseOr": without_attributes(torch.bitwise_or),
    "BitwiseXor": without_attributes(torch.bitwise_xor),
    "Cast": _cast,
    "CastLike": without_attributes(_like),
    "Ceil": without_attributes(torch.ceil),
    "Clip": _clip,
    "Cos": without_attributes(torch.cos),
    "Cosh": without_attributes(torch.cosh),
    "Div": without_attributes(_quotient),
    "Equal": without_attributes(torch.eq),
    "Erf": without_attributes(torch.erf),
    "Exp": without_attributes(torch.exp),
    "Floor": without_attributes(torch.floor),
    "Greater": without_attributes(torch.gt),
    "GreaterOrEqual": without_attributes(torch.ge),
    "IsInf": _is_infinite,
    "IsNaN": without_attributes(torch.isnan),
    "Less": without_attributes(torch.lt),
    "LessOrEqual": without_attributes(torch.le),
    "Log": without_attributes(torch.log),
    "Max": _folded(torch.maximum),
    "Mean": without_attributes(_mean),
    "Min": _folded(torch.minimum),
    "Mod": _modulo,
    "Mul": without_attributes(torch.mul),
    "Neg": without_attributes(torch.neg),
    "Not": without_attributes(torch.logical_not),
    "Or": without_attributes(torch.logical_or),
    "Pow": _power,
    "Reciprocal": without_attributes(torch.reciprocal),
    "Round": without_attributes(torch.round),
    "Sign": without_attributes(torch.sign),
    "Sin": without_attributes(torch.sin),
    "Sinh": without_attributes(torch.sinh),
    "Sqrt": without_attributes(torch.sqrt),
    "Sub": without_attributes(torch.sub),
    "Sum": _folded(torch.add),
    "Tan": without_attributes(torch.tan),
    "Where": without_attributes(_where),
    "Xor": without_attributes(torch.logical_xor),
}
