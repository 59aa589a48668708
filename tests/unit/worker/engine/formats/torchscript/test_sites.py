"""Calls of one weight in one way are one site; a weight that is used in several ways is left."""

import pytest
import torch
from support.torchscript.modules import Shared, assert_same, rewrite, scripted
from torch import nn

from worker.engine.formats.aten.sites import HIDDEN, SHARED


class Wider(Shared):
    """The same, whose weight is used with another geometry besides."""

    def __init__(self):
        super().__init__()
        self.wider = nn.Conv2d(4, 4, 3, padding=2, dilation=2, bias=False)
        self.wider.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.relu(self.a(x))) + self.wider(x)


class InAnEinsum(nn.Module):
    """A weight of two axes that a layer and an einsum multiply by."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        other = torch.einsum("bc,dc->bd", x, self.linear.weight.unsqueeze(0)[0])
        return self.head(torch.relu(self.linear(x)) + other)


def test_a_weight_that_another_operator_multiplies_by_is_left(tmp_path):
    """A run does not tell the two products apart, so the layer must not be replaced alone."""
    x = torch.randn(5, 4)
    count, original, rewritten = rewrite(tmp_path, scripted(InAnEinsum()), x)
    reasons = {site.name: site.reason for site in count.sites}
    assert reasons == {"linear": HIDDEN, "head": None}
    assert count.macs == 5 * (16 + 16 + 12)
    assert_same(rewritten(x), original(x))


class Turned(InAnEinsum):
    """The same, whose einsum takes the weight turned."""

    def forward(self, x):
        other = torch.einsum("bc,cd->bd", x, torch.adjoint(self.linear.weight))
        return self.head(torch.relu(self.linear(x)) + other)


class Multiplied(InAnEinsum):
    """The same, with another name for a product."""

    def forward(self, x):
        other = torch.linalg.matmul(x, self.linear.weight)
        return self.head(torch.relu(self.linear(x)) + other)


@pytest.mark.parametrize("module", [Turned, Multiplied])
def test_other_products_are_seen_behind_any_view(tmp_path, module):
    x = torch.randn(5, 4)
    count, original, rewritten = rewrite(tmp_path, scripted(module()), x)
    reasons = {site.name: site.reason for site in count.sites}
    assert reasons["linear"] in (HIDDEN, SHARED)
    assert reasons["head"] is None
    assert count.macs == 5 * (16 + 16 + 12)
    assert_same(rewritten(x), original(x))


def test_a_shared_convolution_is_one_site_and_stays_shared(tmp_path):
    x = torch.randn(1, 4, 8, 8)
    count, original, rewritten = rewrite(tmp_path, scripted(Shared()), x)
    assert [
        (len(site.calls), sum(call.times for call in site.calls))
        for site in count.sites
    ] == [(1, 2)]
    assert_same(rewritten(x), original(x))
    assert sum("factored" in name for name in rewritten.state_dict()) == 3


def test_a_weight_that_is_shared_but_not_used_alike_is_left(tmp_path):
    count, _, _ = rewrite(tmp_path, scripted(Wider()), torch.randn(1, 4, 8, 8))
    assert [
        (len(site.calls), sum(call.times for call in site.calls))
        for site in count.sites
    ] == [
        (1, 2),
        (1, 1),
    ]
    assert {site.reason for site in count.sites} == {
        "its weight is shared with layers that use it differently"
    }
