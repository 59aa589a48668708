"""TorchScript modules for tests of surgery: written, rewritten layer by layer, and compared."""

import torch
from torch import nn

from support.engine.chains import split_exactly
from worker.engine.formats.torchscript.model import TorchScriptModel

TOLERANCE = 1e-5


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.scale = 1.5
        self.register_buffer("shift", torch.ones(channels, 1, 1))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        if self.training:
            y = y * 1.25
        return torch.relu(x + self.conv2(y) * self.shift * self.scale)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.blocks = nn.Sequential(Block(6), Block(6))
        self.head = nn.Linear(6, 5)

    def features(self, x):
        return self.blocks(torch.relu(self.stem(x)))

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Shared(nn.Module):
    """One convolution by two names and from two places."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.b = self.a

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        for _ in range(3):
            x = torch.relu(self.conv(x))
        return x


def scripted(module):
    return torch.jit.script(module.eval())


def write(tmp_path, module, **extra):
    path = tmp_path / "model.pt"
    torch.jit.save(module, path, _extra_files=extra)
    return path


def rewrite(tmp_path, module, *inputs, make=split_exactly, only=None, **shapes):
    """Replace all sites that can be, save, reload; return (sites, original, rewritten)."""
    path = write(tmp_path, module)
    opened = TorchScriptModel.open(path)
    count = opened.count(shapes or {opened.inputs[0].name: tuple(inputs[0].shape)})
    for site in count.sites:
        if site.reason is None and (only is None or only in site.name):
            opened.replace(site, make(opened.layer(site)))
    opened.save(tmp_path / "out.pt")
    return count, torch.jit.load(path), torch.jit.load(tmp_path / "out.pt")


def assert_same(actual, expected):
    assert (actual - expected).abs().max() <= TOLERANCE * expected.abs().max()
    assert actual.dtype == expected.dtype
