"""A node in whose place others stand: the program computes the same."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from support.pt2.programs import write
from torch import nn

from worker.engine.formats.aten.layers import tensor_key
from worker.engine.formats.pt2.graph import Constants, stored_tensors
from worker.engine.formats.pt2.layers import layer_nodes
from worker.engine.formats.pt2.rewrite import (
    add_parameter,
    drop_unused,
    replace_node,
    store,
    stored_operands,
)
from worker.engine.numerics.convolution import Layer

X = torch.randn(2, 3, 6, 6)


class Net(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.conv(x))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("rewrite") / "model.pt2"
    write(path, Net(), X)
    return path


@pytest.fixture
def program(path):
    return torch.export.load(path)


def layers_of(program):
    """Return the layers of a program by the names of their weights."""
    stored = stored_tensors(program)
    tensors = {name: tensor for name, (_, tensor) in stored.items()}
    paths = {name: path for name, (path, _) in stored.items()}
    nodes = list(program.graph.nodes)
    layers = layer_nodes(nodes, Constants(nodes, tensors), paths)
    return {layer.path: layer for layer in layers}


def as_layer(layer):
    weight = layer.weight.t() if layer.is_transposed else layer.weight
    bias = layer.bias.detach().numpy()
    return Layer(layer.convolution, weight.detach().numpy(), bias)


def padded_at_one_end(layer):
    """Return a layer with a zero in the place of the last row, which is not padded for."""
    convolution = layer.convolution
    kernel = np.concatenate([layer.weight, np.zeros_like(layer.weight[:, :, :1])], 2)
    (before, after), columns = convolution.padding
    geometry = replace(
        convolution,
        weight_shape=kernel.shape,
        padding=((before, after + 1), columns),
    )
    return Layer(geometry, kernel, layer.bias)


def halves(layer):
    return [[replace(layer, weight=layer.weight / 2, bias=layer.bias / 2)]] * 2


def rewritten(program, name, chains):
    layer = layers_of(program)[name]
    before = [*stored_operands(layer)]
    keep = partial(store, program, name, like=layer.weight)
    stored = [list(map(keep, chain)) for chain in chains(as_layer(layer))]
    replace_node(layer, stored, {})
    drop_unused(program, before, {})
    program.graph.lint()


@pytest.mark.parametrize(
    ("name", "chains", "number"),
    [
        ("conv", halves, 2),
        ("conv", lambda layer: [[padded_at_one_end(layer)]], 1),
        ("head", halves, 2),
    ],
)
def test_a_replaced_layer_computes_the_same(program, name, chains, number):
    with torch.no_grad():
        expected = program.module()(X)
        rewritten(program, f"{name}.weight", chains)
        actual = program.module()(X)
    torch.testing.assert_close(actual, expected)
    assert not {f"{name}.weight", f"{name}.bias"} & program.state_dict.keys()
    # weight and bias of the other layer, and those of each new one
    assert len(program.state_dict) == 2 + 2 * number


def test_a_parameter_has_a_name_of_its_own_and_trains_as_another_does(program):
    like = nn.Parameter(torch.zeros(1, dtype=torch.float64), requires_grad=False)
    names = [add_parameter(program, "conv.weight", np.ones((2, 3)), like).name]
    names.append(add_parameter(program, "conv.weight", np.ones((2, 3)), like).name)
    assert len(set(names)) == 2
    added = [program.state_dict[f"conv.weight_{number}"] for number in (2, 3)]
    assert all(each.dtype == torch.float64 for each in added)
    assert not any(each.requires_grad for each in added)
    keys = {tensor_key(tensor) for _, tensor in stored_tensors(program).values()}
    assert {tensor_key(each) for each in added} <= keys
