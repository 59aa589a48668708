"""The layers that survive int8: those whose loss at the model's outputs is small enough together.

Each layer is tried alone on inputs that no range was measured on, but only where all of them
together lose too much: most networks lose little, and a trial of each layer takes runs of it. Such
networks also have their biases corrected, if that pays, and more of their layers survive.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2, sqrt

import onnxruntime as ort
from onnx import ModelProto

from worker.engine.formats.onnx.int8.bias_correction import corrected
from worker.engine.formats.onnx.int8.quantise import quantised
from worker.engine.formats.onnx.int8.ranges import Range
from worker.engine.formats.onnx.profile.value_sizes import value_sizes
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, refused
from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.model import Inputs
from worker.engine.verify import Outputs, compare

MOST_ERROR = 0.1
"""The relative error of the outputs that all layers in int8 may cause together.

ResNet-20, which int8 costs no accuracy, has half of it.
"""

_CORRECTION_PAYS = 0.8
"""The largest share of the error that a correction may leave: few inputs tell it."""

TooDear = Callable[[int], bool]
"""Whether that number of further runs of the model would take too long."""


@dataclass(frozen=True)
class Survivors:
    """The layers to compute in int8, and the others with the relative error that each causes.

    `model` is the model to quantise, with its biases corrected where that pays.
    """

    model: ModelProto
    nodes: tuple[str, ...]
    losses: Mapping[str, float]


class Trial:
    """Compares a model with layers in int8 with the model as it is, on some inputs."""

    def __init__(
        self, model: ModelProto, ranges: Mapping[str, Range], inputs: Sequence[Inputs]
    ) -> None:
        self.model = model
        self.ranges = ranges
        self._inputs = inputs
        self._sized_outputs = value_sizes(model.graph).sizes
        self._originals = _outputs(model, inputs)

    def error(self, nodes: Collection[str], model: ModelProto | None = None) -> float:
        """Return the relative error of the outputs with these layers in int8.

        `model` is the same with other biases, and the model as it is by default.
        It is the root mean square over the inputs: in another range of values, outputs may be a
        hundred times as large, and would count alone. Outputs with other rows than the model's, as
        values choose them, cannot be compared: the error is 0 where there are no others.
        """
        in_int8 = quantised(model or self.model, self.ranges, nodes)
        outputs = _outputs(in_int8, self._inputs)
        total = 0.0
        pairs = zip(self._originals, outputs, strict=True)
        for original, other in pairs:
            comparison = compare([original], [other], sized_outputs=self._sized_outputs)
            total += (comparison.relative_error or 0.0) ** 2
        return sqrt(total / len(outputs))


def survivors(
    trial: Trial,
    nodes: Sequence[str],
    fitting: Sequence[Inputs],
    is_too_dear: TooDear,
) -> Survivors:
    """Return the layers that lose at most `MOST_ERROR` together.

    The errors of single layers add up as those of independent noise do: in squares. The layers that
    lose most stay in float, until the sum is small enough. Biases are corrected on `fitting`.
    """
    if not nodes or trial.error(nodes) <= MOST_ERROR or is_too_dear(len(nodes)):
        return Survivors(trial.model, tuple(nodes), {})
    losses = {node: trial.error([node]) for node in nodes}
    squares = [loss**2 for loss in losses.values()]
    left = sum(squares)
    dropped: dict[str, float] = {}
    by_loss = sorted(nodes, key=lambda each: losses[each], reverse=True)
    for node in by_loss:
        if left <= MOST_ERROR**2:
            break
        dropped[node] = losses[node]
        left -= losses[node] ** 2
    plain = Survivors(trial.model, _without(nodes, dropped), dropped)
    # a correction runs the model twice a layer, but only up to that layer
    corrections = 1 + ceil(log2(len(dropped) + 1))
    if not plain.nodes or is_too_dear(len(nodes) * corrections):
        return plain
    return _with_correction(trial, nodes, plain, fitting)


def _with_correction(
    trial: Trial, nodes: Sequence[str], plain: Survivors, fitting: Sequence[Inputs]
) -> Survivors:
    """Return as many layers as survive with corrected biases; `plain` where that does not pay."""
    best = _corrected(trial, nodes, plain.losses, fitting)
    error = trial.error(best.nodes, best.model)
    if error > _CORRECTION_PAYS * trial.error(plain.nodes):
        return plain
    # the fewest of the worst layers to drop: the more are dropped, the less is lost
    worst = list(plain.losses.items())
    least, most = 0, len(worst)
    while least < most:
        count = (least + most) // 2
        attempt = _corrected(trial, nodes, dict(worst[:count]), fitting)
        if trial.error(attempt.nodes, attempt.model) <= MOST_ERROR:
            best, most = attempt, count
        else:
            least = count + 1
    return best


def _corrected(
    trial: Trial,
    nodes: Sequence[str],
    losses: Mapping[str, float],
    fitting: Sequence[Inputs],
) -> Survivors:
    """Return the layers without the lost ones, and the model with its biases corrected for them."""
    kept = _without(nodes, losses)
    model = corrected(trial.model, trial.ranges, kept, fitting)
    return Survivors(model, kept, losses)


def _without(nodes: Sequence[str], dropped: Collection[str]) -> tuple[str, ...]:
    return tuple(node for node in nodes if node not in dropped)


def _outputs(model: ModelProto, inputs: Sequence[Inputs]) -> list[Outputs]:
    """Return the outputs of a model on each of the inputs."""
    try:
        session = ort.InferenceSession(
            model.SerializeToString(),
            session_options(),
            providers=["CPUExecutionProvider"],
        )
        names = [output.name for output in session.get_outputs()]
        return [
            dict(zip(names, session.run(names, dict(each)), strict=True))
            for each in inputs
        ]
    except RUNTIME_ERRORS as error:
        raise refused("run", error) from error
