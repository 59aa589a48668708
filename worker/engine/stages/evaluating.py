"""Evaluate: measure a metric on the user's own labels or targets, of the original and artifact."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from convpress import evaluation as words
from convpress import max_loss
from convpress import report as records
from convpress.gate.samples import EVALUATION
from convpress.refusal import Code, Refusal
from worker.engine.evaluation.answers import Answers, RightOrWrong
from worker.engine.evaluation.evaluation_file import (
    AnyArray,
    LabelledSamples,
    read_evaluation,
)
from worker.engine.evaluation.metrics import Metric, metric_for
from worker.engine.formats import load_runner
from worker.engine.model import Inputs, Runner
from worker.engine.numerics.random_inputs import random_inputs
from worker.engine.progress import Progress
from worker.engine.request import Request
from worker.engine.stages.dequantising import in_float
from worker.engine.stages.opening import open_for_compression
from worker.engine.verify import Outputs, is_scores

_LONGEST_NAMES = 300


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation gave: the report's record, and the answers of a classifier."""

    record: records.Evaluation
    answers: Answers | None


@dataclass(frozen=True)
class Evaluation:
    """The labelled samples, the metric of one output, and the original's figure and answers.

    `right` says which samples the original gives the class of the label; None of other metrics than
    top-1.
    """

    samples: LabelledSamples
    name: str
    output: str
    metric: Metric
    before: float
    right: RightOrWrong | None = None

    def of(self, run: Runner) -> Evaluated:
        """Return the figures of the original and of the artifact that `run` runs.

        Raises:
            Refusal: `verification_failed` where the artifact gives numbers that are not finite.
        """
        after, right = _figure(run, self.samples, self.output, self.metric)
        if after is None:
            raise Refusal(
                Code.VERIFICATION_FAILED,
                "the compressed model gives NaN or infinity on the evaluation",
                field=words.FIELD,
                expected="finite outputs, as of the original",
                got="others",
            )
        record = records.Evaluation(
            metric=self.name,
            before=self.before,
            after=after,
            loss=words.METRICS[self.name].loss(self.before, after),
            count=self.samples.count,
            output=self.output,
        )
        if self.right is None or right is None:
            return Evaluated(record, None)
        return Evaluated(record, Answers.of(self.right, right))


def evaluate_original(
    request: Request, source: Path, progress: Progress
) -> Evaluation | None:
    """Measure the model at `source`; None for a request without an evaluation.

    This comes before the calibration: a file that cannot be used is refused within seconds.

    Raises:
        Refusal: `evaluation_invalid`, or the model cannot be opened or run.
    """
    if request.evaluation is None:
        return None
    name = request.evaluation_metric or words.DEFAULT
    samples = _read(request, source, name, progress)
    run = load_runner(request.format, source)
    inputs, truth = next(samples.runs())
    outputs = run(inputs)
    output = _choose_output(outputs, request.evaluation_output)
    metric = metric_for(name, _first(outputs[output], len(truth)), samples.truth)
    before, right = _figure(run, samples, output, metric)
    if before is None:
        raise EVALUATION.invalid(
            "the model gives NaN or infinity on the evaluation",
            "inputs like those that the model was trained on",
            "outputs that are not finite",
        )
    return Evaluation(samples, name, output, metric, before, right)


def require_classes(request: Request, source: Path, progress: Progress) -> None:
    """Check that the model at `source` gives classes to agree on, before it is calibrated.

    Raises:
        Refusal: `budget_invalid`, or the model cannot be opened.
    """
    inputs = _noise(request, source, progress)
    try:
        outputs = load_runner(request.format, source)(inputs)
    except Refusal:
        # a model that does not run on noise may run on the inputs of the calibration
        return
    if len(outputs) != 1 or not all(map(is_scores, outputs.values())):
        raise max_loss.needs_classes()


def _noise(request: Request, source: Path, progress: Progress) -> Inputs:
    """Return random inputs for the model at `source`; the opened model dies here."""
    with in_float(request, source) as floats:
        opened = open_for_compression(request, source, floats, progress)
        return random_inputs(opened.model.inputs, opened.shapes)


def _read(
    request: Request, source: Path, metric: str, progress: Progress
) -> LabelledSamples:
    """Read the samples for the model at `source`; the opened model dies here."""
    assert request.evaluation is not None  # the caller has checked
    with in_float(request, source) as floats:
        opened = open_for_compression(request, source, floats, progress)
        return read_evaluation(
            Path(request.evaluation), metric, opened.model.inputs, opened.shapes
        )


def _choose_output(outputs: Outputs, name: str | None) -> str:
    """Return the output to measure.

    Raises:
        Refusal: `evaluation_invalid` where the model has several and the request names none, or one
            that there is not.
    """
    names = ", ".join(outputs)[:_LONGEST_NAMES]
    if name is not None and name in outputs:
        return name
    if name is None and len(outputs) == 1:
        return next(iter(outputs))
    detail = f"the model has {len(outputs)} outputs; the request must name one"
    if name is not None:
        detail = f"the model has no output {name[:80]!r}"
    raise Refusal(
        Code.EVALUATION_INVALID,
        detail,
        field=words.OUTPUT,
        expected=f"one of {names}",
        got=name or "nothing",
    )


def _figure(
    run: Runner, samples: LabelledSamples, output: str, metric: Metric
) -> tuple[float | None, RightOrWrong | None]:
    """Return the figure of a model, None where its outputs are not finite, and its answers."""
    total = None
    answers: list[RightOrWrong] = []
    for inputs, truth in samples.runs():
        outputs = run(inputs)
        output_values = outputs[output]
        values = _first(output_values, len(truth))
        is_float = np.issubdtype(values.dtype, np.floating)
        if is_float and np.isnan(values).any():
            return None, None
        sums = metric.sums(values, truth)
        total = sums if total is None else total + sums
        right = metric.right(values, truth)
        if right is not None:
            answers.append(right)
    assert total is not None  # there is at least one sample
    figure = metric.figure(total, samples.count)
    if not np.isfinite(figure):
        return None, None
    return figure, np.concatenate(answers) if answers else None


def _first(values: AnyArray, count: int) -> AnyArray:
    """Return the outputs of the first samples of a run: the others fill its batch.

    Raises:
        Refusal: `evaluation_invalid` for an output without samples along its first axis.
    """
    if values.ndim and len(values) >= count:
        return values[:count]
    raise EVALUATION.invalid(
        "the output does not have the samples along its first axis",
        f"{count} or more along the first axis",
        str(list(values.shape)),
    )
