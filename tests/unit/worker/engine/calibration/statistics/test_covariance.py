"""Moments against numpy's on all patches."""

import numpy as np
import pytest
import torch
from support.programs import chained, layer

from worker.engine.calibration.statistics import covariance as observing
from worker.engine.calibration.statistics.covariance import observe, sample
from worker.engine.calibration.statistics.shrinkage import shrinkage
from worker.engine.numerics.convolution import Convolution
from worker.engine.program import StepError

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """What is measured is checked before it is shrunk; `test_shrink` has that."""
    monkeypatch.setattr(observing, "shrinkage", lambda square, *_: torch.zeros(len(square)))


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
        image[:, i * step : i * step + height, j * step : j * step + width].reshape(
            geometry.groups, -1
        )
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
    found = observe(program, in_batches(x, batch), {"site": made.convolution})["site"]
    patches = patches_by_numpy(x.relu(), made)
    for group in range(groups):
        mine = patches[:, group]
        np.testing.assert_allclose(found.mean[group], mine.mean(0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(
            found.covariance[group], np.cov(mine.T, bias=True), rtol=1e-10, atol=1e-13
        )


def test_linear_sites_have_a_row_for_every_position_before_the_last_axis():
    made = layer(RNG(1), (3, 5))
    x = images(4, 7, 5)
    found = observe(chained(("site", made)), in_batches(x, 2), {"site": made.convolution})
    expected = np.cov(x.reshape(-1, 5).numpy().astype(np.float64).T, bias=True)
    np.testing.assert_allclose(found["site"].covariance[0], expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_patches_far_from_0_are_about_as_exact_in_half_the_memory(groups):
    """Of products that are not centred rounding is a share of the mean's square, 10,000 times the variance."""
    made = layer(RNG(1), (2 * groups, 67, 3, 3), padding=0, groups=groups)
    x = 100 + images(5, 67 * groups, 9, 9)
    found = observe(chained(("site", made)), in_batches(x, 1), {"site": made.convolution})["site"]
    assert found.covariance.dtype == np.float32
    patches = patches_by_numpy(x, made)
    for group in range(groups):
        expected = np.cov(patches[:, group].T, bias=True)
        np.testing.assert_allclose(found.mean[group], patches[:, group].mean(0), rtol=1e-7)
        np.testing.assert_allclose(
            found.covariance[group], expected, rtol=0, atol=2e-6 * expected.max()
        )


@pytest.mark.parametrize("groups", [1, 2])
def test_the_widest_are_summed_band_by_band_and_shrunk_as_a_whole(monkeypatch, groups):
    """Against torch's sums over the same rows, drawn towards the mean variance by the published share."""
    monkeypatch.setattr(observing, "shrinkage", shrinkage)
    made, rows = (
        layer(RNG(1), (groups, 1300, 1, 1), groups=groups),
        torch.randn(900, groups, 1300) + 3,
    )
    sums = observing.Sums(made.convolution)
    for part in rows.split(350):
        sums.add(part)
    measured = torch.stack([rows[:, group].T.double().cov(correction=0) for group in range(groups)])
    np.testing.assert_allclose(sums.covariance()[1], measured, rtol=0, atol=1e-5)
    variances = measured.diagonal(dim1=1, dim2=2)
    share = shrinkage(measured.square().sum((1, 2)), variances, 900)[:, None, None]
    assert (share > 0.5).all()
    expected = (1 - share) * measured + share * variances.mean(1)[:, None, None] * torch.eye(1300)
    np.testing.assert_allclose(sums.moments().covariance, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        sums.covariance()[1], measured, rtol=0, atol=1e-5
    )  # a look has changed nothing
    assert len(sums.moments().held.bands) == 3


def test_all_calls_of_a_site_count():
    made = layer(RNG(1), (3, 3, 1, 1))
    x = images(8, 3, 4, 4)
    program = chained(("site", made), torch.relu, ("site", made))
    twice = observe(program, in_batches(x, 8), {"site": made.convolution})["site"]
    inner = torch.nn.functional.conv2d(
        x, torch.from_numpy(made.weight), torch.from_numpy(made.bias)
    ).relu()
    both = torch.cat([x, inner]).movedim(1, -1).reshape(-1, 3).double()
    np.testing.assert_allclose(twice.mean[0], both.mean(0), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(twice.covariance[0], both.T.cov(correction=0), rtol=1e-5, atol=1e-7)


def test_of_many_patches_a_sample_of_every_batch_is_measured_and_the_same_one_again():
    convolution, x = (
        Convolution((4, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1)),
        torch.zeros(1, 2, 200, 300),
    )
    picked, again, other = (
        sample(convolution, x, 4, 0),
        sample(convolution, x, 4, 0),
        sample(convolution, x, 4, 1),
    )
    assert len(picked) == 65536 // 4
    assert 0 <= picked.min() <= picked.max() < 60000
    assert torch.equal(picked, again)
    assert not torch.equal(picked, other)
    assert sample(convolution, torch.zeros(0, 2, 200, 300), 4, 0) is None
    assert sample(convolution, x, 1, 0) is None


def test_every_batch_gives_patches_of_its_own(monkeypatch):
    """Of two batches alike, the same patches twice would tell no more than those of one."""
    monkeypatch.setattr(observing, "_MOST_ROWS", 20)
    made, x = layer(RNG(1), (2, 3, 1, 1)), images(1, 3, 40, 40)
    seen = []
    add = observing.Sums.add
    monkeypatch.setattr(
        observing.Sums, "add", lambda sums, patches: (seen.append(patches), add(sums, patches))
    )
    observe(chained(("site", made)), [{"v0": x}, {"v0": x}], {"site": made.convolution})
    assert [len(patches) for patches in seen] == [10, 10]
    assert not torch.equal(*seen)


def test_what_was_summed_can_be_looked_at_before_more_is_added():
    made, x = layer(RNG(1), (3, 4, 3, 3), padding=1), images(6, 4, 7, 6)
    observer = observing.Observer({"site": made.convolution}, 3)
    for batch in in_batches(x, 2):
        observer.add(chained(("site", made)), [batch])
        ((_, moments),) = observer.moments()
    at_once = observe(chained(("site", made)), in_batches(x, 2), {"site": made.convolution})["site"]
    np.testing.assert_array_equal(moments.covariance, at_once.covariance)
    np.testing.assert_array_equal(observer.taken()["site"].covariance, at_once.covariance)


def test_no_layer_runs_beside_the_mapped_weights_of_those_before_it(monkeypatch):
    made, x = layer(RNG(1), (3, 3, 1, 1)), images(2, 3, 5, 5)
    happened = []
    monkeypatch.setattr(
        "worker.engine.numerics.memory.give_back_files", lambda: happened.append("given back")
    )

    def told(x):
        happened.append("run")
        return x

    observe(
        chained(("first", made), told, ("last", made), told),
        [{"v0": x}],
        {"first": made.convolution},
    )
    assert happened[:6] == ["given back", "given back", "run", "given back", "given back", "run"]


def test_sites_whose_inputs_are_not_finite_are_left_out():
    made = layer(RNG(1), (3, 3, 1, 1))
    program = chained(("before", made), torch.log, ("behind", made))
    geometries = dict.fromkeys(("before", "behind"), made.convolution)
    assert set(observe(program, in_batches(images(4, 3, 4, 4), 2), geometries)) == {"before"}


def test_what_a_step_cannot_do_is_said_with_its_operator():
    def split_in_seven(x):
        return x.reshape(7, -1)

    with pytest.raises(StepError, match=r"split_in_seven says: .*invalid for input of size"):
        observe(chained(split_in_seven), in_batches(images(2, 3, 4, 4), 2), {})
