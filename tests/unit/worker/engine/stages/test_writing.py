"""Without a calibration, outputs are compared as far as noise can show."""

import json

import torch
from support.torchscript.modules import scripted, write
from torch import nn

from worker.engine.pipeline import compress
from worker.engine.request import Request


class Bright(nn.Module):
    """The values above a threshold: their number depends on the weights."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.second = nn.Conv2d(16, 16, 3)

    def forward(self, x):
        y = self.second(torch.relu(self.first(x)))
        return y, y[y > 0.05]


def test_outputs_of_torchscript_that_are_sized_by_values_are_named(tmp_path):
    torch.manual_seed(0)
    request = Request(
        str(write(tmp_path, scripted(Bright()))),
        "torchscript",
        str(tmp_path / "out.pt"),
        str(tmp_path / "report.json"),
        {"flops_budget": "0.5"},
        input_shape="1x3x16x16",
        calibration="none",
    )
    compress(request, lambda *_: None)
    verification = json.loads((tmp_path / "report.json").read_text())["verification"]
    assert verification["sized_by_values"] == ["output_1"]
    assert verification["relative_error"] > 0
