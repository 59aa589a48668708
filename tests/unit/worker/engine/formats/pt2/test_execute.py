"""Graphs run node by node, against torch itself."""

import weakref

import pytest
import torch
from torch.fx import Graph

from worker.engine.formats.pt2.execute import Conditional, by_predicate, run

ATEN = torch.ops.aten
X = torch.arange(6.0).reshape(2, 3)


def as_they_are(call):
    return call


def test_outputs_are_those_of_the_operators():
    graph = Graph()
    x, w = graph.placeholder("x"), graph.placeholder("w")
    y = graph.call_function(ATEN.mm.default, (x, w))
    graph.output((y, graph.call_function(ATEN.relu.default, (y,)), x))
    w_content = torch.ones(3, 2)
    product, rectified, same = run(graph, {"x": X, "w": w_content}, as_they_are)
    torch.testing.assert_close(product, X @ w_content)
    torch.testing.assert_close(rectified, torch.relu(X @ w_content))
    assert same is X


def test_what_is_known_before_is_not_computed():
    graph = Graph()
    x = graph.placeholder("x")
    y = graph.call_function(ATEN.relu.default, (x,))
    graph.output((y,))
    assert run(graph, {"x": None, y.name: 7}, as_they_are) == (7,)


def test_arguments_are_changed_before_each_call():
    graph = Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_function(ATEN.add.Tensor, (x, 1)),))
    (y,) = run(graph, {"x": X}, lambda call: ((call[0][0], 5), call[1]))
    torch.testing.assert_close(y, X + 5)


def test_checks_are_left_out_and_views_become_copies():
    graph = Graph()
    x = graph.placeholder("x")
    graph.call_function(ATEN._assert_async.default, (x,))
    turned = graph.call_function(ATEN.permute.default, (x, [1, 0]))
    graph.output((graph.call_function(ATEN.view.default, (turned, [6])),))
    (y,) = run(graph, {"x": X}, as_they_are)
    torch.testing.assert_close(y, X.t().reshape(6))


def branch(operator):
    graph = Graph()
    graph.output((graph.call_function(operator, (graph.placeholder("v"),)),))
    return graph


CONDITIONAL = Conditional(branch(ATEN.relu.default), branch(ATEN.neg.default))


@pytest.mark.parametrize(("predicate", "expected"), [(True, X), (False, -X)])
def test_the_predicate_chooses_the_branch(predicate, expected):
    (y,) = CONDITIONAL(predicate, X)
    torch.testing.assert_close(y, expected)


def test_a_choice_may_run_both():
    graph = Graph()
    x = graph.placeholder("x")
    graph.output((graph.call_function(CONDITIONAL, (True, x)),))
    seen = []

    def choice(conditional, predicate, run_branch):
        seen.append(run_branch(conditional.if_false))
        return by_predicate(conditional, predicate, run_branch)

    ((y,),) = run(graph, {"x": X}, as_they_are, choice)
    torch.testing.assert_close(y, X)
    torch.testing.assert_close(seen[0][0], -X)


def test_values_are_freed_after_their_last_use():
    references = []

    def incremented(value):
        result = value + 1
        references.append(weakref.ref(result))
        return result

    graph = Graph()
    x = graph.placeholder("x")
    first = graph.call_function(incremented, (x,))
    second = graph.call_function(ATEN.neg.default, (first,))
    is_freed = graph.call_function(lambda _: references[0]() is None, (second,))
    graph.output((is_freed, second))
    freed, negative = run(graph, {"x": X}, as_they_are)
    assert freed
    torch.testing.assert_close(negative, -X - 1)


def test_a_graph_has_an_output():
    with pytest.raises(ValueError, match="no output"):
        run(Graph(), {}, as_they_are)
