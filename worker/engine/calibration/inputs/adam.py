"""Adam's step for one tensor.

`torch.optim` imports torch's compiler, which takes longer than most jobs distil. Every operation
is that of `torch.optim.Adam` on a processor, so the results are the same bit for bit.

Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015 (arXiv 1412.6980),
algorithm 1, with its settings.
"""

import torch
from torch import Tensor

_MEAN_DECAY = 0.9
_SQUARE_DECAY = 0.999
_LEAST_DEVIATION = 1e-8


class Adam:
    """Changes one tensor in place, step by step, against its gradients."""

    def __init__(self, values: Tensor, rate: float) -> None:
        self._values = values
        self._rate = rate
        self._mean = torch.zeros_like(values, requires_grad=False)
        self._square = torch.zeros_like(values, requires_grad=False)
        self._steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """Take one step; the gradient has the shape of the values."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - _MEAN_DECAY)
        decayed = self._square.mul_(_SQUARE_DECAY)
        decayed.addcmul_(gradient, gradient, value=1 - _SQUARE_DECAY)
        mean_share = 1 - _MEAN_DECAY**self._steps
        rate = self._rate / mean_share
        square_share = 1 - _SQUARE_DECAY**self._steps
        correction = square_share**0.5
        scaled = self._square.sqrt() / correction
        deviation = scaled.add_(_LEAST_DEVIATION)
        self._values.addcdiv_(self._mean, deviation, value=-rate)
