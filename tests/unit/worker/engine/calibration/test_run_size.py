"""The image size and the batch size at which a program gives the same outputs."""

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.run_size import build_harness
from worker.engine.model import TensorSpec
from worker.engine.program import StepError

RNG = np.random.default_rng


def convolutional(*behind):
    return chained(("a", layer(RNG(1), (4, 3, 3, 3), padding=1)), torch.relu, *behind)


def of(program, *shape, dtype="float32"):
    return build_harness(
        program, [TensorSpec("v0", dtype, None)], {"v0": shape}, DEFAULT_EFFORT
    )


def test_images_that_do_not_influence_one_another_run_together():
    harness = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 16, 16)
    assert harness.batch == 32
    batches = harness.synthetic(dead_leaves, known_ranges(3)[0], 40, 0)
    assert [batch["v0"].shape for batch in batches] == [(32, 3, 16, 16)] * 2


@pytest.mark.parametrize(
    "mixing",
    [
        lambda x: x - x.mean(0, keepdim=True),
        lambda x: x.sum(0),
        lambda x: x.reshape(1, 4, 16, 16),
        lambda x: [x],
        lambda x: x.mean(),
    ],
)
def test_images_that_do_run_one_by_one(mixing):
    assert of(convolutional(mixing), 1, 3, 16, 16).batch == 1


def test_a_bound_batch_is_the_least_and_stays_where_nothing_else_runs():
    assert of(convolutional(), 3, 3, 16, 16).batch == 30
    assert of(convolutional(lambda x: x.reshape(3, -1, 16)), 3, 3, 16, 16).batch == 3


def test_a_batch_takes_few_enough_values_to_stay_near_the_processor():
    harness = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 256, 256)
    assert harness.batch == (24 << 20) // harness.sample_bytes < 32
    assert (
        harness.sample_bytes == 2 * 4 * 4 * 256 * 256
    )  # before and behind the rectifier


@pytest.mark.parametrize(
    ("size", "smaller"),
    [((128, 192), (42, 64)), ((256, 128), (64, 32)), ((128, 129), None)],
)
def test_images_of_a_model_without_a_head_are_made_smaller(size, smaller):
    harness = of(convolutional(), 1, 3, *size)
    divides = smaller is not None and all(
        a % b == 0 for a, b in zip(size, smaller, strict=True)
    )
    assert harness.shapes["v0"][2:] == (smaller if divides else size)


@pytest.mark.parametrize(
    "head", [lambda x: x.mean((2, 3)), lambda x: x.reshape(-1, 4, 128, 128)]
)
def test_images_of_a_model_with_a_head_or_a_fixed_size_are_not(head):
    assert of(convolutional(head), 1, 3, 128, 128).shapes["v0"] == (1, 3, 128, 128)


def test_what_does_not_run_says_so():
    with pytest.raises(StepError, match="Conv says"):
        of(convolutional(), 1, 4, 8, 8)
