"""Forms of two layers whose first sees a patch in blocks: all of them but for the geometry of their layers."""

from collections.abc import Callable, Sequence

import numpy as np

from worker.engine.decompose import block_low_rank, randomized_range
from worker.engine.decompose.base import Factorisation, Rank
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Array, Convolution, Layer

_STEP = 32
"""Between two ranks whose errors are estimated."""


def two_layers(
    form: str,
    variant: str | None,
    sides: tuple[int, int],
    deal: Callable[[Target], block_low_rank.Blocks],
    geometry: Callable[[int], tuple[Convolution, Convolution]],
) -> Factorisation:
    """Return the factorisation into rows of blocks and what combines them.

    `sides` are those of the matrix that is cut; at the shorter one's rank it is the layer itself. Where both are long,
    there are fewer ranks beyond those whose errors a range finder finds.

    The first layer's output channels are, for each group, its blocks and for each of these its rows, or, where the
    blocks share them, the rows once: the second layer's kernel is then what tells the blocks apart.
    """
    exact, found = min(sides), randomized_range.width(*sides)
    ranks = (
        range(1, exact + 1)
        if found == exact
        else (*range(1, found + 1), *range(found + 1, exact, _STEP), exact)
    )

    def convolutions(rank: Rank) -> tuple[Convolution, ...]:
        assert isinstance(rank, int)
        return geometry(rank)

    def errors(target: Target, ranks: Sequence[Rank]) -> Array:
        chosen = np.array(ranks, dtype=np.intp)
        inexact = chosen < exact
        errors = np.zeros(len(chosen))  # what is left at the exact rank is rounding
        if inexact.any():
            errors[inexact] = block_low_rank.errors(deal(target), int(chosen[inexact].max()))[
                chosen[inexact] - 1
            ]
        return errors

    def layers(target: Target, rank: Rank) -> tuple[Layer, ...]:
        assert isinstance(rank, int)
        dealt = deal(target)
        rows, second = block_low_rank.factors(dealt, rank)
        outputs = block_low_rank.outputs_at_mean(dealt, rows, second)
        first_convolution, second_convolution = geometry(rank)
        if second_convolution.transposed:
            across = second.swapaxes(1, 2)
        else:
            across = second if dealt.shared else second.swapaxes(2, 3)
        return (
            Layer(first_convolution, rows.reshape(first_convolution.weight_shape), None),
            Layer(
                second_convolution,
                across.reshape(second_convolution.weight_shape),
                target.bias(outputs),
            ),
        )

    return Factorisation(form, variant, ranks, convolutions, errors, layers)


def pointwise(inputs: int, outputs: int, axes: int, groups: int) -> Convolution:
    """Return the geometry of a convolution whose kernel is one offset, from and to so many channels a group."""
    ones = (1,) * axes
    return Convolution((groups * outputs, inputs, *ones), ones, ((0, 0),) * axes, ones, groups)
