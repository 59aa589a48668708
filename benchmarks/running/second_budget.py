"""A second budget on a model whose analysis was kept, over the first one: processor seconds.

Each job is a process of its own, which imports the engine before its time starts, as a spare child
does. `as the first` asks for the budget of the first job again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convpress.budgets import FLOPS
from running import warm_engine
from worker.engine.request import Request

FIRST, SECOND = "0.5", "0.7"
_LARGEST_ANALYSIS = 1 << 34
_ALL = "all"


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
            if phase != _ALL and spent >= 0.05
        )
        print(
            f"| {name}, {calibration} | {first[_ALL]:.2f} | {second[_ALL]:.2f}, "
            f"{second[_ALL] / first[_ALL]:.0%} | {again[_ALL] / first[_ALL]:.0%} | {parts} |",
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
    steps = warm_engine.marks(request)
    by_phase = warm_engine.seconds_of_phases(steps)
    seconds = {phase: spent.processor for phase, spent in by_phase.items()}
    return {_ALL: steps[-1].seconds.processor, **seconds}
