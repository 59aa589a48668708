"""Which operands of a node a rule needs."""

import pytest
from onnx import helper

from worker.engine.formats.onnx.profile.counting_rule import CountingRule

RULE = CountingRule(lambda *_: 0, "a reason", (0, 1, 4), required=2, outputs=(0, 1))


def test_operands_are_inputs_and_outputs_with_gaps():
    node = helper.make_node("Any", ["x", "w", "", "s"], ["y"])
    assert RULE.operands(node) == ["x", "w", "", "y", ""]


@pytest.mark.parametrize(
    ("inputs", "outputs", "is_complete"),
    [
        (["x", "w"], ["y", "z"], True),
        (["x", ""], ["y", "z"], False),
        (["x", "w"], ["y"], False),
        (["x", "w", "", "", "v"], ["y", "z"], True),
    ],
)
def test_optional_inputs_may_be_missing(inputs, outputs, is_complete):
    assert RULE.is_complete(helper.make_node("Any", inputs, outputs)) == is_complete
