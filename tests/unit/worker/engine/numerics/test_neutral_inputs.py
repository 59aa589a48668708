"""Inputs that are no images keep everything, and their values fit."""

import numpy as np
import pytest

from worker.engine.model import TensorSpec, Values
from worker.engine.numerics.neutral_inputs import neutral
from worker.engine.numerics.random_inputs import random_inputs

IDS = TensorSpec("input_ids", "int64", None, rows=50)
SHAPES = {"input_ids": (2, 7)}


@pytest.mark.parametrize(
    ("spec", "shape", "values"),
    [
        (TensorSpec("attention_mask", "int64", None), (2, 7), np.ones((2, 7))),
        (TensorSpec("mask", "bool", None), (2, 7), np.ones((2, 7))),
        (TensorSpec("key_padding_mask", "bool", None), (2, 7), np.zeros((2, 7))),
        (
            TensorSpec("position_ids", "int64", None, rows=5),
            (1, 7),
            [[0, 1, 2, 3, 4, 0, 1]],
        ),
        (TensorSpec("lengths", "int64", None), (2,), [7, 7]),
        (TensorSpec("index", "int64", None), (2,), [0, 0]),
        (TensorSpec("scale", "float32", None), (1,), [1]),
    ],
)
def test_a_name_tells_what_keeps_everything(spec, shape, values):
    array = neutral(spec, [IDS, spec], {**SHAPES, spec.name: shape})
    assert array.dtype == spec.dtype
    np.testing.assert_array_equal(array, values)


def test_indices_lie_below_the_rows_and_differ():
    ids = random_inputs([IDS], {"input_ids": (4, 100)})["input_ids"]
    assert (ids.min() >= 0, ids.max() < 50, len(np.unique(ids)) > 30) == (
        True,
        True,
        True,
    )


def test_pixels_are_random_bytes_and_values_are_those_that_are_stated():
    pixels = TensorSpec("image", "uint8", None)
    sizes = TensorSpec("sizes", "int64", (2,))
    shapes = {"image": (1, 8, 8, 3), "sizes": Values((32, 64))}
    inputs = random_inputs([pixels, sizes], shapes)
    assert inputs["image"].max() > 200
    assert inputs["sizes"].tolist() == [32, 64]
