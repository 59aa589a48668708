"""Low rank, int8 and both: accuracy, size and time of each, beside ONNX Runtime's own quantiser.

    python benchmarks/precision.py [--zoo ZOO [--networks NAME ...] [--images N]]
        [--models FILE ...] [--architectures NAME ...] [--input-range RANGE] [--without-table]
        [--rows NAME ...] [--output figures.json]

ZOO is a folder of networks with images and a `measure.py` that loads them; FILE is any other ONNX
model, whose outputs are compared with the original's on synthetic inputs; NAME is one of
`architectures.py`, with random weights, compared likewise. The rows are

- `int8`, `int8 real`: the product in int8 alone, without data and on the zoo's real images;
- `quantiser real`, `quantiser synthetic`: ONNX Runtime's `quantize_static` (QDQ, a scale for each
  channel, least and largest values), on 64 real images, and on 64 standard normal ones;
- `float 0.5`, `both 0.5`: half of the FLOPs, in float and in int8;
- `float bytes 0.2`, `auto bytes 0.2`: a fifth of the file's size;
- `float time`, `auto time`: half of the time that int8 alone is expected to take;
- `auto int8 time`: that time and a hundredth more, in which int8 alone is a choice.

The product chooses by the cost table of a job on this host, unless it is to do without one, and is
told the range of the inputs where one is named. Time is the share of the original's, by the
processor, all files in turn on one thread.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accuracy import limit, load_zoo
from architectures import ARCHITECTURES
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from app.settings import get_settings
from convpress.refusal import Refusal
from worker.engine.formats import load_runner, open_model
from worker.engine.model import Inputs
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.timing import time_in_turn
from worker.jobs.cost_tables import request_members

ROWS: Mapping[str, dict[str, Any]] = {
    "int8": {"precision": "int8"},
    "int8 real": {"precision": "int8", "calibration": "samples"},
    "quantiser real": {},
    "quantiser synthetic": {},
    "float 0.5": {"budgets": {"flops_budget": "0.5"}},
    "both 0.5": {"budgets": {"flops_budget": "0.5"}, "precision": "int8"},
    "float bytes 0.2": {"budgets": {"bytes_budget": "0.2"}},
    "auto bytes 0.2": {"budgets": {"bytes_budget": "0.2"}, "precision": "auto"},
    "float time": {"share_of_int8": 0.5},
    "auto time": {"share_of_int8": 0.5, "precision": "auto"},
    "auto int8 time": {"share_of_int8": 1.01, "precision": "auto"},
}
_REAL = 64


class _Reader(CalibrationDataReader):
    """Inputs for the quantiser, one run after another."""

    def __init__(self, inputs: list[Inputs]) -> None:
        self._left: Iterator[Inputs] = iter(inputs)

    def get_next(self) -> Inputs | None:
        """Return the inputs of the next run, or None at the end."""
        return next(self._left, None)


def quantised(path: Path, target: Path, inputs: list[Inputs]) -> None:
    """Write a model as ONNX Runtime's quantiser does."""
    quantize_static(
        path, target, _Reader(inputs), quant_format=QuantFormat.QDQ, per_channel=True
    )


def measured(
    path: Path,
    folder: Path,
    rows: list[str],
    real: np.ndarray | None,
    shared: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Write the artifact of every row; return its error, size and time, and its path."""
    model = open_model("onnx", path)
    shapes = model.bind(None)
    name = model.inputs[0].name
    noise = random_inputs(model.inputs, shapes)
    files: dict[str, Path] = {}
    figures: dict[str, dict[str, Any]] = {}
    for row in rows:
        needs_real = row in ("int8 real", "quantiser real")
        if needs_real and real is None:
            continue
        # a job writes files of its own beside its artifact
        target = folder / row / "artifact.onnx"
        target.parent.mkdir()
        try:
            if row.startswith("quantiser"):
                generator = np.random.default_rng(0)
                images = real
                if row.endswith("synthetic") or images is None:
                    images = generator.standard_normal((_REAL, *shapes[name][1:]))
                batch = shapes[name][0]
                runs = [
                    {name: images[at : at + batch].astype(np.float32)}
                    for at in range(0, _REAL - batch + 1, batch)
                ]
                quantised(path, target, runs)
                figures[row] = {}
            else:
                options = {**shared, **ROWS[row]}
                figures[row] = _compressed(path, target, folder, options, real)
        except Refusal as refusal:
            figures[row] = {"refusal": refusal.detail}
            continue
        files[row] = target
        print(f"  {path.stem} {row} {figures[row]}", flush=True)
    runners = [load_runner("onnx", each) for each in (path, *files.values())]
    for run in runners:
        run(noise)
    original, *others = (
        each.processor.median_ms for each in time_in_turn(runners, noise)
    )
    for (row, file), time in zip(files.items(), others, strict=True):
        size = file.stat().st_size / path.stat().st_size
        figures[row] |= {"time": time / original, "bytes": size, "file": file}
    return figures


def _compressed(
    path: Path,
    target: Path,
    folder: Path,
    asked: dict[str, Any],
    real: np.ndarray | None,
) -> dict[str, Any]:
    """Compress a model as a job does, and return the figures of its report."""
    options = dict(asked)
    if options.get("calibration") == "samples":
        np.save(folder / "samples.npy", real[:_REAL])
        options["samples"] = str(folder / "samples.npy")
        # samples tell the range themselves
        options["input_range"] = None
    share = options.pop("share_of_int8", None)
    if share is not None:
        time = share * _time_of_int8(path, folder, asked)
        options["budgets"] = {"latency_budget": f"{time:.4f}"}
    analysis = folder / "analysis"
    report = folder / "report.json"
    request = Request(
        str(path),
        "onnx",
        str(target),
        str(report),
        analysis=str(analysis)
        if analysis.exists() and "samples" not in options
        else None,
        kept_analysis=str(analysis),
        largest_analysis=2**32,
        **options,
    )
    compress(request, lambda *_: None)
    account = json.loads(report.read_text())
    return {
        "keep": account["keep"],
        "error": account["verification"]["relative_error"],
        "agreement": account["verification"]["agreement"],
        "risk": account["risk"]["level"],
        "int8": sum(site["int8"] for site in account["sites"]),
    }


def _time_of_int8(path: Path, folder: Path, asked: Mapping[str, Any]) -> float:
    """Return the share of the time that int8 alone is expected to take, by the cost table."""
    report = folder / "int8.json"
    if not report.exists():
        own = folder / "time of int8"
        own.mkdir()
        request = Request(
            str(path),
            "onnx",
            str(own / "artifact.onnx"),
            str(report),
            precision="int8",
            input_range=asked["input_range"],
            **request_members(get_settings(), "onnx", None, None),
        )
        compress(request, lambda *_: None)
    latency = json.loads(report.read_text())["latency"]
    share: float = latency["predicted_after_ms"] / latency["predicted_before_ms"]
    return share


def of_zoo(
    zoo: ModuleType,
    folder: Path,
    network: str,
    rows: list[str],
    scratch: Path,
    shared: Mapping[str, Any],
) -> dict[str, Any]:
    """Measure one network of the zoo, and score every artifact."""
    path = folder / f"{network}.onnx"
    real = None if network.startswith("denoise") else zoo.calibration(network)
    figures: dict[str, Any] = {
        "original": {"score": zoo.score(network, zoo.runner(path))}
    }
    for row, members in measured(path, scratch, rows, real, shared).items():
        file = members.pop("file", None)
        if file is not None:
            members["score"] = zoo.score(network, zoo.runner(file))
        figures[row] = members
    return figures


def exported(name: str, folder: Path) -> Path:
    """Write an architecture with random weights, and return its path."""
    torch.manual_seed(0)
    make, shape = ARCHITECTURES[name]
    path = folder / f"{name}.onnx"
    torch.onnx.export(
        make().eval(), (torch.zeros(shape),), path, dynamo=False, input_names=["input"]
    )
    return path


def of_file(
    path: Path, rows: list[str], scratch: Path, shared: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure one model without labels."""
    figures = measured(path, scratch, rows, None, shared)
    for members in figures.values():
        members.pop("file", None)
    return figures


def print_table(name: str, figures: Mapping[str, Any]) -> None:
    """Print a row of Markdown for each way."""
    print(f"\n| {name} | score | FLOPs | bytes | time | error | same class | risk |")
    print("|---|---|---|---|---|---|---|---|")
    for row, members in figures.items():
        if "refusal" in members:
            print(f"| {row} | {members['refusal']} |||||||")
            continue
        cells = [_text(members.get("score"), 2)]
        cells += [
            _text(members.get(key), 3) for key in ("keep", "bytes", "time", "error")
        ]
        cells += [_text(members.get("agreement"), 2), members.get("risk", "")]
        print(f"| {row} | {' | '.join(cells)} |", flush=True)


def _text(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--networks", nargs="*")
    parser.add_argument(
        "--images", type=int, help="score on the first N test images only"
    )
    parser.add_argument("--models", nargs="*", type=Path, default=[])
    parser.add_argument(
        "--architectures", nargs="*", default=[], choices=list(ARCHITECTURES)
    )
    parser.add_argument("--input-range", help="the range of the inputs, as of a job")
    parser.add_argument(
        "--without-table", action="store_true", help="choose without a cost table"
    )
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    shared: dict[str, Any] = {"input_range": arguments.input_range}
    if not arguments.without_table:
        shared |= request_members(get_settings(), "onnx", None, None)
    figures = {}
    if arguments.zoo:
        zoo = load_zoo(arguments.zoo / "measure.py")
        if arguments.images:
            limit(zoo, arguments.images)
        for network in arguments.networks or zoo.NETWORKS:
            with tempfile.TemporaryDirectory() as scratch:
                figures[network] = of_zoo(
                    zoo,
                    arguments.zoo,
                    network,
                    arguments.rows,
                    Path(scratch),
                    shared,
                )
            print_table(network, figures[network])
    for path in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            figures[path.stem] = of_file(path, arguments.rows, Path(scratch), shared)
        print_table(path.stem, figures[path.stem])
    for name in arguments.architectures:
        with tempfile.TemporaryDirectory() as scratch:
            path = exported(name, Path(scratch))
            figures[name] = of_file(path, arguments.rows, Path(scratch), shared)
        print_table(name, figures[name])
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
