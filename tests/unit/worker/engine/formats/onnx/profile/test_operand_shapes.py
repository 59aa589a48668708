"""Shapes of operands that rules share."""

import pytest
from onnx import NodeProto

from worker.engine.formats.onnx.profile.operand_shapes import present, recurrent

X, W, R = (5, 2, 8), (1, 16, 8), (1, 16, 4)


def test_the_first_shapes_are_there():
    assert present([X, W, None], 2) == [X, W]
    with pytest.raises(ValueError, match="1 operands instead of 2"):
        present([X, None], 2)


@pytest.mark.parametrize("weight", [W, (1, 8, 16)])
def test_a_recurrent_layer_multiplies_input_and_state_at_each_step(weight):
    assert recurrent(NodeProto(), [X, weight, R]) == 5 * 2 * (16 * 8 + 16 * 4)


@pytest.mark.parametrize("shapes", [[X, (1, 16, 7), R], [X, W, (16, 4)]])
def test_shapes_of_no_recurrent_layer_are_an_error(shapes):
    with pytest.raises(ValueError, match="fit no recurrent layer"):
        recurrent(NodeProto(), shapes)
