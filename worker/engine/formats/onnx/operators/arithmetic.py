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
    plain,
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
"""What ONNX's element types are computed with: half precision as float32."""


def _quotient(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _power(operator: Operator) -> Function:
    operator.require_floats()  # torch refuses negative powers of integers
    return lambda base, exponent: torch.pow(base, exponent).to(base.dtype)


def _modulo(operator: Operator) -> Function:
    return torch.fmod if operator.get("fmod", 0) else torch.remainder


def _folded(combine: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """Return the entry of an operator that takes any number of inputs and combines them pair by pair."""
    return plain(lambda *values: reduce(combine, values))


def _mean(*values: Tensor) -> Tensor:
    total: Tensor = reduce(python.add, values)
    return total / len(values)


def _cast(operator: Operator) -> Function:
    dtype = DTYPES.get(operator.get("to"))
    if dtype is None:
        raise UnlistedError("Cast")
    return lambda x: x.to(dtype)


def _clip(operator: Operator) -> Function:
    if operator.opset < 11:
        least, most = operator.get("min"), operator.get("max")
        return lambda x: x if least is most is None else torch.clamp(x, least, most)
    return lambda x, least=None, most=None: (
        x if least is most is None else torch.clamp(x, least, most)
    )


def _shift(operator: Operator) -> Function:
    return (
        torch.bitwise_left_shift
        if operator.get("direction") == "LEFT"
        else torch.bitwise_right_shift
    )


def _is_infinite(operator: Operator) -> Function:
    negative, positive = operator.get("detect_negative", 1), operator.get("detect_positive", 1)

    def is_infinite(x: Tensor) -> Tensor:
        found = torch.zeros_like(x, dtype=torch.bool)
        if negative:
            found = found | torch.isneginf(x)
        return found | torch.isposinf(x) if positive else found

    return is_infinite


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


def _like(x: Tensor, other: Any) -> Tensor:  # noqa: ANN401 - whatever has a dtype
    return x.to(other.dtype)


TABLE: dict[str, Builder] = {
    "Abs": plain(torch.abs),
    "Acos": plain(torch.acos),
    "Acosh": plain(torch.acosh),
    "Add": plain(torch.add),
    "And": plain(torch.logical_and),
    "Asin": plain(torch.asin),
    "Asinh": plain(torch.asinh),
    "Atan": plain(torch.atan),
    "Atanh": plain(torch.atanh),
    "BitShift": _shift,
    "BitwiseAnd": plain(torch.bitwise_and),
    "BitwiseNot": plain(torch.bitwise_not),
    "BitwiseOr": plain(torch.bitwise_or),
    "BitwiseXor": plain(torch.bitwise_xor),
    "Cast": _cast,
    "CastLike": plain(_like),
    "Ceil": plain(torch.ceil),
    "Clip": _clip,
    "Cos": plain(torch.cos),
    "Cosh": plain(torch.cosh),
    "Div": plain(_quotient),
    "Equal": plain(torch.eq),
    "Erf": plain(torch.erf),
    "Exp": plain(torch.exp),
    "Floor": plain(torch.floor),
    "Greater": plain(torch.gt),
    "GreaterOrEqual": plain(torch.ge),
    "IsInf": _is_infinite,
    "IsNaN": plain(torch.isnan),
    "Less": plain(torch.lt),
    "LessOrEqual": plain(torch.le),
    "Log": plain(torch.log),
    "Max": _folded(torch.maximum),
    "Mean": plain(_mean),
    "Min": _folded(torch.minimum),
    "Mod": _modulo,
    "Mul": plain(torch.mul),
    "Neg": plain(torch.neg),
    "Not": plain(torch.logical_not),
    "Or": plain(torch.logical_or),
    "Pow": _power,
    "Reciprocal": plain(torch.reciprocal),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "Sin": plain(torch.sin),
    "Sinh": plain(torch.sinh),
    "Sqrt": plain(torch.sqrt),
    "Sub": plain(torch.sub),
    "Sum": _folded(torch.add),
    "Tan": plain(torch.tan),
    "Where": plain(_where),
    "Xor": plain(torch.logical_xor),
}
