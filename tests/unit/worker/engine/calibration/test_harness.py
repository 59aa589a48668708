"""At which size and in which batches a program is run: by trial, and never so that it gives something else."""

import numpy as np
import pytest
import torch
from support.programs import chained, layer

from worker.engine.calibration.harness import subject
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.calibration.inputs.synthetic import dead_leaves
from worker.engine.model import TensorSpec
from worker.engine.program import StepError

RNG = np.random.default_rng
IMAGE = [TensorSpec("v0", "float32", None)]


def convolutional(*behind):
    return chained(("a", layer(RNG(1), (4, 3, 3, 3), padding=1)), torch.relu, *behind)


def of(program, *shape, dtype="float32"):
    return subject(program, [TensorSpec("v0", dtype, None)], {"v0": shape})


def test_images_that_do_not_influence_one_another_run_together():
    found = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 16, 16)
    assert found.batch == 32
    batches = found.synthetic(dead_leaves, known_ranges(3)[0], 40, 0)
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


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [
        (3, 256, [3]),
        (40, 256, [20, 20]),
        (41, 256, [20, 20]),
        (64, 256, [32, 32]),
        (300, 64, [32, 32]),
        (70, 50, [25, 25]),
    ],
)
def test_real_samples_fill_batches_of_one_size_from_first_to_last(count, most, sizes):
    samples = np.arange(count, dtype=np.float32).repeat(3 * 16 * 16).reshape(count, 3, 16, 16)
    batches = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 16, 16).real({"v0": samples}, most)
    assert [len(batch["v0"]) for batch in batches] == sizes
    taken = torch.cat([batch["v0"][:, 0, 0, 0] for batch in batches])
    assert len(taken.unique()) == len(taken)
    assert taken[0] == 0
    assert taken[-1] >= count - 1 - count // 41


def test_real_samples_of_a_bound_batch_come_in_such_batches():
    found = of(convolutional(lambda x: x.reshape(3, -1, 16)), 3, 3, 16, 16)
    batches = found.real({"v0": RNG(0).random((8, 3, 16, 16), np.float32)}, 256)
    assert [len(batch["v0"]) for batch in batches] == [3, 3]


@pytest.mark.parametrize("channels_last", [False, True])
def test_real_images_are_cut_into_pieces_of_the_size_that_the_model_is_run_at(channels_last):
    images = RNG(0).random((2, 3, 128, 256), np.float32)
    given = np.moveaxis(images, 1, -1) if channels_last else images
    turned = chained(lambda x: x.permute(0, 3, 1, 2), lambda x: x.relu())
    found = of(turned if channels_last else convolutional(), 1, *given.shape[1:])
    assert found.images[0].size == (32, 64)
    pieces = torch.cat([batch["v0"] for batch in found.real({"v0": given}, 256)]).numpy()
    pieces = np.moveaxis(pieces, -1, 1) if channels_last else pieces
    assert len(pieces) == 2 * 4 * 4
    np.testing.assert_array_equal(pieces[1], images[1, :, :32, :64])
    np.testing.assert_array_equal(pieces[2], images[0, :, :32, 64:128])
    np.testing.assert_array_equal(pieces[-1], images[1, :, 96:, 192:])


def test_a_batch_takes_few_enough_values_to_stay_near_the_processor():
    found = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 256, 256)
    assert found.batch == (24 << 20) // found.sample_bytes < 32
    assert found.sample_bytes == 2 * 4 * 4 * 256 * 256  # before and behind the rectifier


@pytest.mark.parametrize(
    ("size", "smaller"), [((128, 192), (42, 64)), ((256, 128), (64, 32)), ((128, 129), None)]
)
def test_images_of_a_model_without_a_head_are_made_smaller(size, smaller):
    found = of(convolutional(), 1, 3, *size)
    divides = smaller is not None and all(a % b == 0 for a, b in zip(size, smaller, strict=True))
    assert found.shapes["v0"][2:] == (smaller if divides else size)


@pytest.mark.parametrize("head", [lambda x: x.mean((2, 3)), lambda x: x.reshape(-1, 4, 128, 128)])
def test_images_of_a_model_with_a_head_or_a_fixed_size_are_not(head):
    assert of(convolutional(head), 1, 3, 128, 128).shapes["v0"] == (1, 3, 128, 128)


def test_half_precision_is_computed_with_as_float32_and_single_numbers_stay_such():
    specs = [TensorSpec("v0", "float16", None), TensorSpec("scale", "float16", None)]
    found = subject(convolutional(), specs, {"v0": (1, 3, 8, 8), "scale": ()})
    [batch] = found.synthetic(dead_leaves, known_ranges(3)[0], 1, 0)
    assert {name: (value.dtype, value.dim()) for name, value in batch.items()} == {
        "v0": (torch.float32, 4),
        "scale": (torch.float32, 0),
    }


def test_what_does_not_run_says_so():
    with pytest.raises(StepError, match="Conv says"):
        of(convolutional(), 1, 4, 8, 8)


def test_only_one_input_of_numbers_can_be_changed_little_by_little():
    assert of(convolutional(), 1, 3, 8, 8).gradient_input == "v0"
    raw = chained(lambda x: x.float())
    assert of(raw, 1, 3, 8, 8, dtype="uint8").gradient_input is None
    two = [*IMAGE, TensorSpec("other", "float32", None)]
    assert (
        subject(convolutional(), two, {"v0": (1, 3, 8, 8), "other": (1, 3, 8, 8)}).gradient_input
        is None
    )


def test_samples_that_do_not_fill_a_batch_are_left_out():
    found = of(convolutional(), 3, 3, 16, 16)
    batches = found.batches({"v0": np.zeros((70, 3, 16, 16), np.float32)})
    assert [len(batch["v0"]) for batch in batches] == [30, 30]


def test_what_makes_an_image_of_an_image_is_shown_noisy_ones():
    back = layer(RNG(1), (3, 4, 3, 3), padding=1)
    shape = (1, 3, 16, 16)
    restoring = subject(convolutional(("back", back)), IMAGE, {"v0": shape})
    assert (restoring.restores, of(convolutional(), *shape).restores) == (True, False)
    values = known_ranges(3)[0]
    plain, shown = (
        found.synthetic(dead_leaves, values, 8, 0)[0]["v0"]
        for found in (of(convolutional(), *shape), restoring)
    )
    assert 0.02 < (shown - plain[: len(shown)]).std() < 0.2
