"""A classifier's last layer, and what becomes of classes that no input shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.statistics.class_directions import (
    LastLayer,
    last_layer,
    last_site,
)
from worker.engine.numerics.convolution import Layer

RNG = np.random.default_rng


def normal(*shape, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))


def batches(*shape, seed=0):
    return [{"v0": normal(*shape, seed=seed)} for _ in range(2)]


def pooled(x):
    return x.mean((2, 3))


def without(whole, channels):
    """Return the layer without what it makes of these channels."""
    weight = whole.weight.copy()
    weight[:, channels] = 0
    return (Layer(whole.convolution, weight, whole.bias),)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 1, 1)])
def test_what_is_lost_of_classes_that_no_input_shows_exceeds_what_is_lost_of_the_inputs(
    shape,
):
    """Inputs vary less in the last two channels than in the others, classes' weights do not."""
    whole = layer(RNG(1), shape)
    seen = normal(4000, 5, seed=2) + 7
    seen[:, 3:] = 7 + (seen[:, 3:] - 7) / 10
    last = LastLayer.of(whole, seen)
    assert torch.allclose(last.classes.mean(0), seen.mean(0), atol=1e-3)
    actual = float(last.classes.var(0, correction=0).sum())
    assert actual == pytest.approx(float(seen.var(0, correction=0).sum()))

    weight = whole.weight.reshape(6, 5).astype(float)
    off = weight - weight.mean(0)
    lost = np.square(off[:, 3:] @ weight[:, 3:].T).sum()
    unseen = lost / np.square(off @ weight.T).sum()
    energies = np.square(weight).sum(0) * np.array([1, 1, 1, 0.01, 0.01])
    shown = energies[3:].sum() / energies.sum()
    # about 0: no bias is missing
    centred = LastLayer.of(whole, seen - seen.mean(0))
    excess = centred.excess(without(whole, [3, 4]))
    assert excess == pytest.approx(unseen / shown, rel=0.1)
    assert excess > 5


def test_layers_that_err_alike_on_both_have_no_excess():
    whole = layer(RNG(1), (6, 5))
    last = LastLayer.of(whole, normal(400, 5, seed=2))
    factor = np.float32(1.1)
    scaled = Layer(whole.convolution, factor * whole.weight, factor * whole.bias)
    assert last.excess((scaled,)) == pytest.approx(1, abs=0.3)
    assert last.excess((whole,)) == 1


def test_nothing_exceeds_where_all_classes_are_one_or_all_inputs():
    whole = layer(RNG(1), (6, 5))
    seen = normal(400, 5, seed=2)
    alike = Layer(whole.convolution, np.ones_like(whole.weight), whole.bias)
    assert LastLayer.of(alike, seen).excess(without(alike, [1])) == 1
    assert LastLayer.of(whole, torch.ones(400, 5)).excess(without(whole, [1])) == 1


def test_the_last_layer_of_a_classifier_is_found():
    whole = layer(RNG(1), (6, 5, 1, 1))
    pooled = chained(
        ("first", layer(RNG(0), (5, 3, 3, 3))),
        ("last", whole),
        lambda x: x.relu().mean((2, 3)),
    )
    inputs = batches(4, 3, 8, 8)
    assert last_site(pooled) == "last"
    last = last_layer(pooled, inputs, "last", whole)
    assert last is not None
    expected = (2 * 4 * 6 * 6, 5)
    assert last.seen.shape == expected
    linear = layer(RNG(1), (6, 5))
    assert (
        last_layer(chained(("last", linear)), batches(4, 5), "last", linear) is not None
    )


def test_what_gives_no_scores_by_itself_is_no_last_layer():
    inputs = batches(4, 5, 8, 8)
    whole = layer(RNG(1), (6, 5, 1, 1))
    assert last_site(chained(lambda x: x)) is None
    # maps are no scores
    assert last_layer(chained(("a", whole)), inputs, "a", whole) is None
    halved = chained(("a", whole), lambda x: x.mean((2, 3))[:, ::2])
    assert last_layer(halved, inputs, "a", whole) is None
    wide = layer(RNG(1), (6, 5, 3, 3))
    assert last_layer(chained(("a", wide), pooled), inputs, "a", wide) is None
    padded = Layer(
        replace(whole.convolution, padding=((1, 1), (1, 1))), whole.weight, whole.bias
    )
    assert last_layer(chained(("a", padded), pooled), inputs, "a", padded) is None
