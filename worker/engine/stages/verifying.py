"""Verify: count the artifact anew, run it, compare it with the original, and time both."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from convpress import report as records
from convpress.refusal import Code, Refusal
from convpress.shapes import FIELD, parse_input_shape
from worker.engine.formats import load_runner, open_model
from worker.engine.model import CostProfile, Inputs, OpenedModel, Runner
from worker.engine.numerics.threads import loaded_on
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.risk import assess
from worker.engine.selection.objective import Objective
from worker.engine.stages.evaluating import Evaluated, Evaluation
from worker.engine.stages.writing import WrittenArtifact
from worker.engine.timing import RunTimes, Timings, time_in_turn
from worker.engine.verify import Comparison, DeclaredShape, Outputs, compare

_MOST_BYTES_TOGETHER = 2**30
"""The bytes of both files up to which both models are in memory at once.

Their weights then take about as much memory; a worker's child may have several times that.
"""


@dataclass(frozen=True)
class Verification:
    """The costs of the artifact's file, the times of both, and the comparison of the outputs.

    There is one comparison for each group of the artifact's comparison inputs. `evaluated` has the
    figures of the user's own labels, None without any. The costs are those on the rows of the
    original; `has_other_rows` says whether values gave the artifact others.
    """

    profile: CostProfile
    parameters: int
    comparisons: Mapping[str, Comparison]
    timings: Timings
    evaluated: Evaluated | None = None
    has_other_rows: bool = False

    @property
    def evaluation(self) -> records.Evaluation | None:
        """The figures of the user's own labels, for the report."""
        return None if self.evaluated is None else self.evaluated.record


def verify(
    request: Request,
    source: Path,
    artifact: WrittenArtifact,
    progress: Progress,
    evaluation: Evaluation | None = None,
) -> Verification:
    """Check that the artifact keeps its promises, and compare it with the model at `source`.

    An `evaluation` is measured too.

    Raises:
        Refusal: `verification_failed`.
    """
    progress.enter("verifying")
    output = Path(request.output)
    profile, parameters, has_other_rows = _counted(request, output, artifact)
    groups = artifact.comparison_inputs.groups
    inputs = list(chain.from_iterable(groups.values()))
    loaded: dict[Path, Runner] = {}
    before: RunTimes | None = None
    if _fit_together(request):
        loaded[source], originals = _original_outputs(request, source, inputs, artifact)
        progress.within(1, 2)
    else:
        # the original leaves memory before the artifact enters it
        originals, before = _original_alone(request, source, inputs, artifact, progress)
    run_artifact = load_runner(request.format, output)
    compressed = tuple(run_artifact(each) for each in inputs)
    comparisons = _by_group(
        groups,
        originals,
        compressed,
        artifact.original.output_shapes,
        artifact.original.profile.sized_outputs,
    )
    evaluated = None if evaluation is None else evaluation.of(run_artifact)
    loaded[output] = run_artifact
    times = _times(request, loaded, inputs[0])
    timings = Timings(
        before or times[0],
        times[-1],
        in_turn=before is None,
        threads=request.threads or 1,
    )
    return Verification(
        profile, parameters, comparisons, timings, evaluated, has_other_rows
    )


def _original_alone(
    request: Request,
    source: Path,
    inputs: Sequence[Inputs],
    artifact: WrittenArtifact,
    progress: Progress,
) -> tuple[tuple[Outputs, ...], RunTimes]:
    """Return the outputs and the times of the original, which no longer is in memory then.

    Raises:
        Refusal: the original does not run on these inputs.
    """
    loaded: dict[Path, Runner] = {}
    # no other name holds the runner, so that `_times` can load it again on several threads
    loaded[source], originals = _original_outputs(request, source, inputs, artifact)
    progress.within(1, 2)
    [times] = _times(request, loaded, inputs[0])
    return originals, times


def _times(
    request: Request, loaded: dict[Path, Runner], inputs: Inputs
) -> tuple[RunTimes, ...]:
    """Return the times of models that are loaded on one thread, on the request's threads.

    For several threads they are loaded again, and `loaded` is emptied. Only times come from several
    threads: sums in another order give other outputs.
    """
    if request.threads in (None, 1):
        return time_in_turn(list(loaded.values()), inputs)
    paths = list(loaded)
    loaded.clear()
    with loaded_on(request.threads):
        runners = [load_runner(request.format, path) for path in paths]
        for run in runners:
            run(inputs)
        return time_in_turn(runners, inputs, request.threads)


def risk_of(artifact: WrittenArtifact, verification: Verification) -> records.Risk:
    """Return the risk of using an artifact."""
    evaluated = verification.evaluated
    return assess(
        verification.comparisons,
        artifact.comparison_inputs,
        artifact.trusted_error,
        unchanged=artifact.unchanged,
        factored=artifact.factored,
        inner_error=artifact.held_out_error,
        answers=None if evaluated is None else evaluated.answers,
    )


def _fit_together(request: Request) -> bool:
    """Whether original and artifact are small enough to be in memory at once."""
    sizes = [Path(path).stat().st_size for path in (request.model, request.output)]
    return sum(sizes) <= _MOST_BYTES_TOGETHER


def _original_outputs(
    request: Request, source: Path, inputs: Sequence[Inputs], artifact: WrittenArtifact
) -> tuple[Runner, tuple[Outputs, ...]]:
    """Load the original and return its runner, and its outputs on the inputs.

    Raises:
        Refusal: the original does not run on these inputs.
    """
    numbers = artifact.original.numbers
    try:
        run = load_runner(request.format, source)
        outputs = tuple(run(each) for each in inputs)
    except Refusal as refusal:
        raise _with_numbers(refusal, numbers) from refusal
    _require_outputs(outputs, numbers)
    return run, outputs


def _require_outputs(outputs: Sequence[Outputs], numbers: str | None) -> None:
    """Check that a model whose inputs may be sizes gives outputs with elements.

    Raises:
        Refusal: `input_shape_mismatch`.
    """
    elements = 0
    for run in outputs:
        elements += sum(array.size for array in run.values())
    if numbers is None or elements:
        return
    raise Refusal(
        Code.INPUT_SHAPE_MISMATCH,
        f"the outputs of the model have no elements; {numbers}",
        field=FIELD,
        expected="values of whole numbers that the model can take",
        got="none",
    )


def _with_numbers(refusal: Refusal, numbers: str | None) -> Refusal:
    """Return the refusal of an original that does not run, with the inputs that may be to blame."""
    if numbers is None or refusal.code != Code.MODEL_INVALID:
        return refusal
    return Refusal(
        Code.INPUT_SHAPE_MISMATCH,
        f"{refusal.detail}; {numbers}",
        field=FIELD,
        expected="values of whole numbers that the model can take",
        got="none",
    )


def _by_group(
    groups: Mapping[str, Sequence[Inputs]],
    originals: Sequence[Outputs],
    compressed: Sequence[Outputs],
    declared: Mapping[str, DeclaredShape],
    sized_outputs: Collection[str],
) -> dict[str, Comparison]:
    """Return the comparison of each group's outputs, which follow each other in order.

    Raises:
        Refusal: `verification_failed`.
    """
    comparisons = {}
    start = 0
    for name, inputs in groups.items():
        end = start + len(inputs)
        comparisons[name] = compare(
            originals[start:end], compressed[start:end], declared, sized_outputs
        )
        start = end
    return comparisons


def _counted(
    request: Request, output: Path, artifact: WrittenArtifact
) -> tuple[CostProfile, int, bool]:
    """Return the costs and the parameters of the file; the opened model dies here.

    The costs are those on the rows of the original. The last one says whether the artifact has
    others, which values decide.

    Raises:
        Refusal: `verification_failed`.
    """
    model = open_model(request.format, output)
    # types that the user stated hold for the artifact too
    model.bind(parse_input_shape(request.input_shape))
    written = OpenedModel(request.format, output, model, artifact.original.shapes)
    own = written.profile
    profile = artifact.costs.checked(artifact.original.profile, own)
    _require_budgets(artifact, replace(written, counted=profile))
    return profile, written.parameters, profile is not own


def _require_budgets(artifact: WrittenArtifact, written: OpenedModel) -> None:
    """Check that the file fits the budgets.

    Raises:
        Refusal: `verification_failed`; `budget_unreachable` where layers that the budgets wanted in
            int8 stayed in float.
    """
    if not isinstance(artifact.goal, Objective):
        return
    for budget in artifact.goal.budgets:
        amount = budget.unit.measured(written)
        if amount is not None and amount > budget.allowed:
            allowed = budget.unit.text(budget.allowed)
            lost = [
                site.name
                for site in artifact.sites
                if site.int8_loss is not None and not site.int8
            ]
            if lost:
                raise Refusal(
                    Code.BUDGET_UNREACHABLE,
                    f"int8 loses too much at {', '.join(lost)}: with these layers in float the "
                    "model does not fit its budget",
                    field=budget.field,
                    expected=f"a budget above {allowed}, precision=float, or an input_range or "
                    "samples, which may let them be in int8",
                    got=budget.unit.text(amount),
                )
            raise Refusal(
                Code.VERIFICATION_FAILED,
                "the compressed model does not fit its budget",
                field=budget.field,
                expected=f"at most {allowed}",
                got=budget.unit.text(amount),
            )
