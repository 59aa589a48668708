"""Nodes of a graph: their arguments, what they write, and what they hold at every run."""

import pytest
import torch
from torch.fx import Graph

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.pt2.graph import (
    Constants,
    arguments,
    copying,
    in_single_precision,
    is_check,
    is_random,
    kind,
    on_device,
    written_nodes,
    written_positions,
)

ATEN = torch.ops.aten


@pytest.fixture
def graph():
    return Graph()


def test_arguments_have_the_order_of_the_schema_and_its_defaults(graph):
    x, w = graph.placeholder("x"), graph.placeholder("w")
    node = graph.call_function(ATEN.conv2d.default, (x, w), {"stride": [2, 2]})
    assert kind(node) == "aten::conv2d"
    expected = [x, w, None, [2, 2], [0, 0], [1, 1], 1]
    assert arguments(node) == expected
    assert kind(x) == "x"


@pytest.mark.parametrize(
    ("operator", "positions"),
    [
        (ATEN.add_.Tensor, (0,)),
        (ATEN.add.Tensor, ()),
        (ATEN.native_batch_norm.default, ()),
        (ATEN._native_batch_norm_legit.default, (3, 4)),
        (ATEN.add.out, (3,)),
    ],
)
def test_a_schema_tells_what_is_written(operator, positions):
    assert written_positions(operator) == positions


def test_the_nodes_that_are_written(graph):
    x, y = graph.placeholder("x"), graph.placeholder("y")
    node = graph.call_function(ATEN.add_.Tensor, (x, y))
    assert written_nodes(node) == [x]
    assert written_nodes(x) == []


def test_checks_and_random_operators_are_known(graph):
    x = graph.placeholder("x")
    assert is_check(graph.call_function(ATEN._assert_async.default, (x,)))
    assert is_random(graph.call_function(ATEN.rand_like.default, (x,)))
    assert not is_random(graph.call_function(ATEN.relu.default, (x,)))
    assert not is_random(x)


def test_a_view_becomes_a_copy_where_there_is_no_other_way():
    assert copying(ATEN.view.default) is ATEN.reshape.default
    assert copying(ATEN.relu.default) is ATEN.relu.default


def test_devices_and_types_are_replaced_at_any_depth():
    value = {"a": [torch.device("cuda"), 1], "b": (torch.float16, torch.int8)}
    assert on_device(value, "meta")["a"] == [torch.device("meta"), 1]
    assert in_single_precision(value)["b"] == (torch.float32, torch.int8)


def constants(graph, **stored):
    return Constants(list(graph.nodes), stored)


def test_what_follows_from_stored_tensors_alone_is_constant(graph):
    x, w = graph.placeholder("x"), graph.placeholder("w")
    turned = graph.call_function(ATEN.t.default, (w,))
    product = graph.call_function(ATEN.mm.default, (x, turned))
    weight = torch.arange(6.0).reshape(2, 3)
    known = constants(graph, w=weight)
    assert torch.equal(known.content(turned), weight.t())
    assert known.content(w) is weight
    assert known.content(product) is UNKNOWN
    assert known.content([w, 3])[1] == 3
    assert known.content([w, x]) is UNKNOWN
    assert set(known.known()) == {"w", turned.name}


def test_nothing_is_computed_before_somebody_asks(graph):
    w = graph.placeholder("w")
    turned = graph.call_function(ATEN.t.default, (w,))
    known = constants(graph, w=torch.ones(2, 3))
    assert turned.name not in known.known()


def test_what_is_written_drawn_or_fails_has_no_content(graph):
    w, b = graph.placeholder("w"), graph.placeholder("b")
    drawn = graph.call_function(ATEN.rand_like.default, (w,))
    fails = graph.call_function(ATEN.mm.default, (w, w))
    changed = graph.call_function(ATEN.add_.Tensor, (b, 1))
    known = constants(graph, w=torch.ones(2, 3), b=torch.ones(1))
    for value in (drawn, fails, changed, b):
        assert known.content(value) is UNKNOWN
