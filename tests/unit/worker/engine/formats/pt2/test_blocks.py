"""Graphs within a graph, made node by node."""

import operator

import pytest
import torch
from torch.fx import Graph, GraphModule

from convpress.refusal import Code, Refusal
from worker.engine.formats.pt2.blocks import (
    block_of,
    branches_of,
    is_higher_order,
    is_item,
)

HIGHER = torch.ops.higher_order


def inner_graph(operands=2):
    graph = Graph()
    values = [graph.placeholder(f"v{at}") for at in range(operands)]
    graph.output((graph.call_function(torch.ops.aten.relu.default, (values[0],)),))
    return graph


class Around:
    """A graph that runs others, `x` and `y` being what it passes to them."""

    def __init__(self):
        self.graph = Graph()
        self.x = self.graph.placeholder("x")
        self.y = self.graph.placeholder("y")
        self.inner = self.graph.get_attr("inner")
        for value in (self.x, self.y):
            value.meta["val"] = torch.zeros(2)

    def call(self, target, *args):
        node = self.graph.call_function(target, args)
        self.graph.output((self.graph.call_function(operator.getitem, (node, 0)),))
        GraphModule({"inner": GraphModule({}, inner_graph())}, self.graph)
        return node


def gradients(*operands):
    around = Around()
    args = {"x": around.x, "y": around.y, "inner": around.inner, False: False}
    return around.call(
        HIGHER.wrap_with_set_grad_enabled, *(args[each] for each in operands)
    )


def test_a_block_has_what_it_is_passed():
    block = block_of(gradients(False, "inner", "x", "y"))
    assert [str(each) for each in block.operands] == ["x", "y"]
    assert [str(each) for each in block.placeholders] == ["v0", "v1"]
    assert not block.is_cast


def test_a_value_is_passed_in_once():
    block = block_of(gradients(False, "inner", "x", "y"))
    value = block.operands[1]
    assert block.pass_in(value) is block.placeholders[1]
    (new,) = [each for each in block.call.graph.nodes if each.name == "inner"]
    new.meta["val"] = torch.zeros(3)
    added = block.pass_in(new)
    assert block.placeholders[2] is added
    assert block.operands[2] is new
    assert added.meta["val"].shape == (3,)


def test_a_placeholder_that_nothing_uses_is_taken_out():
    block = block_of(gradients(False, "inner", "x", "y"))
    value = block.operands[1]
    assert block.drop(block.placeholders[1]) is value
    assert [str(each) for each in block.operands] == ["x"]
    assert [str(each) for each in block.placeholders] == ["v0"]


@pytest.mark.parametrize(
    "operands",
    [(False, "inner", "x"), (False, "x", "y", "inner"), (False,)],
    ids=["one less", "no graph", "nothing"],
)
def test_arguments_that_do_not_fit_are_refused(operands):
    with pytest.raises(Refusal, match="do not fit the graph") as refused:
        block_of(gradients(*operands))
    assert refused.value.code == Code.MODEL_INVALID


@pytest.mark.parametrize(
    ("device", "enabled", "is_cast"),
    [("cpu", True, True), ("cpu", False, False), ("cuda", True, False)],
)
def test_autocast_casts_on_the_processor_alone(device, enabled, is_cast):
    around = Around()
    settings = (device, torch.bfloat16, enabled, True)
    call = around.call(
        HIGHER.wrap_with_autocast, *settings, around.inner, around.x, around.y
    )
    assert block_of(call).is_cast == is_cast


def test_branches_take_the_same_operands():
    around = Around()
    call = around.call(
        HIGHER.cond, around.x, around.inner, around.inner, (around.x, around.y)
    )
    assert block_of(call) is None
    if_true, if_false, operands = branches_of(call)
    assert if_true is if_false
    assert [str(each) for each in operands] == ["x", "y"]


@pytest.mark.parametrize("operands", [("x",), None])
def test_operands_that_do_not_fit_the_branches_are_refused(operands):
    around = Around()
    args = [around.x, around.inner, around.inner]
    if operands is not None:
        args.append(tuple(around.x for _ in operands))
    with pytest.raises(Refusal, match="do not fit the graph"):
        branches_of(around.call(HIGHER.cond, *args))


def test_other_operators_of_graphs_are_refused():
    around = Around()
    call = around.call(HIGHER.map_impl, around.inner, (around.x,), (around.y,))
    with pytest.raises(Refusal, match="unknown kind") as refused:
        block_of(call)
    assert refused.value.code == Code.MODEL_UNSUPPORTED


def test_items_are_taken_by_an_operator_of_python():
    graph = Graph()
    x = graph.placeholder("x")
    assert is_item(graph.call_function(operator.getitem, (x, 0)))
    assert not is_item(x)
    assert not is_higher_order(x)
