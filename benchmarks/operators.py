"""The time of a model by kind of operator, before and after a budget of half its time.

    python benchmarks/operators.py MODEL.onnx ... --costs onnx.json

Both run in ONNX Runtime on one thread with its profiler; the microseconds are the lower quartile of
an operator's runs, by the clock. A table prices layers: what other operators take stays as it was,
and a model where they take much misses its budget of time.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from speed import job

from convpress.budgets import LATENCY
from worker.engine.formats import open_model
from worker.engine.formats.onnx.runtime.session_options import session_options

KEEP = "0.5"
RUNS = 60
_KERNEL = "_kernel_time"


def main() -> None:
    """Print a row for each kind of operator of each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--costs", type=Path, required=True)
    arguments = parser.parse_args()
    print("| model | operator | us before | after | after / before |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            job(
                model,
                folder,
                budgets={LATENCY.field: KEEP},
                costs=str(arguments.costs),
            )
            before = profiled(model, folder)
            after = profiled(folder / "out.onnx", folder)
        _print_rows(model.stem, before, after)


def profiled(model: Path, folder: Path) -> dict[str, float]:
    """Return the microseconds of one run by kind of operator."""
    shapes = open_model("onnx", model).bind(None)
    options = session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(
        str(model), options, providers=["CPUExecutionProvider"]
    )
    random = np.random.default_rng(0)
    inputs = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    for _ in range(RUNS):
        session.run(None, inputs)
    times = defaultdict(list)
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL):
            times[event["name"], event["args"]["op_name"]].append(event["dur"])
    kinds: dict[str, float] = defaultdict(float)
    for (_, kind), durations in times.items():
        kinds[kind] += float(np.percentile(durations, 25))
    return dict(kinds)


def _print_rows(
    name: str, before: Mapping[str, float], after: Mapping[str, float]
) -> None:
    kinds = sorted({*before, *after}, key=lambda kind: -before.get(kind, 0.0))
    rows = [(kind, before.get(kind, 0.0), after.get(kind, 0.0)) for kind in kinds]
    rows.append(("all", sum(before.values()), sum(after.values())))
    for kind, own_before, own_after in rows:
        ratio = f"{own_after / own_before:.2f}" if own_before else ""
        print(
            f"| {name} | {kind} | {own_before:.0f} | {own_after:.0f} | {ratio} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
