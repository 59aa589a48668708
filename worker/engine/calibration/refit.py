"""The sequential refit: last layers fitted anew to what the compressed layers before them really give.

Layer after layer, in the order in which they run, the last factor of each site and its bias become the least-squares
solution that gives the original's outputs from the compressed model's own inputs: an error that an early site makes
is mended as far as the later ones can.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016
(arXiv 1505.06798), section 3.3, asymmetric reconstruction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.observe import Statistics, normalised, sample
from worker.engine.calibration.walk import Batch, Walk
from worker.engine.convolution import Layer
from worker.engine.patches import convolve, results, rows
from worker.engine.program import Program

Chains = Mapping[str, tuple[Layer, ...]]
"""The layers that stand in a site's place, by the site's name."""

_RIDGE = 1e-3
"""Pull towards the present weights, relative to the mean variance of what they multiply."""
_ROUNDING = 1e-10
"""The same, relative to its mean square: the variance of what is constant is nothing but rounding."""


@torch.no_grad()
def refit(
    program: Program, batches: Sequence[Batch], chains: Chains, statistics: Statistics
) -> dict[str, tuple[Layer, ...]]:
    """Return the chains with their last layers refitted on the batches, under the twin's statistics.

    A site that is called several times is fitted on its first call; one whose inputs change their shape, as those do
    that stem from what was detected, stays as it is.

    Raises:
        StepError: the program does not run on what the compressed sites give.
    """
    original, compressed = Walk(program, batches), Walk(program, batches)
    fitted: dict[str, tuple[Layer, ...]] = {}
    for step, _ in zip(original.steps(), compressed.steps(), strict=True):
        before, now = original.take(step), compressed.take(step)
        run = normalised(step, statistics)
        wanted = [run(*arguments) for arguments in before]
        if step.site is not None and step.site in chains:
            *first, last = chains[step.site] if step.site not in fitted else fitted[step.site]
            inputs = [chain(first, arguments[0]) for arguments in now]
            if step.site not in fitted:
                if all(old[0].shape == new[0].shape for old, new in zip(before, now, strict=True)):
                    last = _fitted(last, inputs, [outputs[0] for outputs in wanted])
                fitted[step.site] = (*first, last)
            given: list[Sequence[Tensor]] = [(chain([last], x),) for x in inputs]
        else:
            given = [run(*arguments) for arguments in now]
        original.give(step, wanted)
        compressed.give(step, given)
    return fitted


def chain(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Compute layers that feed one another."""
    for layer in layers:
        x = convolve(
            layer.convolution, x, _tensor(layer.weight, x), None if layer.bias is None else _tensor(layer.bias, x)
        )
    return x


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype)


def _fitted(layer: Layer, inputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> Layer:
    """Return a layer with the weights and the bias that bring its outputs closest to what is wanted.

    It stays as it is where inputs or outputs are not all finite.
    """
    convolution = layer.convolution
    sums = _Regression()
    for x, y, positions in zip(inputs, wanted, sample(convolution, inputs), strict=True):
        sums.add(rows(convolution, x, positions), results(convolution, y, positions))
    groups = convolution.groups
    present = torch.from_numpy(layer.weight.astype(np.float64)).reshape(groups, convolution.out_channels // groups, -1)
    if not sums.are_finite:
        return layer
    weight, bias = sums.solve(present)
    dtype = layer.weight.dtype
    return replace(
        layer,
        weight=weight.reshape(convolution.weight_shape).numpy().astype(dtype),
        bias=bias.flatten().numpy().astype(dtype),
    )


class _Regression:
    """The normal equations of a least-squares fit with an intercept, summed group by group in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sums: tuple[Tensor, ...] | None = None

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows: `x` of the shape (rows, groups, m), `y` of (rows, groups, outputs)."""
        a, b = x.double().transpose(0, 1), y.double().transpose(0, 1)
        self._count += a.shape[1]
        parts = (a.mT @ a, a.mT @ b, a.sum(1), b.sum(1))
        self._sums = parts if self._sums is None else tuple(map(torch.add, self._sums, parts))

    @property
    def are_finite(self) -> bool:
        """Whether all that was added is."""
        return self._sums is not None and all(bool(part.isfinite().all()) for part in self._sums)

    def solve(self, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return weights (groups, outputs, m) and biases (groups, outputs), drawn a little towards present weights."""
        assert self._sums is not None  # a site that is called has rows
        aa, ab, a, b = (part / self._count for part in self._sums)
        gram = aa - a[:, :, None] * a[:, None, :]
        cross = ab - a[:, :, None] * b[:, None, :]
        variance, square = (matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] for matrix in (gram, aa))
        ridge = _RIDGE * variance + _ROUNDING * square + torch.finfo(torch.float64).tiny
        system = gram + ridge * torch.eye(gram.shape[-1], dtype=torch.float64)
        weight = torch.linalg.solve(system, cross + ridge * present.mT).mT
        return weight, b - (weight @ a[:, :, None])[:, :, 0]
