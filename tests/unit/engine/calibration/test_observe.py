"""Moments against numpy's on all patches, and the twin's normalisation against what is stored."""

import numpy as np
import pytest
import torch
from programs import chained, layer, norm

from worker.engine.calibration.observe import batch_statistics, normalised, observe, sample
from worker.engine.calibration.walk import Walk
from worker.engine.convolution import Convolution
from worker.engine.program import StepError

RNG = np.random.default_rng


def images(*shape, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))


def in_batches(x, size):
    return [{"v0": part} for part in x.split(size)]


def patches_by_numpy(x, made):
    """Every patch, cut out position by position."""
    geometry = made.convolution
    (top, _), (left, _) = geometry.padding
    padded = np.pad(x.numpy().astype(np.float64), [(0, 0), (0, 0), (top, top), (left, left)])
    height, width = geometry.kernel
    step = geometry.stride[0]
    down, right = geometry.output_size(x.shape[2:])
    cut = [
        image[:, i * step : i * step + height, j * step : j * step + width].reshape(geometry.groups, -1)
        for image in padded
        for i in range(down)
        for j in range(right)
    ]
    return np.stack(cut)


@pytest.mark.parametrize(("padding", "stride", "groups"), [(0, 1, 1), (1, 2, 1), (1, 1, 2)])
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_moments_are_numpys_however_the_inputs_are_batched(padding, stride, groups, batch):
    made = layer(RNG(1), (4, 4 // groups, 3, 2), padding=padding, stride=stride, groups=groups)
    program, x = chained(torch.relu, ("site", made)), images(6, 4, 7, 6)
    found = observe(program, in_batches(x, batch), {"site": made.convolution}, as_twin=False).moments["site"]
    patches = patches_by_numpy(x.relu(), made)
    for group in range(groups):
        mine = patches[:, group]
        np.testing.assert_allclose(found.mean[group], mine.mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found.covariance[group], np.cov(mine.T, bias=True), rtol=1e-10, atol=1e-13)


def test_linear_sites_have_a_row_for_every_position_before_the_last_axis():
    made = layer(RNG(1), (3, 5))
    x = images(4, 7, 5)
    found = observe(chained(("site", made)), in_batches(x, 2), {"site": made.convolution}, as_twin=False)
    expected = np.cov(x.reshape(-1, 5).numpy().astype(np.float64).T, bias=True)
    np.testing.assert_allclose(found.moments["site"].covariance[0], expected, rtol=1e-10, atol=1e-13)


def test_all_calls_of_a_site_count():
    made = layer(RNG(1), (3, 3, 1, 1))
    x = images(8, 3, 4, 4)
    twice = observe(
        chained(("site", made), torch.relu, ("site", made)), in_batches(x, 8), {"site": made.convolution}, as_twin=False
    )
    inner = torch.nn.functional.conv2d(x, torch.from_numpy(made.weight), torch.from_numpy(made.bias)).relu()
    both = torch.cat([x, inner]).movedim(1, -1).reshape(-1, 3).double()
    np.testing.assert_allclose(twice.moments["site"].mean[0], both.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(twice.moments["site"].covariance[0], both.T.cov(correction=0), rtol=1e-5, atol=1e-7)


def test_of_many_patches_a_sample_of_every_batch_is_measured_and_the_same_one_again():
    convolution = Convolution((4, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1))
    inputs = [torch.zeros(1, 2, 200, 300), torch.zeros(3, 2, 200, 300)]
    picked, again = sample(convolution, inputs), sample(convolution, inputs)
    assert [len(each) for each in picked] == [16384, 49152]
    assert all(bool((a == b).all()) for a, b in zip(picked, again, strict=True))
    assert all(0 <= each.min() <= each.max() < total for each, total in zip(picked, (60000, 180000), strict=True))
    assert sample(convolution, [torch.zeros(0, 2, 200, 300), *inputs])[0].shape == (0,)
    assert sample(convolution, inputs[:1]) == [None]


@pytest.mark.parametrize("batch", [2, 6])
def test_every_normalised_activation_of_the_twin_has_the_stored_mean_and_deviation(batch):
    rng = RNG(3)
    first, second = norm(rng, 4), norm(rng, 5)
    parts = [("a", layer(rng, (4, 3, 3, 3))), first, torch.relu, ("b", layer(rng, (5, 4, 3, 3), bias=False)), second]
    program, batches = chained(*parts), in_batches(images(6, 3, 10, 9), batch)
    statistics = observe(program, batches, {}, as_twin=True).statistics
    assert len(statistics) == 2
    walk, seen = Walk(program, batches), []
    for step in walk.steps():
        run = normalised(step, statistics)
        results = [run(*taken) for taken in walk.take(step)]
        walk.give(step, results)
        if step.norm is not None:
            mean, variance = batch_statistics([result[0] for result in results])
            torch.testing.assert_close(mean, step.norm.bias, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(variance.sqrt(), step.norm.weight.abs(), rtol=1e-4, atol=1e-5)
            seen.append(step.norm)
    assert seen == [first, second]


def test_the_twins_moments_are_those_behind_its_own_normalisation():
    rng = RNG(3)
    stored, made = norm(rng, 4), layer(rng, (2, 4, 1, 1))
    program, batches = chained(stored, ("site", made)), in_batches(images(6, 4, 10, 9), 3)
    twin, plain = (observe(program, batches, {"site": made.convolution}, as_twin=twin) for twin in (True, False))
    found = twin.moments["site"]
    np.testing.assert_allclose(found.mean[0], stored.bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.diag(found.covariance[0]), stored.weight.square(), rtol=1e-4)
    assert not plain.statistics
    assert np.abs(plain.moments["site"].mean[0] - stored.bias.numpy()).max() > 0.01


def test_batch_statistics_are_those_of_all_batches_together():
    x = images(6, 3, 5, 4)
    mean, variance = batch_statistics(list(x.split(2)))
    together = torch.var_mean(x.double(), (0, 2, 3), correction=0)
    torch.testing.assert_close((variance, mean), tuple(part.float() for part in together))


def test_sites_whose_inputs_are_not_finite_are_left_out():
    made = layer(RNG(1), (3, 3, 1, 1))
    program = chained(("before", made), torch.log, ("behind", made))
    geometries = dict.fromkeys(("before", "behind"), made.convolution)
    assert set(observe(program, in_batches(images(4, 3, 4, 4), 2), geometries, as_twin=False).moments) == {"before"}


def test_what_a_step_cannot_do_is_said_with_its_operator():
    def split_in_seven(x):
        return x.reshape(7, -1)

    with pytest.raises(StepError, match=r"split_in_seven says: .*invalid for input of size"):
        observe(chained(split_in_seven), in_batches(images(2, 3, 4, 4), 2), {}, as_twin=False)
