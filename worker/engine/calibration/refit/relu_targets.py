"""Regression targets before a ReLU: where the original is negative, any negative value is as good.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and
Detection", TPAMI 2016 (arXiv 1505.06798), section 3.2, which solves this problem by relaxation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.program import Norm, Program, Step

_RELUS = frozenset({"Relu", "aten::relu", "aten::relu_"})


@dataclass(frozen=True)
class ReluTargets:
    """The targets of a site whose output only ReLUs use, after a normalisation if `norm` is set."""

    norm: Norm | None

    def targets(self, original: Tensor, output: Tensor) -> Tensor:
        """Return the targets of a fit, given the original's output and that of the last fit.

        Channels are on the last axes, `(rows, groups, channels / groups)`. Where the ReLU cuts off
        the original, the target is the last fit's output if that is cut off too, and else the
        value at which the ReLU begins to cut.

        >>> original = torch.tensor([[[2.0, -3.0, -3.0]]])
        >>> ReluTargets(None).targets(original, torch.tensor([[[1.0, -1.0, 1.0]]]))
        tensor([[[ 2., -1.,  0.]]])
        """
        scale, edge = self._scale_and_edge(original)
        before_relu = scale * (original - edge)
        output_before_relu = scale * (output - edge)
        negative = torch.where(output_before_relu <= 0, output, edge)
        return torch.where(before_relu <= 0, negative, original)

    def _scale_and_edge(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalisation's factor, and the output of the site that it maps to 0."""
        dtype = like.dtype
        norm = self.norm
        if norm is None:
            return torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype)
        deviation = (norm.variance + norm.epsilon).sqrt()
        scale = norm.weight
        if scale is None:
            scale = torch.ones_like(deviation)
        edge = norm.mean
        if norm.bias is not None:
            edge = edge - norm.bias * deviation / scale
        shape = like.shape[1:]
        return scale.to(dtype).reshape(shape), edge.to(dtype).reshape(shape)


def relu_targets(program: Program, position: int) -> ReluTargets | None:
    """Return the targets of the site at a position; None unless only ReLUs use its output.

    One normalisation may lie between them.
    """
    value = program.steps[position].gives[0]
    norm: Norm | None = None
    while value not in program.outputs:
        users = _users(program, value)
        ops = {step.op for step in users}
        if users and ops <= _RELUS:
            return ReluTargets(norm)
        # Only one normalisation may come between, and nothing else may use its input.
        if norm is not None or len(users) != 1:
            return None
        norm = users[0].norm
        if norm is None:
            return None
        value = users[0].gives[0]
    return None


def _users(program: Program, value: str) -> list[Step]:
    """Return the steps that take a value."""
    return [step for step in program.steps if value in step.takes]
