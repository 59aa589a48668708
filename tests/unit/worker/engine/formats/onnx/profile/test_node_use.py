"""A node with what its cost depends on."""

import pytest
from onnx import helper

from worker.engine.formats.onnx.profile.node_use import NodeUse, cost_operands


def use(kind, inputs, shapes, outputs=("y",), **members):
    node = helper.make_node(kind, inputs, outputs, **members)
    return NodeUse(node, None, shapes, {}, 1, None)


@pytest.mark.parametrize(
    ("kind", "inputs", "operands"),
    [
        ("Conv", ["x", "w", "b"], ["x", "w"]),
        ("Gemm", ["x"], []),
        ("Relu", ["x"], []),
        ("LSTM", ["x", "w", "r", "b"], ["x", "w", "r"]),
        ("LSTM", ["x", "w"], []),
    ],
)
def test_the_operands_that_decide_a_cost(kind, inputs, operands):
    assert cost_operands(helper.make_node(kind, inputs, ["y"])) == operands


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ({"x": (1, 3), "w": (3, 4)}, [(1, 3), (3, 4)]),
        ({"x": (1, 3), "w": None}, None),
        ({"x": (1, 3)}, None),
    ],
)
def test_a_cost_needs_all_shapes(shapes, expected):
    assert use("MatMul", ["x", "w"], shapes).operand_shapes == expected


def test_a_node_that_is_not_counted_has_no_shapes():
    assert use("Relu", ["x"], {"x": (1,)}).operand_shapes is None


def test_a_rule_sees_none_for_what_a_node_omits():
    each = use("LSTM", ["x", "w", "r"], {"x": (5, 2, 8), "w": (1, 16, 8)})
    assert each.rule_shapes(each.rule) == [(5, 2, 8), (1, 16, 8), None]
    assert use("Conv", ["x", "w"], {}).rule is None


def test_messages_name_a_node_or_its_output():
    assert use("Conv", ["x", "w"], {}, name="stem").label == "Conv 'stem'"
    assert use("Conv", ["x", "w"], {}).label == "Conv 'y'"


def test_operators_of_others_have_their_domain():
    assert use("Conv", ["x"], {}, domain="acme").operator == "acme::Conv"
