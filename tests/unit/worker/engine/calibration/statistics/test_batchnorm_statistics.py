"""The twin's normalisation against the statistics that the model stores."""

import numpy as np
import pytest
import torch
from support.programs import chained, layer, norm

from worker.engine.calibration.replay import Walk
from worker.engine.calibration.statistics import covariance as observing
from worker.engine.calibration.statistics.batchnorm_statistics import (
    together,
    twin,
    twin_statistics,
)
from worker.engine.calibration.statistics.covariance import observe

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """What is measured is checked before it is shrunk; `test_shrink` has that."""
    monkeypatch.setattr(observing, "shrinkage", lambda square, *_: torch.zeros(len(square)))


MANY = 1 << 30


def images(*shape, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))


def in_batches(x, size):
    return [{"v0": part} for part in x.split(size)]


@pytest.mark.parametrize("most_bytes", [MANY, 0], ids=["all held", "nothing held"])
@pytest.mark.parametrize("batch", [2, 6])
def test_every_normalised_activation_of_the_twin_has_the_stored_mean_and_deviation(
    batch, most_bytes
):
    rng = RNG(3)
    first, second = norm(rng, 4), norm(rng, 5)
    parts = [
        ("a", layer(rng, (4, 3, 3, 3))),
        first,
        torch.relu,
        ("b", layer(rng, (5, 4, 3, 3), bias=False)),
        second,
    ]
    program, batches = chained(*parts, torch.relu), in_batches(images(6, 3, 10, 9), batch)
    statistics = twin_statistics(program, batches, most_bytes)
    assert len(statistics) == 2
    found = twin(program, statistics)
    walk = Walk(found, batches, [])
    for position, stored in ((2, first), (5, second)):
        mean, variance = together(taken[0] for taken in walk.reach(position, found.steps))
        torch.testing.assert_close(mean, stored.bias, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variance.sqrt(), stored.weight.abs(), rtol=1e-4, atol=1e-5)


def test_the_twins_moments_are_those_behind_its_own_normalisation():
    rng = RNG(3)
    stored, made = norm(rng, 4), layer(rng, (2, 4, 1, 1))
    program, batches = chained(stored, ("site", made)), in_batches(images(6, 4, 10, 9), 3)
    changed = twin(program, twin_statistics(program, batches, MANY))
    found, plain = (
        observe(each, batches, {"site": made.convolution})["site"] for each in (changed, program)
    )
    np.testing.assert_allclose(found.mean[0], stored.bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.diag(found.covariance[0]), stored.weight.square(), rtol=1e-4)
    assert np.abs(plain.mean[0] - stored.bias.numpy()).max() > 0.01


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_statistics_together_are_those_of_all_batches_at_once(offset):
    x = images(6, 3, 5, 4) + offset
    mean, variance = together(x.split(2))
    expected = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close((variance, mean), tuple(part.float() for part in expected))
