"""Compression whose artifacts are scored by a command of the user.

The search for the cheapest artifact that keeps the promised score is here too. The command runs
between the runs of the engine, since the sandbox lets it start no programs.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from convpress.budgets import FLOPS
from convpress.max_loss import parse_max_loss
from convpress.refusal import Refusal
from convpress.report import Evaluation, Report, Tried
from worker.engine.promise import FAILED_TRIES, Promise
from worker.engine.request import Request
from worker.engine.selection.least_kept import least_kept
from worker.scoring import Scorer

_LARGEST_ANALYSIS = 8 * 1024**3


@dataclass(frozen=True)
class Attempt:
    """An artifact that was made and checked, and its report: the bytes and the record in them."""

    artifact: Path
    content: bytes
    report: Report


Make = Callable[[Request, Path], Attempt]
"""Runs the engine on a request, and puts the checked artifact at a path."""


def scored(
    make: Make, request: Request, model: Path, scorer: Scorer, folder: Path
) -> Attempt:
    """Make the artifact of a request, with the command's numbers in its report.

    Where the request has a largest loss, it is the cheapest artifact that keeps it. `model` is the
    original as the command reads it; `folder` takes the artifacts.

    Raises:
        Refusal: the command fails, or no budget keeps the loss.
    """
    before = scorer.score(model)
    if request.max_loss is None:
        attempt = make(request, folder / f"scored{model.suffix}")
        evaluation = scorer.evaluation(before, scorer.score(attempt.artifact))
        return _amended(attempt, evaluation)
    promise = Promise(parse_max_loss(request.max_loss), scorer.metric, before)
    search = _Search(make, request, promise, scorer, folder / f"scored{model.suffix}")
    least_kept(search.is_kept)
    return search.result()


class _Search:
    """The tries of a search; the first makes an analysis that serves all."""

    def __init__(
        self,
        make: Make,
        request: Request,
        promise: Promise,
        scorer: Scorer,
        target: Path,
    ) -> None:
        self._make = make
        self._request = request
        self._promise = promise
        self._scorer = scorer
        self._target = target
        self._best_target = target.with_name(f"kept-{target.name}")
        self._analysis = Path(request.output).with_name("shared-analysis")
        self._best: Attempt | None = None
        self._refusal: Refusal | None = None
        self._tried: list[Tried] = []

    def is_kept(self, percent: int) -> bool:
        """Make an artifact of `percent` of the FLOPs; return whether it keeps the loss."""
        budget = f"{percent}%"
        try:
            attempt = self._make(self._at(budget), self._target)
        except Refusal as refusal:
            if refusal.code not in FAILED_TRIES:
                raise
            self._refusal = refusal
            self._tried.append(self._promise.unreachable(budget))
            return False
        figure = self._scorer.score(attempt.artifact)
        tried = self._promise.by_figure(budget, attempt.report.keep, figure)
        self._tried.append(tried)
        if tried.kept:
            evaluation = self._scorer.evaluation(self._promise.before, figure)
            best = replace(
                attempt, artifact=attempt.artifact.replace(self._best_target)
            )
            self._best = _amended(best, evaluation)
        return tried.kept

    def result(self) -> Attempt:
        """Return the cheapest artifact that keeps the loss.

        Raises:
            Refusal: `budget_unreachable`, with what was tried.
        """
        if self._best is not None:
            evaluation = self._best.report.evaluation
            promise = f"{self._promise.field}={self._promise.text}"
            return _amended(self._best, evaluation, self._tried, promise)
        if self._refusal is not None and all(each.keep is None for each in self._tried):
            raise self._refusal
        raise self._promise.refusal(self._tried)

    def _at(self, budget: str) -> Request:
        is_shared = self._analysis.exists()
        return replace(
            self._request,
            max_loss=None,
            budgets={**self._request.budgets, FLOPS.field: budget},
            analysis=str(self._analysis) if is_shared else None,
            kept_analysis=str(self._analysis),
            largest_analysis=_LARGEST_ANALYSIS,
        )


def _amended(
    attempt: Attempt,
    evaluation: Evaluation | None,
    tried: Sequence[Tried] = (),
    promise: str | None = None,
) -> Attempt:
    """Return an attempt whose report has the command's numbers, and what was tried."""
    members = json.loads(attempt.content)
    members["evaluation"] = evaluation and asdict(evaluation)
    members["tried"] = [asdict(each) for each in tried]
    if promise is not None:
        members["budget"]["promise"] = promise
    return replace(
        attempt,
        content=json.dumps(members, indent=1, allow_nan=False).encode(),
        report=replace(
            attempt.report,
            evaluation=evaluation,
            tried=list(tried),
            budget=members["budget"],
        ),
    )
