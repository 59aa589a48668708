"""Modules that hold values of enumerations, as scripted timm models do."""

import enum

import torch
from support.torchscript.modules import assert_same, rewrite, scripted
from torch import nn

from convpress.gate.torchscript.check import require_safe_torchscript
from convpress.limits import Limits


class Layout(enum.Enum):
    NCHW = "NCHW"
    NHWC = "NHWC"


class Order(enum.Enum):
    FIRST = 1
    LAST = 2


class Enumerated(nn.Module):
    def __init__(self, layout, order):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.other = nn.Conv2d(3, 4, 1)
        self.layout = layout
        self.order = order

    def forward(self, x):
        y = self.first(x) if self.order == Order.FIRST else self.other(x)
        return y if self.layout != Layout.NHWC else y.permute(0, 2, 3, 1)


def test_only_the_branches_of_its_values_run(tmp_path):
    x = torch.rand(1, 3, 8, 8)
    for layout in Layout:
        for order, name in ((Order.FIRST, "first"), (Order.LAST, "other")):
            module = scripted(Enumerated(layout, order))
            count, original, rewritten = rewrite(tmp_path, module, x)
            require_safe_torchscript(tmp_path / "model.pt", Limits())
            assert [(site.name, site.reason) for site in count.sites] == [(name, None)]
            assert_same(rewritten(x), original(x))
