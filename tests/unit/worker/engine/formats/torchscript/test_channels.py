"""Normalisations of a graph with some of their channels."""

import pytest
import torch
from torch import nn

from worker.engine.formats.torchscript.channels import (
    array_name,
    kept_arrays,
    norm_nodes,
    read_instead,
    stored_arrays,
)
from worker.engine.formats.torchscript.method import inlined_methods

KEPT = [0, 2, 3]


@pytest.fixture
def norm():
    norm = nn.BatchNorm2d(5).eval()
    for tensor in (norm.weight, norm.running_mean, norm.running_var):
        nn.init.uniform_(tensor, 1, 2)
    return norm


def traced(norm):
    # a run to check it would fix its graph
    return torch.jit.trace(norm, torch.zeros(2, 5, 3, 3), check_trace=False)


def norm_of(method):
    (node,) = [node for node in method.graph.nodes() if "norm" in node.kind()]
    return node


def test_a_normalisation_reads_the_channels_that_stay(norm):
    x = torch.randn(2, 5, 3, 3)
    expected = norm(x)[:, KEPT]
    module = traced(norm)
    (method,) = inlined_methods(module)
    node = norm_of(method)
    kept = kept_arrays(stored_arrays(method, node), KEPT)
    module._c._register_attribute("kept", kept._c._type(), kept._c)
    read_instead(method, node, "kept", kept)
    torch._C._jit_pass_dce(method.graph)
    torch._C._jit_pass_lint(method.graph)
    torch.testing.assert_close(module(x[:, KEPT]), expected)
    assert torch.equal(kept.mean, norm.running_mean[KEPT])
    assert isinstance(kept.weight, nn.Parameter)


def test_normalisations_are_found_by_the_values_that_they_give(norm):
    (method,) = inlined_methods(traced(norm))
    value = f"%{norm_of(method).output().debugName()}"
    (node,) = norm_nodes(method, [value])
    assert node.kind() == "aten::batch_norm"
    assert norm_nodes(method, ["%other"]) == []


def test_arrays_have_names_by_their_positions():
    names = [array_name(position) for position in range(1, 5)]
    assert names == ["weight", "bias", "mean", "variance"]


def test_arrays_that_are_none_are_left_out():
    norm = nn.BatchNorm2d(5, affine=False).eval()
    (method,) = inlined_methods(traced(norm))
    assert set(stored_arrays(method, norm_of(method))) == {3, 4}
