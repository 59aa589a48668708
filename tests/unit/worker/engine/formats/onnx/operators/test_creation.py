"""Tensors made from shapes and numbers."""

import pytest
import torch

from worker.engine.formats.onnx.operators.creation import TABLE


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({}, [2, 3, 4]), ({"start": 1}, [3, 4]), ({"start": -3, "end": -1}, [2, 3])],
)
def test_a_part_of_a_shape_is_a_tensor_of_long_integers(entry, attributes, expected):
    shape = entry(TABLE, "Shape", **attributes)(torch.zeros(2, 3, 4))
    assert (shape.dtype, shape.tolist()) == (torch.int64, expected)


def test_a_size_is_the_number_of_elements(entry):
    assert entry(TABLE, "Size")(torch.zeros(2, 3, 4)).item() == 24


@pytest.mark.parametrize(
    ("attributes", "dtype", "value"),
    [
        ({}, torch.float32, 0),
        ({"value": torch.tensor([7], dtype=torch.int32)}, torch.int32, 7),
    ],
)
def test_a_constant_has_the_type_of_its_value(entry, attributes, dtype, value):
    fill = entry(TABLE, "ConstantOfShape", **attributes)
    filled = fill(torch.tensor([2, 1]))
    assert (filled.dtype, filled.tolist()) == (dtype, [[value], [value]])


@pytest.mark.parametrize("bounds", [(1, 8, 3), (8, 1, -3), (1, 1, 1), (5, 1, 2)])
def test_a_range_is_that_of_python(entry, bounds):
    tensors = [torch.tensor(bound) for bound in bounds]
    assert entry(TABLE, "Range")(*tensors).tolist() == list(range(*bounds))
