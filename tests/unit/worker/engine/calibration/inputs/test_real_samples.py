"""Real samples in batches of one size, cut to the size that the model is run at."""

import numpy as np
import pytest
import torch
from support.engine.programs import chained, layer

from worker.engine.calibration.effort import DEFAULT_EFFORT
from worker.engine.calibration.inputs.real_samples import real_batches
from worker.engine.calibration.run_size import build_harness
from worker.engine.model import TensorSpec

RNG = np.random.default_rng


def convolutional(*behind):
    return chained(("a", layer(RNG(1), (4, 3, 3, 3), padding=1)), torch.relu, *behind)


def of(program, *shape, dtype="float32"):
    return build_harness(
        program, [TensorSpec("v0", dtype, None)], {"v0": shape}, DEFAULT_EFFORT
    )


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
    samples = (
        np.arange(count, dtype=np.float32).repeat(3 * 16 * 16).reshape(count, 3, 16, 16)
    )
    harness = of(convolutional(lambda x: x.mean((2, 3))), 1, 3, 16, 16)
    batches = real_batches(harness, {"v0": samples}, most)
    assert [len(batch["v0"]) for batch in batches] == sizes
    values = torch.cat([batch["v0"][:, 0, 0, 0] for batch in batches])
    assert len(values.unique()) == len(values)
    assert values[0] == 0
    assert values[-1] >= count - 1 - count // 41


def test_real_samples_of_a_bound_batch_come_in_such_batches():
    harness = of(convolutional(lambda x: x.reshape(3, -1, 16)), 3, 3, 16, 16)
    batches = real_batches(
        harness, {"v0": RNG(0).random((8, 3, 16, 16), np.float32)}, 256
    )
    assert [len(batch["v0"]) for batch in batches] == [3, 3]


@pytest.mark.parametrize("channels_last", [False, True])
def test_real_images_are_cut_into_pieces_of_the_size_that_the_model_is_run_at(
    channels_last,
):
    images = RNG(0).random((2, 3, 128, 256), np.float32)
    stored = np.moveaxis(images, 1, -1) if channels_last else images
    turned = chained(lambda x: x.permute(0, 3, 1, 2), lambda x: x.relu())
    harness = of(turned if channels_last else convolutional(), 1, *stored.shape[1:])
    assert harness.images[0].size == (32, 64)
    pieces = torch.cat(
        [batch["v0"] for batch in real_batches(harness, {"v0": stored}, 256)]
    ).numpy()
    pieces = np.moveaxis(pieces, -1, 1) if channels_last else pieces
    assert len(pieces) == 2 * 4 * 4
    np.testing.assert_array_equal(pieces[1], images[1, :, :32, :64])
    np.testing.assert_array_equal(pieces[2], images[0, :, :32, 64:128])
    np.testing.assert_array_equal(pieces[-1], images[1, :, 96:, 192:])
