"""Train the sample models on scikit-learn's digits and write them next to this file, in every form
tests need.

Deterministic: `PYTHONHASHSEED=0 python tests/models/train.py`, about a minute on one thread;
    README.md tells what
comes out.
"""

import sys
import warnings
from pathlib import Path

import torch
from digits import MODELS, accuracy, split
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx import TrainingMode

EPOCHS = 40
BATCH = 32


class Plain(nn.Sequential):
    """Convolutions with biases and ReLU, one of them 5x5; no BatchNorm."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            *head(64),
        )


class BatchNorm(nn.Sequential):
    """Convolution, BatchNorm, ReLU, four times over."""

    def __init__(self) -> None:
        super().__init__(
            normalised(1, 16),
            nn.ReLU(),
            normalised(16, 32),
            nn.ReLU(),
            normalised(32, 32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            normalised(32, 48),
            nn.ReLU(),
            *head(48),
        )


class Block(nn.Module):
    """Two convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, c: int, n: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            normalised(c, n, stride=stride), nn.ReLU(), normalised(n, n)
        )
        self.shortcut = (
            nn.Identity() if c == n else normalised(c, n, kernel=1, stride=stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class Residual(nn.Sequential):
    """A small ResNet: a stem, a block that keeps its shape, and one with a strided shortcut."""

    def __init__(self) -> None:
        super().__init__(
            normalised(1, 32),
            nn.ReLU(),
            Block(32, 32, stride=1),
            Block(32, 48, stride=2),
            *head(48),
        )


WEIGHT_DECAY = {Plain: 3e-3, BatchNorm: 1e-2, Residual: 1e-2}
"""The strongest that each still learns under, so that the weights come out as redundant as a large
network's.
"""


def normalised(c: int, n: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, n, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(n)
    )


def head(c: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10)]


def shifted(images: Tensor) -> Tensor:
    """Move a batch by up to one pixel of the original (two of these) each way."""
    dy, dx = torch.randint(5, (2,)).tolist()
    size = images.shape[-1]
    return functional.pad(images, (2, 2, 2, 2))[..., dy : dy + size, dx : dx + size]


def train(model: nn.Module, weight_decay: float) -> None:
    (images, labels), _ = split()
    x = torch.from_numpy(images)
    y = torch.from_numpy(labels)
    steps = EPOCHS * -(-len(y) // BATCH)
    optimizer = torch.optim.SGD(
        model.parameters(), momentum=0.9, nesterov=True, weight_decay=weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.05, total_steps=steps
    )
    model.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(y)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(
                model(shifted(x[chosen])), y[chosen], label_smoothing=0.05
            ).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def write_onnx(model: nn.Module, path: Path, keep_batchnorm: bool) -> None:
    """Write a model in eval mode; unless kept, each BatchNorm is folded into the convolution before
    it.
    """
    torch.onnx.export(
        model,
        (torch.zeros(2, 1, 16, 16),),
        path,
        dynamo=False,
        opset_version=17,
        training=TrainingMode.PRESERVE if keep_batchnorm else TrainingMode.EVAL,
        do_constant_folding=not keep_batchnorm,
        input_names=["image"],
        output_names=["scores"],
        dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
    )


def write_torchscript(module: torch.jit.ScriptModule, path: Path) -> None:
    """Save without the debug records: they hold the source paths of the machine that trained."""
    module.save(path)
    reader = torch._C.PyTorchFileReader(str(path))
    kept = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(".debug_pkl")
    }
    path.unlink()
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, data in kept.items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()


def write_exported(model: nn.Module, path: Path) -> None:
    """Export with a free batch, without the traces that hold source paths of the machine."""
    batch = torch.export.Dim("batch", min=1)
    example = (torch.zeros(2, 1, 16, 16),)
    program = torch.export.export(model, example, dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    with path.open("wb") as stream:
        torch.export.save(program, stream)


def main() -> None:
    if sys.flags.hash_randomization:
        sys.exit(
            "run with PYTHONHASHSEED=0: torch.jit.script writes constants in the order of a set"
        )
    # torch announces the end of TorchScript and of its ONNX exporter
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for build, weight_decay in WEIGHT_DECAY.items():
        torch.manual_seed(0)
        model = build()
        train(model, weight_decay)
        name = build.__name__.lower()
        write_onnx(model, MODELS / f"{name}.onnx", keep_batchnorm=False)
        if build is not Plain:
            write_onnx(model, MODELS / f"{name}_bn.onnx", keep_batchnorm=True)
        write_torchscript(
            torch.jit.trace(model, torch.zeros(2, 1, 16, 16)),
            MODELS / f"{name}.traced.pt",
        )
        write_torchscript(torch.jit.script(model), MODELS / f"{name}.scripted.pt")
        if build is Residual:
            write_exported(model, MODELS / f"{name}.pt2")
    for path in sorted(
        (*MODELS.glob("*.onnx"), *MODELS.glob("*.pt"), *MODELS.glob("residual.pt2"))
    ):
        print(f"{path.name:24} {path.stat().st_size:8} bytes  {accuracy(path):.2%}")  # noqa: T201 - a script


if __name__ == "__main__":
    main()
