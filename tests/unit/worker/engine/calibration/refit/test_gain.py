"""Gain correction of simulated regressions with a known share of explained variance."""

import numpy as np
import pytest
import torch
from support.engine.programs import layer

from worker.engine.calibration.refit.gain import restore_gain
from worker.engine.numerics.convolution import Layer


def fit(explained, rows=100_000, offset=5.0):
    """Fit targets of which inputs explain these shares; return layer, inputs and targets."""
    rng = np.random.default_rng(0)
    explained = np.array(explained)
    known, unknown = rng.standard_normal((2, rows, len(explained)))
    x = known
    targets = np.sqrt(explained) * known + np.sqrt(1 - explained) * unknown + offset
    count = len(explained)
    geometry = layer(rng, (count, count, 1, 1)).convolution
    fitted = Layer(geometry, *least_squares(x, targets))
    return fitted, torch.from_numpy(x), torch.from_numpy(targets)


def least_squares(x, targets):
    rows = np.column_stack([x, np.ones(len(x))])
    *weight, bias = np.linalg.lstsq(rows, targets, rcond=None)[0].astype(np.float32)
    return np.array(weight).T.reshape(targets.shape[1], x.shape[1], 1, 1), bias


def outputs_of(fitted, x):
    weight = torch.from_numpy(fitted.weight).flatten(1).double()
    bias = torch.from_numpy(fitted.bias).double()
    return (x @ weight.T + bias)[:, None]


def corrected(fitted, x, targets):
    halves = zip(
        *(
            (part[: len(part) // 3], part[len(part) // 3 :])
            for part in (outputs_of(fitted, x), targets[:, None])
        ),
        strict=True,
    )
    return restore_gain(fitted, *(list(part) for part in zip(*halves, strict=True)))


@pytest.mark.parametrize("explained", [1.0, 0.9, 0.7, 0.5])
def test_deviations_are_divided_by_one_less_the_square_of_the_unexplained_share(
    explained,
):
    fitted, x, targets = fit([explained, 1.0])
    factors = outputs_of(corrected(fitted, x, targets), x).std(0) / outputs_of(
        fitted, x
    ).std(0)
    np.testing.assert_allclose(
        factors[0], [1 / (1 - (1 - explained) ** 2), 1], rtol=0.01
    )


@pytest.mark.parametrize("explained", [0.3, 0.01, 1e-6])
def test_outputs_vary_no_more_than_targets(explained):
    fitted, x, targets = fit([explained, 1.0])
    np.testing.assert_allclose(
        outputs_of(corrected(fitted, x, targets), x)[:, 0].std(0),
        targets.std(0),
        rtol=0.01,
    )


def test_means_stay():
    fitted, x, targets = fit([0.5, 0.2])
    np.testing.assert_allclose(
        outputs_of(corrected(fitted, x, targets), x).mean((0, 1)),
        targets.mean(0),
        atol=1e-4,
    )


def test_channels_that_do_not_vary_stay_as_they_are():
    fitted, x, targets = fit([0.5, 0.5, 0.5])
    fitted.weight[1] = 0  # outputs do not vary
    targets[:, 2] = 5.0  # nor do targets
    changed = corrected(fitted, x, targets)
    np.testing.assert_array_equal(changed.weight[1], fitted.weight[1])
    np.testing.assert_array_equal(changed.weight[2], fitted.weight[2])
    np.testing.assert_allclose(changed.bias[1:], fitted.bias[1:], rtol=1e-6)
    assert np.isfinite(changed.weight).all()


def test_a_layer_without_a_bias_gets_one():
    fitted, x, targets = fit([0.5, 0.5], offset=0.0)
    bare = Layer(fitted.convolution, fitted.weight, None)
    changed = restore_gain(bare, [outputs_of(fitted, x)], [targets[:, None]])
    assert changed.weight.dtype == changed.bias.dtype == np.float32
    np.testing.assert_allclose(changed.weight / fitted.weight, 4 / 3, rtol=0.02)
