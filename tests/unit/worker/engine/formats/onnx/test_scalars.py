"""Single numbers among the constants of a graph."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from worker.engine.formats.onnx.constants import Constant, Fold
from worker.engine.formats.onnx.scalars import scalar

RAW = numpy_helper.from_array(np.array([-3]))
LISTED = TensorProto(dims=[1], data_type=TensorProto.INT64, int64_data=[7])
TRUTH = numpy_helper.from_array(np.array(True))
FLAG = TensorProto(dims=[], data_type=TensorProto.BOOL, int32_data=[1])
SEVERAL = numpy_helper.from_array(np.array([1, 2]))
EMPTY = TensorProto(dims=[1], data_type=TensorProto.INT64)


@pytest.mark.parametrize(
    ("tensor", "value"),
    [(RAW, -3), (LISTED, 7), (TRUTH, 1), (FLAG, 1), (SEVERAL, None), (EMPTY, None)],
)
def test_one_number_however_it_is_stored(tensor, value):
    assert scalar("n", {"n": Constant(tensor, "n")}) == value


def test_a_number_that_is_passed_on_is_the_same():
    fold = Fold(helper.make_node("Identity", ["n"], ["m"]), None)
    assert scalar("m", {"m": Constant(RAW, "n", (fold,))}) == -3


def test_what_is_computed_or_unknown_is_no_number():
    fold = Fold(helper.make_node("Neg", ["n"], ["m"]), None)
    assert scalar("m", {"m": Constant(RAW, "n", (fold,))}) is None
    assert scalar("n", {}) is None
