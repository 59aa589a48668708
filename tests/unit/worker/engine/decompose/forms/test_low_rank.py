"""The form low-rank: transposed layers, and its cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.oracles import factorisations, run
from torch.nn import functional

from worker.engine.decompose import Target
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs
from worker.engine.numerics.moments import Moments, unknown

TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def run_transposed(layers, x):
    """Run a transposed layer, or a pointwise and a transposed one; padding is symmetric."""
    *first, last = layers
    x = run(first, x)
    geometry = last.convolution
    bias = None if last.bias is None else torch.from_numpy(last.bias)
    inside = [before for before, _ in geometry.padding]
    settings = (
        geometry.stride,
        inside,
        geometry.output_padding or 0,
        geometry.groups,
        geometry.dilation,
    )
    return TRANSPOSED[len(geometry.kernel)](
        x, torch.from_numpy(np.ascontiguousarray(last.weight)), bias, *settings
    )


def measured_positions(convolution, x):
    groups = convolution.groups
    rows = (
        x.movedim(1, -1)
        .reshape(-1, groups, x.shape[1] // groups)
        .transpose(0, 1)
        .numpy()
    )
    mean = rows.mean(axis=1)
    return Moments.of(
        mean,
        (rows - mean[:, None]).swapaxes(1, 2) @ (rows - mean[:, None]) / rows.shape[1],
    )


def transposed_layer(axes, groups, c, n, kernel, stride, seed, **geometry):
    rng = np.random.default_rng(seed)
    shape = (groups * c, n, *[kernel] * axes)
    padding = ((geometry.pop("padding", 0),) * 2,) * axes
    more = (geometry.pop("output_padding", 0),) * axes
    dilation = (geometry.pop("dilation", 1),) * axes
    convolution = Convolution(
        shape, (stride,) * axes, padding, dilation, groups, True, more
    )
    return Layer(
        convolution, rng.standard_normal(shape), rng.standard_normal(groups * n)
    )


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_transposed_layer_is_itself_at_full_rank(
    axes, groups, c, n, kernel, stride, padding, dilation, knows
):
    more = min(padding, stride - 1)
    layer = transposed_layer(
        axes,
        groups,
        c,
        n,
        kernel,
        stride,
        0,
        padding=min(padding, kernel - 1),
        output_padding=more,
        dilation=dilation,
    )
    x = (
        torch.randn(
            3,
            groups * c,
            *[4] * axes,
            dtype=torch.float64,
            generator=torch.Generator().manual_seed(0),
        )
        + 1
    )
    moments = (
        measured_positions(layer.convolution, x)
        if knows
        else unknown(layer.convolution)
    )
    (form,) = factorisations(layer.convolution, "low-rank")
    target = Target.of(layer, moments)
    exact = form.ranks[-1]
    actual = run_transposed(form.layers(target, exact), x)
    torch.testing.assert_close(actual, run_transposed([layer], x), rtol=1e-6, atol=1e-6)
    assert form.errors(target, [exact])[0] == 0
    assert chain_macs(form.convolutions(2), (4,) * axes) == 4**axes * groups * 2 * (
        c + n * kernel**axes
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_the_error_of_a_transposed_layer_is_that_of_its_outputs_where_none_meet(groups):
    layer = transposed_layer(2, groups, 6, 4, 2, 2, 1)
    x = torch.randn(
        4,
        groups * 6,
        5,
        5,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(0),
    )
    x = (
        x
        @ torch.randn(
            5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        )
    ).abs()
    target = Target.of(layer, measured_positions(layer.convolution, x))
    (form,) = factorisations(layer.convolution, "low-rank")
    expected = run_transposed([replace(layer, bias=None)], x)
    for rank in (1, 2, 4):
        given_bias = run_transposed(form.layers(target, rank), x)
        difference = given_bias - run_transposed([layer], x)
        error = float(difference.square().sum() / expected.square().sum())
        assert form.errors(target, [rank])[0] == pytest.approx(error, rel=0.01)


def test_the_cost_is_the_formula():
    [each] = factorisations(Convolution((10, 64), (), (), ()), "low-rank")
    assert chain_macs(each.convolutions(7), ()) == 7 * (64 + 10)
