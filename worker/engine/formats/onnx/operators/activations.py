"""ONNX's activation functions as torch functions, with the defaults of ONNX's specification."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import (
    Builder,
    Function,
    Operator,
    without_attributes,
)


def _leaky_relu(operator: Operator) -> Function:
    """Return x where it is positive, else `alpha * x`."""
    alpha = operator.get("alpha", 0.01)
    return lambda x: functional.leaky_relu(x, alpha)


def _elu(operator: Operator) -> Function:
    """Return x where it is positive, else `alpha * (exp(x) - 1)`."""
    alpha = operator.get("alpha", 1.0)
    return lambda x: functional.elu(x, alpha)


def _selu(operator: Operator) -> Function:
    """Return `gamma` times an ELU.

    The defaults keep mean and variance of normalised data (Klambauer et al., 2017).
    """
    alpha = operator.get("alpha", 1.6732632423543772)
    gamma = operator.get("gamma", 1.0507009873554805)
    return lambda x: gamma * functional.elu(x, alpha)


def _celu(operator: Operator) -> Function:
    """Return x where it is positive, else `alpha * (exp(x / alpha) - 1)`."""
    alpha = operator.get("alpha", 1.0)
    return lambda x: functional.celu(x, alpha)


def _hard_sigmoid(operator: Operator) -> Function:
    """Return `alpha * x + beta`, limited to the range from 0 to 1."""
    alpha = operator.get("alpha", 0.2)
    beta = operator.get("beta", 0.5)

    def hard_sigmoid(x: Tensor) -> Tensor:
        return torch.clamp(alpha * x + beta, 0.0, 1.0)

    return hard_sigmoid


def _gelu(operator: Operator) -> Function:
    """Return x times the normal distribution function at x, exactly or approximated by tanh."""
    approximate = operator.get("approximate", "none")
    return lambda x: functional.gelu(x, approximate=approximate)


def _thresholded_relu(operator: Operator) -> Function:
    """Return x where it is above `alpha`, else zero."""
    alpha = operator.get("alpha", 1.0)

    def thresholded_relu(x: Tensor) -> Tensor:
        zeros = torch.zeros_like(x)
        return torch.where(x > alpha, x, zeros)

    return thresholded_relu


def _shrink(operator: Operator) -> Function:
    """Move values towards zero by `bias`; those within `lambd` of zero become zero."""
    # torch would round the bias of integers.
    operator.require_floats()
    threshold = operator.get("lambd", 0.5)
    bias = operator.get("bias", 0.0)

    def shrink(x: Tensor) -> Tensor:
        zeros = torch.zeros_like(x)
        above = torch.where(x > threshold, x - bias, zeros)
        return torch.where(x < -threshold, x + bias, above)

    return shrink


def _swish(operator: Operator) -> Function:
    """Return `x * sigmoid(alpha * x)`."""
    alpha = operator.get("alpha", 1.0)
    return lambda x: x * torch.sigmoid(alpha * x)


def _softmax(operator: Operator) -> Function:
    """Up to opset 12 all axes from `axis` on are one; from 13 on only `axis` itself counts."""
    functions = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}
    function = functions[operator.kind]
    if operator.opset >= 13:
        axis = operator.get("axis", -1)
        return lambda x: function(x, axis)
    first = operator.get("axis", 1)

    def flattened(x: Tensor) -> Tensor:
        # The axis after the last one is allowed too.
        start = first if first == x.dim() else first % x.dim()
        leading = x.shape[:start]
        rows = x.reshape(*leading, -1)
        y = function(rows, -1)
        return y.reshape(x.shape)

    return flattened


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Return x where it is not negative, else `slope * x`; the slope is broadcast.

    >>> _prelu(torch.tensor([-2.0, 3.0]), torch.tensor(0.5)).tolist()
    [-1.0, 3.0]
    """
    return torch.where(x < 0, x * slope, x)


TABLE: dict[str, Builder] = {
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": without_attributes(functional.hardswish),
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax,
    "Mish": without_attributes(functional.mish),
    "PRelu": without_attributes(_prelu),
    "Relu": without_attributes(torch.relu),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": without_attributes(torch.sigmoid),
    "Softmax": _softmax,
    "Softplus": without_attributes(functional.softplus),
    "Softsign": without_attributes(functional.softsign),
    "Swish": _swish,
    "Tanh": without_attributes(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
}
