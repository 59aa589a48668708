"""Stored tensors that operators multiply by, seen through views of them."""

import torch

from worker.engine.formats.aten.layers import UNKNOWN, tensor_key
from worker.engine.formats.aten.other_uses import may_multiply, stored_operands

MATRIX = torch.ones(3, 4)
ROW = torch.ones(4)

# A graph by the names of its values: the kind of the operator that gives each, and its operands.
KINDS = {
    "matrix": "placeholder",
    "row": "placeholder",
    "turned": "aten::t",
    "cut": "aten::select",
    "listed": "prim::ListConstruct",
    "doubled": "aten::mul",
}
INPUTS = {
    "turned": ["matrix"],
    "cut": ["turned"],
    "listed": ["cut", "row"],
    "doubled": ["matrix"],
}
CONTENTS = {"matrix": MATRIX, "row": ROW}


def operands(*names):
    contents = lambda name: CONTENTS.get(name, UNKNOWN)  # noqa: E731
    return list(stored_operands(names, KINDS.get, INPUTS.get, contents))


def test_a_view_of_a_view_is_the_tensor():
    assert operands("cut") == [tensor_key(MATRIX)]
    assert operands("matrix") == [tensor_key(MATRIX)]


def test_all_of_a_list_count_but_vectors():
    assert operands("listed") == [tensor_key(MATRIX)]


def test_what_is_computed_is_no_stored_tensor():
    assert operands("doubled") == []


def test_products_multiply_and_others_do_not():
    assert may_multiply("aten::einsum")
    assert may_multiply("aten::conv2d")
    assert not may_multiply("aten::add")
