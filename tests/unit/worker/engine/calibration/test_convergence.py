"""The number of plain images doubles until the covariances converge."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer, norm

from worker.engine.calibration.calibrate import calibrate
from worker.engine.calibration.convergence import relative_change, sketch_all
from worker.engine.calibration.effort import DEFAULT_EFFORT, Effort
from worker.engine.calibration.statistics.covariance import (
    MomentRecorder,
    measure_moments,
)
from worker.engine.calibration.statistics.patch_sums import PatchSums
from worker.engine.model import TensorSpec

RNG = np.random.default_rng
A = layer(RNG(1), (4, 3, 3, 3), padding=1)
GEOMETRY = {"a": A.convolution}


def limited(**limits):
    """Return an effort for at most 100 images, one a batch."""
    return Effort(
        most_images=100,
        held_out_images=32,
        batch_images=1,
        enough_rows=65_536,
        **limits,
    )


def of(*parts, effort, macs=1000):
    program = chained(*parts)
    model = SimpleNamespace(
        program=lambda: program, inputs=[TensorSpec("v0", "float32", None)]
    )
    shapes = {"v0": (1, 3, 16, 16)}
    return calibrate(model, shapes, GEOMETRY, macs, None, None, lambda _: None, effort)


@pytest.fixture
def measured(monkeypatch):
    """The list to which the number of batches is added whenever some are measured."""
    counts = []
    add = MomentRecorder.add

    def counted(recorder, program, batches):
        counts.append(len(batches))
        add(recorder, program, batches)

    monkeypatch.setattr(MomentRecorder, "add", counted)
    return counts


def test_further_images_are_measured_alone_and_the_moments_are_those_of_all(measured):
    calibration = of(("a", A), torch.relu, effort=limited(convergence=0.0))
    assert measured == [32, 32, 36]
    images = torch.cat([batch["v0"] for batch in calibration.batches])
    assert len(images.unique(dim=0)) == calibration.report_members["images"] == 100
    at_once = measure_moments(
        calibration.program, calibration.batches, GEOMETRY, limited()
    )
    np.testing.assert_allclose(
        calibration.moments.by_site["a"].covariance,
        at_once["a"].covariance,
        rtol=1e-9,
        atol=1e-12,
    )


def test_with_normalisation_all_images_are_measured_anew(measured):
    """Every image changes the statistics, and with them all activations."""
    too_large_to_distil = 11 * 10**8
    parts = ("a", A), norm(RNG(2), 4), torch.relu
    calibration = of(*parts, effort=limited(convergence=0.0), macs=too_large_to_distil)
    assert calibration.report_members["twin"]
    assert measured == [32, 64, 100]


def test_the_fewest_images_that_can_converge_give_all_rows_and_later_ones_as_many_each(
    monkeypatch,
):
    rows = []
    add = PatchSums.add

    def counted(sums, patches):
        rows.append(len(patches))
        add(sums, patches)

    monkeypatch.setattr(PatchSums, "add", counted)
    of(("a", A), torch.relu, effort=limited(convergence=0.0, rows_per_site=640))
    assert rows == [640 // 64] * 100


@pytest.mark.parametrize(("change", "rounds"), [(0.0, 3), (100.0, 2)])
def test_no_more_images_are_made_once_the_moments_stay_the_same(
    measured, change, rounds
):
    calibration = of(("a", A), torch.relu, effort=limited(convergence=change))
    assert measured == [32, 32, 36][:rounds]
    assert calibration.report_members["images"] == sum(measured)


def test_sketches_estimate_how_much_covariances_change():
    wide = layer(RNG(1), (2, 300, 1, 1))
    program = chained(("a", wide))
    recorder = MomentRecorder({"a": wide.convolution}, 2, DEFAULT_EFFORT)
    images = (
        RNG(0).standard_normal((2, 300, 20, 20))
        * np.linspace(0.1, 2, 300)[:, None, None]
    )
    covariances = []
    sketches = []
    for image in images:
        recorder.add(
            program, [{"v0": torch.from_numpy(image[None].astype(np.float32))}]
        )
        ((_, moments),) = recorder.moments()
        covariances.append(moments.covariance)
        sketches.append(sketch_all(recorder, directions=64))
    before, now = covariances
    change = np.linalg.norm(now - before) / np.linalg.norm(now)
    assert 0.05 < change < 1
    assert relative_change(*sketches) == pytest.approx(change, rel=0.1)
