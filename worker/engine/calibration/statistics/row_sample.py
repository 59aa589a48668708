"""A random sample of the patches of an input."""

from math import prod

import torch
from torch import Tensor

from worker.engine.calibration.effort import Effort
from worker.engine.numerics.convolution import Convolution


def sample_rows(
    convolution: Convolution, x: Tensor, batches: int, seed: int, effort: Effort
) -> Tensor | None:
    """Return the indices of the patches of an input to use; None for all of them.

    Over `batches` inputs of this size there are as many rows as the effort allows. The same seed
    gives the same indices.
    """
    total = count_rows(convolution, x)
    rows = _rows_wanted(convolution, effort)
    if total * batches <= rows:
        return None
    even_share = -(-rows // batches)
    in_each = min(total, even_share)
    # The indices must be the same on every device.
    generator = torch.Generator("cpu").manual_seed(seed)
    most = max(total, 1)
    return torch.randint(most, (in_each,), generator=generator, device="cpu")


def _rows_wanted(convolution: Convolution, effort: Effort) -> int:
    """Return the number of rows over all batches."""
    size = convolution.patch
    macs_per_row = convolution.groups * size * size
    affordable = effort.row_macs // macs_per_row
    enough = max(effort.enough_rows, effort.enough_rows_per_number * size)
    rows = min(effort.rows_per_site, affordable, enough)
    return max(effort.rows_per_number * size, rows)


def count_rows(convolution: Convolution, x: Tensor) -> int:
    """Return the number of patches of an input: its batch times its output positions.

    A transposed convolution has a patch for every input position.

    >>> pointwise = Convolution((8, 3, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1))
    >>> count_rows(pointwise, torch.zeros(4, 3, 6, 6))
    36
    """
    axes = len(convolution.kernel)
    if axes == 0:
        return x.numel() // x.shape[-1]
    if convolution.transposed:
        return x.numel() // x.shape[1]
    input_size = x.shape[-axes:]
    size = convolution.output_size(input_size)
    positions = prod(size)
    return x.shape[0] * positions
