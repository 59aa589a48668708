"""The rows of blocks and their best second layer, against numpy's own least squares."""

import numpy as np
import pytest

from worker.engine.decompose import block_low_rank
from worker.engine.decompose.block_partition import channel_blocks, offset_blocks
from worker.engine.decompose.target import Target
from worker.engine.numerics.convolution import Convolution, Layer
from worker.engine.numerics.moments import Moments, unknown

GEOMETRY = Convolution((6, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), groups=2)
RANK = 3


def target(*, is_measured):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(GEOMETRY.weight_shape)
    moments = unknown(GEOMETRY)
    if is_measured:
        root = rng.standard_normal((2, 18, 40))
        moments = Moments.of(rng.standard_normal((2, 18)), root @ root.mT)
    return Target.of(Layer(GEOMETRY, weight, None), moments)


def partitions(*, is_measured):
    one = target(is_measured=is_measured)
    return [channel_blocks(one, 3), offset_blocks(one, [1])]


def first_layer(partition, rows):
    """Return the rows as matrices `(groups, R, m)` in the order of their ranks."""
    groups, _, rank, size = rows.shape
    count = partition.count
    matrices = np.zeros((groups, rank, count, count * size))
    spread = np.broadcast_to(rows, (groups, count, rank, size))
    for block in range(count):
        matrices[:, :, block, block * size : (block + 1) * size] = spread[:, block]
    return matrices.reshape(groups, rank * count, -1)


def whole_covariance(partition):
    if not partition.are_coupled:
        return np.eye(partition.count * partition.size)
    blocks = [
        partition.covariance(block, 0, partition.count)
        for block in range(partition.count)
    ]
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("index", [0, 1], ids=["channels", "shared offsets"])
def test_the_equations_are_the_products_with_the_covariance(index):
    partition = partitions(is_measured=True)[index]
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((2, partition.count, RANK, partition.size))
    gram, cross = block_low_rank.normal_equations(partition, rows)
    first = first_layer(partition, rows)
    covariance = whole_covariance(partition)
    weight = partition.weight.reshape(2, 3, -1)
    np.testing.assert_allclose(gram, first @ covariance @ first.mT, rtol=1e-9)
    np.testing.assert_allclose(cross, weight @ covariance @ first.mT, rtol=1e-9)


@pytest.mark.parametrize("is_measured", [True, False])
@pytest.mark.parametrize("index", [0, 1], ids=["channels", "shared offsets"])
def test_the_second_layer_is_the_least_squares_fit(index, is_measured):
    partition = partitions(is_measured=is_measured)[index]
    weight, covariance = block_low_rank.by_block(partition)
    rows = block_low_rank.leading_rows(weight, covariance, RANK)
    second = block_low_rank.fit(partition, rows)
    first = first_layer(partition, rows)
    root = np.broadcast_to(np.linalg.cholesky(whole_covariance(partition)), (2, 18, 18))
    for group in range(2):
        whole = partition.weight[group].reshape(3, -1)
        expected, *_ = np.linalg.lstsq(
            (first[group] @ root[group]).T, (whole @ root[group]).T, rcond=None
        )
        # from (n, rank, count) to the order of the first layer's rows
        own = second[group].reshape(3, -1)
        outputs = own @ first[group] @ root[group]
        np.testing.assert_allclose(
            outputs, expected.T @ first[group] @ root[group], atol=1e-6
        )


@pytest.mark.parametrize("is_measured", [True, False])
@pytest.mark.parametrize("index", [0, 1], ids=["channels", "shared offsets"])
def test_the_errors_are_those_of_the_factors_at_every_rank(index, is_measured):
    partition = partitions(is_measured=is_measured)[index]
    errors = block_low_rank.errors(partition, RANK)
    covariance = whole_covariance(partition)
    weight = partition.weight.reshape(2, 3, -1)
    energy = np.einsum("gnm,gnm->", weight @ covariance, weight)
    for rank in range(1, RANK + 1):
        rows, second = block_low_rank.factors(partition, rank)
        product = second.reshape(2, 3, -1) @ first_layer(partition, rows)
        left = weight - product
        error = np.einsum("gnm,gnm->", left @ covariance, left) / energy
        assert errors[rank - 1] == pytest.approx(error, abs=1e-6)


def test_leading_rows_are_uncorrelated_and_of_variance_1():
    rng = np.random.default_rng(2)
    for n, size in ((5, 9), (9, 5)):
        weight = rng.standard_normal((n, size))
        root = rng.standard_normal((size, 3 * size))
        covariance = root @ root.T
        rows = block_low_rank.leading_rows(weight, covariance, 4)
        np.testing.assert_allclose(rows @ covariance @ rows.T, np.eye(4), atol=1e-8)


def test_the_spectrum_is_the_energy_that_each_row_explains():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((2, 5, 7))
    values = block_low_rank.spectrum(weight, None, 3)
    expected = np.linalg.svd(weight, compute_uv=False)[:, :3] ** 2
    np.testing.assert_allclose(values, expected)


def test_rows_of_zeros_keep_their_length():
    lengths = block_low_rank.norms(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert lengths.tolist() == [5.0, 1.0]
