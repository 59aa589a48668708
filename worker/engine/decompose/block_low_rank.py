"""Blockwise low rank: a first layer that sees a patch in blocks, and the best second layer.

The m numbers of a patch are divided into blocks of equal size (`block_partition`). The first layer
D takes r linear combinations of each block, its rows; the second layer P combines all of them.

The rows of a block are those of the best approximation of rank r of this block alone; the second
layer is the least-squares fit (`least_squares`). With the rows in the order of their ranks, one
Cholesky factor gives the error at every rank: the leading columns of Y are those of lower ranks.
"""

import numpy as np

from worker.engine.decompose import least_squares, randomized_range
from worker.engine.decompose.block_partition import BlockPartition
from worker.engine.numerics import linalg
from worker.engine.numerics.convolution import Array

_TINY = float(np.finfo(np.float64).tiny)


def errors(partition: BlockPartition, rank: int) -> Array:
    """Return the errors of ranks 1 to `rank`, each with its best second layer.

    Args:
        partition: the blocks of the first layer.
        rank: the highest rank.

    Returns:
        `(rank,)`, relative to the energy of the target's outputs.
    """
    target = partition.target
    weight, covariance = by_block(partition)
    if not partition.are_coupled or partition.count == 1:
        # nothing couples the blocks: what each explains adds up
        values = spectrum(weight, covariance, rank)
        per_block = values.reshape(-1, rank)
        explained = per_block.sum(axis=0)
        per_block_sum = explained.cumsum()
        return target.relative(per_block_sum)
    own_rows = leading_rows(weight, covariance, rank)
    rows = _spread(own_rows, partition)
    gram, cross = normal_equations(partition, rows)
    white = least_squares.whitened(gram, cross)
    squares = white**2
    explained = squares.sum(axis=(0, 1))
    # the rows of D stand in the order of their ranks: those of one rank are neighbours
    per_rank = explained.reshape(rank, partition.count)
    by_rank = per_rank.sum(axis=1)
    return target.relative(by_rank.cumsum())


def factors(partition: BlockPartition, rank: int) -> tuple[Array, Array]:
    """Return the first layer's rows and the best second layer for them.

    Returns:
        rows: `(groups, count, rank, size)` of norm 1, or `(groups, 1, rank, size)` where the blocks
            share them.
        second: `(groups, n, rank, count)`.
    """
    weight, covariance = by_block(partition)
    rows = leading_rows(weight, covariance, rank)
    second = fit(partition, rows)
    # the scale between the layers is free: rows of norm 1 keep the weights of both moderate
    lengths = norms(rows)
    scale = lengths.mT[:, None]
    divisors = lengths[..., None]
    unit_rows = rows / divisors
    return unit_rows, second * scale


def norms(rows: Array) -> Array:
    """Return the divisors that give rows `(..., s)` the norm 1; those of zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=-1)
    return np.where(lengths > 0, lengths, 1)


def responses(partition: BlockPartition, rows: Array) -> Array:
    """Return `Y`, the part of each of the blocks' leading rows in the outputs.

    Args:
        partition: the blocks.
        rows: the `leading_rows`, `(groups, count, rank, size)`, or once for blocks that share them.

    Returns:
        `(groups, n, R)` for the `R = rank * count` rows, in the order of their ranks.
    """
    if partition.are_coupled:
        every_row = _spread(rows, partition)
        equations = normal_equations(partition, every_row)
        return least_squares.whitened(*equations)
    # without moments the rows are orthonormal, so that D D^T = 1 and Y = W D^T
    weight = partition.weight.swapaxes(1, 2)
    products = weight @ rows.mT
    by_row = products.transpose(0, 2, 3, 1)
    groups_and_outputs = by_row.shape[:2]
    return by_row.reshape(*groups_and_outputs, -1)


def outputs_at_mean(partition: BlockPartition, rows: Array, second: Array) -> Array:
    """Return the outputs of the factors for the mean patch.

    Args:
        partition: the blocks, with the mean patch.
        rows: `(groups, count, rank, size)`, or once for blocks that share them.
        second: `(groups, n, rank, count)`.

    Returns:
        `(groups, n)`.
    """
    firsts = np.einsum("gbrs,gbs->grb", _spread(rows, partition), partition.mean)
    outputs: Array = np.einsum("gnrb,grb->gn", second, firsts)
    return outputs


def leading_rows(weight: Array, covariance: Array | None, rank: int) -> Array:
    """Return the rows whose leading r approximate weights best at rank r, for every r.

    The rows are uncorrelated under the covariance and of variance 1; rows beyond the weights' own
    rank are about 0. The eigenproblem is that of the smaller side: no root is taken of a covariance
    that is larger than n. Where that side is long, the rows are those of a randomised range finder,
    unless nearly all of them are needed.

    Args:
        weight: `(..., n, s)`.
        covariance: `(..., s, s)`, or None for the identity.
        rank: the number of rows.

    Returns:
        `(..., rank, s)`.
    """
    n, size = weight.shape[-2:]
    count = randomized_range.directions(n, size, rank)
    shortest = min(n, size)
    if count < shortest:
        estimate = randomized_range.find(weight, covariance, count)
        return estimate.rows(rank)
    gram, root = _small_side(weight, covariance)
    values, vectors = linalg.leading(gram, rank)
    across = vectors.mT
    if n <= size:
        # U^T W / sqrt(lambda); eigenvalues below rounding would blow up their rows
        largest = values[..., :1]
        epsilon = np.finfo(values.dtype).eps
        least = epsilon * n * largest
        floor = np.maximum(least, _TINY)
        variances = np.maximum(values, floor)
        deviations = np.sqrt(variances)
        products = across @ weight
        divisors = deviations[..., None]
        rows: Array = products / divisors
        return rows
    if root is None:
        return across
    # the vectors are those of the whitened weights: V^T L^-1 are rows of the weights themselves
    columns = linalg.solve(root.mT, vectors)
    return columns.mT


def normal_equations(partition: BlockPartition, rows: Array) -> tuple[Array, Array]:
    """Return the two sides of the equations for the second layer.

    The `R = rank * count` rows of D stand in the order of their ranks.

    Args:
        partition: the blocks, with a covariance.
        rows: `(groups, count, rank, size)`.

    Returns:
        gram: `D C D^T`, `(groups, R, R)`.
        cross: `W C D^T`, `(groups, n, R)`.
    """
    groups, count, rank, size = rows.shape
    across = rows.mT
    product = partition.product.swapaxes(1, 2)
    products = product @ across
    by_row = products.transpose(0, 2, 3, 1)
    row_count = rank * count
    cross = by_row.reshape(groups, -1, row_count)
    gram = np.empty((groups, rank, count, rank, count), rows.dtype)
    # D C D^T is symmetric: each block is multiplied with itself and those after it
    for block in range(count):
        own = rows[:, block]
        covariance = partition.covariance(block, block, count)
        seen = own @ covariance
        others = seen.reshape(groups, rank, count - block, size)
        by_other = others.swapaxes(1, 2)
        later = across[:, block:]
        pairs = by_other @ later
        gram[:, :, block, :, block:] = pairs.transpose(0, 2, 3, 1)
        gram[:, :, block:, :, block] = pairs.transpose(0, 3, 1, 2)
    matrices = gram.reshape(groups, row_count, row_count)
    return matrices, cross


def fit(partition: BlockPartition, rows: Array) -> Array:
    """Return the best second layer for these rows, the least-squares fit.

    Args:
        partition: the blocks.
        rows: `(groups, count, rank, size)`, or once for blocks that share them.

    Returns:
        `(groups, n, rank, count)`.
    """
    if not partition.are_coupled:
        # without moments no block has to do with another: each has equations of its own
        across = rows.mT
        gram = rows @ across
        weight = partition.weight.swapaxes(1, 2)
        cross = weight @ across
        solution = least_squares.solved(gram, cross)
        return solution.transpose(0, 2, 3, 1)
    groups, _, rank, _ = rows.shape
    every_row = _spread(rows, partition)
    equations = normal_equations(partition, every_row)
    second = least_squares.solved(*equations)
    return second.reshape(groups, -1, rank, partition.count)


def by_block(partition: BlockPartition) -> tuple[Array, Array | None]:
    """Return the weights and the covariances by which the rows of each block are chosen.

    Blocks that share their rows count as one: their weights are stacked and their covariances
    averaged.

    Returns:
        weight: `(groups, count, n, size)`, or `(groups, 1, count * n, size)`.
        covariance: `(groups, count, size, size)`, or `(groups, 1, size, size)`; None for the
            identity.
    """
    weight = partition.weight.swapaxes(1, 2)
    groups, count, n, size = weight.shape
    covariance = None
    if partition.are_coupled:
        own = [partition.covariance(block, block, block + 1) for block in range(count)]
        covariance = np.stack(own, axis=1)
    if not partition.shared:
        return weight, covariance
    stacked = weight.reshape(groups, 1, count * n, size)
    if covariance is None:
        return stacked, None
    averaged = covariance.mean(axis=1, keepdims=True)
    mean = averaged
    return stacked, mean


def _spread(rows: Array, partition: BlockPartition) -> Array:
    """Return the rows of every block, for rows that the blocks share."""
    shape = (rows.shape[0], partition.count, *rows.shape[2:])
    return np.broadcast_to(rows, shape)


def spectrum(weight: Array, covariance: Array | None, rank: int) -> Array:
    """Return the energy that each of the `leading_rows` explains, the most first.

    For long sides it is an estimate.

    Args:
        weight: `(..., n, s)`.
        covariance: `(..., s, s)`, or None for the identity.
        rank: the number of rows.

    Returns:
        `(..., rank)`.
    """
    n, size = weight.shape[-2:]
    side = min(n, size)
    width = randomized_range.width(n, size)
    if width < side:
        estimate = randomized_range.find(weight, covariance, width)
        energies = estimate.spectrum(side)
        return energies[..., :rank]
    gram, _ = _small_side(weight, covariance)
    ascending = linalg.eigvalsh(gram)
    descending = ascending[..., ::-1]
    # rounding makes eigenvalues near 0 negative
    values: Array = np.maximum(descending, 0)
    return values[..., :rank]


def _small_side(weight: Array, covariance: Array | None) -> tuple[Array, Array | None]:
    """Return the smaller of `W C W^T` and `L^T W^T W L`, whose eigenvalues are the same.

    The second comes with the root L of the covariance, None for the identity.
    """
    n, size = weight.shape[-2:]
    if n <= size:
        product = weight if covariance is None else weight @ covariance
        return product @ weight.mT, None
    if covariance is None:
        return weight.mT @ weight, None
    root = linalg.cholesky(covariance)
    white = weight @ root
    return white.mT @ white, root
