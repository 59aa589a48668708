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
