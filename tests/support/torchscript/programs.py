"""TorchScript modules read into programs, and compared with the module on several inputs."""

import warnings

import torch
from torch import nn
from torch.nn import functional

from worker.engine import program as programs
from worker.engine.formats.torchscript.model import TorchScriptModel

HOW = ["traced", "scripted", "frozen"]


class Residual(nn.Module):
    """What is added and rectified in place is read again by its first name."""

    def __init__(self, channels=6):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm2 = nn.BatchNorm2d(channels, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm1(self.conv1(x))
        self.relu(y)
        z = self.norm2(self.conv2(y))
        z += x
        return self.relu(z) + y


class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1, padding_mode="reflect")
        self.block = Residual()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 5)

    def forward(self, x):
        y = self.block(functional.max_pool2d(self.stem(x), 2, ceil_mode=True))
        y = torch.cat(
            [
                functional.adaptive_avg_pool2d(y, 1),
                functional.adaptive_max_pool2d(y, 1),
            ],
            dim=1,
        )
        return functional.log_softmax(self.head(self.drop(y.flatten(1))), dim=1)


def stored(tmp_path, module, how, *inputs):
    """Write a module with statistics that are not those of a new one."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if name.endswith(("mean", "var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        # torch warns of tracing through python's own branches, and of 'same'
        warnings.simplefilter("ignore")
        if how == "traced":
            compiled = torch.jit.trace(module, inputs, strict=False)
        else:
            compiled = torch.jit.script(module)
        if how == "frozen":
            compiled = torch.jit.freeze(compiled, optimize_numerics=False)
    path = tmp_path / f"{how}.pt"
    compiled.save(path)
    return path


def flat(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    return [value]


def data(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def steps_of(program, prefix):
    return [step for step in program.steps if step.op.startswith(prefix)]


def check(tmp_path, module, how, *inputs, others=()):
    """Compare the program's outputs with the module's, on the traced inputs and on others."""
    path = stored(tmp_path, module, how, *inputs)
    opened = TorchScriptModel.open(path)
    program = opened.program()
    runner = torch.jit.load(path).eval()
    for arguments in (inputs, *others):
        kept = [tensor.clone() for tensor in arguments]
        with torch.no_grad():
            actual = programs.run(
                program, dict(zip(program.inputs, arguments, strict=True))
            )
            assert all(
                torch.equal(now, before)
                for now, before in zip(arguments, kept, strict=True)
            )
            expected = flat(runner(*[tensor.clone() for tensor in arguments]))
        assert len(actual) == len(expected) == len(program.outputs)
        for own, other in zip(actual, expected, strict=True):
            torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-6)
    return opened, program
