"""Methods made plain: what nothing needs is left out, and the module computes what it did."""

import torch
from torch import nn

from worker.engine.formats.torchscript.graph import nodes
from worker.engine.formats.torchscript.preparation.prepare import (
    methods_to_count,
    prepared_methods,
)


def scripted():
    """Return a module with a graph of its own: one class has one graph for all its modules.

    It has a layer that runs, one that a comparison excludes, and a weight that is computed.
    """

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(3, 4)
            self.left = nn.Parameter(torch.randn(2, 2))
            self.right = nn.Parameter(torch.randn(2, 4))

        def forward(self, x):
            y = self.one(x) if x is not None else self.two(x)
            return nn.functional.linear(y, self.left @ self.right)

    return torch.jit.script(Net())


def kinds(methods):
    return [node.kind() for method in methods for node in nodes(method.graph)]


def test_branches_that_never_run_are_left_out_and_outputs_stay():
    module = scripted()
    x = torch.randn(5, 3)
    weight = module.left @ module.right
    expected = module.one(x) @ weight.t()
    methods, computed = prepared_methods(module)
    names = kinds(methods)
    assert "prim::If" not in names
    assert "prim::CallMethod" not in names
    assert names.count("aten::linear") == 2
    assert len(computed) == 1
    torch.testing.assert_close(module(x), expected)


def test_weights_are_computed_unless_that_is_to_stay():
    methods, computed = prepared_methods(scripted(), computes_weights=False)
    assert computed == []
    assert "aten::matmul" in kinds(methods)
    counted = methods_to_count(scripted())
    assert "aten::matmul" not in kinds(counted)
