"""Pointwise first: a 1x1 convolution, then a depthwise k x k one with as many inputs an output as the rank says.

Source: Guo et al., "Network Decoupling: From Regular to Depthwise Separable Convolutions", BMVC 2018 (arXiv
1808.05517), in its order PW+DW.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from worker.engine.decompose import block_low_rank
from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import pointwise
from worker.engine.numerics.convolution import Array, Convolution, Layer

_ELEMENTS = 2**23
"""How many numbers of normal equations are in memory at once."""


def why_not_pointwise_first(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    if reason := no_spatial_extent(convolution):
        return reason
    n, c = (
        convolution.out_channels // convolution.groups,
        convolution.in_channels // convolution.groups,
    )
    dearer = n * (c * prod(convolution.stride) + convolution.k2) >= c * (convolution.k2 + n)
    return "dac costs no more at any rank" if dearer else None


def pointwise_first(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor a convolution filter by filter.

    For every output channel o, `W[o].reshape(c, k2)` is projected onto its r leading left singular vectors (under the
    moments: whitened by their mean over the offsets): the 1x1 filters that make the r inputs of the depthwise filter
    of o, which is fitted to them. At rank `min(c, k2)` it is exact.

    Cost per output position: `n r (c s^2 + k2)`, against `n c k2`. It is the mirror image of DAC, which has `c k2` in
    the place of `n k2`, and worth having where there are fewer outputs than inputs.

    >>> (form,) = pointwise_first(Convolution((4, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.groups) for made in form.convolutions(2)]
    [((8, 8, 1, 1), 1), ((4, 2, 3, 3), 4)]
    """
    groups, kernel = convolution.groups, convolution.kernel
    n, c = convolution.out_channels // groups, convolution.in_channels // groups
    exact = min(c, convolution.k2)

    def convolutions(rank: Rank) -> tuple[Convolution, ...]:
        assert isinstance(rank, int)
        depthwise = replace(
            convolution, weight_shape=(groups * n, rank, *kernel), groups=groups * n
        )
        return pointwise(c, n * rank, len(kernel), groups), depthwise

    def errors(target: Target, ranks: Sequence[Rank]) -> Array:
        chosen = np.array(ranks, dtype=np.intp)
        if not chosen.size:
            return np.zeros(0)
        return np.where(
            chosen >= exact, 0.0, _errors(_dealt(target), int(chosen.max()))[chosen - 1]
        )

    def layers(target: Target, rank: Rank) -> tuple[Layer, ...]:
        assert isinstance(rank, int)
        dealt = _dealt(target)
        rows, second = _factors(dealt, rank)
        outputs = np.einsum("gnrb,gnrs,gbs->gn", second, rows, dealt.mean, optimize=True)
        first, last = convolutions(rank)
        return (
            Layer(first, rows.reshape(first.weight_shape), None),
            Layer(last, second.reshape(last.weight_shape), target.bias(outputs)),
        )

    return (
        Factorisation("pointwise-first", None, range(1, exact + 1), convolutions, errors, layers),
    )


def _errors(dealt: block_low_rank.Blocks, rank: int) -> Array:
    """Return the errors of ranks 1 to `rank`."""
    if not dealt.are_coupled:
        values = block_low_rank.spectrum(dealt.weight, None, rank)
        return dealt.target.relative(values.sum(axis=(0, 1)).cumsum())
    explained = np.zeros(rank)
    for gram, cross in _normal_equations(dealt, _rows(dealt, rank)):
        white = block_low_rank.whitened(gram, cross) ** 2
        explained += white.reshape(-1, rank, dealt.count).sum(axis=(0, 2))
    return dealt.target.relative(explained.cumsum())


def _factors(dealt: block_low_rank.Blocks, rank: int) -> tuple[Array, Array]:
    """Return the 1x1 filters `(groups, n, rank, c)`, of norm 1, and the depthwise ones `(groups, n, rank, k2)`."""
    rows = _rows(dealt, rank)
    if not dealt.are_coupled:
        across = rows.swapaxes(-1, -2)
        second = block_low_rank.solved(rows @ across, dealt.weight @ across).swapaxes(-1, -2)
    else:
        solutions = [
            block_low_rank.solved(gram, cross) for gram, cross in _normal_equations(dealt, rows)
        ]
        second = np.concatenate(solutions).reshape(*rows.shape[:3], dealt.count)
    lengths = block_low_rank.norms(rows)[..., None]
    return rows / lengths, second * lengths


def _rows(dealt: block_low_rank.Blocks, rank: int) -> Array:
    """Return the rows of every output, `(groups, n, rank, c)`."""
    return block_low_rank.leading_rows(dealt.weight, block_low_rank.own(dealt)[1], rank)


def _normal_equations(dealt: block_low_rank.Blocks, rows: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the equations of some outputs at a time: `D C D^T` `(some, R, R)` and `W C D^T` `(some, 1, R)`."""
    groups, n, rank, size = rows.shape
    count = dealt.count
    step = max(1, _ELEMENTS // (rank * count) ** 2)
    for group in range(groups):
        for start in range(0, n, step):
            own = rows[group, start : start + step]
            across = own.swapaxes(-1, -2)
            cross = (dealt.product[group, start : start + step] @ across).swapaxes(-1, -2)
            gram = np.empty((len(own), rank, count, rank, count))
            for block in range(count):
                covariance = dealt.covariance(block, 0, count, slice(group, group + 1))[0]
                seen = own.reshape(-1, size) @ covariance
                pairs = seen.reshape(len(own), rank, count, size).swapaxes(1, 2) @ across[:, None]
                gram[:, :, block] = pairs.transpose(0, 2, 3, 1)
            yield gram.reshape(len(own), rank * count, -1), cross.reshape(len(own), 1, -1)


def _dealt(target: Target) -> block_low_rank.Blocks:
    return block_low_rank.offset_blocks(target, range(len(target.layer.convolution.kernel)))
