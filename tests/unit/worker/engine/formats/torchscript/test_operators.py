"""Facts of operators by their schemas."""

import pytest
import torch

from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.operators import (
    argument_names,
    is_dispatched,
    is_random,
    operator_name,
    written_values,
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


def test_operators_say_what_they_write_and_whether_they_are_random():
    branch = node_of("prim::If")
    noise = node_of("aten::rand_like")
    assert [value.unique() for value in written_values(branch)] == [
        noise.output().unique()
    ]
    assert is_random(noise)
    assert not is_random(branch)
    assert argument_names(noise)[0] == "self"
    assert argument_names(branch) == ()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("aten::mul_", ("aten::mul_", "Scalar")),
        ("aten::rand_like", ("aten::rand_like", "")),
        ("prim::If", ("", "")),
    ],
)
def test_an_operator_has_a_name_and_an_overload(kind, name):
    assert operator_name(node_of(kind)) == name


def test_arguments_have_names():
    assert argument_names(node_of("aten::mul_")) == ("self", "other")


def test_some_operators_are_of_torchscript_alone():
    assert is_dispatched("aten::mul_", "Scalar")
    assert not is_dispatched("aten::__is__", "")
