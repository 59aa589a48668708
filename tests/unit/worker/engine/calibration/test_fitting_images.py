"""The images to fit on, of each kind, with the moments on them and their description."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.engine.calibrations import A, pooled
from support.engine.oracles import patches
from support.engine.programs import chained

from convpress.refusal import Code, Refusal
from worker.engine.calibration.allowance import Allowance
from worker.engine.calibration.effort import Effort
from worker.engine.calibration.fitting_images import distilled, plain, real
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.run_size import build_harness
from worker.engine.model import TensorSpec

SHAPE = (3, 8, 8)
GEOMETRIES = {"a": A.convolution}
RANGES = known_ranges(3)[:1]
EFFORT = Effort(most_images=16, batch_images=4, images_beside_distilled=12)


@pytest.fixture(scope="module")
def allowance():
    program = chained(("a", A), torch.relu, pooled)
    specs = [TensorSpec("v0", "float32", None)]
    harness = build_harness(program, specs, {"v0": (1, *SHAPE)}, EFFORT)
    return Allowance(harness, 1000, EFFORT)


def samples(count):
    rng = np.random.default_rng(0)
    return {"v0": rng.standard_normal((count, *SHAPE)).astype(np.float32)}


@pytest.mark.parametrize(("count", "fitted", "held_out"), [(10, 8, 2), (4, 4, 0)])
def test_of_five_samples_one_is_held_out(allowance, count, fitted, held_out):
    images = real(allowance, samples(count), GEOMETRIES)
    assert images.report_members == {
        "kind": "samples",
        "images": fitted,
        "held_out_samples": held_out,
    }
    x = torch.cat([batch["v0"] for batch in images.batches])
    np.testing.assert_array_equal(x, samples(count)["v0"][:fitted])
    mean = patches(A.convolution, x).mean(1)
    np.testing.assert_allclose(images.moments.by_site["a"].mean, mean, atol=1e-6)


def test_samples_on_which_the_model_fails_are_refused(allowance):
    infinite = {"v0": np.full((4, *SHAPE), np.inf, np.float32)}
    with pytest.raises(Refusal, match="NaN or infinity") as refused:
        real(allowance, infinite, GEOMETRIES)
    assert refused.value.code == Code.SAMPLES_INVALID


def test_plain_images_join_few_distilled_ones(allowance):
    steps_of = []

    def distil(images, steps, seed):
        steps_of.append(steps)
        return images[:1]

    distiller = SimpleNamespace(distil=distil)
    images = distilled(allowance, dead_leaves, RANGES, GEOMETRIES, distiller, 5)
    assert images.report_members == {
        "kind": "distilled",
        "images": 12,
        "distilled": 4,
        "steps": 5,
    }
    assert (len(images.batches), steps_of) == (3, [5])
    assert images.moments.by_site["a"].mean.shape == (1, 27)


def test_plain_images_are_as_many_as_the_effort_allows(allowance):
    shares = []
    images = plain(allowance, dead_leaves, RANGES, GEOMETRIES, shares.append)
    assert images.report_members == {"kind": "synthetic", "images": 16, "twin": False}
    assert images.held_out == []
