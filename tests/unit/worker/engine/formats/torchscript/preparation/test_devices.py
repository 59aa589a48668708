"""Modules that were traced on another device run on the processor, and stay as they were."""

import torch
from support.torchscript.modules import scripted, write
from torch import nn

from worker.engine.formats.torchscript import runner
from worker.engine.formats.torchscript.model import TorchScriptModel


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        zeros = torch.zeros(1, 4, 1, 1, device=torch.device("cuda:0"))
        return self.conv(x) + zeros + torch.ones_like(zeros).cuda()


def test_other_devices_in_a_graph_are_those_of_whoever_runs_it(tmp_path):
    path = write(tmp_path, scripted(nn.Sequential(Shifted())))
    x = torch.rand(1, 3, 8, 8)
    expected = runner.load(path)({"input": x.numpy()})["output"]
    model = TorchScriptModel.open(path)
    (site,) = model.count(model.bind({"": (1, 3, 8, 8)})).sites
    model.replace(site, [model.layer(site)])
    model.save(tmp_path / "out.pt")
    out = runner.load(tmp_path / "out.pt")({"input": x.numpy()})["output"]
    assert abs(out - expected).max() < 1e-5
    assert 'torch.device("cuda:0")' in torch.jit.load(tmp_path / "out.pt").code
