"""Axes changed, tensors joined and cut, against numpy."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError
from worker.engine.formats.onnx.operators.reshaping import TABLE

X = np.arange(24).reshape(2, 3, 4)
DATA = torch.from_numpy(X)


def longs(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


@pytest.mark.parametrize(
    ("kind", "attributes", "tensors", "expected"),
    [
        ("Reshape", {}, [longs(0, -1)], X.reshape(2, 12)),
        ("Flatten", {"axis": 2}, [], X.reshape(6, 4)),
        ("Transpose", {}, [], X.T),
        ("Transpose", {"perm": [1, 0, 2]}, [], X.transpose(1, 0, 2)),
        ("Concat", {"axis": -1}, [DATA], np.concatenate([X, X], -1)),
        ("Unsqueeze", {}, [longs(-1, 0)], X[None, ..., None]),
        ("Expand", {}, [longs(5, 1, 1, 1)], np.broadcast_to(X, (5, 2, 3, 4))),
        ("Expand", {}, [longs(1)], X),
        ("Tile", {}, [longs(1, 2, 3)], np.tile(X, (1, 2, 3))),
        ("Identity", {}, [], X),
    ],
)
def test_a_tensor_is_that_of_numpy(entry, kind, attributes, tensors, expected):
    y = entry(TABLE, kind, **attributes)(DATA, *tensors)
    np.testing.assert_array_equal(y, expected)


def test_a_size_of_zero_is_one_where_it_is_allowed(entry):
    y = entry(TABLE, "Reshape", allowzero=1)(torch.zeros(0, 3), longs(3, 0))
    assert y.shape == (3, 0)


@pytest.mark.parametrize("axes", [{}, {"axes": [0, -1]}])
def test_axes_of_one_element_are_dropped(entry, axes):
    assert entry(TABLE, "Squeeze", **axes)(DATA[None, ..., None]).shape == X.shape


@pytest.mark.parametrize(
    ("attributes", "sizes", "lengths"),
    [
        ({}, (longs(1, 3),), [1, 3]),
        ({"split": [3, 1]}, (), [3, 1]),
        ({}, (), [2, 2]),
    ],
)
def test_parts_have_the_stated_sizes_or_equal_ones(entry, attributes, sizes, lengths):
    split = entry(TABLE, "Split", outputs=2, axis=-1, **attributes)
    parts = split(DATA, *sizes)
    assert [part.shape[-1] for part in parts] == lengths
    np.testing.assert_array_equal(torch.cat(parts, -1), X)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_becomes_space_and_space_depth(entry, mode):
    x = torch.arange(16).reshape(1, 8, 1, 2)
    to_space = entry(TABLE, "DepthToSpace", blocksize=2, mode=mode)
    to_depth = entry(TABLE, "SpaceToDepth", blocksize=2, mode=mode)
    space = to_space(x)
    # the first block: the channels of its four positions
    expected = {"DCR": [[0, 4], [8, 12]], "CRD": [[0, 2], [4, 6]]}
    assert space[0, 0, :, :2].tolist() == expected[mode]
    assert torch.equal(to_depth(space), x)


def test_a_dropout_in_inference_passes_its_data_on(entry):
    assert entry(TABLE, "Dropout")(DATA, None, None) is DATA
    data, mask = entry(TABLE, "Dropout", outputs=2)(DATA)
    assert data is DATA
    assert mask.dtype == torch.bool
    assert mask.all()


@pytest.mark.parametrize("training", [torch.tensor(True), None])
def test_training_is_left_to_the_runtime(entry, training):
    operand = Operand(torch.float32, 3)
    inputs = [operand, operand, Operand(torch.bool, 0, training)]
    with pytest.raises(UnlistedError):
        entry(TABLE, "Dropout", inputs=inputs)
