"""ONNX's normalisations as torch functions."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator
from worker.engine.formats.onnx.operators.windows import Pads, padded


def _batch(operator: Operator) -> Function:
    operator.require(not operator.get("training_mode", 0))
    operator.require(operator.opset >= 9 or bool(operator.get("spatial", 1)))
    operator.require(operator.rank is None or operator.rank >= 2)
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        scale, bias, mean, variance = (
            stored.to(x.dtype) for stored in (scale, bias, mean, variance)
        )
        return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)

    return normalise


def _instance(operator: Operator) -> Function:
    epsilon = operator.get("epsilon", 1e-5)
    return lambda x, scale, bias: torch.group_norm(x, x.shape[1], scale, bias, epsilon)


def _group(operator: Operator) -> Function:
    """Up to opset 20 scale and bias are given a group, from 21 on a channel."""
    groups, epsilon = operator.get("num_groups"), operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if operator.opset < 21:
            scale, bias = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, bias))
        return torch.group_norm(x, groups, scale.to(x.dtype), bias.to(x.dtype), epsilon)

    return normalise


def _layer(operator: Operator) -> Function:
    axis, epsilon = operator.get("axis", -1), operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        y = functional.layer_norm(x, x.shape[axis:], eps=epsilon) * scale
        return y if bias is None else y + bias

    def with_statistics(
        x: Tensor, scale: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = tuple(range(axis % x.dim(), x.dim()))
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return normalise(x, scale, bias), mean, torch.rsqrt(variance + epsilon)

    return normalise if operator.wanted == 1 else with_statistics


def _root_mean_square(operator: Operator) -> Function:
    axis, epsilon = operator.get("axis", -1), operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor) -> Tensor:
        axes = tuple(range(axis % x.dim(), x.dim()))
        return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale

    return normalise


def _mean_variance(operator: Operator) -> Function:
    axes = tuple(operator.get("axes", (0, 2, 3)))

    def normalise(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)

    return normalise


def _norm(operator: Operator) -> Function:
    axis, order = operator.get("axis", -1), operator.get("p", 2)

    def normalise(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        return torch.where(length == 0, torch.zeros_like(x), x / length)

    return normalise


def _local_response(operator: Operator) -> Function:
    """Each channel over its neighbours' squares; of an even number of neighbours more lie behind than before."""
    size, alpha, beta = (
        operator.get("size"),
        operator.get("alpha", 1e-4),
        operator.get("beta", 0.75),
    )
    bias = operator.get("bias", 1.0)
    reach: Pads = (((size - 1) // 2, size // 2), (0, 0))

    def normalise(x: Tensor) -> Tensor:
        squares = padded(x.square().reshape(x.shape[0], 1, x.shape[1], -1), reach)
        means = functional.avg_pool2d(squares, (size, 1), stride=1).reshape(x.shape)
        return x / torch.pow(bias + alpha * means, beta)

    return normalise


TABLE: dict[str, Builder] = {
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LRN": _local_response,
    "LayerNormalization": _layer,
    "LpNormalization": _norm,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _root_mean_square,
}
