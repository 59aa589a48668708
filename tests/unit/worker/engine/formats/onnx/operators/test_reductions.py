"""Reductions, extremes, sorting and running sums, against numpy."""

import numpy as np
import pytest
import torch

from worker.engine.formats.onnx.operators.operator import Operand, UnlistedError
from worker.engine.formats.onnx.operators.reductions import TABLE

X = np.arange(1.0, 25.0).reshape(2, 3, 4) / 10
DATA = torch.from_numpy(X)

REDUCTIONS = {
    "ReduceL1": lambda axes: np.abs(X).sum(axes),
    "ReduceL2": lambda axes: np.sqrt((X**2).sum(axes)),
    "ReduceLogSum": lambda axes: np.log(X.sum(axes)),
    "ReduceLogSumExp": lambda axes: np.log(np.exp(X).sum(axes)),
    "ReduceMax": X.max,
    "ReduceMean": X.mean,
    "ReduceMin": X.min,
    "ReduceProd": X.prod,
    "ReduceSum": X.sum,
    "ReduceSumSquare": lambda axes: (X**2).sum(axes),
}


@pytest.mark.parametrize("kind", REDUCTIONS)
def test_a_reduction_takes_axes_or_all(entry, kind):
    reduce = entry(TABLE, kind, keepdims=0)
    expected = REDUCTIONS[kind]
    np.testing.assert_allclose(reduce(DATA, torch.tensor([0, 2])), expected((0, 2)))
    np.testing.assert_allclose(reduce(DATA), expected(None))


def test_axes_of_an_older_opset_are_an_attribute(entry):
    y = entry(TABLE, "ReduceSum", opset=12, axes=[-1])(DATA)
    np.testing.assert_allclose(y, X.sum(-1, keepdims=True))


def test_no_axes_may_mean_each_element_alone(entry):
    y = entry(TABLE, "ReduceSumSquare", noop_with_empty_axes=1)(DATA)
    np.testing.assert_allclose(y, X**2)


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("ReduceMax", torch.float32, -torch.inf),
        ("ReduceMax", torch.int8, -128),
        ("ReduceMax", torch.bool, False),
        ("ReduceMin", torch.float32, torch.inf),
        ("ReduceMin", torch.int8, 127),
        ("ReduceMin", torch.bool, True),
    ],
)
def test_an_extreme_of_nothing_is_the_end_of_the_type(entry, kind, dtype, expected):
    y = entry(TABLE, kind, keepdims=0)(
        torch.zeros(1, 0, dtype=dtype), torch.tensor([1])
    )
    assert (y.dtype, y.tolist()) == (dtype, [expected])


@pytest.mark.parametrize(
    ("kind", "last", "expected"),
    [("ArgMax", 0, 1), ("ArgMax", 1, 3), ("ArgMin", 0, 0), ("ArgMin", 1, 2)],
)
def test_of_equal_extremes_the_first_or_the_last(entry, kind, last, expected):
    find = entry(TABLE, kind, select_last_index=last, keepdims=0)
    assert find(torch.tensor([1, 2, 1, 2])).item() == expected


@pytest.mark.parametrize(
    ("largest", "values", "positions"), [(1, [4, 4], [1, 2]), (0, [1, 2], [3, 0])]
)
def test_the_top_keeps_the_order_of_equal_elements(entry, largest, values, positions):
    top = entry(TABLE, "TopK", outputs=2, largest=largest)
    best, places = top(torch.tensor([2, 4, 4, 1]), torch.tensor([2]))
    assert (best.tolist(), places.tolist()) == (values, positions)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [1, 3, 6]),
        ({"exclusive": 1}, [0, 1, 3]),
        ({"reverse": 1}, [6, 5, 3]),
        ({"exclusive": 1, "reverse": 1}, [5, 3, 0]),
    ],
)
def test_running_sums(entry, attributes, expected):
    total = entry(TABLE, "CumSum", **attributes)
    assert total(torch.tensor([1, 2, 3]), torch.tensor(0)).tolist() == expected


def test_coordinates_of_what_is_not_zero_have_a_row_an_axis(entry):
    y = entry(TABLE, "NonZero")(torch.tensor([[0, 1], [1, 0]]))
    assert y.tolist() == [[0, 1], [1, 0]]


def test_means_of_integers_are_left_to_the_runtime(entry):
    with pytest.raises(UnlistedError):
        entry(TABLE, "ReduceMean", inputs=[Operand(torch.int32, 1)])
