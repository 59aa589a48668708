"""What a site is to give where rectifiers follow: of what they cut off, anything will do that they still cut off.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016
(arXiv 1505.06798), section 3.2, which solves the same problem by relaxation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.program import Program, Step, compute

_RECTIFIERS = frozenset({"Relu", "aten::relu", "aten::relu_"})


@dataclass(frozen=True)
class Rectified:
    """Rectifiers behind a site that nothing else looks at, and the normalisation before them, if there is one."""

    norm: Step | None

    def wanted(self, original: Tensor, present: Tensor) -> Tensor:
        """Return what is to be given for the original's output, where this is given at present.

        >>> Rectified(None).wanted(torch.tensor([2.0, -3.0, -3.0]), torch.tensor([1.0, -1.0, 1.0]))
        tensor([ 2., -1.,  0.])
        """
        is_cut = [self._normalised(output) <= 0 for output in (original, present)]
        return torch.where(is_cut[0], torch.where(is_cut[1], present, self._edge(original)), original)

    def _normalised(self, output: Tensor) -> Tensor:
        normalised: Tensor = output if self.norm is None else compute(self.norm, [output])[0]
        return normalised

    def _edge(self, like: Tensor) -> Tensor:
        """Return, for every channel, the output that the normalisation makes 0 of."""
        if self.norm is None or self.norm.norm is None:
            return torch.zeros((), dtype=like.dtype)
        stored = self.norm.norm
        edge = stored.mean
        if stored.bias is not None:
            edge = edge - stored.bias * (stored.variance + stored.epsilon).sqrt() / (
                1 if stored.weight is None else stored.weight
            )
        return edge.to(like.dtype).reshape(1, -1, *(1,) * (like.dim() - 2))


def rectified(program: Program, position: int) -> Rectified | None:
    """Return what rectifies the output of the site at a position; None where anything else looks at it."""
    value, norm = program.steps[position].gives[0], None
    while value not in program.outputs:
        takers = [step for step in program.steps if value in step.takes]
        if takers and all(step.op in _RECTIFIERS for step in takers):
            return Rectified(norm)
        if norm is not None or len(takers) != 1 or takers[0].norm is None:
            return None
        (norm,) = takers
        value = norm.gives[0]
    return None
