"""The plan of int8: the inputs to measure it on, and the sites that stay in float."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convpress.formats import Format
from convpress.precision import FIELD, INT8
from convpress.refusal import Code, Refusal
from worker.engine.calibration.effort import RANGES_EFFORT
from worker.engine.formats import adapter_of
from worker.engine.formats.adapter import Int8Inputs, Int8Writer
from worker.engine.model import Inputs, OpenedModel
from worker.engine.phase_weights import INT8_ALONE, RANGES_OF_FACTORED
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.selection.analysis import Analysis
from worker.engine.selection.candidates import Candidate
from worker.engine.selection.input_statistics import Uncalibrated, measure_statistics
from worker.engine.selection.int8_candidates import int8_alone, with_int8
from worker.engine.selection.objective import Objective, choose
from worker.engine.selection.unreachable import least_reaching

if TYPE_CHECKING:  # it needs torch
    from worker.engine.calibration.replay import Batch

_MOST_FITTING = 64
"""Inputs of one kind: more of them widen the ranges, and no longer show more of real inputs."""
_MOST_HELD_OUT = 8
_RANGES_WORK = 300_000_000_000
"""The most multiply-accumulates of the runs that measure ranges; one is made in any case."""
_TRIALS_WORK = 1_000_000_000_000
"""The most multiply-accumulates of the runs that try layers one by one."""
_FEWEST_TRIALS = 4
"""Held-out inputs that a layer is tried on, where that many are affordable."""


@dataclass(frozen=True)
class Int8Plan:
    """What is written in int8: all that survives it on these inputs, without some sites."""

    inputs: Int8Inputs
    float_sites: frozenset[str] = frozenset()

    def without(self, sites: Collection[str]) -> "Int8Plan":
        """Return the plan with these sites in float."""
        return replace(self, float_sites=frozenset(sites))


def int8_writer(model_format: Format) -> Int8Writer:
    """Return the int8 writer of a format; `convpress.precision` has checked that there is one."""
    make = adapter_of(model_format).int8
    assert make is not None  # the request was refused where it is opened
    return make()


def analysis_for_ranges(
    request: Request, opened: OpenedModel, progress: Progress, unchanged: Analysis
) -> Analysis:
    """Return the analysis of a model that is not factored, with inputs to measure ranges on."""
    progress.enter("measuring")
    progress.weigh(INT8_ALONE)
    statistics = measure_statistics(
        request, opened, progress, RANGES_EFFORT, with_moments=False
    )
    return replace(unchanged, calibration=statistics)


def with_inputs_for_ranges(
    request: Request, opened: OpenedModel, progress: Progress, analysis: Analysis
) -> Analysis:
    """Return an analysis of a factored model with the inputs that int8 alone measures ranges on.

    Layers are fitted to distilled images where enough of them are affordable: plain ones beside
    them show more of the ranges.
    """
    statistics = analysis.calibration
    if isinstance(statistics, Uncalibrated) or request.samples is not None:
        return analysis
    progress.weigh(RANGES_OF_FACTORED)
    own = measure_statistics(
        request,
        opened,
        progress,
        RANGES_EFFORT,
        with_moments=False,
        phase="allocating",
    )
    return replace(analysis, calibration=own)


def plan_int8(
    request: Request, opened: OpenedModel, analysis: Analysis
) -> Int8Plan | None:
    """Return the plan with all sites in int8; None where `auto` has nothing to measure it on.

    Raises:
        Refusal: `precision_invalid` where `int8` has nothing to measure it on.
    """
    statistics = analysis.calibration
    if isinstance(statistics, Uncalibrated):
        if request.precision != INT8:
            return None
        raise Refusal(
            Code.PRECISION_INVALID,
            "int8 needs the ranges of the model's activations, which cannot be measured: "
            f"{statistics.reason}",
            field=FIELD,
            expected="float, or samples that the model runs on",
            got=request.precision,
        )
    macs = max(opened.profile.macs, 1)
    is_distilled = statistics.report_members["kind"] == "distilled"
    # there are plain ones beside the distilled ones
    most = 2 * _MOST_FITTING if is_distilled else _MOST_FITTING
    runs = _clamped(_RANGES_WORK // macs, most)
    fitting = _from_each(statistics.batches, opened, runs)
    affordable = _TRIALS_WORK // (macs * max(1, len(opened.profile.sites)))
    trials = _clamped(max(affordable, _FEWEST_TRIALS), _MOST_HELD_OUT)
    held_out = _from_each(statistics.held_out, opened, trials)
    return Int8Plan(
        Int8Inputs(fitting, held_out, _TRIALS_WORK // (macs * len(held_out)))
    )


def choose_with_int8(
    request: Request,
    opened: OpenedModel,
    analysis: Analysis,
    plan: Int8Plan,
    objective: Objective,
) -> tuple[Analysis, list[Candidate]]:
    """Return an analysis with candidates in int8, and the choice among all of them.

    The losses are measured site by site. With `auto` the sites in float pay for the conversions of
    tensors, or else those in int8: the choice that loses less is taken.

    Raises:
        Refusal: `budget_unreachable`, `cost_table_invalid`.
    """
    writer = int8_writer(request.format)
    source = Path(request.output).with_name("int8.onnx")
    # the opened model may have been taken apart, and its sites have names of their own
    opened.model.save(source)
    try:
        losses = writer.losses(source, source.with_name("int8.prepared"), plan.inputs)
    finally:
        source.unlink()
    floats_pay = with_int8(analysis, losses.by_site, writer.why_not)
    _require_prices(request, floats_pay, objective)
    if request.precision == INT8:
        return floats_pay, choose(floats_pay, objective)
    int8_pays = with_int8(analysis, losses.by_site, writer.why_not, int8_converts=True)
    best = _better_choice([floats_pay, int8_pays], objective)
    if losses.all_survive and _is_int8_alone_better(floats_pay, *best, objective):
        return floats_pay, int8_alone(floats_pay)
    return best


def _better_choice(
    analyses: Sequence[Analysis], objective: Objective
) -> tuple[Analysis, list[Candidate]]:
    """Return the choice of least predicted error, with its analysis.

    Raises:
        Refusal: `budget_unreachable` where none of the analyses has a choice.
    """
    refusals: list[Refusal] = []
    choices: list[tuple[Analysis, list[Candidate]]] = []
    for priced in analyses:
        try:
            choices.append((priced, choose(priced, objective)))
        except Refusal as refusal:
            refusals.append(refusal)
    if not choices:
        raise least_reaching(refusals)
    return min(choices, key=lambda each: each[0].predicted_error(each[1]))


def _is_int8_alone_better(
    floats_pay: Analysis,
    analysis: Analysis,
    choice: Sequence[Candidate],
    objective: Objective,
) -> bool:
    """Whether int8 alone meets the budgets, and a choice takes more time or loses more.

    Without a table nothing tells the time: int8 alone is then taken to be the faster. It meets no
    budget of arithmetic, which is the same in int8.
    """
    alone = int8_alone(floats_pay)
    # a layer without a price takes no time, as far as a budget of it can tell
    pairs = zip(floats_pay.originals, alone, strict=True)
    if objective.bounds_time and any(
        original.nanoseconds and own.nanoseconds is None for original, own in pairs
    ):
        return False
    for budget in objective.budgets:
        left = budget.left_to(floats_pay.sites, floats_pay.originals)
        if budget.spent(floats_pay.sites, alone) > left:
            return False
    time, time_alone = analysis.nanoseconds_of(choice), floats_pay.nanoseconds_of(alone)
    is_slower = time is None or time_alone is None or time > time_alone
    loses_more = analysis.predicted_error(choice) > floats_pay.predicted_error(alone)
    return is_slower or loses_more


def _require_prices(request: Request, analysis: Analysis, objective: Objective) -> None:
    """Check that a budget of time knows how long layers in int8 take.

    Raises:
        Refusal: `cost_table_invalid`.
    """
    if request.precision != INT8 or not objective.bounds_time:
        return
    for each in analysis.candidates:
        if any(
            candidate.quantised and candidate.nanoseconds
            for candidate in each.candidates
        ):
            return
    raise Refusal(
        Code.COST_TABLE_INVALID,
        "the cost table has no layers in int8",
        field="latency_budget",
        expected="a table that `convpress calibrate-host` has written since it measures int8",
        got="a table of layers in float",
    )


def floats_of(analysis: Analysis, choice: Sequence[Candidate]) -> frozenset[str]:
    """Return the sites whose chosen candidates are in float."""
    pairs = zip(analysis.sites, choice, strict=True)
    names = [site.name for site, candidate in pairs if not candidate.quantised]
    return frozenset(names)


def write_without_content(
    model_format: Format, float_sites: Collection[str], path: Path
) -> None:
    """Write the file at `path` in int8, as large as the artifact will be."""
    int8_writer(model_format).write_without_content(path, float_sites)


def _clamped(number: int, most: int) -> int:
    return max(1, min(number, most))


def _from_each(
    batches: "Sequence[Batch]", opened: OpenedModel, most: int
) -> list[Inputs]:
    """Return the inputs of at most `most` runs, spread evenly over the batches.

    The batches come range by range, and ranges of activations depend on those of the inputs.
    """
    # imported here: it needs torch
    from worker.engine.calibration.inputs.run_inputs import run_inputs

    step = -(-len(batches) // most)
    chosen = batches[::step]
    runs: list[Inputs] = []
    for batch in chosen:
        runs += run_inputs(
            [batch], opened.model.inputs, opened.shapes, most // len(chosen)
        )
    return runs
