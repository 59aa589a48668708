"""What a site is to give where rectifiers follow: of what they cut off, anything will do that they still cut off.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016
(arXiv 1505.06798), section 3.2, which solves the same problem by relaxation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.engine.program import Norm, Program

_RECTIFIERS = frozenset({"Relu", "aten::relu", "aten::relu_"})


@dataclass(frozen=True)
class Rectified:
    """Rectifiers behind a site that nothing else looks at, and the normalisation before them, if there is one."""

    norm: Norm | None

    def wanted(self, original: Tensor, present: Tensor) -> Tensor:
        """Return what is to be given for the original's output, where this is given at present.

        Channels are on the last axes, `(rows, groups, channels / groups)`.

        >>> Rectified(None).wanted(torch.tensor([[[2.0, -3.0, -3.0]]]), torch.tensor([[[1.0, -1.0, 1.0]]]))
        tensor([[[ 2., -1.,  0.]]])
        """
        scale, edge = self._scale_and_edge(original)
        is_cut = [scale * (output - edge) <= 0 for output in (original, present)]
        return torch.where(is_cut[0], torch.where(is_cut[1], present, edge), original)

    def _scale_and_edge(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the normalisation multiplies every channel by, and the output that it makes 0 of."""
        if self.norm is None:
            return torch.ones((), dtype=like.dtype), torch.zeros((), dtype=like.dtype)
        deviation = (self.norm.variance + self.norm.epsilon).sqrt()
        scale = torch.ones_like(deviation) if self.norm.weight is None else self.norm.weight
        edge = (
            self.norm.mean
            if self.norm.bias is None
            else self.norm.mean - self.norm.bias * deviation / scale
        )
        return scale.to(like.dtype).reshape(like.shape[1:]), edge.to(like.dtype).reshape(
            like.shape[1:]
        )


def rectified(program: Program, position: int) -> Rectified | None:
    """Return what rectifies the output of the site at a position; None where anything else looks at it."""
    value, norm = program.steps[position].gives[0], None
    while value not in program.outputs:
        takers = [step for step in program.steps if value in step.takes]
        if takers and all(step.op in _RECTIFIERS for step in takers):
            return Rectified(None if norm is None else norm.norm)
        if norm is not None or len(takers) != 1 or takers[0].norm is None:
            return None
        (norm,) = takers
        value = norm.gives[0]
    return None
