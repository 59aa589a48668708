"""The times of compressed models in ONNX Runtime on one thread, against those that reports expect.

    python benchmarks/latency.py [--zoo ZOO] [--only NAME ...] [--ways WAY ...] [--keep KEEP]
        [--costs onnx.json] [--output figures.json]

The networks are those of `architectures.py` with random weights (seed 0), and those of ZOO, a
folder of ONNX networks, a folder each data set; `--zoo tests` has the sample models. Each is
compressed three times, by its weights alone: to half its FLOPs with a cost table and without one,
and to half its time. The way `default` is a job without a target or a table of its host, calibrated
as jobs are, and `default, weights` the same by the weights alone. The table is the one of a job on
this host: measured on it, or else shipped.

Original and compressed models run in turn, each on the same random inputs; the medians count, in
the processor's time, which other programs do not lengthen much. What is refused (a budget that
cannot be reached without making layers slower) is told on standard error.

Below the rows stand the geometric means of after / before: of the networks of the zoo that have
labelled images, and of all; and the median distance between expected and measured times.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch
from architectures import ARCHITECTURES
from speed import RefusedError, is_sized, job, write

from app.settings import get_settings
from convpress.budgets import FLOPS, LATENCY
from convpress.shapes import parse_input_shape
from worker.engine.formats import load_runner, open_model
from worker.engine.model import Inputs
from worker.jobs import cost_tables

KEEP = "0.5"
SECONDS = 2.0
WAYS: dict[str, dict[str, Any]] = {
    "FLOPs": {"budget": FLOPS, "priced": True},
    "FLOPs, no table": {"budget": FLOPS},
    "time": {"budget": LATENCY, "priced": True},
    "default": {
        "budget": FLOPS,
        "priced": True,
        "options": {"costs_decide": False, "calibration": "synthetic"},
    },
    "default, weights": {
        "budget": FLOPS,
        "priced": True,
        "options": {"costs_decide": False},
    },
}
"""What is asked for, and whether there is a cost table."""
THREE_WAYS = ("FLOPs", "FLOPs, no table", "time")
SHAPES = {
    **dict.fromkeys(("plain", "batchnorm", "residual"), "1x1x16x16"),
    **dict.fromkeys(("batchnorm_bn", "residual_bn"), "1x1x16x16"),
    "dncnn_s25": "1x1x256x256",
    "mtcnn_pnet": "1x128x128x3",
    "rapidocr_cls": "1x3x48x192",
}
"""Of networks that take images of any size."""


def inputs_of(path: Path) -> Inputs:
    """Return random inputs of the shapes that the model says, or that it is given here."""
    model = open_model("onnx", path)
    shapes = model.bind(parse_input_shape(SHAPES.get(path.stem)))
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
    milliseconds: list[list[float]] = [[] for _ in paths]
    end = time.process_time() + SECONDS * len(paths)
    while time.process_time() < end or len(milliseconds[0]) < 5:
        for times, run in zip(milliseconds, runners, strict=True):
            began = time.process_time()
            run(inputs)
            times.append(1e3 * (time.process_time() - began))
    return [median(times) for times in milliseconds]


def measured(
    path: Path, costs: Path, folder: Path, ways: Iterable[str], keep: str
) -> dict[str, dict[str, Any]]:
    """Return the times of one model, by way of compression."""
    results = {}
    for way in ways:
        asked = WAYS[way]
        options = {
            "budgets": {asked["budget"].field: keep},
            "input_shape": SHAPES.get(path.stem),
            **asked.get("options", {}),
        }
        if asked.get("priced"):
            options["costs"] = str(costs)
        try:
            report = job(path, folder, **options)["report"]
        except RefusedError as refused:
            print(f"{way}: {refused}", file=sys.stderr)
            continue
        before, after = medians([path, folder / "out.onnx"], inputs_of(path))
        results[way] = {
            "before": before,
            "after": after,
            "keep": report["keep"],
            "ratio": after / before,
        }
        results[way] |= {
            "error": report["predicted_error"],
            "predicted": report["latency"],
        }
        if report["latency"] is not None and report["latency"]["expected_after_ms"]:
            results[way]["expected"] = (
                report["latency"]["expected_after_ms"]
                / report["timing"]["before"]["processor"]["median_ms"]
                * before
            )
    return results


def summed_up(
    figures: dict[str, dict[str, dict[str, Any]]], way: str, models: Iterable[str]
) -> str:
    """Say what one way comes to for some of the models."""
    rows = [figures[model][way] for model in models if way in figures.get(model, {})]
    if not rows:
        return f"{way}: none"
    ratios = [row["ratio"] for row in rows]
    mean = geometric_mean(ratios)
    summary = (
        f"{way}: geometric mean of after / before {mean:.3f}, at most {max(ratios):.2f}"
    )
    apart = [
        abs(row["expected"] / row["after"] - 1) for row in rows if "expected" in row
    ]
    return (
        f"{summary}; expected {100 * median(apart):.0f} % from measured on the median"
        if apart
        else summary
    )


def table_of_host() -> Path:
    """Return the table that a job on this host uses.

    Raises:
        SystemExit: there is none.
    """
    table = cost_tables.table_of(get_settings(), "onnx")
    if table is None:
        raise SystemExit("this host has no cost table: run `convpress calibrate-host`")
    return table.path


def main() -> None:
    """Measure and print a row a model and way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--zoo", type=Path)
    parser.add_argument(
        "--only", nargs="+", help="names of models, without their suffix"
    )
    parser.add_argument(
        "--costs", type=Path, help="a table as `convpress calibrate-host` writes it"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(THREE_WAYS)
    )
    parser.add_argument("--keep", default=KEEP, help="the share of FLOPs or time")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    # torch announces the end of TorchScript
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = arguments.costs or table_of_host()
        print(f"Cost table: {costs.name}\n")
        paths = [] if arguments.zoo is None else sorted(arguments.zoo.glob("*/*.onnx"))
        models = {
            path.stem: path for path in paths if path.stem in SHAPES or is_sized(path)
        }
        labelled = [
            name for name, path in models.items() if any(path.parent.glob("*.zip"))
        ]
        selected = arguments.only or [*models, *ARCHITECTURES]
        for name in set(selected) - models.keys():
            torch.manual_seed(0)
            make, shape = ARCHITECTURES[name]
            models[name] = write(make(), shape, folder / f"{name}.onnx")
        print(
            "| model | way | ms before | after | after / before | MACs kept | expected ms "
            "after |"
        )
        print("|---|---|---|---|---|---|---|")
        figures = {}
        for model in selected:
            figures[model] = measured(
                models[model], costs, folder, arguments.ways, arguments.keep
            )
            for way, row in figures[model].items():
                expected = f"{row['expected']:.3f}" if "expected" in row else ""
                times = f"{row['before']:.3f} | {row['after']:.3f} | {row['ratio']:.2f}"
                print(
                    f"| {model} | {way} | {times} | {row['keep']:.3f} | {expected} |",
                    flush=True,
                )
    for title, names in (("the labelled networks", labelled), ("all", selected)):
        print(
            f"\nOf {title}:",
            *(summed_up(figures, way, names) for way in arguments.ways),
            sep="\n- ",
        )
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
