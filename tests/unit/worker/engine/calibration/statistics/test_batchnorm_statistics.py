"""Re-estimated statistics: normalised activations have the stored scale and bias as moments."""

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer, norm

from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.replay import CheckpointedRun
from worker.engine.calibration.statistics import patch_sums
from worker.engine.calibration.statistics.batchnorm_statistics import (
    channel_statistics,
    reestimate_statistics,
    with_statistics,
)
from worker.engine.calibration.statistics.covariance import measure_moments

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """No shrinkage, which `test_shrinkage` checks."""
    monkeypatch.setattr(
        patch_sums, "oas_intensity", lambda square, *_: torch.zeros(len(square))
    )


MANY = 1 << 30


def images(*shape, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))


def in_batches(x, size):
    return [{"v0": part} for part in x.split(size)]


@pytest.mark.parametrize("most_bytes", [MANY, 0], ids=["all held", "nothing held"])
@pytest.mark.parametrize("batch", [2, 6])
def test_every_normalised_activation_has_the_stored_mean_and_deviation(
    batch, most_bytes
):
    rng = RNG(3)
    first = norm(rng, 4)
    second = norm(rng, 5)
    parts = [
        ("a", layer(rng, (4, 3, 3, 3))),
        first,
        torch.relu,
        ("b", layer(rng, (5, 4, 3, 3), bias=False)),
        second,
    ]
    program = chained(*parts, torch.relu)
    batches = in_batches(images(6, 3, 10, 9), batch)
    statistics = reestimate_statistics(program, batches, most_bytes)
    assert len(statistics) == 2
    changed = with_statistics(program, statistics)
    run = CheckpointedRun(changed, batches, [])
    for position, stored in ((2, first), (5, second)):
        mean, variance = channel_statistics(
            x for (x,) in run.inputs_of(position, changed.steps)
        )
        torch.testing.assert_close(mean, stored.bias, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            variance.sqrt(), stored.weight.abs(), rtol=1e-4, atol=1e-5
        )


def test_moments_are_those_behind_the_reestimated_normalisation():
    rng = RNG(3)
    stored = norm(rng, 4)
    site_layer = layer(rng, (2, 4, 1, 1))
    program = chained(stored, ("site", site_layer))
    batches = in_batches(images(6, 4, 10, 9), 3)
    changed = with_statistics(program, reestimate_statistics(program, batches, MANY))
    geometry = {"site": site_layer.convolution}
    moments = measure_moments(changed, batches, geometry, DEFAULT_EFFORT)["site"]
    plain = measure_moments(program, batches, geometry, DEFAULT_EFFORT)["site"]
    np.testing.assert_allclose(moments.mean[0], stored.bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        np.diag(moments.covariance[0]), stored.weight.square(), rtol=1e-4
    )
    assert np.abs(plain.mean[0] - stored.bias.numpy()).max() > 0.01


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_statistics_together_are_those_of_all_batches_at_once(offset):
    x = images(6, 3, 5, 4) + offset
    mean, variance = channel_statistics(x.split(2))
    expected = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close(
        (variance, mean), tuple(part.float() for part in expected)
    )
