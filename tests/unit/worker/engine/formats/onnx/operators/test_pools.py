"""Pools, against a walk over their windows."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError
from worker.engine.formats.onnx.operators.pools import TABLE

ROW = [3.0, -1.0, 4.0, 1.0, 5.0]
DATA = torch.tensor([[ROW]])
FLOATS = [Operand(torch.float32, 3)]


def pooled(entry, kind, **attributes):
    return entry(TABLE, kind, inputs=FLOATS, **attributes)(DATA)[0, 0].tolist()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"kernel_shape": [2]}, [3, 4, 4, 5]),
        # more padding than torch allows: half a kernel
        ({"kernel_shape": [2], "pads": [1, 0], "strides": [2]}, [3, 4, 5]),
        ({"kernel_shape": [2], "dilations": [3]}, [3, 5]),
        ({"kernel_shape": [2], "strides": [2]}, [3, 4]),
        ({"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, [3, 4, 5]),
    ],
)
def test_the_largest_of_a_window(entry, attributes, expected):
    assert pooled(entry, "MaxPool", **attributes) == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"kernel_shape": [2]}, [1, 1.5, 2.5, 3]),
        ({"kernel_shape": [2], "pads": [1, 1]}, [3, 1, 1.5, 2.5, 3, 5]),
        (
            {"kernel_shape": [2], "pads": [1, 1], "count_include_pad": 1},
            [1.5, 1, 1.5, 2.5, 3, 2.5],
        ),
        ({"kernel_shape": [2], "dilations": [2]}, [3.5, 0, 4.5]),
        # what only the rounding of the size adds never counts
        (
            {
                "kernel_shape": [2],
                "strides": [2],
                "ceil_mode": 1,
                "count_include_pad": 1,
            },
            [1, 2.5, 5],
        ),
    ],
)
def test_the_mean_of_a_window(entry, attributes, expected):
    assert pooled(entry, "AveragePool", **attributes) == expected


def test_the_norm_of_a_window(entry):
    result = pooled(entry, "LpPool", kernel_shape=[2], strides=[3], p=2)
    assert result == pytest.approx([10**0.5, 26**0.5])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("GlobalAveragePool", np.mean(ROW)),
        ("GlobalMaxPool", 5),
        ("GlobalLpPool", np.linalg.norm(ROW)),
    ],
)
def test_a_channel_as_one_window(entry, kind, expected):
    assert pooled(entry, kind) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("kernel", "dtype"), [([2] * 4, torch.float32), ([2], torch.int8)]
)
def test_what_torch_cannot_pool_is_left_to_the_runtime(entry, kernel, dtype):
    inputs = [Operand(dtype, 2 + len(kernel))]
    with pytest.raises(UnlistedError):
        entry(TABLE, "MaxPool", inputs=inputs, kernel_shape=kernel)
