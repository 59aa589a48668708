"""A second budget on a model whose analysis was kept, over the first one: processor seconds.

Each job is a process of its own, which imports the engine before its time starts, as a spare child
does. `as the first` asks for the budget of the first job again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convpress.budgets import FLOPS
from worker.engine.request import Request

FIRST, SECOND = "0.5", "0.7"
_LARGEST_ANALYSIS = 1 << 34
_WARM = """
import json, sys, time
from importlib import import_module
from worker.engine.__main__ import _WARM
for module in _WARM: import_module(module)
from worker.engine.pipeline import compress
from worker.engine.request import Request
marks = []
def emit(phase, _): marks.append((time.process_time(), phase))
start = time.process_time()
compress(Request.from_json(sys.argv[1]), emit)
end = time.process_time()
ends = [begin for begin, _ in marks[1:]] + [end]
seconds = {}
for (begin, phase), until in zip(marks, ends):
    seconds[phase] = seconds.get(phase, 0.0) + until - begin
print(json.dumps({"all": end - start, **seconds}))
"""


def rows(model: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the processor seconds of a first and two second jobs, by calibration and phase."""
    kept = folder / "kept"
    figures = {}
    for calibration in ("none", "synthetic"):
        asked = {"calibration": calibration}
        keeping = {"kept_analysis": str(kept), "largest_analysis": _LARGEST_ANALYSIS}
        figures[calibration] = {
            "first": _seconds(model, folder, FIRST, asked | keeping),
            "second": _seconds(model, folder, SECOND, asked | {"analysis": str(kept)}),
            "as the first": _seconds(
                model, folder, FIRST, asked | {"analysis": str(kept)}
            ),
        }
    return figures


def printed(name: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row for each calibration."""
    for calibration, jobs in figures.items():
        first, second, again = jobs["first"], jobs["second"], jobs["as the first"]
        parts = ", ".join(
            f"{phase} {spent:.2f}"
            for phase, spent in second.items()
            if phase != "all" and spent >= 0.05
        )
        print(
            f"| {name}, {calibration} | {first['all']:.2f} | {second['all']:.2f}, "
            f"{second['all'] / first['all']:.0%} | {again['all'] / first['all']:.0%} | {parts} |",
            flush=True,
        )


def _seconds(
    model: Path, folder: Path, budget: str, options: Mapping[str, Any]
) -> dict[str, float]:
    """Return the processor seconds of a job in an engine that is imported, in all and by phase."""
    request = Request(
        str(model),
        "onnx",
        str(folder / "out.onnx"),
        str(folder / "report.json"),
        input_shape=None,
        budgets={FLOPS.field: budget},
        **options,
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", _WARM, request.to_json()],
        capture_output=True,
        env=environment,
        text=True,
        check=True,
    )
    seconds: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return seconds
