"""The sequential refit: layers fitted anew to what the compressed layers before them really give.

Site after site, in the order in which they run, the least-squares solution is found that gives the original's outputs
from the compressed model's own inputs: an error that an early site makes is mended as far as the later ones can.
It is the solution for the site's layer as it was, which is then factored again, under the moments of those inputs; for
sites with wide patches, whose moments would take too long once more, only for the last factor and its bias. Where
rectifiers follow, the fit is repeated: what they cut off of the original's outputs may be anything that they cut off.

Source: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI 2016
(arXiv 1505.06798), section 3.3, asymmetric reconstruction.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worker.engine.calibration.refit.gain import compensated
from worker.engine.calibration.refit.relu_targets import Rectified, rectified
from worker.engine.calibration.replay import Batch, Walk, footprints, resting_places, spread
from worker.engine.calibration.statistics.covariance import Sums, sample
from worker.engine.calibration.statistics.shrinkage import shrinkage
from worker.engine.numerics import device, memory
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import WIDE, Moments
from worker.engine.numerics.patches import convolve, results, rows
from worker.engine.program import Program, Step

Chains = Mapping[str, tuple[Layer, ...]]
"""The layers that stand in a site's place, by the site's name."""
Pairs = Iterable[tuple[tuple[list[Any], Sequence[Any]], list[Any]]]
"""Of each batch, what a site of the original takes and gives, and what it takes of the compressed model."""

_RIDGE = 1e-3
"""The least pull towards the present weights, relative to the mean variance of what they multiply."""
_ROUNDING = 1e-10
"""The same, relative to its mean square: the variance of what is constant is nothing but rounding."""
_TURNS = 3
"""How often the fit is repeated before a rectifier, each time from what the last one gave."""
_MOST_NUMBERS = 2**26
"""In the rows of a site that are held while it is fitted: what the fitted layer takes and gives."""
_WORK = 20_000_000_000
"""Multiply-accumulates that the sums over a site's rows may take, of all repeated fits together."""
_WIDEST = 2048
"""Numbers in a patch up to which a site is factored again."""


@dataclass(frozen=True)
class Origin:
    """Where a site's chain comes from: `layer` gives the layer that it was, `factors` makes a chain of such a layer."""

    layer: Callable[[], Layer]
    factors: Callable[[Layer, Moments], tuple[Layer, ...]]


@torch.no_grad()
def refit(
    program: Program,
    batches: Sequence[Batch],
    chains: Chains,
    origins: Mapping[str, Origin],
    most_bytes: int,
) -> dict[str, tuple[Layer, ...]]:
    """Return the chains refitted on the batches, of which `most_bytes` are held at a time.

    Of a site without an origin the last layer alone is fitted. A site that is called several times is fitted on its
    first call; one whose inputs change their shape, as those do that stem from what was detected, stays as it is, and
    so does one that the program does not call, and a transposed one, whose outputs are sums of several patches.

    Raises:
        StepError: the program does not run on what the compressed sites give.
    """
    prints = footprints(program, batches[0])
    memory.give_back()
    batches = _few_enough(program, prints, batches, chains, most_bytes // 2)
    rests = resting_places(prints, len(batches), most_bytes // 2)
    original, compressed = (Walk(program, batches, rests) for _ in range(2))
    steps, fitted, ends = list(program.steps), dict[str, tuple[Layer, ...]](), _ends(program)
    for position, step in enumerate(program.steps):
        if step.site is not None and step.site in chains:
            if step.site not in fitted and not chains[step.site][-1].convolution.transposed:
                pairs = zip(
                    original.cross(position, program.steps),
                    compressed.reach(position, steps),
                    strict=True,
                )
                behind = rectified(program, position)
                origin, is_end = origins.get(step.site), step.site in ends
                fitted[step.site] = _fitted(
                    pairs, chains[step.site], origin, len(batches), behind, is_end=is_end
                )
            steps[position] = _replaced(step, fitted.get(step.site, chains[step.site]))
            memory.give_back()
    return {**chains, **fitted}


def _ends(program: Program) -> set[str]:
    """Return the sites from which no way leads to another one: a classifier's last, whose outputs are its scores."""
    found, leading = set[str](), set[str]()
    for step in reversed(program.steps):
        leads = not leading.isdisjoint(step.gives)
        if step.site is not None and not leads:
            found.add(step.site)
        if step.site is not None or leads:
            leading.update(step.takes)
    return found


def _few_enough(
    program: Program,
    prints: Sequence[tuple[int, int]],
    batches: Sequence[Batch],
    chains: Chains,
    most_bytes: int,
) -> Sequence[Batch]:
    """Return as many batches as keep layers from running again for site after site, if these are more than half."""
    sites = [at for at, step in enumerate(program.steps) if step.site in chains]
    for count in range(len(batches), len(batches) // 2, -1):
        rests = [0, *resting_places(prints, count, most_bytes)]
        again = sum(
            bisect_left(sites, at) - bisect_left(sites, rests[bisect_right(rests, at) - 1])
            for at in sites
        )
        if again <= len(sites):
            return spread(batches, count)
    return batches


def _fitted(
    pairs: Pairs,
    layers: tuple[Layer, ...],
    origin: Origin | None,
    batches: int,
    behind: Rectified | None,
    *,
    is_end: bool,
) -> tuple[Layer, ...]:
    """Return a site's chain for what comes in: factored again if its patches are narrow enough.

    Its outputs are compensated for what the fit takes from them, unless they are the model's own: a classifier's scores
    are held against one another, and where an image comes out the least error is wanted.
    """
    whole = None if origin is None else origin.layer()
    if whole is not None and whole.convolution.patch > _WIDEST:
        whole = None
    seen = _rows(pairs, layers if whole is None else (whole,), batches)
    if seen is None:
        return layers
    if whole is None or origin is None:
        made = _refitted(layers, seen, behind)
        given = seen.given(made[-1])
    else:
        (best,) = _refitted((whole,), seen, behind)
        made = origin.factors(best, seen.moments())
        given = seen.given(composed(made, best.convolution))
    return made if is_end else (*made[:-1], compensated(made[-1], given, seen.wanted))


def _rows(pairs: Pairs, layers: Sequence[Layer], batches: int) -> "_Rows | None":
    """Gather what the last of these layers takes now, and what the original gives; None where shapes have changed."""
    *first, last = layers
    inputs, outputs = (
        last.convolution.groups * last.convolution.patch,
        last.convolution.out_channels,
    )
    sums = last.convolution.patch * (inputs + (1 + _TURNS) * outputs)
    most_rows = min(_MOST_NUMBERS // (inputs + outputs), _WORK // sums)
    seen, alike = _Rows(last.convolution), True
    for at, (((before, *_), (wanted, *_)), (now, *_)) in enumerate(pairs):
        alike = alike and before.shape == now.shape
        if alike:
            x = chain(first, now)
            positions = sample(last.convolution, x, batches, at, most_rows)
            seen.add(
                rows(last.convolution, x, positions), results(last.convolution, wanted, positions)
            )
    memory.give_back()
    return seen if alike and seen.are_finite else None


def _refitted(
    layers: tuple[Layer, ...], seen: "_Rows", behind: Rectified | None
) -> tuple[Layer, ...]:
    """Refit the last of these layers to the rows that were seen."""
    *first, last = layers
    wanted = seen.wanted
    for turn in range(1 if behind is None else 1 + _TURNS):
        if behind is not None and turn:
            wanted = [
                behind.wanted(*each) for each in zip(seen.wanted, seen.given(last), strict=True)
            ]
        last = seen.fitted(last, wanted)
    return (*first, last)


def _replaced(step: Step, layers: Sequence[Layer]) -> Step:
    return replace(step, run=lambda x: (chain(layers, x),))


def chain(layers: Sequence[Layer], x: Tensor) -> Tensor:
    """Compute layers that feed one another."""
    for layer in layers:
        x = convolve(
            layer.convolution,
            x,
            _tensor(layer.weight, x),
            None if layer.bias is None else _tensor(layer.bias, x),
        )
    return x


@torch.no_grad()
def composed(layers: Sequence[Layer], convolution: Convolution) -> Layer:
    """Return the layer of this geometry that layers in its place amount to, by what they make of single numbers.

    Only the last of them has a bias.
    """
    ones, groups, patch = (1,) * len(convolution.kernel), convolution.groups, convolution.patch
    x = (
        device.placed(torch.eye(patch))[:, None]
        .expand(-1, groups, -1)
        .reshape(patch, -1, *convolution.kernel)
    )
    still = [
        replace(
            each,
            convolution=replace(
                each.convolution, stride=ones, padding=((0, 0),) * len(ones), dilation=ones
            ),
        )
        for each in layers
    ]
    *first, last = still
    given = chain([*first, replace(last, bias=None)], x).reshape(patch, groups, -1)
    weight = given.permute(1, 2, 0).reshape(convolution.weight_shape).numpy(force=True)
    return Layer(convolution, weight, last.bias)


def _tensor(values: np.ndarray, like: Tensor) -> Tensor:
    return device.placed(torch.from_numpy(np.ascontiguousarray(values)).to(like.dtype))


class _Rows:
    """Rows that a layer takes and that it is to give, and the normal equations of a fit with an intercept.

    The rows that it takes have the shape (rows, groups, m), those that it is to give (rows, groups, outputs). They are
    summed about their means, group by group, as precisely as moments are.
    """

    def __init__(self, convolution: Convolution) -> None:
        self.wanted: list[Tensor] = []
        self._taken: list[Tensor] = []
        self._convolution = convolution

    def add(self, x: Tensor, y: Tensor) -> None:
        """Add rows of one batch."""
        self._taken.append(x)
        self.wanted.append(y)

    @property
    def are_finite(self) -> bool:
        """Whether there are rows, and all of them are finite."""
        every = (*self._taken, *self.wanted)
        return bool(every) and all(bool(part.isfinite().all()) for part in every)

    def moments(self) -> Moments:
        """Return the moments of the rows that are taken."""
        return self._sums.moments()

    def given(self, layer: Layer) -> Iterator[Tensor]:
        """Yield what a layer gives for the rows, batch after batch."""
        groups = layer.convolution.groups
        for x in self._taken:
            weight = _tensor(layer.weight, x).reshape(
                groups, layer.convolution.out_channels // groups, -1
            )
            products = torch.einsum("rgm,gnm->rgn", x, weight)
            yield (
                products
                if layer.bias is None
                else products + _tensor(layer.bias, x).reshape(groups, -1)
            )

    def fitted(self, layer: Layer, wanted: Sequence[Tensor]) -> Layer:
        """Return a layer with the weights and the bias that bring what it gives closest to what is wanted.

        It is drawn a little towards its present weights.
        """
        convolution, dtype = layer.convolution, layer.weight.dtype
        groups = convolution.groups
        present = device.placed(torch.from_numpy(layer.weight.astype(np.float64))).reshape(
            groups, convolution.out_channels // groups, -1
        )
        mean, ridge, factors = self._system
        offset = (
            torch.stack([y.sum(0, dtype=torch.float64) for y in wanted]).sum(0) / self._sums.count
        )
        cross = self._products(mean, wanted, offset) / self._sums.count
        weight = torch.linalg.lu_solve(*factors, cross + ridge * present.mT).mT
        bias = offset - (weight @ mean[:, :, None])[:, :, 0]
        return replace(
            layer,
            weight=weight.reshape(convolution.weight_shape).numpy(force=True).astype(dtype),
            bias=bias.flatten().numpy(force=True).astype(dtype),
        )

    @cached_property
    def _sums(self) -> Sums:
        sums = Sums(self._convolution)
        for part in self._taken:
            sums.add(part)
        return sums

    @cached_property
    def _system(self) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The mean of what is taken, the pull towards present weights, and the factors of the covariance with it."""
        mean, covariance = self._sums.covariance()
        diagonal = covariance.diagonal(dim1=1, dim2=2)
        variance = diagonal.mean(1)
        square = variance + mean.square().mean(1)
        norm = torch.linalg.matrix_norm(covariance)  # without a second matrix of the squares
        pull = shrinkage(norm.square(), diagonal, self._sums.count).clamp_min(_RIDGE)
        ridge = (pull * variance + _ROUNDING * square + torch.finfo(torch.float64).tiny)[:, None]
        diagonal += ridge
        return mean, ridge[:, :, None], torch.linalg.lu_factor(covariance)

    def _products(self, mean: Tensor, wanted: Sequence[Tensor], offset: Tensor) -> Tensor:
        """Return the sums `(groups, m, outputs)`, over all rows, of what is taken times what is wanted."""
        is_wide = self._convolution.patch > WIDE
        summed = torch.zeros(*mean.shape, offset.shape[-1], dtype=torch.float64, device=mean.device)
        for x, y in zip(self._taken, wanted, strict=True):
            exact = x.dtype if is_wide else torch.float64
            taken, other = (
                part.to(exact) - middle.to(exact) for part, middle in ((x, mean), (y, offset))
            )
            summed += torch.einsum("rgm,rgn->gmn", taken, other)
        return summed
