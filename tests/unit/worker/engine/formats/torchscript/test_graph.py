"""Graphs are walked in order; a node captures what it and its blocks read from outside."""

import torch

from worker.engine.formats.torchscript.graph import (
    captured_values,
    literal,
    nodes,
    nodes_within,
)


@torch.jit.script
def branching(x, scale: float, turns: int):
    y = torch.rand_like(x)
    if bool(x.sum() > 0):
        for _ in range(turns):
            y.mul_(scale)
    return y


def node_of(kind):
    return next(node for node in nodes(branching.graph) if node.kind() == kind)


def test_inner_nodes_follow_their_owner():
    kinds = [node.kind() for node in nodes(branching.graph)]
    assert (
        kinds.index("prim::If") < kinds.index("prim::Loop") < kinds.index("aten::mul_")
    )
    inside = [node.kind() for node in nodes_within(node_of("prim::If"))]
    assert inside[0] == "prim::If"
    assert "aten::mul_" in inside
    assert "aten::rand_like" not in inside


def test_a_node_captures_what_its_blocks_read_each_once():
    branch = node_of("prim::If")
    captured = captured_values(branch)
    assert captured[0].unique() == branch.input().unique()
    names = [value.debugName() for value in captured]
    assert {"scale.1", "turns.1"} <= set(names)
    assert len(set(names)) == len(names)
    assert "x.1" not in names


def test_a_literal_is_the_content_of_a_constant_alone():
    constant = next(
        node for node in nodes(branching.graph) if node.kind() == "prim::Constant"
    )
    assert literal(constant.output()) == constant.output().toIValue()
    assert literal(next(iter(branching.graph.inputs()))) is None
