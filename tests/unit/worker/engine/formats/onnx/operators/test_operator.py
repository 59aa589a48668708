"""A node as an entry of the table sees it: its attributes and what is known of its inputs."""

import pytest
import torch

from worker.engine.formats.onnx.operators.operator import (
    Operand,
    Operator,
    UnlistedError,
    without_attributes,
)


def node(*inputs, **attributes):
    return Operator("Any", 17, attributes, inputs, 1, 1)


def test_an_attribute_may_be_omitted():
    assert node(axis=2).get("axis", 1) == 2
    assert node().get("axis", 1) == 1
    assert node().get("axis") is None


def test_type_and_rank_are_those_of_the_first_input():
    assert (node(Operand(torch.int8, 3)).dtype, node(Operand(None, 3)).rank) == (
        torch.int8,
        3,
    )
    assert (node().dtype, node(None).rank) == (None, None)


def test_an_input_may_be_omitted_between_others():
    each = node(Operand(None, None), None, Operand(None, None, 5))
    assert [each.has_input(position) for position in range(4)] == [
        True,
        False,
        True,
        False,
    ]
    assert [each.constant(position) for position in range(4)] == [None, None, 5, None]


def test_a_form_that_is_not_covered_names_its_operator():
    with pytest.raises(UnlistedError, match="Any"):
        node().require(False)
    node().require(True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, None])
def test_floats_and_unknown_types_pass(dtype):
    node(Operand(dtype, 1)).require_floats()


def test_integers_do_not():
    with pytest.raises(UnlistedError):
        node(Operand(torch.uint8, 1)).require_floats()


def test_an_entry_without_attributes_is_its_function():
    assert without_attributes(torch.abs)(node(axis=2)) is torch.abs
