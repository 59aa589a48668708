"""Outputs that say little, as those of a detector on images without its objects.

Such outputs are probabilities that are near a constant, 0 mostly, whatever the input. An error of
them says nothing of the model. The activations that the last layers take say more: these differ
from image to image before the model has decided that there is nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from worker.engine.calibration.class_scores import scores_of
from worker.engine.calibration.replay import Batch
from worker.engine.program import Program, run

# The deviation of a probability over inputs and positions below which it says little.
_LEAST_DEVIATION = 0.05
# Rounding may lead beyond 0 and 1 by this much.
_TOLERANCE = 1e-4


@torch.no_grad()
def are_quiet(program: Program, batches: Sequence[Batch]) -> bool:
    """Whether all probabilities that the model gives on these batches are near constants.

    A model without outputs of probabilities is not quiet, and neither is a classifier, whose single
    probabilities are small where there are many classes.
    """
    runs = [run(program, batch) for batch in batches]
    if not runs or scores_of(runs[0]) is not None:
        return False
    probabilities = [
        values for values in zip(*runs, strict=True) if _are_probabilities(values)
    ]
    return bool(probabilities) and all(
        _is_near_constant(values) for values in probabilities
    )


def inner_program(program: Program) -> Program:
    """Return a program whose outputs are the inputs of the last sites of the program.

    A site is a last one where its output reaches an output of the program by no other site. Where
    the program has no site it is returned as it is.
    """
    reaching = set(program.outputs)
    inner: dict[str, None] = {}
    for step in reversed(program.steps):
        if reaching.isdisjoint(step.gives):
            continue
        if step.site is None:
            reaching.update(step.takes)
        else:
            inner[step.takes[0]] = None
    if inner:
        return replace(program, outputs=tuple(inner))
    return program


def _are_probabilities(values: Sequence[Any]) -> bool:
    """Whether an output of several runs has numbers from 0 to 1, and any."""
    for each in values:
        if (
            not isinstance(each, Tensor)
            or not each.is_floating_point()
            or not each.numel()
        ):
            return False
        if not ((each >= -_TOLERANCE) & (each <= 1 + _TOLERANCE)).all():
            return False
    return True


def _is_near_constant(values: Sequence[Tensor]) -> bool:
    """Whether probabilities hardly deviate, those of each class on its own where there are classes.

    The classes are along the axis after the batch, or along the last one.
    """
    first = values[0]
    if any(each.shape[1:] != first.shape[1:] or not each.dim() for each in values):
        return False
    joined = torch.cat(list(values))
    together = joined.double()
    axes = {1, together.dim() - 1} if together.dim() > 2 else {together.dim()}
    deviations = []
    for axis in axes:
        others = [other for other in range(together.dim()) if other != axis]
        deviation = together.std(others, correction=0)
        deviations.append(float(deviation.max()))
    return min(deviations) < _LEAST_DEVIATION
