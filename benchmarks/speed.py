"""The engine's speed: jobs by phase, against plainer ways, and the growth with the model.

    python benchmarks/speed.py [--zoo ZOO] [--only NAME ...] [--no-growth] [--output figures.json]
    python benchmarks/speed.py --second [--zoo ZOO] [--only NAME ...]

The second command measures second budgets alone, in an engine that is imported as in a spare child.
Networks of architectures.py have random weights (seed 0); ZOO is a folder of ONNX networks, a
folder each data set, of which those are left out that do not say their inputs' sizes. A job is a
process on one thread, by the weights alone unless it is said; its time is that of the processor,
which other programs do not lengthen much. Beside a job stand

- `svd`: a loop of `torch.linalg.svd` over the matrices that DAC, spatial and low-rank forms start
  from;
- `tucker`: tensorly's partial Tucker of the same convolutions at half their ranks;
- `copy`: reading the model, running it once in ONNX Runtime and writing it again;
- `again`: a second budget on the same model, over the first job's time: by the weights alone, and
  calibrated;
- `calibrated`: a calibrated job, and the time of measuring on its inputs, with distilling them
  where that is done, over as many runs of the original as there are images.

Growth is the exponent of processor time, and of peak memory, over layers, channels and image size.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorly
import torch
from running import second_budget
from tensorly.decomposition import partial_tucker
from torch import Tensor, nn

from convpress.budgets import FLOPS
from convpress.refusal import Refusal
from worker.engine.formats import open_model
from worker.engine.request import Request

LAYERS = (16, 32, 64, 128, 256)
CHANNELS = (64, 128, 256, 512, 1024, 2048)
SIDES = (32, 64, 128, 256, 512)
KEEP = "0.5"
SECOND_KEEP = "0.7"


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions."""

    def __init__(self, inputs: int, middle: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * middle
        self.body = nn.Sequential(
            nn.Conv2d(inputs, middle, 1),
            nn.ReLU(),
            nn.Conv2d(middle, middle, 3, stride, 1),
            nn.ReLU(),
            nn.Conv2d(middle, outputs, 1),
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the body makes to what comes in."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    """ResNet-50 with its normalisation folded away."""
    blocks: list[nn.Module] = [
        nn.Conv2d(3, 64, 7, 2, 3),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for middle, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            blocks.append(Bottleneck(inputs, middle, stride if number == 0 else 1))
            inputs = 4 * middle
    return nn.Sequential(
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000)
    )


def chain(layers: int, channels: int) -> nn.Module:
    """Convolutions of 3x3 with rectifiers between."""
    modules: list[nn.Module] = []
    for _ in range(layers):
        modules += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*modules)


def write(model: nn.Module, shape: tuple[int, ...], path: Path) -> Path:
    """Write a model as ONNX, with weights that keep activations as they are."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (torch.rand(shape),),
            path,
            dynamo=False,
            input_names=["image"],
        )
    return path


WATCHED = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"cpu": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}))
"""
"""Runs a command and prints its costs.

The memory of a process that this one starts itself would include that of this one.
"""


class RefusedError(Exception):
    """A job was refused; the message says why."""


def job(model: Path, folder: Path, budget: str = KEEP, **asked: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a request has
    """Run one job in a process of its own; return its processor seconds, peak memory and report.

    Raises:
        RefusedError: the job was refused.
    """
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    options = {
        "calibration": "none",
        "input_shape": None,
        "budgets": {FLOPS.field: budget},
    } | asked
    request = Request(
        str(model), "onnx", str(folder / "out.onnx"), str(report), **options
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [
        sys.executable,
        "-c",
        WATCHED,
        sys.executable,
        "-m",
        "worker.engine",
        request.to_json(),
    ]
    done = subprocess.run(
        command, capture_output=True, env=environment, text=True, check=True
    )
    *_, last, usage = map(json.loads, done.stdout.splitlines())
    if last["event"] != "succeeded":
        raise RefusedError(
            f"{model.stem}: {last['error']['code']}: {last['error']['detail']}"
        )
    return usage | {"report": json.loads(report.read_text())}


def is_sized(model: Path) -> bool:
    """Whether a model is of a version that is served, and says the sizes of its inputs itself."""
    try:
        open_model("onnx", model).bind(None)
    except Refusal:
        return False
    return True


def timed(work: Callable[[], object]) -> float:
    """Return the processor seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def weights(model: Path) -> list[np.ndarray]:
    """Return the weights of the sites that can be factored."""
    opened = open_model("onnx", model)
    sites = opened.count(opened.bind(None)).sites
    return [
        opened.layer(site).weight
        for site in sites
        if site.reason is None and site.convolution is not None
    ]


def plain_svd(arrays: Sequence[np.ndarray]) -> None:
    """Take the singular values that the forms start from, one matrix after another."""
    for array in arrays:
        tensor = torch.from_numpy(array)
        n, c = tensor.shape[:2]
        if tensor.dim() == 2 or tensor[0, 0].numel() == 1:
            torch.linalg.svd(tensor.reshape(n, c), full_matrices=False)
            continue
        kernel = tensor[0, 0].numel()
        for channel in range(c):
            torch.linalg.svd(tensor[:, channel].reshape(n, kernel), full_matrices=False)
        torch.linalg.svd(
            tensor.movedim(2, 1).reshape(n * tensor.shape[2], -1), full_matrices=False
        )
        torch.linalg.svd(
            tensor.movedim(3, 1).reshape(n * tensor.shape[3], -1), full_matrices=False
        )
        torch.linalg.svd(tensor.reshape(n, -1), full_matrices=False)


def tucker(arrays: Sequence[np.ndarray]) -> None:
    """Decompose all convolutions of more than one offset at half their ranks."""
    for array in arrays:
        if array.ndim == 4 and array.shape[2] * array.shape[3] > 1:
            ranks = [max(1, size // 2) for size in array.shape[:2]]
            partial_tucker(torch.from_numpy(array), rank=ranks, modes=[0, 1])


def copy(model: Path, inputs: Path) -> None:
    """Read a model, run it once, and write it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, dict(np.load(inputs)))
    onnx.save(onnx.load(model), inputs.with_suffix(".onnx"))


def measured(model: Path, folder: Path) -> dict[str, Any]:
    """Return one model's row."""
    first = job(
        model, folder, kept_analysis=str(folder / "kept"), largest_analysis=1 << 34
    )
    again = job(model, folder, SECOND_KEEP, analysis=str(folder / "kept"))
    calibration = {"calibration": "synthetic"}
    calibrated = job(
        model,
        folder,
        kept_analysis=str(folder / "kept"),
        largest_analysis=1 << 34,
        **calibration,
    )
    calibrated_again = job(
        model, folder, SECOND_KEEP, analysis=str(folder / "kept"), **calibration
    )
    account = calibrated["report"]["calibration"]
    before = first["report"]["timing"]["before"]
    images = account.get("images")
    opened = open_model("onnx", model)
    np.savez(folder / "inputs.npz", **{
        name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        for name, shape in opened.bind(None).items()
    })  # fmt: skip
    arrays = weights(model)
    phases = first["report"]["engine"]["seconds"]
    return {
        "cpu": first["cpu"],
        "phases": phases,
        "peak_mb": first["peak_mb"],
        "model_mb": model.stat().st_size / 2**20,
        "analysis": phases["factoring"] + phases["allocating"],
        "svd": timed(lambda: plain_svd(arrays)),
        "tucker": timed(lambda: tucker(arrays)),
        "copy": timed(lambda: copy(model, folder / "inputs.npz")),
        "again": again["cpu"] / first["cpu"],
        "calibrated": {
            "cpu": calibrated["cpu"],
            "again": calibrated_again["cpu"] / calibrated["cpu"],
            "peak_mb": calibrated["peak_mb"],
            "kind": account["kind"],
            "images": images,
            "over_forward": images
            and calibrated["report"]["engine"]["seconds"]["measuring"]
            / (images * before["processor"]["median_ms"] / 1000),
        },
    }


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the power with which values grow between the last three sizes."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def growth(folder: Path) -> dict[str, Any]:
    """Return processor seconds and peak memory of jobs on larger models, less those of the least.

    How long that one is timed does not count: smaller models are timed for no less.
    """
    base = job(write(chain(1, 8), (1, 8, 8, 8), folder / "base.onnx"), folder)
    untimed = base["cpu"] - base["report"]["engine"]["seconds"]["verifying"]
    series: dict[str, list[tuple[int, nn.Module, tuple[int, ...]]]] = {
        "layers": [(count, chain(count, 64), (1, 64, 16, 16)) for count in LAYERS],
        "channels": [
            (channels, chain(2, channels), (1, channels, 8, 8)) for channels in CHANNELS
        ],
        "image side": [(side, chain(4, 32), (1, 32, side, side)) for side in SIDES],
    }
    figures = {}
    for name, cases in series.items():
        sizes = [size for size, _, _ in cases]
        jobs = [
            job(write(model, shape, folder / "chain.onnx"), folder)
            for _, model, shape in cases
        ]
        cpu = [max(run["cpu"] - untimed, 0.01) for run in jobs]
        memory = [max(run["peak_mb"] - base["peak_mb"], 1.0) for run in jobs]
        figures[name] = {
            "sizes": sizes,
            "cpu": cpu,
            "memory_mb": memory,
            "time_exponent": exponent(sizes, cpu),
            "memory_exponent": exponent(sizes, memory),
        }
        print(
            f"| {name} {sizes[0]} to {sizes[-1]} | {cpu[0]:.2f} to {cpu[-1]:.2f} s, exponent "
            f"{figures[name]['time_exponent']:.2f} | {memory[0]:.0f} to {memory[-1]:.0f} MB, "
            f"exponent "
            f"{figures[name]['memory_exponent']:.2f} |",
            flush=True,
        )
    return figures


def main() -> None:
    """Measure and print a row a model, and how time and memory grow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path)
    parser.add_argument(
        "--only", nargs="+", help="names of models, without their suffix"
    )
    parser.add_argument("--second", action="store_true")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tensorly.set_backend("pytorch")
    figures: dict[str, Any] = {"models": {}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # that file takes ResNet-50 from this one
        from architectures import ARCHITECTURES

        paths = sorted(arguments.zoo.glob("*/*.onnx")) if arguments.zoo else []
        models = {path.stem: path for path in paths if is_sized(path)}
        names = arguments.only or ["vgg16", "resnet50", *models]
        header = "| model | job s | analysis s | svd | tucker | copy s | again | peak MB (model) | "
        header += "calibrated |"
        if arguments.second:
            header = (
                "| model | first s | second | as the first | phases of the second |"
            )
        print(header)
        print("|---" * (header.count("|") - 1) + "|")
        for name in names:
            source = models.get(name)
            if source is None:
                make, shape = ARCHITECTURES[name]
                source = write(make(), shape, folder / f"{name}.onnx")
            if arguments.second:
                second_budget.printed(name, second_budget.rows(source, folder))
                continue
            row = figures["models"][name] = measured(source, folder)
            over = row["calibrated"]["over_forward"]
            print(
                f"| {name} | {row['cpu']:.1f} | {row['analysis']:.1f} | "
                f"{row['svd'] / row['analysis']:.1f}x "
                f"| {row['tucker'] / row['analysis']:.1f}x | {row['copy']:.1f} "
                f"({row['cpu'] / row['copy']:.1f}x) "
                f"| {100 * row['again']:.0f}, {100 * row['calibrated']['again']:.0f} % "
                f"| {row['peak_mb']:.0f} ({row['model_mb']:.0f}) "
                f"| {row['calibrated']['kind']} {row['calibrated']['cpu']:.0f} s"
                f"{'' if over is None else f', {over:.0f}x'}, {row['calibrated']['peak_mb']:.0f} "
                f"MB |",
                flush=True,
            )
        if not (arguments.no_growth or arguments.second):
            figures["growth"] = growth(folder)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
