"""How much faster compressed models are in ONNX Runtime, one thread, and how near the cost table's prediction is.

    python benchmarks/latency.py --zoo ZOO [--only NAME ...] [--costs onnx.json] [--output figures.json]

ZOO is a folder of ONNX networks, a folder each data set; VGG16 with random weights (seed 0) stands beside them. Each is
compressed three times, by its weights alone: to half its FLOPs without a cost table and with one, and to half its time.
The table is measured first, which takes some minutes, or read. Original and compressed models run in turn, each on the
same random inputs; the medians count. What is refused (a budget that cannot be reached without making layers slower) is
told on standard error.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
from speed import RefusedError, is_sized, job, write
from systems import vgg16

from contract.budget import FLOPS, LATENCY
from worker.engine.costs.benchmark import measure
from worker.engine.formats import Inputs, load_runner, open_model

KEEP = "0.5"
SECONDS = 2.0
WAYS: dict[str, dict[str, Any]] = {
    "FLOPs": {"budgets": {FLOPS.field: KEEP}},
    "FLOPs, table": {"budgets": {FLOPS.field: KEEP}, "priced": True},
    "time": {"budgets": {LATENCY.field: KEEP}, "priced": True},
}
"""What is asked for, and whether there is a cost table."""


def inputs_of(path: Path) -> Inputs:
    """Return random inputs of the shapes that the model says."""
    model = open_model("onnx", path)
    shapes = model.bind(None)
    chance = np.random.default_rng(0)
    return {
        spec.name: chance.random(spec.axes(shapes[spec.name])).astype(spec.dtype)
        if not spec.is_number
        else spec.number(shapes[spec.name])
        for spec in model.inputs
    }


def medians(paths: list[Path], inputs: Inputs) -> list[float]:
    """Return the median milliseconds of each model, run in turn."""
    runners = [load_runner("onnx", path) for path in paths]
    taken: list[list[float]] = [[] for _ in paths]
    end = time.perf_counter() + SECONDS * len(paths)
    while time.perf_counter() < end or len(taken[0]) < 5:
        for times, run in zip(taken, runners, strict=True):
            began = time.perf_counter()
            run(inputs)
            times.append(1e3 * (time.perf_counter() - began))
    return [median(times) for times in taken]


def measured(path: Path, costs: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return what each way comes to for one model."""
    found = {}
    for way, asked in WAYS.items():
        table = {"costs": str(costs)} if asked.get("priced") else {}
        try:
            report = job(path, folder, budgets=asked["budgets"], **table)["report"]
        except RefusedError as refused:
            print(f"{way}: {refused}", file=sys.stderr)
            continue
        before, after = medians([path, folder / "out.onnx"], inputs_of(path))
        found[way] = {"before": before, "after": after, "keep": report["keep"], "ratio": after / before}
        found[way] |= {"error": report["predicted_error"], "predicted": report["latency"]}
    return found


def main() -> None:
    """Measure and print a row a model and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of models, without their suffix")
    parser.add_argument("--costs", type=Path, help="a table as `convpress calibrate-host` writes it")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch announces the end of TorchScript
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = arguments.costs or folder / "onnx.json"
        if arguments.costs is None:
            measure("onnx", lambda *_: None).write(costs)
        models = {path.stem: path for path in sorted(arguments.zoo.glob("*/*.onnx")) if is_sized(path)}
        models["vgg16"] = write(vgg16(), (1, 3, 224, 224), folder / "vgg16.onnx")
        wanted = arguments.only or list(models)
        print("| model | half its | ms before | after | after / before | MACs kept | predicted ms before | after |")
        print("|---|---|---|---|---|---|---|---|")
        figures = {}
        for model in wanted:
            figures[model] = measured(models[model], costs, folder)
            for way, row in figures[model].items():
                said = row["predicted"] or {}
                predicted = " | ".join(
                    f"{said[key]:.3f}" if said.get(key) is not None else ""
                    for key in ("predicted_before_ms", "predicted_after_ms")
                )
                times = f"{row['before']:.3f} | {row['after']:.3f} | {row['ratio']:.2f}"
                print(f"| {model} | {way} | {times} | {row['keep']:.3f} | {predicted} |", flush=True)
    for way in WAYS:
        ratios = [row[way]["ratio"] for row in figures.values() if way in row]
        if ratios:
            print(f"\n{way}: geometric mean of after / before {geometric_mean(ratios):.3f}, at most {max(ratios):.2f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
