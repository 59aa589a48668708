"""Selecting and writing elements by position, against numpy."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.indexing import TABLE
from worker.engine.formats.onnx.operators.operator import UnlistedError

X = np.arange(24).reshape(2, 3, 4)
DATA = torch.from_numpy(X)


def test_a_slice_runs_backwards_and_stops_at_the_ends(entry):
    numbers = [[-1, 0], [-9, 9], [2, 1], [-2, 2]]
    tensors = [torch.tensor(values) for values in numbers]
    y = entry(TABLE, "Slice")(DATA, *tensors)
    np.testing.assert_array_equal(y, X[:, 0:9:2, -1:-9:-2])


def test_a_slice_of_an_older_opset_has_its_bounds_as_attributes(entry):
    y = entry(TABLE, "Slice", opset=9, starts=[1, 0], ends=[9, 2])(DATA)
    np.testing.assert_array_equal(y, X[1:9, 0:2])


def test_a_slice_whose_end_precedes_its_start_is_empty(entry):
    y = entry(TABLE, "Slice", opset=9, starts=[2], ends=[1], axes=[2])(DATA)
    assert y.shape == (2, 3, 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_the_axes_of_indices_replace_the_axis(entry, axis):
    indices = np.array([[0, -1], [1, 0]])
    y = entry(TABLE, "Gather", axis=axis)(DATA, torch.from_numpy(indices))
    np.testing.assert_array_equal(y, np.take(X, indices, axis))


def test_elements_are_gathered_along_an_axis(entry):
    indices = np.array([[[0, -1, 2, 1]], [[2, 2, -3, 0]]])
    y = entry(TABLE, "GatherElements", axis=1)(DATA, torch.from_numpy(indices))
    np.testing.assert_array_equal(y, np.take_along_axis(X, indices, 1))


def test_coordinates_of_a_batch_select_within_it(entry):
    indices = torch.tensor([[[2, 0]], [[1, -1]]])
    y = entry(TABLE, "GatherND", batch_dims=1)(DATA, indices)
    assert y.tolist() == [[X[0, 2, 0]], [X[1, 1, -1]]]


def test_elements_are_written_and_the_data_stays(entry):
    x = torch.zeros(2, 3)
    scatter = entry(TABLE, "ScatterElements", axis=1)
    y = scatter(x, torch.tensor([[0], [-1]]), torch.tensor([[5.0], [7.0]]))
    assert y.tolist() == [[5, 0, 0], [0, 0, 7]]
    assert not x.any()


def test_slices_are_written_at_coordinates(entry):
    x = torch.zeros(3, 2)
    y = entry(TABLE, "ScatterND")(
        x, torch.tensor([[2], [0]]), torch.tensor([[1.0, 2], [3, 4]])
    )
    assert y.tolist() == [[3, 4], [0, 0], [1, 2]]


@pytest.mark.parametrize("kind", ["ScatterElements", "ScatterND"])
def test_reductions_are_left_to_the_runtime(entry, kind):
    with pytest.raises(UnlistedError):
        entry(TABLE, kind, reduction="add")


@pytest.mark.parametrize(("upper", "keep"), [(1, np.triu), (0, np.tril)])
def test_a_triangle_begins_at_its_diagonal(entry, upper, keep):
    triangle = entry(TABLE, "Trilu", upper=upper)
    np.testing.assert_array_equal(triangle(DATA), keep(X))
    np.testing.assert_array_equal(triangle(DATA, torch.tensor(-1)), keep(X, -1))
