"""ONNX's activation functions as torch functions, with the defaults of ONNX's specification."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator, plain


def _leaky_relu(operator: Operator) -> Function:
    alpha = operator.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, alpha)


def _elu(operator: Operator) -> Function:
    alpha = operator.get("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _selu(operator: Operator) -> Function:
    alpha = operator.get("alpha", 1.6732632423543772)
    gamma = operator.get("gamma", 1.0507009873554805)
    return lambda x: gamma * functional.elu(x, alpha)


def _celu(operator: Operator) -> Function:
    alpha = operator.get("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _hard_sigmoid(operator: Operator) -> Function:
    alpha, beta = operator.get("alpha", 0.2), operator.get("beta", 0.5)
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def _gelu(operator: Operator) -> Function:
    approximate = operator.get("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _thresholded_relu(operator: Operator) -> Function:
    alpha = operator.get("alpha", 1.0)
    return lambda x: torch.where(x > alpha, x, torch.zeros_like(x))


def _shrink(operator: Operator) -> Function:
    operator.require_floats()
    reach, bias = operator.get("lambd", 0.5), operator.get("bias", 0.0)

    def shrink(x: Tensor) -> Tensor:
        return torch.where(
            x < -reach, x + bias, torch.where(x > reach, x - bias, torch.zeros_like(x))
        )

    return shrink


def _swish(operator: Operator) -> Function:
    alpha = operator.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


def _softmax(operator: Operator) -> Function:
    """Up to opset 12 all axes from `axis` on are one; from 13 on only `axis` itself counts."""
    function = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}[operator.kind]
    if operator.opset >= 13:
        axis = operator.get("axis", -1)
        return lambda x: function(x, axis)
    first = operator.get("axis", 1)

    def flattened(x: Tensor) -> Tensor:
        start = first % x.dim() if first != x.dim() else first
        return function(x.reshape(*x.shape[:start], -1), -1).reshape(x.shape)

    return flattened


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, x * slope, x)


TABLE: dict[str, Builder] = {
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": plain(functional.hardswish),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax,
    "Mish": plain(functional.mish),
    "PRelu": plain(_prelu),
    "Relu": plain(torch.relu),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": plain(torch.sigmoid),
    "Softmax": _softmax,
    "Softplus": plain(functional.softplus),
    "Softsign": plain(functional.softsign),
    "Swish": _swish,
    "Tanh": plain(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
