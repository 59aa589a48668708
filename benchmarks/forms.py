"""The time of one layer in each form against the layer as it was, on one thread.

    python benchmarks/forms.py [--only stem ...] [--format torchscript] [--output figures.json]

Each layer stands alone behind a pooling of one position, which brings wide inputs into the
blocked layout of ONNX Runtime; images come as they are. Every form is measured at the ranks that
leave about 0.75, 0.5 and 0.25 of the multiply-accumulates, whole and in branches. Layer and forms
run in turn; the medians of the processor's time count.

A form with a time above 1 makes its layer slower. The last column says whether jobs without a cost
table may choose it in that layout.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from convpress.formats import FORMATS, Format
from worker.engine.decompose import Factorisation, Target
from worker.engine.decompose.base import Rank
from worker.engine.formats import load_runner, open_model
from worker.engine.formats.adapter import Layout
from worker.engine.model import Inputs, Runner, Shapes, Site
from worker.engine.numerics.moments import unknown
from worker.engine.selection.enumeration import factorisations
from worker.engine.selection.few_channels import is_slower
from worker.engine.selection.layout import (
    FEW_CHANNELS,
    branch_number,
    in_layout,
    layout_of,
)

STEMS = [(3, 64, 7, 2, 224), (3, 64, 3, 1, 224), (3, 32, 3, 2, 224), (3, 16, 3, 1, 32)]
STEMS += [(1, 64, 3, 1, 128), (1, 32, 5, 1, 64), (4, 64, 7, 2, 112), (3, 96, 7, 2, 224)]
BODIES = [
    (8, 64, 7, 2, 112),
    (12, 64, 3, 1, 56),
    (16, 16, 3, 1, 32),
    (64, 64, 3, 1, 56),
]
BODIES += [
    (128, 128, 3, 1, 28),
    (64, 128, 3, 2, 56),
    (256, 256, 3, 1, 14),
    (64, 3, 3, 1, 112),
]
LAYERS = {"stem": STEMS, "body": BODIES}
"""Inputs, outputs, kernel, stride and side."""
SHARES = (0.75, 0.5, 0.25)
SECONDS = 0.4
FEWEST_RUNS = 5
LAYOUTS: tuple[Layout, ...] = ("whole", "branches")


def network(model_format: Format, layer: tuple[int, ...], path: Path) -> torch.Tensor:
    """Write a network of one layer and return an input for it."""
    inputs, outputs, kernel, stride, side = layer
    torch.manual_seed(0)
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    before = [] if inputs <= FEW_CHANNELS else [nn.MaxPool2d(1)]
    module = nn.Sequential(
        *before, convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    ).eval()
    x = torch.rand(1, inputs, side, side)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if model_format == "onnx":
            torch.onnx.export(module, (x,), path, dynamo=False, input_names=["input"])
        else:
            torch.jit.trace(module, x).save(path)
    return x


def ranks_at(site: Site, form: Factorisation) -> Iterator[Rank]:
    """Yield the highest ranks of a form within each share of the site's MACs, aligned to 4."""
    chosen: list[Rank] = []
    for share in SHARES:
        within = [
            rank
            for rank in form.ranks
            if site.macs_of(form.convolutions(rank)) <= share * site.macs
        ]
        aligned = [
            rank for rank in within if all(n % 4 == 0 for n in between(form, rank))
        ]
        best = max(
            aligned or within,
            key=lambda rank: site.macs_of(form.convolutions(rank)),
            default=None,
        )
        if best is not None and best not in chosen:
            chosen.append(best)
            yield best


def between(form: Factorisation, rank: Rank) -> list[int]:
    """Return the channels between the layers of a form."""
    return [convolution.out_channels for convolution in form.convolutions(rank)[:-1]]


def medians(runners: list[Runner], inputs: Inputs) -> list[float]:
    """Return the median milliseconds of each, by the processor, run in turn."""
    milliseconds: list[list[float]] = [[] for _ in runners]
    for run in runners:
        run(inputs)
    end = time.process_time() + SECONDS * len(runners)
    while time.process_time() < end or len(milliseconds[0]) < FEWEST_RUNS:
        for times, run in zip(milliseconds, runners, strict=True):
            start = time.process_time()
            run(inputs)
            times.append(1e3 * (time.process_time() - start))
    return [median(times) for times in milliseconds]


def offered(
    site: Site, form: Factorisation, rank: Rank, layout: Layout, target: Format
) -> str:
    """Return whether a job without a cost table may choose a form at a rank in a layout."""
    convolutions = form.convolutions(rank)
    if layout != layout_of(site, convolutions, target):
        return "no, other layout"
    return "no" if is_slower(site, convolutions, target) else "yes"


def measured(
    model_format: Format, layer: tuple[int, ...], folder: Path
) -> list[dict[str, Any]]:
    """Return a row a form, rank and layout of one layer."""
    path = folder / "layer"
    x = network(model_format, layer, path)
    shapes = {"input": tuple(x.shape)}
    rows: list[dict[str, Any]] = []
    runners = [load_runner(model_format, path)]
    [site] = open_model(model_format, path).count(shapes).sites
    for form in factorisations(site):
        for rank, layout in product(ranks_at(site, form), LAYOUTS):
            number = branch_number(form.convolutions(rank))
            if layout == "branches" and number == 1:
                continue
            runners.append(factored(model_format, path, shapes, form, rank, layout))
            rows.append(
                {
                    "layer": layer,
                    "form": f"{form.form} {form.variant or ''}".strip(),
                    "rank": rank,
                    "branches": number if layout == "branches" else 1,
                    "keep": site.macs_of(form.convolutions(rank)) / site.macs,
                    "offered": offered(site, form, rank, layout, model_format),
                }
            )
    before, *after = medians(runners, {"input": x.numpy()})
    return [
        row | {"before": before, "ratio": ms / before}
        for row, ms in zip(rows, after, strict=True)
    ]


def factored(
    model_format: Format,
    path: Path,
    shapes: Shapes,
    form: Factorisation,
    rank: Rank,
    layout: Layout,
) -> Runner:
    """Return a function that runs the network with its layer factored."""
    model = open_model(model_format, path)
    [site] = model.count(shapes).sites
    assert site.convolution is not None
    layers = form.layers(Target.of(model.layer(site), unknown(site.convolution)), rank)
    model.replace(site, *in_layout(layers, layout))
    # a runner may map its file: each has its own
    target = path.with_name(f"{form.form}-{form.variant}-{rank}-{layout}")
    model.save(target)
    return load_runner(model_format, target)


def main() -> None:
    """Measure and print a row a layer, form and rank."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(LAYERS), default=list(LAYERS))
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # torch announces the end of TorchScript
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    figures = []
    print("| layer | ms | form | rank | branches | MACs kept | time | offered |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in arguments.only:
        for layer in LAYERS[kind]:
            with tempfile.TemporaryDirectory() as name:
                rows = measured(arguments.format, layer, Path(name))
            figures += rows
            inputs, outputs, kernel, stride, side = layer
            shape = f"{inputs} to {outputs}, {kernel}x{kernel} / {stride}, {side}"
            for row in rows:
                print(
                    f"| {shape} | {row['before']:.3f} | {row['form']} | {row['rank']} | "
                    f"{row['branches']} | {row['keep']:.2f} | {row['ratio']:.2f} | "
                    f"{row['offered']} |",
                    flush=True,
                )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
