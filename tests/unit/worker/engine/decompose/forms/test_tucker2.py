"""The form tucker2: its cost and its ranks, and its error against the product of its layers."""

import numpy as np
import pytest

from worker.engine.decompose.forms.tucker2 import tucker2, why_not_tucker2
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs
from worker.engine.numerics.moments import unknown

GEOMETRY = Convolution((8, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
[FORM] = tucker2(GEOMETRY)


def test_the_cost_is_the_formula():
    macs = chain_macs(FORM.convolutions((4, 5)), (20, 24))
    assert macs == 20 * 24 * 16 * 4 + 10 * 12 * (4 * 5 * 9 + 5 * 8)


def test_the_last_pair_is_exact_and_no_other_reaches_it():
    *others, exact = FORM.ranks
    assert exact == (16, 8)
    assert all(r1 < 16 and r2 < 8 for r1, r2 in others)
    assert len(set(others)) == len(others)


def test_no_pair_is_lopsided():
    for r1, r2 in FORM.ranks:
        assert 0.5 <= (r1 / 16) / (r2 / 8) <= 2


def test_more_channels_than_patches_have_are_not_needed():
    narrow = Convolution((2, 64, 1, 3), (1, 1), ((0, 0), (1, 1)), (1, 1))
    [form] = tucker2(narrow)
    assert form.ranks[-1] == (6, 2)


@pytest.mark.parametrize("rank", [(4, 3), (16, 8)])
def test_the_error_is_that_of_the_product_of_the_layers(rank):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(GEOMETRY.weight_shape)
    bias = rng.standard_normal(8)
    target = Target.of(Layer(GEOMETRY, weight, bias), unknown(GEOMETRY))
    first, core, last = (layer.weight for layer in FORM.layers(target, rank))
    product = np.einsum(
        "nq,qrhw,rc->nchw", last[..., 0, 0], core, first[..., 0, 0], optimize=True
    )
    lost = ((product - weight) ** 2).sum() / (weight**2).sum()
    assert FORM.errors(target, [rank])[0] == pytest.approx(lost, abs=1e-9)
    np.testing.assert_array_equal(FORM.layers(target, rank)[-1].bias, bias)


@pytest.mark.parametrize(
    ("shape", "groups", "applies"),
    [
        ((8, 4, 3, 3), 1, True),
        ((8, 1, 3, 3), 1, False),
        ((1, 8, 3, 3), 1, False),
        ((8, 4, 1, 1), 1, False),
        ((8, 2, 3, 3), 4, True),
        ((4, 2, 3, 3), 4, False),
    ],
)
def test_both_sides_have_channels_to_combine(shape, groups, applies):
    geometry = Convolution(shape, (1, 1), ((1, 1), (1, 1)), (1, 1), groups)
    assert (why_not_tucker2(geometry) is None) == applies
