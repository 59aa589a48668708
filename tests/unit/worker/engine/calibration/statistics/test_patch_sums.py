"""Sums over wide patches, held in bands."""

import numpy as np
import pytest
import torch
from support.engine.programs import layer

from worker.engine.calibration.statistics.patch_sums import PatchSums
from worker.engine.calibration.statistics.shrinkage import oas_intensity


@pytest.mark.parametrize("groups", [1, 2])
def test_the_widest_are_summed_band_by_band_and_shrunk_as_a_whole(groups):
    """Against torch's sums over the same rows, shrunk by the published intensity."""
    site = layer(np.random.default_rng(1), (groups, 1300, 1, 1), groups=groups)
    rows = (
        torch.randn(900, groups, 1300, generator=torch.Generator().manual_seed(0)) + 3
    )
    sums = PatchSums(site.convolution)
    for part in rows.split(350):
        sums.add(part)
    measured = torch.stack(
        [rows[:, group].T.double().cov(correction=0) for group in range(groups)]
    )
    np.testing.assert_allclose(sums.covariance()[1], measured, rtol=0, atol=1e-5)
    variances = measured.diagonal(dim1=1, dim2=2)
    intensity = oas_intensity(measured.square().sum((1, 2)), variances, 900)[
        :, None, None
    ]
    assert (intensity > 0.5).all()
    expected = (1 - intensity) * measured + intensity * variances.mean(1)[
        :, None, None
    ] * torch.eye(1300)
    np.testing.assert_allclose(sums.moments().covariance, expected, rtol=0, atol=1e-5)
    # Reading the moments has changed nothing.
    np.testing.assert_allclose(sums.covariance()[1], measured, rtol=0, atol=1e-5)
    assert len(sums.moments().held.bands) == 3


def test_batches_without_rows_change_nothing():
    """A detector that finds nothing in some images has no rows for its heads there."""
    site = layer(np.random.default_rng(1), (6, 4))
    rows = torch.randn(50, 1, 4, generator=torch.Generator().manual_seed(0))
    some, all_rows = PatchSums(site.convolution), PatchSums(site.convolution)
    for part in (rows[:0], rows[:20], rows[:0], rows[20:], rows[:0]):
        some.add(part)
    all_rows.add(rows)
    assert some.count == 50
    np.testing.assert_allclose(
        some.covariance()[1], all_rows.covariance()[1], atol=1e-6
    )
