"""Every form against independent oracles: torch's convolutions for the outputs, real patches for the errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from worker.engine.convolution import Convolution, Layer
from worker.engine.decompose import FORMS, Target
from worker.engine.moments import Moments, unknown

CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def pads(convolution, size):
    """The zeros before and behind each axis, as ONNX's specification of auto_pad computes them from the size."""
    if not isinstance(convolution.padding, str):
        return convolution.padding
    found = []
    for axis, length in enumerate(size):
        reach = convolution.dilation[axis] * (convolution.kernel[axis] - 1) + 1
        stride = convolution.stride[axis]
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        halves = (total // 2, total - total // 2)
        found.append(halves if convolution.padding == "same_upper" else halves[::-1])
    return tuple(found)


def padded(convolution, x):
    ends = [end for pair in reversed(pads(convolution, x.shape[2:])) for end in pair]
    return functional.pad(x, ends)


def run(layers, x):
    for layer in layers:
        geometry = layer.convolution
        weight = torch.from_numpy(np.ascontiguousarray(layer.weight))
        bias = None if layer.bias is None else torch.from_numpy(np.ascontiguousarray(layer.bias))
        if not geometry.kernel:
            x = functional.linear(x, weight, bias)
            continue
        run_one = CONV[len(geometry.kernel)]
        x = run_one(padded(geometry, x), weight, bias, geometry.stride, 0, geometry.dilation, geometry.groups)
    return x


def patches(convolution, x):
    """The patches that a layer's weights multiply, `(groups, positions, m)`, cut out by a convolution with ones."""
    groups, c = convolution.groups, convolution.in_channels // convolution.groups
    m, axes = c * convolution.k2, len(convolution.kernel)
    picks = torch.eye(m, dtype=x.dtype).reshape(m, c, *convolution.kernel).repeat(groups, 1, *[1] * axes)
    cut = run([Layer(replace(convolution, weight_shape=tuple(picks.shape)), picks.numpy(), None)], x)
    return cut.transpose(0, 1).reshape(groups, m, -1).transpose(1, 2).numpy()


def measured(convolution, x):
    found = patches(convolution, x)
    mean = found.mean(axis=1)
    centred = found - mean[:, None]
    return Moments(mean, centred.swapaxes(1, 2) @ centred / found.shape[1])


@st.composite
def layers(draw):
    axes = draw(st.integers(0, 3))
    per_axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    kernel = per_axis(1, 4 if axes < 3 else 3)
    groups = draw(st.sampled_from([1, 1, 1, 2, 3])) if axes else 1
    c, n = draw(st.sampled_from([1, 2, 3, 4, 6])), draw(st.integers(1, 6))
    padding = draw(st.sampled_from(["same_upper", "same_lower", None, None])) if axes else ()
    if padding is None:
        padding = tuple((draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(axes))
    shape = (groups * n, c, *kernel)
    geometry = Convolution(shape, per_axis(1, 3), padding, per_axis(1, 2), groups)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    bias = rng.standard_normal(groups * n) if draw(st.booleans()) else None
    return Layer(geometry, rng.standard_normal(shape), bias)


def inputs(layer, batch=3, seed=0):
    """Correlated inputs of a mean other than 0."""
    convolution = layer.convolution
    size = tuple(max(4, d * (k - 1) + 1) for d, k in zip(convolution.dilation, convolution.kernel, strict=True))
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((convolution.in_channels, convolution.in_channels))
    x = np.tensordot(rng.standard_normal((batch, *size, convolution.in_channels)) + 0.5, mixing, 1)
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def factorisations(convolution, form=None):
    for name, (why_not, made) in FORMS.items():
        if form in (None, name) and why_not(convolution) is None:
            yield from made(convolution)


def some_ranks(factorisation):
    ranks = list(factorisation.ranks)
    step = 11 if isinstance(ranks[0], tuple) else max(1, len(ranks) // 2)
    return [*ranks[:-1:step], ranks[-1]]


@settings(deadline=None, max_examples=25)
@given(layer=layers(), known=st.booleans())
def test_the_highest_rank_is_the_layer_itself(layer, known):
    x = inputs(layer)
    moments = measured(layer.convolution, x) if known else unknown(layer.convolution)
    target = Target.of(layer, moments)
    expected = run([layer], x)
    for each in factorisations(layer.convolution):
        rank = each.ranks[-1]
        assert each.errors(target, [rank]) == [0]
        torch.testing.assert_close(run(each.layers(target, rank), x), expected, rtol=1e-6, atol=1e-6)


def weight_of(chain, convolution):
    """The one weight `(groups, n, m)` that a chain of layers amounts to: its outputs for every unit patch."""
    groups, c = convolution.groups, convolution.in_channels // convolution.groups
    m, axes = c * convolution.k2, len(convolution.kernel)
    units = torch.eye(m, dtype=torch.float64).reshape(m, c, *convolution.kernel).repeat(1, groups, *[1] * axes)
    bare = [
        Layer(
            replace(part.convolution, stride=(1,) * axes, padding=((0, 0),) * axes, dilation=(1,) * axes),
            part.weight,
            None,
        )
        for part in chain
    ]
    return run(bare, units).reshape(m, groups, -1).permute(1, 2, 0).numpy()


@settings(deadline=None, max_examples=25)
@given(layer=layers(), known=st.booleans())
def test_errors_are_those_of_the_layers_and_fall_with_the_rank(layer, known):
    convolution, x = layer.convolution, inputs(layer, batch=20)
    moments = measured(convolution, x) if known else unknown(convolution)
    target = Target.of(layer, moments)
    expected = run([layer], x).transpose(0, 1).flatten(1)
    centred = (patches(convolution, x) - moments.mean[:, None]).swapaxes(1, 2)
    for each in factorisations(convolution):
        ranks = some_ranks(each)
        errors = each.errors(target, ranks)
        for rank, error in zip(ranks, errors, strict=True):
            made = each.layers(target, rank)
            assert tuple(part.convolution for part in made) == each.convolutions(rank)
            assert all(part.weight.shape == part.convolution.weight_shape for part in made)
            difference = weight_of(made, convolution) - weight_of([layer], convolution)
            found = run(made, x).transpose(0, 1).flatten(1)
            assert (found - expected).numpy() == pytest.approx((difference @ centred).reshape(found.shape), abs=1e-5)
            seen = difference if target.covariance is None else difference @ target.covariance
            lost = (seen * difference).sum()
            assert error == pytest.approx(lost / target.energy, abs=1e-7)
        if isinstance(ranks[0], int):
            assert (np.diff(errors) <= 1e-12).all()
