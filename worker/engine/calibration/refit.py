"""The sequential refit: last layers fitted anew to what the compressed layers before them really give.

Layer after layer, in the order in which they run, the last factor of each site and its bias become the least-squares
solution that gives the original's outputs from the compressed model's own inputs: an error that an early site makes
is mended as far as the later ones can. Where rectifiers follow, the fit is repeated: what they cut off of the
original's outputs may be anything that they cut off.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016
(arXiv 1505.06798), section 3.3, asymmetric reconstruction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.observe import sample
from worker.engine.calibration.rectified import Rectified, rectified
from worker.engine.calibration.shrink import shrinkage
from worker.engine.calibration.walk import Batch, Walk
from worker.engine.convolution import Layer
from worker.engine.patches import convolve, results, rows
from worker.engine.program import Program, Step, compute

Chains = Mapping[str, tuple[Layer, ...]]
"""The layers that stand in a site's place, by the site's name."""

_RIDGE = 1e-3
"""The least pull towards the present weights, relative to the mean variance of what they multiply."""
_TURNS = 3
"""How often the fit is repeated before a rectifier, each time from what the last one gave."""
_ROUNDING = 1e-10
"""The same, relative to its mean square: the variance of what is constant is nothing but rounding."""


@torch.no_grad()
def refit(program: Program, batches: Sequence[Batch], chains: Chains, most_bytes: int) -> dict[str, tuple[Layer, ...]]:
    """Return the chains with their last layers refitted on the batches, of which `most_bytes` are held at a time.

    A site that is called several times is fitted on its first call; one whose inputs change their shape, as those do
    that stem from what was detected, stays as it is, and so does one that the program does not call, and a transposed
    one, whose outputs are sums of several patches.

    Raises:
        StepError: the program does not run on what the compressed sites give.
    """
    original, compressed = (Walk(program, batches, most_bytes // 2) for _ in range(2))
    steps, fitted = list(program.steps), dict[str, tuple[Layer, ...]]()
    for position, step in enumerate(program.steps):
        if step.site is not None and step.site in chains:
            if step.site not in fitted and not chains[step.site][-1].convolution.transposed:
                layers, behind = chains[step.site], rectified(program, position)
                for turn in range(1 if behind is None else 1 + _TURNS):
                    pairs = zip(original.reach(position, program.steps), compressed.reach(position, steps), strict=True)
                    cases = _cases(step, pairs, layers if turn else None, behind)
                    layers = _refitted(layers, cases, len(batches))
                fitted[step.site] = layers
            steps[position] = _replaced(step, fitted.get(step.site, chains[step.site]))
    return {**chains, **fitted}


def _cases(
    step: Step, pairs: Iterable[tuple[list[Any], list[Any]]], present: Sequence[Layer] | None, behind: Rectified | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield what a site is to give, what the original takes and what it takes now, batch after batch."""
    for (before, *_), (now, *_) in pairs:
        wanted = compute(step, [before])[0]
        if behind is not None and present is not None and before.shape == now.shape:
            wanted = behind.wanted(wanted, chain(present, now))
        yield wanted, before, now


def _refitted(
    layers: Sequence[Layer], cases: Iterable[tuple[Tensor, Tensor, Tensor]], batches: int
) -> tuple[Layer, ...]:
    """Refit layers on so many batches: what they are to give, what the original takes and what they take now."""
    *first, last = layers
    sums, alike = _Regression(), True
    for at, (wanted, before, now) in enumerate(cases):
        alike = alike and before.shape == now.shape
        if alike:
            x = chain(first, now)
            positions = sample(last.convolution, x, batches, at)
            sums.add(rows(last.convolution, x, positions), results(last.convolution, wanted, positions))
    return (*first, _fitted(last, sums) if alike and sums.are_finite else last)


def _replaced(step: Step, layers: Sequence[Layer]) -> Step:
    return replace(step, run=lambda x: (chain(layers, x),))


def chain(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Compute layers that feed one another."""
    for layer in layers:
        x = convolve(
            layer.convolution, x, _tensor(layer.weight, x), None if layer.bias is None else _tensor(layer.bias, x)
        )
    return x


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype)


def _fitted(layer: Layer, sums: "_Regression") -> Layer:
    """Return a layer with the weights and the bias that bring its outputs closest to what is wanted."""
    convolution = layer.convolution
    groups = convolution.groups
    present = torch.from_numpy(layer.weight.astype(np.float64)).reshape(groups, convolution.out_channels // groups, -1)
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
        pull = shrinkage(gram, self._count).clamp_min(_RIDGE)[:, None, None]
        ridge = pull * variance + _ROUNDING * square + torch.finfo(torch.float64).tiny
        system = gram + ridge * torch.eye(gram.shape[-1], dtype=torch.float64)
        weight = torch.linalg.solve(system, cross + ridge * present.mT).mT
        return weight, b - (weight @ a[:, :, None])[:, :, 0]
