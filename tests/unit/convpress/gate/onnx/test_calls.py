"""Nodes without circles, and functions whose calls are bounded."""

import pytest

from convpress.gate.onnx.calls import (
    Body,
    FunctionId,
    NodeNames,
    bound_calls,
    require_order,
)
from convpress.limits import Limits
from convpress.refusal import Refusal


def node(reads, defines):
    return NodeNames({name.encode() for name in reads}, [defines.encode()])


def function(number):
    return FunctionId(b"", str(number).encode(), b"")


def body(nodes, *calls):
    each = Body(nodes)
    for number in calls:
        each.add_call(function(number))
    return each


def refusal_of(check, *arguments):
    with pytest.raises(Refusal) as refusal:
        check(*arguments)
    return refusal.value


@pytest.mark.parametrize(
    "nodes",
    [[], [node("x", "y"), node("y", "z")], [node("zx", "w"), node("x", "z")]],
)
def test_any_order_without_a_circle_passes(nodes):
    require_order(nodes, "the graph")


def test_a_circle_is_damage_and_so_is_what_depends_on_it():
    nodes = [node("b", "a"), node("a", "b"), node("a", "c"), node("x", "d")]
    assert "3 nodes" in refusal_of(require_order, nodes, "the graph").detail
    assert refusal_of(require_order, [node("a", "a")], "g").code == "model_invalid"


def test_calls_multiply_the_nodes_of_a_function():
    functions = {function(0): body(5), function(1): body(0, 0, 0)}
    bound_calls(body(0, 1, 1, 1, 7), functions, Limits(nodes=30))
    refusal = refusal_of(bound_calls, body(1, 1, 1, 1), functions, Limits(nodes=30))
    assert (refusal.code, "too many nodes" in refusal.detail) == (
        "model_over_limit",
        True,
    )


def test_a_function_that_reaches_itself_is_damage():
    functions = {function(0): body(1, 1), function(1): body(1, 0)}
    refusal = refusal_of(bound_calls, body(1), functions, Limits())
    assert refusal.code == "model_invalid"
    assert "calls itself" in refusal.detail


def test_a_chain_of_calls_is_bounded_and_needs_no_recursion():
    chain = {function(number): body(1, number + 1) for number in range(5000)}
    refusal = refusal_of(bound_calls, body(1, 0), chain, Limits())
    assert (refusal.code, "deep" in refusal.detail) == ("model_over_limit", True)
    bound_calls(body(1, 4990), dict(list(chain.items())[4990:]), Limits(nesting=11))
