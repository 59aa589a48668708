"""Modules exported by torch.export into files, and opened as the engine opens an upload."""

import warnings

import torch
from torch import nn

from worker.engine.formats.pt2 import file
from worker.engine.formats.pt2.model import ExportedModel


def write(
    path, module, *args, batch=(1, 64), decomposed=False, extra_files=None, mode="eval"
):
    """Export a module; the first axis of all inputs is free within `batch`, if there is one."""
    module.train(mode == "train")
    shapes = None
    if batch is not None:
        axis = torch.export.Dim("batch", min=batch[0], max=batch[1])
        shapes = tuple({0: axis} for _ in args)
    with warnings.catch_warnings():
        # torch's exporter uses its own deprecated names, and warns of slow kernels
        warnings.simplefilter("ignore")
        program = torch.export.export(module, args, dynamic_shapes=shapes)
        if decomposed:
            program = program.run_decompositions()
        torch.export.save(program, path, extra_files=extra_files)


def opened(path):
    """Open a file through the copy without its sample inputs."""
    with file.without_samples(path) as copy:
        return ExportedModel.open(copy)


class Images(nn.Module):
    """Convolutions of many kinds, normalised, added in place, and a linear layer."""

    def __init__(self, *, inplace=True):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", groups=8, bias=False)
        self.uneven = nn.Conv2d(8, 8, 4, padding="same")
        self.strided = nn.Conv2d(8, 12, 3, stride=2, dilation=2, padding=1)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, padding=1, output_padding=1)
        self.relu = nn.ReLU(inplace)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(6, 5)
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        x = x + self.depthwise(x)
        x += self.uneven(x)
        x = self.relu(self.up(self.strided(x)))
        return self.linear(self.dropout(x.mean((2, 3))))


class Signals(nn.Module):
    """One and three axes, one layer that is called twice, and a product with a plain parameter."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1)
        self.up = nn.ConvTranspose1d(4, 6, 4, stride=2)
        self.volume = nn.Conv3d(1, 4, 3)
        self.matrix = nn.Parameter(torch.randn(6, 7))

    def forward(self, signal, volume):
        signal = self.up(self.conv(torch.relu(self.conv(signal))))
        sums = (signal.transpose(1, 2) @ self.matrix).mean(1)
        return {"sums": sums, "rest": (self.volume(volume).mean((2, 3, 4)), None)}


class Tokens(nn.Module):
    """An embedding and a layer of a transformer's encoder."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 20, bias=False)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)))


class Counting(nn.Module):
    """It counts its calls in a buffer, and writes into a part of its data."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.after = nn.Conv2d(6, 4, 1)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls.add_(1)
        y = self.conv(x)
        flat = y.flatten(2)
        y[:, 0] = 2.0
        return self.after(torch.relu(y)), flat.mean(2) * self.calls
