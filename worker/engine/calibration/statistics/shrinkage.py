"""OAS shrinkage of covariances that were measured on few rows.

With fewer rows than numbers a covariance is singular: directions that were never seen would seem
to cost nothing, and every fit would leave them out. A classifier's last layer sees one row an
image.

Source: Chen, Wiesel, Eldar and Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE
Transactions on Signal Processing 58 (2010), equation 23: oracle approximating shrinkage.
"""

import torch
from torch import Tensor

# Rows for each number, from which on shrinking does harm: most variance of activations lies in a
# few strong directions, and the identity is large compared with the weak ones.
_ENOUGH = 10


def oas_intensity(square: Tensor, variances: Tensor, count: int) -> Tensor:
    """Return the OAS shrinkage intensity towards (tr C / m) I for covariances of `count` rows.

    For covariances C `(groups, m, m)`, `square` is tr C^2 `(groups,)`, the sum of all squares, and
    `variances` is the diagonal `(groups, m)`. The intensity `(groups,)` lies between 0 and 1:

        min(1, ((1 - 2/m) tr C^2 + (tr C)^2) / ((count + 1 - 2/m) (tr C^2 - (tr C)^2 / m)))

    It is 1 where C is a multiple of the identity, and 0 from ten rows a number.

    >>> square, variances = torch.tensor([17.0]), torch.tensor([[4.0, 1.0]])
    >>> bool(oas_intensity(square, variances, count=2) > 0.5)
    True
    >>> oas_intensity(square, variances, count=20).tolist()
    [0.0]
    """
    size = variances.shape[-1]
    if count >= _ENOUGH * size:
        count_of_layers = len(variances)
        return torch.zeros(count_of_layers, dtype=variances.dtype)
    squared_trace = variances.sum(1).square()
    shrink = 2 / size
    numerator = (1 - shrink) * square + squared_trace
    excess = square - squared_trace / size
    denominator = (count + 1 - shrink) * excess
    tiny = torch.finfo(denominator.dtype).tiny
    positive = denominator.clamp_min(tiny)
    intensity = numerator / positive
    return torch.where(denominator > numerator, intensity, 1.0)
