"""What becomes of models that others have published: at full rank, and at a budget.

    python benchmarks/published.py MODEL[@SHAPE] ... [--flops-budget 0.6] [--calibration none]
        [--output figures.json]

SHAPE is an input shape as jobs take it. Each model is first rewritten with every layer in its first
form at full rank, loaded by its runtime and compared with the original on the same inputs; then
compressed to the budget. A row a model says how many layers could be replaced, the largest
difference at full rank, and what the budget came to or why not; the reasons for what was left are
listed below, with their number.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from convpress.gate.identify import identify
from convpress.refusal import Refusal
from convpress.shapes import parse_input_shape
from worker.engine.decompose import Target
from worker.engine.formats import load_runner, open_model, readable
from worker.engine.numerics.moments import unknown
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.pipeline import compress
from worker.engine.request import Request
from worker.engine.selection.enumeration import factorisations

_WIDEST = 2048
"""The most channels or features of a layer that is factored; full-rank factors take minutes."""


def at_full_rank(path: Path, shape: str | None, folder: Path) -> dict[str, Any]:
    """Rewrite a model at full rank; return the replaced sites and the error of the outputs."""
    model_format = identify(path)
    target = folder / f"full{path.suffix}"
    with readable(model_format, path) as source:
        model = open_model(model_format, source)
        shapes = model.bind(parse_input_shape(shape))
        count = model.count(shapes)
        replaced = 0
        for site in count.sites:
            form = (
                next(iter(factorisations(site)), None)
                if site.reason is None and site.convolution
                else None
            )
            if form is None or site.convolution is None:
                continue
            layer = model.layer(site)
            is_wide = max(site.weight_shape) > _WIDEST
            target_of = Target.of(layer, unknown(site.convolution))
            model.replace(site, [layer] if is_wide else form.layers(target_of, form.ranks[-1]))
            replaced += 1
        model.save(target)
        inputs = random_inputs(model.inputs, shapes)
        expected = load_runner(model_format, source)(inputs)
        actual = load_runner(model_format, target)(inputs)
    return {
        "macs": count.macs,
        "courses": len(count.execution_paths),
        "sites": len(count.sites),
        "replaced": replaced,
        "reasons": Counter(site.reason for site in count.sites if site.reason),
        "unsettled": dict(count.unsettled),
        "difference": max(_distance(actual[name], expected[name]) for name in expected),
    }


def _distance(actual: np.ndarray, expected: np.ndarray) -> float:
    apart = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max(initial=0)
    return float(apart / (np.abs(expected).max(initial=0) or 1))


def at_budget(
    path: Path, shape: str | None, budget: str, calibration: str, folder: Path
) -> dict[str, Any]:
    """Compress a model, and return what is kept and the outputs' error, or the refusal."""
    report = folder / "report.json"
    request = Request(
        str(path),
        identify(path),
        str(folder / f"out{path.suffix}"),
        str(report),
        {"flops_budget": budget},
        input_shape=shape,
        calibration=calibration,
    )
    try:
        compress(request, lambda *_: None)
    except Refusal as refusal:
        return {"refused": f"{refusal.code}: {refusal.detail}"}
    account = json.loads(report.read_text())
    return {
        "keep": account["keep"],
        "error": account["verification"]["relative_error"],
        "risk": account["risk"],
    }


def tried(argument: str, budget: str, calibration: str) -> dict[str, Any]:
    """Return a model's row."""
    name, _, shape = argument.partition("@")
    path = Path(name)
    row: dict[str, Any] = {"model": path.name}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            row |= at_full_rank(path, shape or None, Path(scratch))
        except Refusal as refusal:
            return row | {"refused": f"{refusal.code}: {refusal.detail}"}
        return row | at_budget(path, shape or None, budget, calibration, Path(scratch))


def main() -> None:
    """Try the models that are named, print a table and the reasons, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="MODEL[@SHAPE]")
    parser.add_argument("--flops-budget", default="0.6")
    parser.add_argument("--calibration", choices=["none", "synthetic"], default="none")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    arguments = parser.parse_args()
    rows = []
    print(
        "| model | MMACs | courses | layers | replaced | difference at full rank | kept | error |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for argument in arguments.models:
        row = tried(argument, arguments.flops_budget, arguments.calibration)
        rows.append(row)
        if "sites" not in row:
            print(f"| {row['model']} | | | | | | {row['refused']} | |", flush=True)
            continue
        ending = row.get("refused") or f"{row['keep']:.3f} | {row['error']:.3f}"
        print(
            f"| {row['model']} | {row['macs'] / 1e6:.3f} | {row['courses']} | {row['sites']} | "
            f"{row['replaced']} "
            f"| {row['difference']:.1e} | {ending} |",
            flush=True,
        )
    for row in rows:
        for reason, number in row.get("reasons", {}).items():
            print(f"{row['model']}: {number} left: {reason}")
        if row.get("unsettled"):
            print(f"{row['model']}: not known: {row['unsettled']}")
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1))
    sys.exit(any(row.get("difference", 0) > 1e-4 for row in rows))


if __name__ == "__main__":
    main()
