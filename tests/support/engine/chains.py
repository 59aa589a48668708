"""Chains of layers that do exactly what one layer does, for tests of surgery."""

from dataclasses import replace

import numpy as np

from worker.engine.decompose import FORMS, Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import unknown


def split_exactly(layer):
    """Return layers that feed one another and compute what `layer` computes, whatever its kind."""
    if not layer.convolution.kernel:
        return _split_linear(layer)
    return (
        _split_transposed(layer)
        if layer.convolution.transposed
        else _split_convolution(layer)
    )


def with_bias(layer, value):
    """Return the layers of `split_exactly` that add `value` to every output, as a correction of the
    bias does.
    """
    *front, last = split_exactly(layer)
    bias = (
        np.zeros(last.convolution.out_channels, last.weight.dtype)
        if last.bias is None
        else last.bias
    )
    return [
        *front,
        Layer(last.convolution, last.weight, (bias + value).astype(last.weight.dtype)),
    ]


def _split_convolution(layer):
    """Depthwise filters that copy every kernel offset, and a pointwise layer with the weights: any
    group count.
    """
    geometry = layer.convolution
    n, inner, *kernel = layer.weight.shape
    c = geometry.in_channels
    k2 = geometry.k2
    ones = (1,) * len(kernel)
    copies = np.tile(np.eye(k2).reshape(k2, 1, *kernel), (c, *ones, 1)).astype(
        layer.weight.dtype
    )
    mixing = layer.weight.reshape(n, inner * k2, *ones)
    return [
        Layer(replace(geometry, weight_shape=copies.shape, groups=c), copies, None),
        Layer(_pointwise(mixing, geometry.groups), mixing, layer.bias),
    ]


def _split_transposed(layer):
    """A scaling of the channels, the transposed convolution, and a pointwise layer that scales
    back.
    """
    geometry = layer.convolution
    ones = (1,) * len(geometry.kernel)
    double = np.full((geometry.in_channels, 1, *ones), 2, layer.weight.dtype)
    half = np.full((geometry.out_channels, 1, *ones), 0.25, layer.weight.dtype)
    return [
        Layer(_pointwise(double, geometry.in_channels), double, None),
        Layer(geometry, 2 * layer.weight, None),
        Layer(_pointwise(half, geometry.out_channels), half, layer.bias),
    ]


def _split_linear(layer):
    """A rotation of the inputs, and the weights rotated back."""
    n, c = layer.weight.shape
    rotation = np.linalg.qr(np.random.default_rng(c).standard_normal((c, c)))[0]
    back = (layer.weight.astype(np.float64) @ rotation.T).astype(layer.weight.dtype)
    return [
        Layer(
            Convolution((c, c), (), (), ()), rotation.astype(layer.weight.dtype), None
        ),
        Layer(Convolution((n, c), (), (), ()), back, layer.bias),
    ]


def _pointwise(weight, groups):
    axes = weight.ndim - 2
    return Convolution(weight.shape, (1,) * axes, ((0, 0),) * axes, (1,) * axes, groups)


def in_form(form, layer):
    """The last variant at its highest rank; the layer itself where the form does not apply."""
    why_not, factorisations = FORMS[form]
    if why_not(layer.convolution) is not None:
        return [layer]
    each = factorisations(layer.convolution)[-1]
    return list(
        each.layers(Target.of(layer, unknown(layer.convolution)), each.ranks[-1])
    )
