"""The target of a factorisation: a layer's outputs, under the moments of its inputs.

The error of weights `W'` in the place of `W` is the energy of the outputs' difference,
`tr((W - W') C (W - W')^T)`, over the energy of the outputs, `tr(W C W^T)`; C is the covariance of
the layer's patches, and the difference of the means goes into the bias.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from worker.engine.numerics.convolution import Array, Layer
from worker.engine.numerics.moments import WIDE, Moments

FLOOR = 1e-4
"""The share of the mean variance that is added to every variance.

Inputs that did not vary in any sample may still do so.
"""

_LARGE = 1 << 20
"""The fewest numbers of a large weight, 4 MB."""


@dataclass(frozen=True)
class Target:
    """A layer of `groups` groups, of n outputs and patches of m numbers each.

    Arrays are float64. Two exceptions keep the type in which they are stored: a large weight
    without a covariance, and the weight and the covariance of wide patches. Copies in float64 would
    take twice the memory, and their products twice the time, for digits that no choice of a rank
    depends on.

    A transposed layer has an output for each output channel and kernel offset, n k2 in all, before
    those that meet at a position are summed. As the outputs for the mean differ from position to
    position, no bias can make up for it: the moments are then taken about 0.

    Attributes:
        layer: the layer.
        weight: `(groups, n, m)`.
        mean: `(groups, m)`.
        covariance: `(groups, m, m)` with its floor, or None for the identity.
    """

    layer: Layer
    weight: Array
    mean: Array
    covariance: Array | None

    @classmethod
    def of(cls, layer: Layer, moments: Moments) -> "Target":
        """Return the target of a layer under these moments of its inputs.

        Inputs that do not vary at all are as good as unknown: the weights then count alone.
        """
        groups, patch = layer.convolution.groups, layer.convolution.patch
        mean, covariance = moments.mean, moments.covariance
        if layer.convolution.transposed:
            per_group = layer.weight.reshape(groups, patch, -1)
            weight = per_group.swapaxes(1, 2)
            # about 0 the second moment is the covariance plus the mean's square
            if covariance is not None:
                squares = mean[:, :, None] * mean[:, None, :]
                covariance = covariance + squares
            mean = np.zeros_like(mean)
        else:
            weight = layer.weight.reshape(groups, -1, patch)
        if covariance is not None:
            covariance = _with_floor(covariance, weight)
        # weight and covariance are multiplied with each other: they have one dtype
        in_double = covariance is not None and covariance.dtype == np.float64
        is_small = covariance is None and weight.size < _LARGE
        if in_double or is_small:
            weight = weight.astype(np.float64)
        return cls(layer, weight, mean, covariance)

    @cached_property
    def product(self) -> Array:
        """`W C`, `(groups, n, m)`."""
        if self.covariance is None:
            return self.weight
        return self.weight @ self.covariance

    @cached_property
    def energy(self) -> float:
        """The energy of the outputs, `tr(W C W^T)` over all groups."""
        return float(np.vecdot(self.product, self.weight).sum(dtype=np.float64))

    def relative(self, explained: Array) -> Array:
        """Return the errors of factors that explain this energy; 0 for outputs without any."""
        if self.energy <= 0:
            return np.zeros(explained.shape)
        unexplained: Array = np.maximum(1 - explained / self.energy, 0)
        return unexplained

    def bias(self, outputs: Array) -> Array | None:
        """Return the bias `(groups * n,)` for factors with these outputs at the mean patch.

        `outputs` is `(groups, n)`.
        """
        bias = self.layer.bias
        if not self.mean.any():
            return bias
        expected = np.einsum("gnm,gm->gn", self.weight, self.mean)
        missing: Array = (expected - outputs).reshape(-1)
        if bias is None:
            return missing
        return bias + missing


def _with_floor(covariance: Array, weight: Array) -> Array | None:
    """Return a covariance with its floor; None for inputs that do not vary.

    The floor may be added in place.
    """
    groups, size = covariance.shape[:2]
    trace = float(np.einsum("gii->", covariance, dtype=np.float64))
    floor = FLOOR * trace / (groups * size)
    if floor <= 0:
        return None
    # float32 holds wide products as long as they stay within its range
    is_wide = size > WIDE and _is_far_from_overflow(weight, covariance)
    dtype = covariance.dtype if is_wide else np.float64
    covariance = covariance.astype(dtype, copy=False)
    diagonal = np.einsum("gii->gi", covariance)
    diagonal[...] += floor
    return covariance


def _is_far_from_overflow(weight: Array, covariance: Array) -> bool:
    """Whether float32 holds all products of the outputs' energies."""
    # nothing in a covariance is larger than its largest variance
    variances = np.einsum("gii->gi", covariance)
    variance = float(variances.max())
    weight_size = float(np.abs(weight).max())
    largest = weight_size**2 * variance * weight[0].size
    limits = np.finfo(np.float32)
    least = float(limits.tiny) ** 0.5
    return bool(least < largest < float(limits.max) ** 0.5)
