"""Shrinkage brings covariances of few rows nearer to the true ones, and leaves those of many."""

import pytest
import torch

from worker.engine.calibration.statistics.shrinkage import oas_intensity

SIZE = 24


def drawn(count, seed):
    """Rows of a known covariance, in two groups, and that covariance."""
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(2, SIZE, SIZE, generator=generator, dtype=torch.float64)
    rows = torch.randn(2, count, SIZE, generator=generator, dtype=torch.float64) @ root
    return rows, root.mT @ root


def measured(rows):
    centred = rows - rows.mean(1, keepdim=True)
    return centred.mT @ centred / rows.shape[1]


def share_of(covariance, count):
    return oas_intensity(
        covariance.square().sum((1, 2)), covariance.diagonal(dim1=1, dim2=2), count
    )


def shrunk(covariance, count):
    share = share_of(covariance, count)[:, None, None]
    variance = covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    return (1 - share) * covariance + share * variance * torch.eye(
        SIZE, dtype=torch.float64
    )


@pytest.mark.parametrize("count", [4, 12, 24])
def test_shrunk_covariances_of_few_rows_are_nearer_to_the_truth(count):
    gains = []
    for seed in range(20):
        rows, truth = drawn(count, seed)
        covariance = measured(rows)
        gains.append(
            float(
                (covariance - truth).norm() - (shrunk(covariance, count) - truth).norm()
            )
        )
    assert min(gains) > 0


def test_the_intensity_falls_with_the_number_of_rows():
    shares = [
        float(share_of(measured(drawn(count, 1)[0]), count).mean())
        for count in (6, 60, 120, 240)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.3
    assert shares[-2] > 0
    assert shares[-1] == 0


@pytest.mark.parametrize(
    "covariance", [torch.zeros(1, 3, 3), torch.eye(3)[None], torch.ones(2, 1, 1)]
)
def test_where_nothing_tells_directions_apart_all_are_alike(covariance):
    assert torch.equal(
        share_of(covariance.double(), 2),
        torch.ones(len(covariance), dtype=torch.float64),
    )
