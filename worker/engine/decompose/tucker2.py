"""Tucker-2: a 1x1 convolution to fewer channels, a k x k one among these, a 1x1 one to all the outputs.

Source: Kim et al., "Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile Applications",
ICLR 2016 (arXiv 1511.06530).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from worker.engine.decompose import block_low_rank
from worker.engine.decompose.applicability import no_spatial_extent
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.target import Target
from worker.engine.decompose.two_layers import pointwise
from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array, Convolution, Layer

_INPUT_STEPS, _OUTPUT_STEPS = 12, 24
"""How many ranks of either side are looked at."""
_LOPSIDED = 2
"""How far apart the two sides' shares of their channels may be: one side alone is what other forms reduce for less."""


def why_not_tucker2(convolution: Convolution) -> str | None:
    """Say why the form does not apply to a convolution, or return None where it does."""
    single = min(convolution.in_channels, convolution.out_channels) == convolution.groups
    return no_spatial_extent(convolution) or (
        "one channel on a side cannot be made fewer" if single else None
    )


def tucker2(convolution: Convolution) -> tuple[Factorisation, ...]:
    """Factor the channels of both sides; a rank is `(r1, r2)`, of inputs and outputs.

    It is exact at `(c, n)`, or at `n k2` inputs and `c k2` outputs where there are more than these.

    The first layer takes the leading r1 directions of the input channels (under the moments: whitened by their mean
    over the offsets). Behind it the best k x k layer to all n outputs is a least-squares fit, and the best of its
    approximations through r2 channels is the projection onto the leading directions of its outputs: given the first
    layer, both others are optimal.

    Cost per output position: `c r1 s^2 + r1 r2 k2 + r2 n`, against `n c k2`.

    >>> (form,) = tucker2(Convolution((8, 4, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)))
    >>> [(made.weight_shape, made.stride) for made in form.convolutions((2, 5))]
    [((2, 4, 1, 1), (1, 1)), ((5, 2, 3, 3), (2, 2)), ((8, 5, 1, 1), (1, 1))]
    """
    groups, kernel = convolution.groups, convolution.kernel
    n, c = convolution.out_channels // groups, convolution.in_channels // groups
    exact = (min(c, n * convolution.k2), min(n, c * convolution.k2))

    def convolutions(rank: Rank) -> tuple[Convolution, ...]:
        r1, r2 = _pair(rank)
        core = replace(convolution, weight_shape=(groups * r2, r1, *kernel))
        return pointwise(c, r1, len(kernel), groups), core, pointwise(r2, n, len(kernel), groups)

    def errors(target: Target, ranks: Sequence[Rank]) -> Array:
        pairs = [_pair(rank) for rank in ranks]
        inexact = sorted({pair[0] for pair in pairs if pair != exact})
        found = _errors(_dealt(target), inexact) if inexact else {}
        return np.array([0.0 if pair == exact else found[pair[0]][pair[1] - 1] for pair in pairs])

    def layers(target: Target, rank: Rank) -> tuple[Layer, ...]:
        dealt = _dealt(target)
        rows, core, last = _factors(dealt, *_pair(rank))
        outputs = np.einsum("gnr,gr->gn", last, block_low_rank.outputs_at_mean(dealt, rows, core))
        arrays = (rows, core, last)
        first, middle, final = (
            Layer(made, array.reshape(made.weight_shape), None)
            for made, array in zip(convolutions(rank), arrays, strict=True)
        )
        return first, middle, replace(final, bias=target.bias(outputs))

    return (
        Factorisation(
            "tucker2", None, [*_inexact_ranks(*exact), exact], convolutions, errors, layers
        ),
    )


def _errors(dealt: block_low_rank.Blocks, input_ranks: Sequence[int]) -> dict[int, Array]:
    """Return, by r1, which come in ascending order, the errors of every r2 from 1 to n."""
    groups, n, count, _ = dealt.weight.shape
    white = block_low_rank.responses(
        dealt, block_low_rank.leading_rows(*block_low_rank.own(dealt), input_ranks[-1])
    )
    outputs = np.zeros(
        (groups, n, n), white.dtype
    )  # the covariance of what the leading rows make of the outputs
    found, behind = {}, 0
    for r1 in input_ranks:
        more = white[..., behind * count : r1 * count]
        outputs += more @ more.swapaxes(-1, -2)
        behind = r1
        strengths = np.maximum(linalg.eigvalsh(outputs)[:, ::-1], 0).sum(axis=0)
        found[r1] = dealt.target.relative(strengths.cumsum())
    return found


def _factors(dealt: block_low_rank.Blocks, r1: int, r2: int) -> tuple[Array, Array, Array]:
    """Return the rows `(groups, 1, r1, c)`, the core `(groups, r2, r1, k2)` and the last layer `(groups, n, r2)`."""
    rows, second = block_low_rank.factors(dealt, r1)
    seen = (dealt.product.swapaxes(1, 2) @ rows.swapaxes(-1, -2)).transpose(0, 2, 3, 1)
    groups, n = second.shape[:2]
    outputs = second.reshape(groups, n, -1) @ seen.reshape(groups, n, -1).swapaxes(
        -1, -2
    )  # their covariance
    _, last = linalg.leading((outputs + outputs.swapaxes(-1, -2)) / 2, r2)
    return rows, np.einsum("gnq,gnrb->gqrb", last, second), last


def _dealt(target: Target) -> block_low_rank.Blocks:
    return block_low_rank.offset_blocks(target, range(len(target.layer.convolution.kernel)))


def _inexact_ranks(highest1: int, highest2: int) -> list[tuple[int, int]]:
    return [
        (r1, r2)
        for r1 in _steps(highest1, _INPUT_STEPS)
        for r2 in _steps(highest2, _OUTPUT_STEPS)
        if r1 < highest1 and r2 < highest2
        if r1 * highest2 <= _LOPSIDED * r2 * highest1 and r2 * highest1 <= _LOPSIDED * r1 * highest2
    ]


def _steps(highest: int, number: int) -> list[int]:
    return sorted({round(step) for step in np.linspace(max(1, highest / number), highest, number)})


def _pair(rank: Rank) -> tuple[int, int]:
    assert isinstance(rank, tuple)
    return rank
