"""Single nodes on values as calibration lays them out."""

import torch
from support.torchscript.modules import scripted, write
from torch import nn

from worker.engine.formats.torchscript.model import TorchScriptModel
from worker.engine.program import run


class PoolOverChannels(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool3d((1, 3, 3), (2, 1, 2))

    def forward(self, x):
        return self.pool(self.conv(x))


def test_a_pool_over_channels_takes_images_whose_channels_lie_together(tmp_path):
    module = PoolOverChannels().eval()
    program = TorchScriptModel.open(write(tmp_path, scripted(module))).program()
    x = torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        (output,) = run(program, {"x": x.contiguous(memory_format=torch.channels_last)})
        torch.testing.assert_close(output, module(x))
