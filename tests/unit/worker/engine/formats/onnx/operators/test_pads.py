"""Padding, against numpy's."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.pads import TABLE

X = np.arange(12).reshape(3, 4)
DATA = torch.from_numpy(X)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_elements_are_repeated_as_in_numpy(entry, mode):
    y = entry(TABLE, "Pad", mode=mode)(DATA, torch.tensor([2, 7, 1, 5]))
    np.testing.assert_array_equal(y, np.pad(X, ((2, 1), (7, 5)), mode))


def test_a_single_element_reflects_into_itself(entry):
    y = entry(TABLE, "Pad", mode="reflect")(torch.tensor([3]), torch.tensor([2, 1]))
    assert y.tolist() == [3, 3, 3, 3]


def test_a_constant_surrounds_the_named_axes_and_negative_numbers_crop(entry):
    pads, value, axes = torch.tensor([1, -2]), torch.tensor(9), torch.tensor([-1])
    y = entry(TABLE, "Pad")(DATA, pads, value, axes)
    np.testing.assert_array_equal(
        y, np.pad(X[:, :2], ((0, 0), (1, 0)), constant_values=9)
    )


def test_pads_of_an_older_opset_are_an_attribute(entry):
    y = entry(TABLE, "Pad", opset=10, pads=[0, 1, 1, 0], value=2.0)(DATA)
    np.testing.assert_array_equal(y, np.pad(X, ((0, 1), (1, 0)), constant_values=2))
