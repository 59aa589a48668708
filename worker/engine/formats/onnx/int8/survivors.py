"""The layers that survive int8: those whose loss at the model's outputs is small enough together.

Each layer is tried alone on inputs that no range was measured on, but only where all of them
together lose too much: most networks lose little, and a trial of each layer takes runs of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import onnxruntime as ort
from onnx import ModelProto

from worker.engine.formats.onnx.int8.quantise import quantised
from worker.engine.formats.onnx.int8.ranges import Range
from worker.engine.formats.onnx.runtime.session import RUNTIME_ERRORS, refused
from worker.engine.formats.onnx.runtime.session_options import session_options
from worker.engine.model import Inputs
from worker.engine.verify import Outputs, compare

MOST_ERROR = 0.1
"""The relative error of the outputs that all layers in int8 may cause together.

ResNet-20, which int8 costs no accuracy, has half of it.
"""

TooDear = Callable[[int], bool]
"""Whether that number of further runs of the model would take too long."""


@dataclass(frozen=True)
class Survivors:
    """The layers to compute in int8, and the others with the relative error that each causes."""

    nodes: tuple[str, ...]
    losses: Mapping[str, float]


class Trial:
    """Compares a model with layers in int8 with the model as it is, on some inputs."""

    def __init__(
        self, model: ModelProto, ranges: Mapping[str, Range], inputs: Sequence[Inputs]
    ) -> None:
        self._model = model
        self._ranges = ranges
        self._inputs = inputs
        self._originals = _outputs(model, inputs)

    def error(self, nodes: Collection[str]) -> float:
        """Return the relative error of the outputs with these layers in int8.

        It is the root mean square over the inputs: in another range of values, outputs may be a
        hundred times as large, and would count alone.
        """
        in_int8 = quantised(self._model, self._ranges, nodes)
        outputs = _outputs(in_int8, self._inputs)
        total = 0.0
        pairs = zip(self._originals, outputs, strict=True)
        for original, other in pairs:
            comparison = compare([original], [other])
            total += (comparison.relative_error or 0.0) ** 2
        return sqrt(total / len(outputs))


def survivors(trial: Trial, nodes: Sequence[str], is_too_dear: TooDear) -> Survivors:
    """Return the layers that lose at most `MOST_ERROR` together.

    The errors of single layers add up as those of independent noise do: in squares. The layers that
    lose most stay in float, until the sum is small enough.
    """
    if not nodes or trial.error(nodes) <= MOST_ERROR or is_too_dear(len(nodes)):
        return Survivors(tuple(nodes), {})
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
    kept = [node for node in nodes if node not in dropped]
    return Survivors(tuple(kept), dropped)


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
