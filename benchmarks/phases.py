"""The phases of a job, by the kind of its work, and how well the time left is known on the way.

    python benchmarks/phases.py MODEL.onnx ... [--kinds KIND ...]

Each job keeps half of the FLOPs, on one thread, in an engine that is imported as in a spare child;
a second budget keeps 0.7. The row of a job shows its processor seconds without loading, and the
share of each phase in them: the weights of worker/engine/phase_weights.py are chosen by these
shares. `known` is the share of that time in which the time left is known, and `right` the share of
the known time in which it is within a factor of 1.5. In brackets stands the share of the progress.
All are percentages.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from running import warm_engine
from running.warm_engine import Mark

from convpress.budgets import FLOPS
from convpress.phases import PHASES, Phase
from worker.engine.request import Request
from worker.time_left import TimeLeft

FIRST, SECOND = "0.5", "0.7"
FACTOR = 1.5
WORKED = [phase for phase in PHASES if phase != "loading"]
MOMENTS = 400
_WEIGHTS = {"calibration": "none"}
_CALIBRATED = {"calibration": "synthetic"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "weights": _WEIGHTS,
    "weights, second budget": _WEIGHTS,
    "calibrated": _CALIBRATED,
    "calibrated, second budget": _CALIBRATED,
    "int8 alone": {**_CALIBRATED, "precision": "int8"},
    "int8 and float": {**_CALIBRATED, "precision": "auto"},
}
_SECOND = ", second budget"


def main() -> None:
    """Run and print a job of each kind for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    print("| job | seconds |", " | ".join(WORKED), "| known | right |")
    print("|---" * (len(WORKED) + 4) + "|")
    for model in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            for kind in arguments.kinds:
                steps = steps_of(model, kind, Path(folder))
                _print_row(f"{model.stem}, {kind}", steps)


def steps_of(model: Path, kind: str, folder: Path) -> list[Mark]:
    """Return the progress of a job of a kind; a second budget follows a first one."""
    options = dict(KINDS[kind])
    is_second = kind.endswith(_SECOND)
    kept = folder / "kept"
    if is_second:
        warm_engine.marks(
            _request(
                model,
                folder,
                FIRST,
                {**options, "kept_analysis": str(kept), "largest_analysis": 1 << 34},
            )
        )
        options["analysis"] = str(kept)
    budget = SECOND if is_second else FIRST
    return warm_engine.marks(_request(model, folder, budget, options))


def _request(
    model: Path, folder: Path, budget: str, options: Mapping[str, Any]
) -> Request:
    # int8 alone has no budget
    budgets = {} if options.get("precision") == "int8" else {FLOPS.field: budget}
    return Request(
        str(model),
        "onnx",
        str(folder / "out.onnx"),
        str(folder / "report.json"),
        budgets=budgets,
        **options,
    )


class Clock:
    """The processor seconds of a job that is over, for `TimeLeft`."""

    now = 0.0

    def __call__(self) -> float:
        """Return the present second."""
        return self.now


def quality(steps: Sequence[Mark]) -> tuple[float, float]:
    """Return the share of the work in which the time left is known, and of that the right share."""
    clock = Clock()
    left = TimeLeft(clock)
    times = [step.seconds.processor for step in steps]
    loaded = [step.phase != "loading" for step in steps].index(True)
    began, end = times[loaded], times[-1]
    known = right = 0
    noted = 0
    for number in range(MOMENTS):
        moment = began + (end - began) * (number + 0.5) / MOMENTS
        while times[noted] <= moment:
            clock.now = times[noted]
            left.note(steps[noted].phase, steps[noted].fraction)
            noted += 1
        clock.now = moment
        estimate = left.seconds()
        if estimate is not None:
            known += 1
            ratio = estimate / (end - moment)
            right += 1 / FACTOR <= ratio <= FACTOR
    return known / MOMENTS, right / max(known, 1)


def shares_of_progress(steps: Sequence[Mark]) -> dict[Phase, float]:
    """Return the share of each phase in the progress of a job, without loading."""
    shares: dict[Phase, float] = {}
    for step, following in pairwise(steps):
        if step.phase == "loading":
            continue
        gained = following.fraction - step.fraction
        shares[step.phase] = shares.get(step.phase, 0.0) + gained
    total = sum(shares.values())
    return {phase: share / total for phase, share in shares.items()}


def _print_row(name: str, steps: Sequence[Mark]) -> None:
    """Print a job: for each phase its share of the time, and in brackets that of the progress."""
    by_phase = warm_engine.seconds_of_phases(steps)
    by_phase.pop("loading")
    seconds = {phase: spent.processor for phase, spent in by_phase.items()}
    total = sum(seconds.values())
    by_progress = shares_of_progress(steps)
    cells = []
    for phase in WORKED:
        share, weight = seconds.get(phase, 0.0) / total, by_progress.get(phase, 0.0)
        cells.append(f"{100 * share:.0f} ({100 * weight:.0f})")
    known, right = quality(steps)
    print(
        f"| {name} | {total:.2f} | {' | '.join(cells)} | {known:.0%} | {right:.0%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
