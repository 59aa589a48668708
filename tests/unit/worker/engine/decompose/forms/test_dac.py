"""DAC against independent oracles: torch's SVD for the error, its convolutions for the outputs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from worker.engine.decompose import Target
from worker.engine.decompose.forms.dac import dac, why_not_dac
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs
from worker.engine.numerics.moments import unknown


def make_layer(n=16, c=6, kernel=(3, 3), stride=(1, 1), bias=True, seed=0):
    rng = np.random.default_rng(seed)
    geometry = Convolution(
        (n, c, *kernel), stride, tuple((k // 2, k // 2) for k in kernel), (1, 1)
    )
    return Layer(
        geometry,
        rng.standard_normal((n, c, *kernel)),
        rng.standard_normal(n) if bias else None,
    )


def factored(layer):
    """The factorisation, and the layer to be factored by its weights alone."""
    [factorisation] = dac(layer.convolution)
    return factorisation, Target.of(layer, unknown(layer.convolution))


def run(layers, x):
    for layer in layers:
        geometry = layer.convolution
        x = conv2d(
            x,
            torch.from_numpy(np.ascontiguousarray(layer.weight)),
            None if layer.bias is None else torch.from_numpy(layer.bias),
            geometry.stride,
            [before for before, _ in geometry.padding],
            geometry.dilation,
            geometry.groups,
        )
    return x


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 12),
    c=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 5), st.integers(2, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_highest_rank_is_the_convolution_itself(n, c, kernel, stride, bias, seed):
    layer = make_layer(n, c, kernel, stride, bias, seed)
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, c, 9, 8)))
    factorisation, target = factored(layer)
    rank = factorisation.ranks[-1]
    assert rank == min(n, kernel[0] * kernel[1])
    assert factorisation.errors(target, [rank]) == [0]
    torch.testing.assert_close(
        run(factorisation.layers(target, rank), x),
        run([layer], x),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("rank", range(1, 10))
def test_the_error_is_the_energy_of_the_discarded_singular_values(rank):
    layer = make_layer()
    weight = torch.from_numpy(layer.weight)
    matrices = weight.reshape(16, 6, 9).transpose(0, 1)
    discarded = (torch.linalg.svdvals(matrices)[:, rank:] ** 2).sum() / (
        weight**2
    ).sum()
    factorisation, target = factored(layer)
    depthwise, pointwise = factorisation.layers(target, rank)
    filters = depthwise.weight.reshape(6, rank, 9)
    approximation = np.einsum(
        "ncr,crk->nck", pointwise.weight.reshape(16, 6, rank), filters
    )
    measured = ((layer.weight.reshape(16, 6, 9) - approximation) ** 2).sum() / (
        layer.weight**2
    ).sum()
    assert factorisation.errors(target, [rank])[0] == pytest.approx(
        float(discarded), abs=1e-12
    )
    assert measured == pytest.approx(float(discarded), abs=1e-12)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_cost_is_the_papers(rank):
    n = 16
    c = 6
    size = (20, 24)
    convolutions = factored(make_layer(n, c))[0].convolutions(rank)
    assert chain_macs(convolutions, size) == 20 * 24 * (c * rank * 9 + n * c * rank)


def test_the_geometry_told_is_the_geometry_made():
    factorisation, target = factored(make_layer(stride=(2, 1)))
    for rank in factorisation.ranks:
        layers = factorisation.layers(target, rank)
        assert tuple(
            layer.convolution for layer in layers
        ) == factorisation.convolutions(rank)
        assert all(
            layer.weight.shape == layer.convolution.weight_shape for layer in layers
        )


def test_a_weight_of_zeros_is_exact_at_every_rank():
    geometry = Convolution((4, 2, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    factorisation, target = factored(Layer(geometry, np.zeros((4, 2, 3, 3)), None))
    assert (factorisation.errors(target, factorisation.ranks) == 0).all()
    assert (factorisation.layers(target, 1)[1].weight == 0).all()


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        (Convolution((8, 4, 1, 1), (1, 1), ((0, 0),) * 2, (1, 1)), "1x1"),
        (
            Convolution((8, 1, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), groups=8),
            "depthwise",
        ),
        (
            Convolution((8, 4, 3, 3), (1, 1), ((1, 1),) * 2, (1, 1), transposed=True),
            "transposed",
        ),
        (Convolution((8, 4, 1), (1,), ((1, 1),), (1,)), "no spatial extent"),
        (Convolution((8, 4), (), (), ()), "no spatial extent"),
    ],
)
def test_what_it_does_not_apply_to_is_said(geometry, reason):
    assert reason in why_not_dac(geometry)


VGG16 = [
    (64, 3, 224), (64, 64, 224), (128, 64, 112), (128, 128, 112),
    (256, 128, 56), (256, 256, 56), (256, 256, 56),
    (512, 256, 28), (512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14), (512, 512, 14),
]  # fmt: skip
VGG16_LINEAR = 25088 * 4096 + 4096 * 4096 + 4096 * 1000


@pytest.mark.parametrize(
    ("rank", "saved"), [(1, 87.7), (2, 76.1), (3, 64.5), (4, 53.0), (5, 41.4)]
)
def test_the_papers_savings_on_vgg16(rank, saved):
    convolutions = [
        (Convolution((n, c, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)), (size, size))
        for n, c, size in VGG16
    ]
    before = (
        sum(convolution.macs(size) for convolution, size in convolutions) + VGG16_LINEAR
    )
    after = VGG16_LINEAR
    for convolution, size in convolutions:
        [factorisation] = dac(convolution)
        after += chain_macs(factorisation.convolutions(rank), size)
    assert before == 15_470_264_320
    assert 100 * (1 - after / before) == pytest.approx(saved, abs=0.05)


def test_the_cost_is_the_formula():
    geometry = Convolution((8, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    [form] = dac(geometry)
    macs = chain_macs(form.convolutions(2), (20, 24))
    assert macs == 10 * 12 * (16 * 2 * 9 + 8 * 32)
