"""The form spatial: its divisions, their geometry, and the best rank-r cut by numpy's SVD."""

import numpy as np
import pytest

from worker.engine.decompose.forms.spatial import spatial, why_not_spatial
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Convolution, Layer, chain_macs
from worker.engine.numerics.moments import unknown

GEOMETRY = Convolution((8, 16, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))


@pytest.mark.parametrize(
    ("variant", "cost"),
    [
        ("3x1 then 1x3", 10 * 24 * 5 * 16 * 3 + 10 * 12 * 5 * 8 * 3),
        ("1x3 then 3x1", 20 * 12 * 5 * 16 * 3 + 10 * 12 * 5 * 8 * 3),
    ],
)
def test_the_cost_is_the_formula(variant, cost):
    forms = {form.variant: form for form in spatial(GEOMETRY)}
    assert chain_macs(forms[variant].convolutions(5), (20, 24)) == cost


def test_each_layer_has_the_settings_of_its_own_axes():
    geometry = Convolution((8, 4, 3, 5), (2, 1), ((1, 0), (2, 1)), (1, 3))
    first, second = spatial(geometry)[0].convolutions(6)
    assert first == Convolution((6, 4, 3, 1), (2, 1), ((1, 0), (0, 0)), (1, 1))
    assert second == Convolution((8, 6, 1, 5), (1, 1), ((0, 0), (2, 1)), (1, 3))


def test_rules_of_padding_stay_rules():
    geometry = Convolution((8, 4, 3, 3), (1, 1), "same_upper", (1, 1))
    for layer in spatial(geometry)[0].convolutions(2):
        assert layer.padding == "same_upper"


def test_three_axes_are_divided_in_every_way():
    ones = (1, 1, 1)
    geometry = Convolution((8, 4, 3, 3, 3), ones, ((1, 1),) * 3, ones)
    variants = [form.variant for form in spatial(geometry)]
    assert len(set(variants)) == 6
    assert "3x1x3 then 1x3x1" in variants


@pytest.mark.parametrize(
    ("shape", "axes"), [((8, 4, 3, 1), 1), ((8, 4, 1, 1), 0), ((8, 4, 3), 1)]
)
def test_a_kernel_extends_along_two_axes(shape, axes):
    count = len(shape) - 2
    geometry = Convolution(shape, (1,) * count, ((0, 0),) * count, (1,) * count)
    assert "fewer than two axes" in why_not_spatial(geometry)
    assert why_not_spatial(GEOMETRY) is None


def test_errors_are_those_of_the_singular_values():
    weight = np.random.default_rng(0).standard_normal(GEOMETRY.weight_shape)
    target = Target.of(Layer(GEOMETRY, weight, None), unknown(GEOMETRY))
    (form, _) = spatial(GEOMETRY)
    # (c, kh) against (n, kw)
    matrix = weight.transpose(1, 2, 0, 3).reshape(48, 24)
    energies = np.linalg.svd(matrix, compute_uv=False) ** 2
    expected = [energies[rank:].sum() / energies.sum() for rank in (1, 7, 24)]
    assert form.errors(target, [1, 7, 24]) == pytest.approx(expected, abs=1e-9)
    first, second = form.layers(target, 7)
    product = np.einsum("rchi,nrjw->nchw", first.weight, second.weight)
    lost = ((product - weight) ** 2).sum() / (weight**2).sum()
    assert lost == pytest.approx(expected[1], abs=1e-9)
