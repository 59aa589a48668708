"""Convolutions against torch's own layers, and patches against the weights that multiply them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engine.numerics.convolution import Convolution
from worker.engine.numerics.patches import convolve, ends, results, rows

CONVOLVE = {
    1: torch.nn.functional.conv1d,
    2: torch.nn.functional.conv2d,
    3: torch.nn.functional.conv3d,
}
TRANSPOSED = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}


@st.composite
def convolutions(draw):
    """A convolution of one to three axes, with an input's size on which it gives at least one
    position.
    """
    axes = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    groups = draw(st.integers(1, 3))
    outputs = draw(st.integers(1, 2))
    inputs = draw(st.integers(1, 2))
    kernel = each(1, 3)
    dilation = each(1, 2)
    numbers = tuple(zip(each(0, 2), each(0, 2), strict=True))
    padding = draw(st.sampled_from([numbers, "same_upper", "same_lower"]))
    reach = [
        step * (length - 1) + 1 for step, length in zip(dilation, kernel, strict=True)
    ]
    size = tuple(least + more for least, more in zip(reach, each(0, 3), strict=True))
    return Convolution(
        (groups * outputs, inputs, *kernel), each(1, 3), padding, dilation, groups
    ), size


def tensors(convolution, size, batch=2):
    generator = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return (
        make(batch, convolution.in_channels, *size),
        make(*convolution.weight_shape),
        make(convolution.out_channels),
    )


def by_torch(convolution, x, weight, bias):
    """The convolution of an input that was padded by hand."""
    padded = torch.nn.functional.pad(
        x, [end for pair in reversed(ends(convolution, x.shape[2:])) for end in pair]
    )
    settings = convolution.stride, 0, convolution.dilation, convolution.groups
    return CONVOLVE[len(convolution.kernel)](padded, weight, bias, *settings)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_a_convolution_is_torchs_and_its_patches_times_the_weights(drawn):
    convolution, size = drawn
    x, weight, bias = tensors(convolution, size)
    expected = by_torch(convolution, x, weight, bias)
    assert tuple(expected.shape[2:]) == convolution.output_size(size)
    torch.testing.assert_close(convolve(convolution, x, weight, bias), expected)

    by_group = weight.reshape(convolution.groups, -1, weight[0].numel())
    products = torch.einsum("pgm,gnm->pgn", rows(convolution, x), by_group)
    torch.testing.assert_close(
        products + bias.reshape(convolution.groups, -1), results(convolution, expected)
    )


@settings(max_examples=20, deadline=None)
@given(convolutions(), st.integers(0, 2**31))
def test_positions_pick_the_same_patches_and_outputs(drawn, seed):
    convolution, size = drawn
    x, weight, _ = tensors(convolution, size)
    y = convolve(convolution, x, weight, None)
    every = rows(convolution, x)
    picked = torch.randint(
        len(every), (5,), generator=torch.Generator().manual_seed(seed)
    )
    torch.testing.assert_close(
        rows(convolution, x, picked), every[picked], rtol=0, atol=0
    )
    torch.testing.assert_close(
        results(convolution, y, picked), results(convolution, y)[picked], rtol=0, atol=0
    )


@pytest.mark.parametrize("padding", ["same_upper", "same_lower", ((2, 2), (4, 4))])
def test_same_padding_is_torchs(padding):
    convolution = Convolution((2, 1, 3, 5), (1, 1), padding, (2, 2))
    x, weight, bias = tensors(convolution, (9, 11))
    expected = CONVOLVE[2](x, weight, bias, padding="same", dilation=2)
    torch.testing.assert_close(convolve(convolution, x, weight, bias), expected)


def test_an_odd_rest_of_same_padding_goes_behind_or_before():
    upper = Convolution((1, 1, 4), (1,), "same_upper", (1,))
    lower = Convolution((1, 1, 4), (1,), "same_lower", (1,))
    assert ends(upper, (9,)) == ((1, 2),)
    assert ends(lower, (9,)) == ((2, 1),)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_transposed_convolution_is_torchs(axes):
    padding = tuple((1, 1) for _ in range(axes))
    stride = (2,) * axes
    convolution = Convolution(
        (4, 3, *(3,) * axes), stride, padding, (1,) * axes, 2, True, (1,) * axes
    )
    x, weight, bias = tensors(convolution, (4, 5, 3)[:axes])
    expected = TRANSPOSED[axes](x, weight, bias, 2, 1, 1, 2)
    torch.testing.assert_close(convolve(convolution, x, weight, bias), expected)


def test_a_linear_layer_has_its_channels_on_the_last_axis():
    convolution = Convolution((4, 3), (), (), ())
    x = torch.arange(30, dtype=torch.float64).reshape(2, 5, 3)
    weight, bias = tensors(convolution, ())[1:]
    expected = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(convolve(convolution, x, weight, bias), expected)
    picked = torch.tensor([7, 2])
    torch.testing.assert_close(
        rows(convolution, x, picked), x.reshape(-1, 1, 3)[picked]
    )
    torch.testing.assert_close(
        results(convolution, expected, picked), expected.reshape(-1, 1, 4)[picked]
    )
