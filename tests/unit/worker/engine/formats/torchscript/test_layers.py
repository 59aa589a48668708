"""Layers are found in every spelling, and left with the reason where they cannot be replaced."""

import pytest
import torch
from support.torchscript.modules import assert_same, rewrite, scripted
from torch import nn
from torch.nn import functional


def test_what_cannot_be_replaced_is_left_with_its_reason(tmp_path):
    class Left(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 2, stride=2)
            self.pad = nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")

        def forward(self, x):
            y = self.pad(self.up(x))
            return functional.conv2d(y, y.mean((2, 3))[0].reshape(1, 4, 1, 1))

    x = torch.randn(1, 3, 5, 5)
    count, original, rewritten = rewrite(tmp_path, scripted(Left()), x)
    reasons = {site.name: site.reason for site in count.sites}
    assert reasons["up"] is None
    assert reasons["pad"] is None
    assert "its weight is computed at run time" in reasons.values()
    assert_same(rewritten(x), original(x))


def test_a_linear_layer_on_what_does_not_lie_in_one_piece_is_seen(tmp_path):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 5, bias=False).requires_grad_(False)

        def forward(self, x):
            return self.linear(x.mT)

    x = torch.randn(2, 3, 4)
    count, original, rewritten = rewrite(tmp_path, scripted(Turned()), x)
    assert [(site.name, site.macs, site.reason) for site in count.sites] == [
        ("linear", 2 * 3 * 4 * 5, None)
    ]
    assert_same(rewritten(x), original(x))


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda x, w, b: torch.addmm(b, x, w.t(), alpha=2), "its product is scaled"),
        (
            lambda x, w, b: torch.addmm(b.reshape(1, 5), x, w.t()),
            "its bias is not the same for every row",
        ),
        (
            lambda x, w, b: functional.linear(x, w, x[0, 0]),
            "its bias is computed at run time",
        ),
        (
            lambda x, w, b: torch.matmul(w, x.t()),
            "its weight is the left factor of the product",
        ),
        (
            lambda x, w, b: functional.linear(x, w) + functional.linear(x, w, b),
            "its weight is shared with layers that",
        ),
    ],
)
def test_products_that_are_no_linear_layers_are_left_with_the_reason(
    tmp_path, compute, reason
):
    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 3))
            self.bias = nn.Parameter(torch.randn(5))

        def forward(self, x):
            return compute(x, self.weight, self.bias)

    x = torch.randn(2, 3)
    count, _, _ = rewrite(tmp_path, torch.jit.trace(Product(), x), x)
    (site,) = count.sites
    assert site.reason.startswith(reason)
    assert site.macs % (5 * 6) == 0 < site.macs
