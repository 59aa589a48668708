"""Write: put the layers in their sites' places, and save the artifact."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convpress import report as records
from convpress.formats import Format
from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.costs.table import CostTable
from worker.engine.formats.input_shapes import unstated_numbers
from worker.engine.model import CostProfile, OpenedModel, Restored, Shapes
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.progress import Progress
from worker.engine.report import account, measurements, outcome
from worker.engine.request import Request
from worker.engine.selection.frontier import frontier
from worker.engine.selection.input_statistics import NOT_ASKED_FOR, Uncalibrated
from worker.engine.selection.layout import arranged
from worker.engine.selection.narrowing import narrow_layers
from worker.engine.selection.objective import Goal
from worker.engine.stages.int8_plan import Int8Plan
from worker.engine.stages.planning import Plan
from worker.engine.stages.promised_costs import PromisedCosts
from worker.engine.verify import DeclaredShape

_MOST_COMPARED = 64
_COMPARING_WORK = 200_000_000_000
"""The most multiply-accumulates that the comparison of two models takes for each of them.

One run is compared in any case.
"""


@dataclass(frozen=True)
class Original:
    """The original model as the report and the verification need it: without its weights.

    `output_shapes` are those that it declares. `numbers` is a sentence on inputs of whole numbers
    whose values the user has not stated, None where there are none. `posted` are the costs of the
    file that was sent; they differ from `profile` where that is quantised, and `restored` says what
    was turned back into floats.
    """

    inputs: list[records.Tensor]
    shapes: Shapes
    output_shapes: Mapping[str, DeclaredShape]
    numbers: str | None
    profile: CostProfile
    posted: CostProfile
    parameters: int
    restored: Restored | None = None


@dataclass(frozen=True)
class WrittenArtifact:
    """An artifact that was written, and the report's parts that the plan determines.

    `costs` are those that the plan promises. Nothing was fitted to `comparison_inputs`, unless they
    say so. `trusted_error` is the predicted error, None where nothing weighs the sites' errors.
    `calibration` holds the members of `convpress.report.Calibration` that apply. `factored` says
    whether a site was factored. `int8` says what is to be written in int8, None for float alone.
    `note` is the plan's.
    """

    original: Original
    goal: Goal
    unchanged: bool
    reused: bool
    costs: PromisedCosts
    comparison_inputs: ComparisonInputs
    predicted_error: float
    trusted_error: float | None
    sites: list[records.Site]
    frontier: list[records.Point]
    calibration: dict[str, Any]
    latency: records.Latency | None
    factored: bool = True
    held_out_error: float | None = None
    int8: Int8Plan | None = None
    note: str | None = None


def write_artifact(
    request: Request, opened: OpenedModel, plan: Plan, progress: Progress
) -> WrittenArtifact:
    """Write the artifact to the request's output path."""
    progress.enter("rewriting")
    # the sites are replaced in the opened model itself: its own costs are read before
    original = _original(opened, unchanged=plan.unchanged)
    analysis, choice = plan.analysis, plan.choice
    target = plan.target(request.format)
    if plan.replacements:
        _save(opened, plan, target, Path(request.output), progress)
    else:
        is_posted = plan.unchanged or opened.posted is None
        source = Path(request.model) if is_posted else opened.path
        _copy(opened, source, Path(request.output))
    predicted_error = analysis.predicted_error(choice)
    pairs = zip(analysis.candidates, choice, strict=True)
    table = analysis.table
    return WrittenArtifact(
        original=original,
        goal=plan.goal,
        unchanged=plan.unchanged,
        reused=analysis.reused,
        costs=PromisedCosts.of(analysis.sites, choice),
        comparison_inputs=_comparison_inputs(opened, plan),
        predicted_error=predicted_error,
        trusted_error=predicted_error if analysis.weights else None,
        sites=[outcome.site(site, candidate, target) for site, candidate in pairs],
        frontier=outcome.points(frontier(analysis, plan.goal), analysis),
        calibration=measurements.calibration(analysis, plan.refit_choice),
        latency=None
        if table is None
        else outcome.latency(table, request.costs_origin, analysis, choice),
        factored=bool(plan.replacements),
        held_out_error=_held_out_error(plan),
        int8=plan.int8,
        note=plan.note,
    )


def _held_out_error(plan: Plan) -> float | None:
    """Return the relative error of the chosen layers on held-out inputs."""
    choice = plan.refit_choice
    if choice is None:
        return None
    errors = [choice.error_before]
    if choice.error_after is not None:
        errors.append(choice.error_after)
    return math.sqrt(min(errors))


def _save(
    opened: OpenedModel,
    plan: Plan,
    target: Format | CostTable,
    output: Path,
    progress: Progress,
) -> None:
    """Replace the sites in the opened model, and save it."""
    sites = {site.name: site for site in opened.profile.sites}
    replacements, narrowings = narrow_layers(
        opened.model,
        opened.profile.sites,
        plan.analysis.paths.values(),
        plan.choice,
        plan.replacements,
    )
    # the values of a path have the names that they have before any surgery
    for narrowing in narrowings:
        path = narrowing.path
        opened.model.keep_channels(path.values, path.norms, narrowing.kept)
    for done, (name, layers) in enumerate(replacements.items()):
        site = sites[name]
        opened.model.replace(site, *arranged(site, layers, target))
        progress.within(done, len(replacements))
    opened.model.save(output)


def _copy(opened: OpenedModel, source: Path, output: Path) -> None:
    """Write the model as it is; saving it would change its bytes, unless it is to become a file."""
    if source.suffix == output.suffix:
        shutil.copyfile(source, output)
    else:
        opened.model.save(output)


def _original(opened: OpenedModel, *, unchanged: bool) -> Original:
    inputs = account.inputs(opened.model.inputs, opened.shapes)
    return Original(
        inputs=inputs,
        shapes=opened.shapes,
        output_shapes={spec.name: spec.shape for spec in opened.model.outputs},
        numbers=unstated_numbers(opened.model.inputs, opened.shapes),
        profile=opened.profile,
        posted=(opened.posted or opened).profile,
        parameters=(opened.posted or opened).parameters,
        restored=None if unchanged else opened.restored,
    )


def _comparison_inputs(opened: OpenedModel, plan: Plan) -> ComparisonInputs:
    """Return the calibration's inputs to judge by, or white noise without a calibration."""
    specs = opened.model.inputs
    calibration = plan.analysis.calibration
    if isinstance(calibration, Uncalibrated):
        # an output whose sizes depend on values shows it where they differ between two runs
        are_fixed = all(spec.shape is not None for spec in opened.model.outputs)
        runs = 1 if are_fixed else 2
        noise = [random_inputs(specs, opened.shapes, seed) for seed in range(runs)]
        doubts = []
        # a model that stays as it is was not calibrated either, for no fault of its own
        if not plan.unchanged and calibration.reason != NOT_ASKED_FOR:
            doubts.append(f"the calibration failed: {calibration.reason}")
        return ComparisonInputs("noise", {"noise": noise}, doubts)
    # large models are compared on fewer inputs, which takes as long
    affordable = _COMPARING_WORK // max(opened.profile.macs, 1)
    in_range = min(_MOST_COMPARED, affordable)
    runs = max(1, in_range)
    return calibration.judging.run_inputs(specs, opened.shapes, runs)
