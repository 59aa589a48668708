"""Branches that axes and types settle are part of a program, whatever the size of its inputs."""

import torch
from support.torchscript.modules import assert_same, scripted, write
from torch import nn

from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.program import run


class Asking(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        y = self.layer(x if x.dim() == 3 else x.unsqueeze(0))
        return self.linear(y) if torch.is_floating_point(y) else y


def test_layers_in_branches_that_axes_and_types_settle_are_steps(tmp_path):
    module = scripted(Asking().eval())
    model = TorchScriptModel.open(write(tmp_path, module))
    model.count(model.bind({"": (1, 5, 8)}))
    program = model.program()
    sites = {step.site for step in program.steps if step.site is not None}
    assert sites == {
        "layer.self_attn.in_proj_weight",
        "layer.self_attn.out_proj",
        "layer.linear1",
        "layer.linear2",
        "linear",
    }
    for size in ((1, 5, 8), (3, 7, 8)):
        x = torch.rand(size)
        with torch.no_grad():
            (output,) = run(program, {"x": x})
            assert_same(output, module(x))
