"""Moments against numpy's on all patches."""

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.statistics import patch_sums
from worker.engine.calibration.statistics.covariance import (
    MomentRecorder,
    measure_moments,
)
from worker.engine.calibration.statistics.patch_sums import PatchSums
from worker.engine.program import StepError

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """No shrinkage, which `test_shrinkage` checks."""
    monkeypatch.setattr(
        patch_sums, "oas_intensity", lambda square, *_: torch.zeros(len(square))
    )


def images(*shape, seed=0):
    return torch.from_numpy(RNG(seed).standard_normal(shape).astype(np.float32))


def measure(program, batches, geometries, effort=DEFAULT_EFFORT):
    return measure_moments(program, batches, geometries, effort)


def in_batches(x, size):
    return [{"v0": part} for part in x.split(size)]


def patches_by_numpy(x, site):
    """Every patch, cut out position by position."""
    geometry = site.convolution
    (top, _), (left, _) = geometry.padding
    padded = np.pad(
        x.numpy().astype(np.float64), [(0, 0), (0, 0), (top, top), (left, left)]
    )
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


@pytest.mark.parametrize(
    ("padding", "stride", "groups"), [(0, 1, 1), (1, 2, 1), (1, 1, 2)]
)
@pytest.mark.parametrize("batch", [1, 2, 6])
def test_moments_are_numpys_however_the_inputs_are_batched(
    padding, stride, groups, batch
):
    site = layer(
        RNG(1), (4, 4 // groups, 3, 2), padding=padding, stride=stride, groups=groups
    )
    program = chained(torch.relu, ("site", site))
    x = images(6, 4, 7, 6)
    moments = measure(program, in_batches(x, batch), {"site": site.convolution})["site"]
    patches = patches_by_numpy(x.relu(), site)
    for group in range(groups):
        mine = patches[:, group]
        np.testing.assert_allclose(
            moments.mean[group], mine.mean(0), rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(
            moments.covariance[group], np.cov(mine.T, bias=True), rtol=1e-6, atol=1e-6
        )


def test_linear_sites_have_a_row_for_every_position_before_the_last_axis():
    site = layer(RNG(1), (3, 5))
    x = images(4, 7, 5)
    moments = measure(
        chained(("site", site)), in_batches(x, 2), {"site": site.convolution}
    )
    expected = np.cov(x.reshape(-1, 5).numpy().astype(np.float64).T, bias=True)
    np.testing.assert_allclose(
        moments["site"].covariance[0], expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_wide_patches_far_from_0_are_about_as_exact_in_half_the_memory(groups):
    """Rounding of products that are not centred is relative to the mean's square."""
    site = layer(RNG(1), (2 * groups, 67, 3, 3), padding=0, groups=groups)
    x = 100 + images(5, 67 * groups, 9, 9)
    moments = measure(
        chained(("site", site)), in_batches(x, 1), {"site": site.convolution}
    )["site"]
    assert moments.covariance.dtype == np.float32
    patches = patches_by_numpy(x, site)
    for group in range(groups):
        expected = np.cov(patches[:, group].T, bias=True)
        np.testing.assert_allclose(
            moments.mean[group], patches[:, group].mean(0), rtol=1e-7
        )
        np.testing.assert_allclose(
            moments.covariance[group], expected, rtol=0, atol=2e-6 * expected.max()
        )


def test_all_calls_of_a_site_count():
    site = layer(RNG(1), (3, 3, 1, 1))
    x = images(8, 3, 4, 4)
    program = chained(("site", site), torch.relu, ("site", site))
    twice = measure(program, in_batches(x, 8), {"site": site.convolution})["site"]
    inner = torch.nn.functional.conv2d(
        x, torch.from_numpy(site.weight), torch.from_numpy(site.bias)
    ).relu()
    both = torch.cat([x, inner]).movedim(1, -1).reshape(-1, 3).double()
    np.testing.assert_allclose(twice.mean[0], both.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        twice.covariance[0], both.T.cov(correction=0), rtol=1e-5, atol=1e-7
    )


def test_every_batch_gives_patches_of_its_own(monkeypatch):
    """Of two batches alike, the same patches twice would tell no more than those of one."""
    site = layer(RNG(1), (2, 3, 1, 1))
    x = images(1, 3, 40, 40)
    seen = []
    add = PatchSums.add
    monkeypatch.setattr(
        PatchSums,
        "add",
        lambda sums, patches: (seen.append(patches), add(sums, patches)),
    )
    few = Effort(rows_per_site=20)
    measure(
        chained(("site", site)), [{"v0": x}, {"v0": x}], {"site": site.convolution}, few
    )
    assert [len(patches) for patches in seen] == [10, 10]
    assert not torch.equal(*seen)


def test_current_moments_can_be_read_before_more_is_added():
    site = layer(RNG(1), (3, 4, 3, 3), padding=1)
    x = images(6, 4, 7, 6)
    recorder = MomentRecorder({"site": site.convolution}, 3, DEFAULT_EFFORT)
    for batch in in_batches(x, 2):
        recorder.add(chained(("site", site)), [batch])
        ((_, moments),) = recorder.moments()
    at_once = measure(
        chained(("site", site)), in_batches(x, 2), {"site": site.convolution}
    )["site"]
    np.testing.assert_array_equal(moments.covariance, at_once.covariance)
    np.testing.assert_array_equal(
        recorder.finish()["site"].covariance, at_once.covariance
    )


def test_mapped_weights_are_given_back_before_every_step(monkeypatch):
    site = layer(RNG(1), (3, 3, 1, 1))
    x = images(2, 3, 5, 5)
    happened = []
    monkeypatch.setattr(
        "worker.engine.numerics.memory.give_back_files",
        lambda: happened.append("given back"),
    )

    def noted(x):
        happened.append("run")
        return x

    measure(
        chained(("first", site), noted, ("last", site), noted),
        [{"v0": x}],
        {"first": site.convolution},
    )
    assert happened[:6] == [
        "given back",
        "given back",
        "run",
        "given back",
        "given back",
        "run",
    ]


def test_sites_whose_inputs_are_not_finite_are_left_out():
    site = layer(RNG(1), (3, 3, 1, 1))
    program = chained(("before", site), torch.log, ("behind", site))
    geometries = dict.fromkeys(("before", "behind"), site.convolution)
    assert set(measure(program, in_batches(images(4, 3, 4, 4), 2), geometries)) == {
        "before"
    }


def test_the_error_of_a_step_names_its_operator():
    def split_in_seven(x):
        return x.reshape(7, -1)

    with pytest.raises(
        StepError, match=r"split_in_seven says: .*invalid for input of size"
    ):
        measure(chained(split_in_seven), in_batches(images(2, 3, 4, 4), 2), {})


def test_a_sample_without_the_axis_of_a_batch_is_no_batch():
    site = layer(RNG(0), (3, 2, 3, 3))
    batches = [{"v0": images(2, 8, 8)}]
    with pytest.raises(StepError, match="without the axis of a batch"):
        measure(chained(("site", site)), batches, {"site": site.convolution})
