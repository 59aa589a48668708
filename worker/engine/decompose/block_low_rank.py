"""First layers that see a patch in blocks, and the best second layer behind them.

The m numbers of a patch are dealt into blocks of equal size. The first layer D takes r linear combinations of each
block, its rows; the second layer P combines all of them. The blocks of `dac` are the input channels, those of
`spatial` the offsets along the second kernel's axes; every form starts from such a pair.

The rows of a block are those of the best approximation of rank r of this block alone. For any first layer the best
second one under the covariance C is the least-squares fit `P = W C D^T (D C D^T)^-1`. With the rows in the order of
their ranks, one Cholesky factor of `D C D^T = L L^T` tells the error at every rank: what the rows explain of the
outputs' energy is `||Y||^2`, `Y = W C D^T L^-T`, and Y's leading columns are those of the lower ranks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from worker.engine.decompose import randomized_range
from worker.engine.decompose.target import Target
from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array

_TINY = float(np.finfo(np.float64).tiny)
_ATTEMPTS = 3
_MOST_COPIED = 1024
"""Rows up to which equations are copied into a larger matrix, and this once more: one step, of 20 MB at the most."""


@dataclass(frozen=True)
class Blocks:
    """A target with its patches dealt into `count` blocks of `size` numbers.

    `weight` and `product` are `(groups, n, count, size)`, `mean` is `(groups, count, size)`. `order` says which number
    of a patch stands where in the blocks, None where they are runs of neighbours. `shared`: all blocks of a group have
    the same rows.
    """

    target: Target
    weight: Array
    product: Array
    mean: Array
    order: NDArray[np.intp] | None
    shared: bool

    @property
    def count(self) -> int:
        """The number of blocks in a group."""
        return int(self.weight.shape[2])

    @property
    def size(self) -> int:
        """How many numbers of a patch a block has."""
        return int(self.weight.shape[3])

    @property
    def are_coupled(self) -> bool:
        """Whether anything is known of the inputs, and so of what blocks have to do with one another."""
        return self.target.covariance is not None

    def covariance(self, block: int, start: int, end: int, groups: slice = slice(None)) -> Array:
        """Return the covariance of a block with those from `start` to `end`, `(groups, size, (end - start) * size)`."""
        assert self.target.covariance is not None  # `are_coupled`
        own, others = (
            slice(block * self.size, (block + 1) * self.size),
            slice(start * self.size, end * self.size),
        )
        if self.order is None:
            return self.target.covariance[groups, own, others]
        return self.target.covariance[groups, self.order[own, None], self.order[others]]


def channel_blocks(target: Target, count: int) -> Blocks:
    """Deal the input channels of each group into `count` runs of neighbours, each with its whole kernel."""
    groups, n, _ = target.weight.shape
    weight, product = (
        array.reshape(groups, n, count, -1) for array in (target.weight, target.product)
    )
    return Blocks(
        target, weight, product, target.mean.reshape(groups, count, -1), None, shared=False
    )


def offset_blocks(target: Target, axes: Sequence[int]) -> Blocks:
    """Make a block of each offset along these spatial axes: its numbers are those of all channels and other axes."""
    convolution = target.layer.convolution
    groups, n, patch = target.weight.shape
    numbers = np.arange(patch).reshape(-1, *convolution.kernel)
    order = np.moveaxis(numbers, [axis + 1 for axis in axes], range(len(axes))).reshape(-1)
    count = prod(convolution.kernel[axis] for axis in axes)
    weight, product = (
        array[:, :, order].reshape(groups, n, count, -1)
        for array in (target.weight, target.product)
    )
    return Blocks(
        target,
        weight,
        product,
        target.mean[:, order].reshape(groups, count, -1),
        order,
        shared=True,
    )


def errors(blocks: Blocks, rank: int) -> Array:
    """Return the errors of ranks 1 to `rank`, `(rank,)`, each with its best second layer."""
    weight, covariance = own(blocks)
    if (
        not blocks.are_coupled or blocks.count == 1
    ):  # nothing couples the blocks: each explains for itself
        values = spectrum(weight, covariance, rank)
        return blocks.target.relative(values.reshape(-1, rank).sum(axis=0).cumsum())
    gram, cross = normal_equations(blocks, _spread(leading_rows(weight, covariance, rank), blocks))
    explained = (whitened(gram, cross) ** 2).sum(axis=(0, 1))
    return blocks.target.relative(explained.reshape(rank, blocks.count).sum(axis=1).cumsum())


def factors(blocks: Blocks, rank: int) -> tuple[Array, Array]:
    """Return the rows `(groups, count, rank, size)`, of norm 1, and the best second layer `(groups, n, rank, count)`.

    Blocks that share their rows have them once: `(groups, 1, rank, size)`.
    """
    rows = leading_rows(*own(blocks), rank)
    second = fit(blocks, rows)
    lengths = norms(rows)
    return rows / lengths[..., None], second * lengths.swapaxes(-1, -2)[:, None]


def norms(rows: Array) -> Array:
    """Return what rows `(..., s)` have to be divided by to have the norm 1; rows of zeros stay."""
    lengths = np.linalg.norm(rows, axis=-1)
    return np.where(lengths > 0, lengths, 1)


def responses(blocks: Blocks, rows: Array) -> Array:
    """Return `Y` `(groups, n, R)` for rows that are the blocks' leading ones: what the outputs have of each of them."""
    if blocks.are_coupled:
        return whitened(*normal_equations(blocks, _spread(rows, blocks)))
    seen = (blocks.weight.swapaxes(1, 2) @ rows.swapaxes(-1, -2)).transpose(
        0, 2, 3, 1
    )  # the rows are orthonormal
    return seen.reshape(*seen.shape[:2], -1)


def outputs_at_mean(blocks: Blocks, rows: Array, second: Array) -> Array:
    """Return what the factors give for the mean patch, `(groups, n)`."""
    firsts = np.einsum("gbrs,gbs->grb", _spread(rows, blocks), blocks.mean)
    outputs: Array = np.einsum("gnrb,grb->gn", second, firsts)
    return outputs


def leading_rows(weight: Array, covariance: Array | None, rank: int) -> Array:
    """Return rows `(..., rank, s)`; the leading r are those of the best approximation of rank r of `(..., n, s)`.

    They are uncorrelated under the covariance `(..., s, s)` and of variance 1; rows beyond the weights' own rank are
    about 0. The eigenproblem is that of the smaller side: no root is taken of a covariance that is larger than n. Where
    that side is long, the rows are those of a range finder, unless they are nearly all.
    """
    n, size = weight.shape[-2:]
    count = randomized_range.directions(n, size, rank)
    if count < min(n, size):
        return randomized_range.find(weight, covariance, count).rows(rank)
    gram, root = _small_side(weight, covariance)
    values, vectors = linalg.leading(gram, rank)
    across = vectors.swapaxes(-1, -2)
    if weight.shape[-2] <= weight.shape[-1]:
        floor = np.maximum(np.finfo(values.dtype).eps * weight.shape[-2] * values[..., :1], _TINY)
        rows: Array = across @ weight / np.sqrt(np.maximum(values, floor))[..., None]
        return rows
    return (
        across
        if root is None
        else linalg.solve(root.swapaxes(-1, -2), across.swapaxes(-1, -2)).swapaxes(-1, -2)
    )


def normal_equations(blocks: Blocks, rows: Array) -> tuple[Array, Array]:
    """Return `D C D^T` `(groups, R, R)` and `W C D^T` `(groups, n, R)` for rows `(groups, count, rank, size)`.

    The `R = rank * count` rows of D stand in the order of their ranks.
    """
    groups, count, rank, size = rows.shape
    across = rows.swapaxes(-1, -2)
    cross = (
        (blocks.product.swapaxes(1, 2) @ across)
        .transpose(0, 2, 3, 1)
        .reshape(groups, -1, rank * count)
    )
    gram = np.empty((groups, rank, count, rank, count), rows.dtype)
    for block in range(count):
        seen = rows[:, block] @ blocks.covariance(block, block, count)
        pairs = seen.reshape(groups, rank, count - block, size).swapaxes(1, 2) @ across[:, block:]
        gram[:, :, block, :, block:] = pairs.transpose(0, 2, 3, 1)
        gram[:, :, block:, :, block] = pairs.transpose(0, 3, 1, 2)
    return gram.reshape(groups, rank * count, rank * count), cross


def whitened(gram: Array, cross: Array) -> Array:
    """Return `Y = W C D^T L^-T`, `(..., n, R)`; large equations are used up.

    Y is a corner of the Cholesky factor of the matrix that has `D C D^T` and `W C D^T` on its left; what stands in its
    last corner does not matter as long as it is large.
    """
    n, size = cross.shape[-2:]
    ridge = _ridge(gram)
    if size > _MOST_COPIED:
        pairs = zip(gram, ridge, cross, strict=True)
        return np.stack(
            [
                _on_ridge(partial(linalg.whitened, each, own), each, least)
                for each, least, own in pairs
            ]
        )
    joint = np.zeros((*gram.shape[:-2], size + n, size + n), gram.dtype)
    joint[..., :size, :size] = gram
    joint[..., size:, :size] = cross
    last = np.arange(size, size + n)
    joint[..., last, last] = np.sqrt(np.finfo(gram.dtype).max)
    return _on_ridge(partial(linalg.cholesky, joint), joint[..., :size, :size], ridge)[
        ..., size:, :size
    ]


def fit(blocks: Blocks, rows: Array) -> Array:
    """Return the best second layer behind these rows, `(groups, n, rank, count)`."""
    if not blocks.are_coupled:
        across = rows.swapaxes(-1, -2)
        return solved(rows @ across, blocks.weight.swapaxes(1, 2) @ across).transpose(0, 2, 3, 1)
    groups, _, rank, _ = rows.shape
    return solved(*normal_equations(blocks, _spread(rows, blocks))).reshape(
        groups, -1, rank, blocks.count
    )


def solved(gram: Array, cross: Array) -> Array:
    """Return `W C D^T (D C D^T)^-1`, `(..., n, R)`."""
    diagonal = np.arange(gram.shape[-1])
    gram = gram.copy()
    gram[..., diagonal, diagonal] += _ridge(gram)
    return linalg.solve(gram, cross.swapaxes(-1, -2)).swapaxes(-1, -2)


def own(blocks: Blocks) -> tuple[Array, Array | None]:
    """Return what each block's rows are chosen by: weights `(groups, count, n, size)` and covariance of that block.

    Blocks that share their rows stand for one: their weights are stacked and their covariances averaged.
    """
    weight = blocks.weight.swapaxes(1, 2)
    groups, count, n, size = weight.shape
    covariance = None
    if blocks.are_coupled:
        covariance = np.stack(
            [blocks.covariance(block, block, block + 1) for block in range(count)], axis=1
        )
    if not blocks.shared:
        return weight, covariance
    averaged = None if covariance is None else covariance.mean(axis=1, keepdims=True)
    return weight.reshape(groups, 1, count * n, size), averaged


def _spread(rows: Array, blocks: Blocks) -> Array:
    return np.broadcast_to(rows, (rows.shape[0], blocks.count, *rows.shape[2:]))


def spectrum(weight: Array, covariance: Array | None, rank: int) -> Array:
    """Return what each of the `leading_rows` explains, `(..., rank)`, the most first; an estimate for long sides."""
    n, size = weight.shape[-2:]
    width = randomized_range.width(n, size)
    if width < min(n, size):
        return randomized_range.find(weight, covariance, width).spectrum(min(n, size))[..., :rank]
    values: Array = np.maximum(linalg.eigvalsh(_small_side(weight, covariance)[0])[..., ::-1], 0)
    return values[..., :rank]


def _small_side(weight: Array, covariance: Array | None) -> tuple[Array, Array | None]:
    """Return `W C W^T` or `L^T W^T W L`, whichever is smaller, and the root `L` of the covariance for the latter."""
    if weight.shape[-2] <= weight.shape[-1]:
        return (weight if covariance is None else weight @ covariance) @ weight.swapaxes(
            -1, -2
        ), None
    root = None if covariance is None else linalg.cholesky(covariance)
    white = weight if root is None else weight @ root
    return white.swapaxes(-1, -2) @ white, root


def _ridge(gram: Array) -> Array:
    """Return what keeps the equations solvable where rows are 0 or depend on each other, `(..., 1)`; rounding, else."""
    least = np.finfo(gram.dtype).eps / np.sqrt(gram.shape[-1])
    ridge: Array = least * np.einsum("...ii->...", gram)[..., None] + np.finfo(gram.dtype).tiny
    return ridge


def _on_ridge(factored: Callable[[], Array], matrix: Array, ridge: Array) -> Array:
    """Return what is made of a matrix with `ridge` on its diagonal, or with more where rounding needs it.

    Raises:
        LinAlgError: the matrix is not finite, or not positive at all.
    """
    diagonal = np.arange(matrix.shape[-1])
    for _ in range(_ATTEMPTS):
        matrix[..., diagonal, diagonal] += ridge
        try:
            return factored()
        except linalg.LinAlgError:
            ridge = 1000 * ridge
    return factored()
