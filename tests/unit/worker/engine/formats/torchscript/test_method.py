"""A method with its calls inlined, and where its values come from."""

import pytest
import torch
from torch import nn

from worker.engine.formats.aten.layers import UNKNOWN
from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.method import (
    attribute,
    inlined_methods,
    join,
    parent,
)


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        return x * self.weight


class Net(nn.Module):
    """It reads a weight and a number, asks for a type, writes a buffer, and forks."""

    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.other = Inner()
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("like", torch.zeros(1))
        self.sizes = [3, 4]

    def forward(self, x):
        self.calls = self.calls + 1
        y = self.inner(x).to(self.like.dtype)
        task = torch.jit.fork(self.other, y)
        return y + torch.jit.wait(task) + self.sizes[0], [self.calls, self.like]


@pytest.fixture(scope="module")
def method():
    module = torch.jit.script(Net())
    (method,) = inlined_methods(module)
    return method


def value_of(method, kind, name=None):
    for node in nodes(method.graph):
        if node.kind() == kind and (name is None or node.s("name") == name):
            return node.output()
    raise AssertionError(kind)


def test_paths_are_joined_and_parted():
    assert join("", "layer1", "conv.weight") == "layer1.conv.weight"
    assert (parent("layer1.conv.weight"), parent("weight")) == ("layer1.conv", "")


def test_an_attribute_is_found_by_its_path(method):
    assert attribute(method.module, "inner.weight") is method.module.inner.weight
    assert attribute(method.module, "") is method.module


def test_calls_are_inlined_and_attributes_have_paths(method):
    assert "prim::CallMethod" not in {node.kind() for node in nodes(method.graph)}
    weight = value_of(method, "prim::GetAttr", "weight")
    assert method.path_within(weight) == method.path_of(weight) == "inner.weight"
    assert torch.equal(method.constant(weight), torch.ones(2))
    _, x = method.graph.inputs()
    assert method.path_of(x) is None
    assert method.constant(x) is UNKNOWN


def test_what_a_method_writes_has_no_content(method):
    assert method.written == {"calls"}
    assert method.constant(value_of(method, "prim::GetAttr", "calls")) is UNKNOWN
    # a list with one unknown item is unknown
    assert method.constant(value_of(method, "prim::ListConstruct")) is UNKNOWN


def test_constants_and_lists_of_them_have_content():
    @torch.jit.script
    def listed(x):
        return torch.permute(x, [1, 0])

    module = torch.jit.script(nn.Identity())
    (method,) = inlined_methods(module)
    order = next(node for node in nodes(listed.graph) if node.kind() == "aten::permute")
    assert method.constant(order.inputsAt(1)) == [1, 0]


def test_tensors_that_are_read_and_those_whose_content_is(method):
    assert set(method.tensors()) == {"inner.weight", "calls", "like"}
    read = list(method.contents_read())
    assert any(tensor is method.module.inner.weight for tensor in read)


def test_a_type_alone_is_no_content():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("like", torch.zeros(1))

        def forward(self, x):
            return x.to(self.like.dtype)

    (method,) = inlined_methods(torch.jit.script(Typed()))
    assert set(method.tensors()) == {"like"}
    assert list(method.contents_read()) == []


def test_what_a_fork_takes_is_hidden(method):
    assert "other" in method.hidden_paths()
    assert "inner" not in method.hidden_paths()


def test_a_frozen_graph_holds_its_tensors_itself():
    module = torch.jit.freeze(torch.jit.script(Inner().eval()))
    (method,) = inlined_methods(module)
    (tensor,) = method.constant_tensors()
    assert torch.equal(tensor, torch.ones(2))
