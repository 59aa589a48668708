"""ONNX's normalisations as torch functions.

Source: the operators' specification; `epsilon` and the exponents have its defaults.
"""

import torch
from torch import Tensor
from torch.nn import functional

from worker.engine.formats.onnx.operators.operator import Builder, Function, Operator
from worker.engine.formats.onnx.operators.windows import Pads, pad


def _batch(operator: Operator) -> Function:
    """Normalise by stored statistics, `(channels,)` each; training is left to ONNX Runtime."""
    operator.require(not operator.get("training_mode", 0))
    # Before opset 9 statistics may be per element.
    is_per_channel = operator.opset >= 9 or bool(operator.get("spatial", 1))
    operator.require(is_per_channel)
    operator.require(operator.rank is None or operator.rank >= 2)
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(
        x: Tensor,
        scale: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
    ) -> Tensor:
        return functional.batch_norm(
            x,
            running_mean=mean.to(x.dtype),
            running_var=variance.to(x.dtype),
            weight=scale.to(x.dtype),
            bias=bias.to(x.dtype),
            training=False,
            eps=epsilon,
        )

    return normalise


def _instance(operator: Operator) -> Function:
    """Normalise each channel of each sample by its own statistics."""
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        channels = x.shape[1]
        return torch.group_norm(x, channels, scale, bias, epsilon)

    return normalise


def _group(operator: Operator) -> Function:
    """Up to opset 20 scale and bias are per group, from 21 on per channel."""
    groups = operator.get("num_groups")
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        if operator.opset < 21:
            channels_per_group = x.shape[1] // groups
            scale = scale.repeat_interleave(channels_per_group)
            bias = bias.repeat_interleave(channels_per_group)
        scale = scale.to(x.dtype)
        bias = bias.to(x.dtype)
        return torch.group_norm(x, groups, scale, bias, epsilon)

    return normalise


def _layer(operator: Operator) -> Function:
    """Normalise along all axes from `axis` on; mean and 1 / deviation are further outputs."""
    axis = operator.get("axis", -1)
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        normal = functional.layer_norm(x, shape, eps=epsilon)
        y = normal * scale
        if bias is None:
            return y
        return y + bias

    def with_statistics(
        x: Tensor, scale: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        axes = _axes_from(axis, x)
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        y = normalise(x, scale, bias)
        inverse = torch.rsqrt(variance + epsilon)
        return y, mean, inverse

    # The statistics cost as much as the data: only where something needs them.
    if operator.used_outputs > 1:
        return with_statistics
    return normalise


def _root_mean_square(operator: Operator) -> Function:
    """Divide by the root of the mean square along all axes from `axis` on."""
    axis = operator.get("axis", -1)
    epsilon = operator.get("epsilon", 1e-5)

    def normalise(x: Tensor, scale: Tensor) -> Tensor:
        axes = _axes_from(axis, x)
        mean_square = x.square().mean(axes, keepdim=True)
        inverse = torch.rsqrt(mean_square + epsilon)
        return x * inverse * scale

    return normalise


def _axes_from(axis: int, x: Tensor) -> tuple[int, ...]:
    """Return an axis and all that follow it, counted from the first one.

    >>> _axes_from(-2, torch.zeros(2, 3, 4))
    (1, 2)
    """
    return tuple(range(axis % x.dim(), x.dim()))


def _mean_variance(operator: Operator) -> Function:
    """Subtract the mean and divide by the deviation; by default over all but the channels."""
    axes = tuple(operator.get("axes", (0, 2, 3)))

    def normalise(x: Tensor) -> Tensor:
        centred = x - x.mean(axes, keepdim=True)
        deviation = centred.square().mean(axes, keepdim=True).sqrt()
        # The specification's constant, which is no attribute.
        return centred / (deviation + 1e-9)

    return normalise


def _norm(operator: Operator) -> Function:
    """Divide by the length along an axis; a vector of zeros stays."""
    axis = operator.get("axis", -1)
    order = operator.get("p", 2)

    def normalise(x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, order, axis, keepdim=True)
        # 0 / 0 is no number.
        zeros = torch.zeros_like(x)
        return torch.where(length == 0, zeros, x / length)

    return normalise


def _local_response(operator: Operator) -> Function:
    """Divide each channel by a power of the mean of its neighbours' squares.

    With an even number of neighbours, one more of them is after the channel than before it.
    """
    size = operator.get("size")
    alpha = operator.get("alpha", 1e-4)
    beta = operator.get("beta", 0.75)
    bias = operator.get("bias", 1.0)
    before = (size - 1) // 2
    after = size // 2
    pads: Pads = ((before, after), (0, 0))

    def normalise(x: Tensor) -> Tensor:
        # The channels become an axis of an image, along which torch pools.
        batch, channels = x.shape[:2]
        images = x.square().reshape(batch, 1, channels, -1)
        squares = pad(images, pads)
        means = functional.avg_pool2d(squares, (size, 1), stride=1)
        means = means.reshape(x.shape)
        powers = torch.pow(bias + alpha * means, beta)
        return x / powers

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
