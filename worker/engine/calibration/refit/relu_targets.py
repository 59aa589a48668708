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
        original_is_cut = scale * (original - edge) <= 0
        output_is_cut = scale * (output - edge) <= 0
        negative = torch.where(output_is_cut, output, edge)
        return torch.where(original_is_cut, negative, original)

    def _scale_and_edge(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalisation's factor, and the output of the site that it maps to 0."""
        if self.norm is None:
            return torch.ones((), dtype=like.dtype), torch.zeros((), dtype=like.dtype)
        deviation = (self.norm.variance + self.norm.epsilon).sqrt()
        scale = self.norm.weight
        if scale is None:
            scale = torch.ones_like(deviation)
        edge = self.norm.mean
        if self.norm.bias is not None:
            edge = edge - self.norm.bias * deviation / scale
        shape = like.shape[1:]
        return scale.to(like.dtype).reshape(shape), edge.to(like.dtype).reshape(shape)


def relu_targets(program: Program, position: int) -> ReluTargets | None:
    """Return the targets of the site at a position; None unless only ReLUs use its output.

    One normalisation may lie between them.
    """
    value = program.steps[position].gives[0]
    norm: Norm | None = None
    while value not in program.outputs:
        users = _users(program, value)
        if users and all(step.op in _RELUS for step in users):
            return ReluTargets(norm)
        if norm is not None or len(users) != 1 or users[0].norm is None:
            return None
        norm = users[0].norm
        value = users[0].gives[0]
    return None


def _users(program: Program, value: str) -> list[Step]:
    return [step for step in program.steps if value in step.takes]
