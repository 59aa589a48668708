"""The times of one layer's factors written whole and as branches, on both runtimes, one thread.

    python benchmarks/layouts.py [--output figures.json]

A network of three layers whose middle one, of kernel 3, is factored by DAC or pointwise first at
ranks 2 and 3, in turn with the same as it was; the least of many runs counts. Of layers with fewer
outputs than inputs, pointwise first is shown. The means are of layers with two spatial axes.
"""

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import torch
from torch import nn

from convpress.formats import Format
from worker.engine.decompose import FORMS, Target
from worker.engine.formats import load_runner, open_model
from worker.engine.model import Inputs, Runner
from worker.engine.numerics.moments import unknown
from worker.engine.selection.layout import Layout, in_layout

PLANES = [
    (16, 16, 32),
    (32, 32, 16),
    (64, 64, 8),
    (20, 20, 32),
    (64, 64, 56),
    (128, 128, 28),
    (256, 256, 14),
    (512, 512, 14),
    (64, 64, 112),
    (32, 16, 16),
    (64, 32, 56),
    (128, 64, 28),
    (256, 128, 14),
    (512, 256, 7),
]
"""Inputs, outputs and side."""
SHAPES = [(inputs, outputs, (side, side)) for inputs, outputs, side in PLANES]
SHAPES += [
    (64, 64, (256,)),
    (64, 32, (256,)),
    (16, 16, (8, 16, 16)),
    (32, 16, (8, 14, 14)),
]
LAYERS: dict[int, Any] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}  # torch types each apart
RANKS = (2, 3)
FORMATS: tuple[Format, ...] = ("onnx", "torchscript")
LAYOUTS: tuple[Layout, ...] = ("whole", "branches")
SECONDS = 0.3


def network(
    model_format: Format, inputs: int, outputs: int, size: tuple[int, ...], path: Path
) -> torch.Tensor:
    """Write three layers and return an input for them."""
    torch.manual_seed(0)
    conv = LAYERS[len(size)]
    layers = [
        conv(inputs, inputs, 1),
        nn.ReLU(),
        conv(inputs, outputs, 3, padding=1),
        nn.ReLU(),
    ]
    module = nn.Sequential(*layers, conv(outputs, 8, 1)).eval()
    x = torch.rand(1, inputs, *size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if model_format == "onnx":
            torch.onnx.export(module, (x,), path, dynamo=False, input_names=["input"])
        else:
            torch.jit.trace(module, x).save(path)
    return x


def factored(
    model_format: Format,
    path: Path,
    x: torch.Tensor,
    form: str,
    rank: int,
    layout: Layout,
) -> Runner:
    """Return a function that runs the network with its middle layer factored."""
    model = open_model(model_format, path)
    (site,) = (
        site
        for site in model.count({"input": tuple(x.shape)}).sites
        if site.weight_shape[2] == 3
    )
    assert site.convolution is not None
    (each,) = FORMS[form].factorisations(site.convolution)
    layers = each.layers(Target.of(model.layer(site), unknown(site.convolution)), rank)
    model.replace(site, *in_layout(layers, layout))
    target = path.with_name(f"{form}-{rank}-{layout}")
    model.save(target)
    return load_runner(model_format, target)


def least_ms(runners: dict[str, Runner], inputs: Inputs) -> dict[str, float]:
    """Return the least milliseconds of each, run in turn."""
    least = dict.fromkeys(runners, float("inf"))
    end = time.perf_counter() + SECONDS * len(runners)
    while time.perf_counter() < end:
        for name, run in runners.items():
            began = time.perf_counter()
            run(inputs)
            least[name] = min(least[name], 1e3 * (time.perf_counter() - began))
    return least


def measured(
    model_format: Format, inputs: int, outputs: int, size: tuple[int, ...], folder: Path
) -> list[dict[str, Any]]:
    """Return a row a rank for one shape on one runtime."""
    path = folder / "original"
    x = network(model_format, inputs, outputs, size, path)
    form = "dac" if outputs >= inputs else "pointwise-first"
    rows = []
    for rank in RANKS:
        runners = {"original": load_runner(model_format, path)}
        runners |= {
            layout: factored(model_format, path, x, form, rank, layout)
            for layout in LAYOUTS
        }
        shape = {
            "format": model_format,
            "form": form,
            "inputs": inputs,
            "outputs": outputs,
            "size": size,
            "rank": rank,
        }
        rows.append(shape | least_ms(runners, {"input": x.numpy()}))
    return rows


def main() -> None:
    """Measure and print a row a shape and rank."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # torch announces the end of TorchScript
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    figures = []
    print(
        "| format | form | layer | rank | original ms | whole | branches | branches / whole |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for model_format in FORMATS:
        for shape in SHAPES:
            with tempfile.TemporaryDirectory() as name:
                for row in measured(model_format, *shape, Path(name)):
                    figures.append(row)
                    times = f"{row['original']:.3f} | {row['whole']:.3f} | {row['branches']:.3f}"
                    size = "x".join(map(str, row["size"]))
                    layer = f"{row['inputs']} to {row['outputs']}, {size}"
                    ratio = row["branches"] / row["whole"]
                    print(
                        f"| {model_format} | {row['form']} | {layer} | {row['rank']} | {times} | "
                        f"{ratio:.2f} |",
                        flush=True,
                    )
    for model_format in FORMATS:
        ratios = [
            row["branches"] / row["whole"]
            for row in figures
            if row["format"] == model_format and len(row["size"]) == 2
        ]
        spread = f"from {min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"\n{model_format}, two axes: branches / whole {geometric_mean(ratios):.2f}, {spread}"
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
