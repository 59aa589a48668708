"""Layers gathered by the weight that they share."""

import numpy as np
import pytest
import torch

from worker.engine.formats.aten.layers import LayerUse, linear_geometry, tensor_key
from worker.engine.formats.aten.sites import (
    HIDDEN,
    SHARED,
    by_site,
    layer_of,
    named_sites,
    unused_name,
)

MATRIX = torch.arange(15.0).reshape(5, 3)
OTHER = torch.ones(5, 3)
LINEAR = linear_geometry(3, 5)


def linear(weight=MATRIX, path="head.weight", **members):
    return LayerUse(
        op="linear", weight=weight, path=path, convolution=LINEAR, **members
    )


def test_calls_of_one_weight_are_one_site():
    sites = named_sites([linear(), linear(OTHER, "stem.weight"), linear()])
    assert list(sites) == ["head", "stem"]
    assert sites["head"].reason is None
    assert [len(layers) for layers in by_site([linear(), linear()]).values()] == [2]


def test_names_are_made_unique_and_constants_have_that_of_their_operator():
    sites = named_sites([linear(path=None), linear(OTHER, path=None)])
    assert list(sites) == ["linear", "linear_2"]


def test_a_weight_that_is_computed_is_no_site():
    assert named_sites([LayerUse(op="linear")]) == {}


@pytest.mark.parametrize(
    ("layers", "hidden", "elsewhere", "reason"),
    [
        ([linear(), linear(reason="scaled")], (), (), "scaled"),
        ([linear()], {"head.weight"}, (), HIDDEN),
        ([linear()], (), {tensor_key(MATRIX)}, HIDDEN),
        ([linear(), linear(bias=torch.ones(5))], (), (), SHARED),
        ([linear(), linear(is_transposed=True)], (), (), SHARED),
    ],
)
def test_a_site_stays_by_the_first_reason_that_holds(layers, hidden, elsewhere, reason):
    sites = named_sites(layers, set(hidden).__contains__, frozenset(elsewhere))
    assert [site.reason for site in sites.values()] == [reason]


def test_a_name_that_is_used_gets_the_next_number():
    assert unused_name("a", {"b"}.__contains__) == "a"
    assert unused_name("a", {"a", "a_2"}.__contains__) == "a_3"


def test_the_layer_of_a_site_is_turned_and_in_single_precision():
    half = linear(MATRIX.t().half(), bias=torch.ones(5).half(), is_transposed=True)
    (site,) = named_sites([half]).values()
    layer = layer_of(site)
    assert (layer.weight.dtype, layer.bias.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(layer.weight, MATRIX)


def test_double_precision_stays():
    (site,) = named_sites([linear(MATRIX.double())]).values()
    assert layer_of(site).weight.dtype == np.float64
