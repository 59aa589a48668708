"""Batches of a harness: types, sizes and noise."""

import numpy as np
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.run_size import build_harness
from worker.engine.model import TensorSpec

RNG = np.random.default_rng
IMAGE = [TensorSpec("v0", "float32", None)]


def convolutional(*behind):
    return chained(("a", layer(RNG(1), (4, 3, 3, 3), padding=1)), torch.relu, *behind)


def of(program, *shape, dtype="float32"):
    return build_harness(
        program, [TensorSpec("v0", dtype, None)], {"v0": shape}, DEFAULT_EFFORT
    )


def test_half_precision_is_computed_with_as_float32_and_single_numbers_stay_such():
    specs = [TensorSpec("v0", "float16", None), TensorSpec("scale", "float16", None)]
    harness = build_harness(
        convolutional(), specs, {"v0": (1, 3, 8, 8), "scale": ()}, DEFAULT_EFFORT
    )
    [batch] = harness.synthetic(dead_leaves, known_ranges(3)[0], 1, 0)
    assert {name: (value.dtype, value.dim()) for name, value in batch.items()} == {
        "v0": (torch.float32, 4),
        "scale": (torch.float32, 0),
    }


def test_only_one_input_of_numbers_can_be_changed_little_by_little():
    assert of(convolutional(), 1, 3, 8, 8).gradient_input == "v0"
    raw = chained(lambda x: x.float())
    assert of(raw, 1, 3, 8, 8, dtype="uint8").gradient_input is None
    two = [*IMAGE, TensorSpec("other", "float32", None)]
    assert (
        build_harness(
            convolutional(),
            two,
            {"v0": (1, 3, 8, 8), "other": (1, 3, 8, 8)},
            DEFAULT_EFFORT,
        ).gradient_input
        is None
    )


def test_samples_that_do_not_fill_a_batch_are_left_out():
    harness = of(convolutional(), 3, 3, 16, 16)
    batches = harness.batches({"v0": np.zeros((70, 3, 16, 16), np.float32)})
    assert [len(batch["v0"]) for batch in batches] == [30, 30]


def test_what_makes_an_image_of_an_image_is_shown_noisy_ones():
    back = layer(RNG(1), (3, 4, 3, 3), padding=1)
    shape = (1, 3, 16, 16)
    restoring = build_harness(
        convolutional(("back", back)), IMAGE, {"v0": shape}, DEFAULT_EFFORT
    )
    assert (restoring.restores, of(convolutional(), *shape).restores) == (True, False)
    values = known_ranges(3)[0]
    plain = of(convolutional(), *shape).synthetic(dead_leaves, values, 8, 0)[0]["v0"]
    shown = restoring.synthetic(dead_leaves, values, 8, 0)[0]["v0"]
    assert 0.02 < (shown - plain[: len(shown)]).std() < 0.2
