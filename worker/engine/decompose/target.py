"""What a factorisation has to come near: a layer's outputs, under what is known of its inputs.

The error of weights `W'` in the place of `W` is the energy of the outputs' difference, `tr((W - W') C (W - W')^T)`,
over the energy of the outputs, `tr(W C W^T)`; C is the covariance of the layer's patches, the difference of the means
goes into the bias.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from worker.engine.numerics.convolution import Array, Layer
from worker.engine.numerics.moments import WIDE, Moments

FLOOR = 1e-4
"""What is added to every variance, as a share of their mean: inputs that were never seen to vary may still do so."""

_LARGE = 1 << 20
"""Numbers from which on a weight is large, 4 MB."""


@dataclass(frozen=True)
class Target:
    """A layer of `groups` groups, of n outputs and patches of m numbers each.

    All is float64, except for a large layer's weight where nothing is known of its inputs, and for weight and
    covariance where patches are wide: these stay as they are stored, since exact copies would take twice the memory and
    their products twice the time, for digits that no choice of a rank depends on.

    A transposed one has an output for each output channel and kernel offset, n k2 in all, before those that meet at
    a position are summed. As what the mean gives differs from position to position, no bias can make up for it: the
    moments are then taken about 0.
    `weight` is `(groups, n, m)`, `mean` `(groups, m)`, `covariance` `(groups, m, m)` with its floor, or None for the
    identity.
    """

    layer: Layer
    weight: Array
    mean: Array
    covariance: Array | None

    @classmethod
    def of(cls, layer: Layer, moments: Moments) -> "Target":
        """Return the target that a layer is under these moments of its inputs.

        Inputs that do not vary at all tell nothing: the weights then count alone.
        """
        groups = layer.convolution.groups
        mean, covariance = moments.mean, moments.covariance
        if layer.convolution.transposed:
            weight = layer.weight.reshape(groups, layer.convolution.patch, -1).swapaxes(1, 2)
            if covariance is not None:
                covariance = covariance + mean[:, :, None] * mean[:, None, :]
            mean = np.zeros_like(mean)
        else:
            weight = layer.weight.reshape(groups, -1, layer.convolution.patch)
        if covariance is not None:
            floor = FLOOR * float(np.einsum("gii->", covariance, dtype=np.float64)) / mean.size
            is_wide = mean.shape[1] > WIDE and _is_far_from_overflow(weight, covariance)
            covariance = (
                covariance.astype(covariance.dtype if is_wide else np.float64, copy=False)
                if floor > 0
                else None
            )
            if covariance is not None:
                np.einsum("gii->gi", covariance)[...] += floor
        if weight.size < _LARGE if covariance is None else covariance.dtype == np.float64:
            weight = weight.astype(np.float64)
        return cls(layer, weight, mean, covariance)

    @cached_property
    def product(self) -> Array:
        """`W C`, `(groups, n, m)`."""
        return self.weight if self.covariance is None else self.weight @ self.covariance

    @cached_property
    def energy(self) -> float:
        """The energy of the outputs, `tr(W C W^T)` over all groups."""
        return float(np.vecdot(self.product, self.weight).sum(dtype=np.float64))

    def relative(self, explained: Array) -> Array:
        """Return the errors of factors that explain this much of the energy; 0 where there is none to explain."""
        if self.energy <= 0:
            return np.zeros(explained.shape)
        unexplained: Array = np.maximum(1 - explained / self.energy, 0)
        return unexplained

    def bias(self, outputs: Array) -> Array | None:
        """Return the bias `(groups * n,)` for factors whose outputs at the mean patch are `outputs`, `(groups, n)`."""
        bias = self.layer.bias
        if not self.mean.any():
            return bias
        missing: Array = (np.einsum("gnm,gm->gn", self.weight, self.mean) - outputs).reshape(-1)
        return missing if bias is None else bias + missing


def _is_far_from_overflow(weight: Array, covariance: Array) -> bool:
    """Whether float32 holds whatever is made of the outputs' energies."""
    variance = float(
        np.einsum("gii->gi", covariance).max()
    )  # nothing else in a covariance is larger
    largest = float(np.abs(weight).max()) ** 2 * variance * weight[0].size
    limits = np.finfo(np.float32)
    return bool(float(limits.tiny) ** 0.5 < largest < float(limits.max) ** 0.5)
