"""Search: the cheapest artifact that keeps a promise of the largest loss, or of low risk.

Each try is a whole job with another budget of FLOPs, refitted and verified, from one analysis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from convpress import max_loss
from convpress import report as records
from convpress.budgets import FLOPS
from convpress.evaluation import AGREEMENT
from convpress.refusal import Refusal
from worker.engine.comparison_inputs import ComparisonInputs
from worker.engine.evaluation.answers import Answers
from worker.engine.progress import Progress
from worker.engine.promise import FAILED_TRIES, RISK, Promise
from worker.engine.request import Request
from worker.engine.selection.least_kept import MOST_TRIES, least_kept
from worker.engine.stages.evaluating import Evaluation
from worker.engine.stages.verifying import Verification, risk_of
from worker.engine.stages.writing import WrittenArtifact
from worker.engine.verify import worst

_LARGEST_ANALYSIS = 2 * 1024**3
"""The bytes of the analysis that the tries share; with more, each try calibrates anew."""
_FIRST_TRY = 0.4
"""The share of the progress of the first try, which calibrates."""
_ALL_TRIES = 0.95


@dataclass(frozen=True)
class Produced:
    """An artifact that was written, and its verification."""

    artifact: WrittenArtifact
    verification: Verification


@dataclass(frozen=True)
class Search:
    """The artifact that a search came to, what was tried, and what weakens the promise."""

    promise: Promise
    produced: Produced
    tried: Sequence[records.Tried]
    note: str | None


def promise_of(request: Request, evaluation: Evaluation | None) -> Promise | None:
    """Return the promise that a request asks for; None where it has a budget.

    Raises:
        Refusal: `budget_invalid` for a loss that is none of the metric, or beside a FLOPs budget,
            and for a promise that nothing could judge.
    """
    text = request.budgets.get(FLOPS.field, "")
    has_budget = bool(text)
    if request.max_loss is None:
        if not has_budget or not FLOPS.parse(text).is_chosen_by_risk:
            return None
        if evaluation is None and request.calibration == "none":
            raise max_loss.needs_inputs(FLOPS.field)
        return Promise(None, RISK)
    has_rank = request.rank is not None
    max_loss.require_alone(flops_budget=has_budget, rank=has_rank)
    largest = max_loss.parse_max_loss(request.max_loss)
    promise = Promise(largest, AGREEMENT)
    if evaluation is not None:
        promise = Promise(largest, evaluation.name, evaluation.before)
    max_loss.require_measurable(largest, promise.metric)
    if evaluation is None and request.calibration == "none":
        raise max_loss.needs_inputs()
    return promise


def search_for(
    promise: Promise,
    request: Request,
    progress: Progress,
    produce: Callable[[Request], Produced],
) -> Search:
    """Produce artifacts at several budgets of FLOPs, and leave the cheapest that keeps the promise.

    It is the artifact of a job with that budget.

    Raises:
        Refusal: `budget_unreachable` with what was tried, where no budget keeps the promise.
    """
    tries = _Tries(promise, request, progress, produce)
    try:
        percent = least_kept(tries.is_kept)
    finally:
        tries.keep_analysis()
    if percent is None or tries.best is None:
        raise tries.refusal()
    tries.restore()
    progress.stretch(_ALL_TRIES, 1.0)
    return Search(promise, tries.best, tries.tried, _note(promise, tries.best))


class _Tries:
    """The tries of a search: the best artifact so far is kept beside the request's output."""

    def __init__(
        self,
        promise: Promise,
        request: Request,
        progress: Progress,
        produce: Callable[[Request], Produced],
    ) -> None:
        self._promise = promise
        self._request = request
        self._progress = progress
        self._produce = produce
        self._output = Path(request.output)
        self._kept = self._output.with_name(f"kept-{self._output.name}")
        self._analysis = self._output.with_name("shared-analysis")
        self._reused: bool | None = None
        self._refusal: Refusal | None = None
        self._obstacles: list[str] = []
        self.best: Produced | None = None
        self.tried: list[records.Tried] = []

    def is_kept(self, percent: int) -> bool:
        """Produce an artifact of `percent` of the FLOPs; return whether it keeps the promise.

        Raises:
            Refusal: the job cannot be served, or the risk is not low, whatever the budget.
        """
        budget = f"{percent}%"
        self._stretch_progress()
        try:
            attempt = self._attempt(budget)
        except Refusal as refusal:
            if refusal.code not in FAILED_TRIES:
                raise
            self._refusal = refusal
            attempt = self._promise.unreachable(budget)
        self.tried.append(attempt)
        if self._obstacles and not attempt.kept:
            raise self.refusal()
        return attempt.kept

    def _attempt(self, budget: str) -> records.Tried:
        """Produce an artifact, and keep it where it keeps the promise."""
        produced = self._produce(self._at(budget))
        # the later tries reuse the analysis of this job, which is not that of an earlier one
        if self._reused is None:
            self._reused = produced.artifact.reused
        attempt = judged(self._promise, produced, budget)
        if self._promise.largest is None and _answers(produced) is None:
            self._obstacles = produced.artifact.comparison_inputs.obstacles
        if attempt.kept:
            self._output.replace(self._kept)
            artifact = replace(produced.artifact, reused=self._reused)
            self.best = replace(produced, artifact=artifact)
        return attempt

    def _at(self, budget: str) -> Request:
        """Return the request of one try: the analysis of the first one serves all."""
        is_shared = self._analysis.exists()
        return replace(
            self._request,
            max_loss=None,
            budgets={**self._request.budgets, FLOPS.field: budget},
            analysis=str(self._analysis) if is_shared else self._request.analysis,
            kept_analysis=str(self._analysis),
            largest_analysis=max(self._request.largest_analysis, _LARGEST_ANALYSIS),
        )

    def _stretch_progress(self) -> None:
        number = len(self.tried)
        span = (_ALL_TRIES - _FIRST_TRY) / (MOST_TRIES - 1)
        start = 0.0 if number == 0 else _FIRST_TRY + span * (number - 1)
        end = _FIRST_TRY + span * number
        self._progress.stretch(start, end)

    def keep_analysis(self) -> None:
        """Leave the analysis where the request wants it, if it is not larger than that allows."""
        if not self._analysis.exists():
            return
        target = self._request.kept_analysis
        if (
            target is None
            or self._analysis.stat().st_size > self._request.largest_analysis
        ):
            self._analysis.unlink()
        else:
            self._analysis.replace(target)

    def restore(self) -> None:
        """Put the best artifact in the place of the request's output."""
        self._kept.replace(self._output)

    def refusal(self) -> Refusal:
        """Return the refusal of a promise that no budget keeps."""
        if all(attempt.keep is None for attempt in self.tried):
            assert self._refusal is not None  # each of the tries was refused
            return self._refusal
        self._output.unlink(missing_ok=True)
        return self._promise.refusal(self.tried, self._obstacles)


def judged(promise: Promise, produced: Produced, budget: str) -> records.Tried:
    """Return a try, with whether its artifact keeps the promise.

    Raises:
        Refusal: `budget_invalid` where there is no agreement to keep, and no risk to judge.
    """
    verification = produced.verification
    before = produced.artifact.original.profile.macs
    keep = verification.profile.macs / before
    if promise.largest is None:
        risk = risk_of(produced.artifact, verification)
        level = risk.level
        source = produced.artifact.comparison_inputs.source
        if level == "unknown" and source == "noise":
            raise max_loss.needs_inputs(FLOPS.field)
        return promise.by_level(budget, keep, level)
    figure = _figure(produced)
    return promise.by_figure(budget, keep, figure)


def _figure(produced: Produced) -> float:
    """Return the artifact's figure of the user's metric, or its agreement with the original."""
    if produced.verification.evaluation is not None:
        return produced.verification.evaluation.after
    if produced.artifact.comparison_inputs.source == "noise":
        raise max_loss.needs_inputs()
    agreement = worst(produced.verification.comparisons).agreement
    if agreement is None:
        raise max_loss.needs_classes()
    return agreement


def _answers(produced: Produced) -> Answers | None:
    """Return the answers to labelled samples; None without any, or of another metric."""
    evaluated = produced.verification.evaluated
    return None if evaluated is None else evaluated.answers


def _note(promise: Promise, produced: Produced) -> str | None:
    """Return a note on the inputs that the promise stands on; none of one of low risk."""
    if promise.metric == AGREEMENT:
        return _note_of_agreement(produced.artifact.comparison_inputs)
    evaluation = produced.verification.evaluation
    if promise.largest is None or evaluation is None:
        return None
    text = f"the loss was measured on {evaluation.count} samples"
    answers = _answers(produced)
    if answers is not None:
        error = 100 * answers.standard_error
        text += f", with a standard error of {error:.1f} points"
    return f"{text}; on others the cheapest of several artifacts may lose more"


def _note_of_agreement(inputs: ComparisonInputs) -> str:
    """Return a note on how well the agreement on these inputs is known."""
    counted = f"{inputs.runs} {inputs.source}"
    if inputs.source == "synthetic":
        counted += " inputs"
    one = 100 / inputs.runs
    text = f"the agreement was measured on {counted}, of which one is {one:.1f} points"
    if inputs.source == "synthetic":
        text += (
            "; real inputs may lose more: send samples, or an evaluation with labels"
        )
    return text
