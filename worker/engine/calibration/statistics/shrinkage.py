"""How far a covariance that was measured on few rows is to be drawn towards one in which all directions are alike.

Of fewer rows than numbers the covariance is singular: directions that were never seen would seem to cost nothing, and
whatever is fitted would leave them out. A classifier's last layer sees one row an image.

Source: Chen, Wiesel, Eldar and Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE Transactions on Signal
Processing 58 (2010), equation 23: oracle approximating shrinkage.
"""

import torch
from torch import Tensor

_ENOUGH = 10
"""Rows for each number. What is left to shrink then does harm: the identity is large beside the weakest directions of
activations, most of whose variance lies in a few strong ones."""


def shrinkage(square: Tensor, variances: Tensor, count: int) -> Tensor:
    """Return the share of the identity, times the mean variance, for covariances that were measured on so many rows.

    Of the covariances `(groups, m, m)` `square` is the sum of all squares, `(groups,)`, and `variances` the diagonal,
    `(groups, m)`. The share is `(groups,)`, from 0 to 1; 1 where there is nothing to tell directions apart, and 0 for
    all of enough rows.

    >>> few, many = (shrinkage(torch.tensor([17.0]), torch.tensor([[4.0, 1.0]]), count) for count in (2, 20))
    >>> bool(few > 0.5), bool(many > 0)
    (True, False)
    """
    size = variances.shape[-1]
    if count >= _ENOUGH * size:
        return torch.zeros(len(variances), dtype=variances.dtype)
    trace = variances.sum(1).square()
    wanted = (1 - 2 / size) * square + trace
    possible = (count + 1 - 2 / size) * (square - trace / size)
    return torch.where(
        possible > wanted, wanted / possible.clamp_min(torch.finfo(possible.dtype).tiny), 1.0
    )
