"""Channels: backward elimination against a search that fits every choice anew."""

import numpy as np
import pytest
import torch
from support.engine.oracles import inputs, measured, run

from worker.engine.decompose import Target
from worker.engine.decompose.channels import Channels, kept_channels
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import unknown


def random_layer(kernel, *, channels=6, outputs=5):
    rng = np.random.default_rng(0)
    geometry = Convolution(
        (outputs, channels, kernel, kernel), (1, 2), ((1, 0), (0, 1)), (1, 1)
    )
    weight = rng.standard_normal(geometry.weight_shape)
    return Layer(geometry, weight, rng.standard_normal(outputs))


def error_without(target, channels, k2):
    """The least error of the outputs with these channels alone, relative to their energy."""
    weight, covariance = target.weight[0], target.covariance[0]
    kept = [channel * k2 + at for channel in channels for at in range(k2)]
    fitted = np.zeros_like(weight)
    if kept:
        inner = covariance[np.ix_(kept, kept)]
        fitted[:, kept] = np.linalg.solve(inner, (weight @ covariance)[:, kept].T).T
    lost = weight - fitted
    return np.trace(lost @ covariance @ lost.T) / target.energy


def eliminated(target, channels, k2):
    """The channels that stay after each greedy removal, from all but one down to none."""
    staying = set(range(channels))
    steps = []
    while staying:
        least = min(
            staying, key=lambda one: error_without(target, sorted(staying - {one}), k2)
        )
        staying = staying - {least}
        steps.append(sorted(staying))
    return steps


@pytest.mark.parametrize("kernel", [1, 2])
def test_elimination_finds_what_a_search_finds(kernel):
    layer = random_layer(kernel)
    k2 = layer.convolution.k2
    target = Target.of(layer, measured(layer.convolution, inputs(layer)))
    form = Channels.of(layer.convolution)
    for staying in eliminated(target, 6, k2)[:-1]:
        rank = len(staying)
        selection, narrow = form.layers(target, rank)
        assert kept_channels(selection) == staying
        assert narrow.convolution == form.convolutions(rank)[0]
        assert form.errors(target, [rank])[0] == pytest.approx(
            error_without(target, staying, k2)
        )


@pytest.mark.parametrize("kernel", [1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_all_channels_are_the_layer_itself(kernel, known):
    layer = random_layer(kernel)
    x = inputs(layer)
    moments = measured(layer.convolution, x) if known else unknown(layer.convolution)
    target = Target.of(layer, moments)
    form = Channels.of(layer.convolution)
    assert form.errors(target, [form.ranks[-1]]) == [0]
    torch.testing.assert_close(
        run(form.layers(target, form.ranks[-1]), x), run([layer], x)
    )


def test_the_bias_makes_up_for_the_mean_of_lost_channels():
    layer = random_layer(1)
    x = inputs(layer) + 3
    moments = measured(layer.convolution, x)
    target = Target.of(layer, moments)
    form = Channels.of(layer.convolution)
    selection, narrow = form.layers(target, 3)
    mean = moments.mean[0]
    expected = layer.weight.reshape(5, 6) @ mean + layer.bias
    kept = mean[kept_channels(selection)]
    np.testing.assert_allclose(
        narrow.weight.reshape(5, 3) @ kept + narrow.bias, expected
    )
