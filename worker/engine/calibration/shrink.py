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


def shrinkage(covariance: Tensor, count: int) -> Tensor:
    """Return the share of the identity, times the mean variance, for covariances `(groups, m, m)` of so many rows each.

    It is `(groups,)`, from 0 to 1; 1 where there is nothing to tell directions apart, and 0 for all of enough rows.

    >>> few, many = (shrinkage(torch.diag(torch.tensor([4.0, 1.0]))[None], count) for count in (2, 20))
    >>> bool(few > 0.5), bool(many > 0)
    (True, False)
    """
    size = covariance.shape[-1]
    if count >= _ENOUGH * size:
        return torch.zeros(len(covariance), dtype=covariance.dtype)
    square = torch.linalg.matrix_norm(covariance).square()  # without a second matrix of the squares
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1).square()
    wanted = (1 - 2 / size) * square + trace
    possible = (count + 1 - 2 / size) * (square - trace / size)
    return torch.where(possible > wanted, wanted / possible.clamp_min(torch.finfo(possible.dtype).tiny), 1.0)
