"""Synthetic inputs for whole models, in their own types and layouts."""

import numpy as np
import pytest

from worker.engine.calibration.inputs.dead_leaves import dead_leaves
from worker.engine.calibration.inputs.model_inputs import image_input, make_inputs
from worker.engine.calibration.inputs.ranges import known_ranges
from worker.engine.model import TensorSpec

TO_1, TO_255, STANDARDISED = (known_ranges(3)[position] for position in (0, 2, 3))


def make(values, count=4, /, **inputs):
    specs = [TensorSpec(name, dtype, None) for name, (dtype, _) in inputs.items()]
    shapes = {name: shape for name, (_, shape) in inputs.items()}
    return make_inputs(specs, shapes, count, dead_leaves, values, 7)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_images_in_the_inputs_own_type_and_range(dtype):
    image = make(TO_255, image=(dtype, (1, 3, 8, 8)))["image"]
    assert image.shape == (4, 3, 8, 8)
    assert image.dtype == dtype
    np.testing.assert_allclose(
        image, 255 * dead_leaves(4, 3, (8, 8), 7), rtol=1e-3, atol=0.2
    )


@pytest.mark.parametrize(("dtype", "least"), [("uint8", 0), ("int8", -128)])
def test_raw_images_keep_their_order_and_do_not_wrap_around(dtype, least):
    image = make(TO_1, 64, image=(dtype, (1, 3, 8, 8)))["image"]
    exact = dead_leaves(64, 3, (8, 8), 7)
    assert exact.min() < 0 < 1 < exact.max()  # so that there is something that could
    assert image.dtype == dtype
    assert (
        np.abs(image.astype(float) - least - 255 * exact.clip(0, 1)).max() <= 0.5 + 1e-4
    )


def test_channels_stand_where_the_shape_says():
    last = make(STANDARDISED, image=("float32", (1, 8, 9, 3)))["image"]
    first = make(STANDARDISED, image=("float32", (1, 3, 8, 9)))["image"]
    np.testing.assert_array_equal(last, np.moveaxis(first, 1, -1))


@pytest.mark.parametrize(
    ("shape", "channels", "size", "last"),
    [
        ((1, 3, 24, 32), 3, (24, 32), False),
        ((1, 24, 32, 3), 3, (24, 32), True),
        ((1, 1, 4, 4), 1, (4, 4), False),
        ((2, 40, 100), 40, (100,), False),
        ((2, 1, 4, 5, 6), 1, (4, 5, 6), False),
        ((5, 12), 12, (), False),
    ],
)
def test_the_channels_and_the_size_of_a_shape(shape, channels, size, last):
    image = image_input(TensorSpec("x", "float32", None), shape)
    assert image.channels == channels
    assert image.size == size
    assert image.channels_last == last


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("int64", (1, 128)),
        ("int32", (1, 3, 8, 8)),
        ("bool", (1, 4)),
        ("uint8", (1, 4)),
        ("float32", (3,)),
    ],
)
def test_indices_flags_and_single_numbers_are_no_images(dtype, shape):
    assert image_input(TensorSpec("x", dtype, None), shape) is None


def test_several_inputs_get_images_of_their_own_and_others_valid_values():
    inputs = {
        "colour": ("float32", (1, 3, 8, 8)),
        "depth": ("float32", (1, 1, 8, 8)),
        "token": ("int64", (1, 6)),
        "flag": ("bool", ()),
        "scale": ("float32", ()),
    }
    batch = make(STANDARDISED, **inputs)
    shapes = {name: array.shape for name, array in batch.items()}
    assert shapes == {
        "colour": (4, 3, 8, 8),
        "depth": (4, 1, 8, 8),
        "token": (1, 6),
        "flag": (),
        "scale": (),
    }
    assert {name: array.dtype.name for name, array in batch.items()} == {
        name: kind for name, (kind, _) in inputs.items()
    }
    assert not np.allclose(batch["colour"][:, :1], batch["depth"])
    assert (batch["token"].any(), batch["flag"].item(), batch["scale"].item()) == (
        False,
        False,
        1.0,
    )
