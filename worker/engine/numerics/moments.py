"""What a site's inputs are like: the mean and the centred second moment of the patches that its weights multiply."""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics.convolution import Array, Convolution
from worker.engine.numerics.symmetric import Symmetric

WIDE = 512
"""Numbers up to which patches are multiplied in float64. Wider ones are in their own precision, mostly float32: about
their mean its rounding is less than what is added to every variance anyway, and time and memory are halved."""


@dataclass(frozen=True)
class Moments:
    """Statistics of the patches `x` of a site with `groups` groups, of `Convolution.patch` numbers m each.

    A patch is ordered as the weight is: `weight.reshape(groups, n // groups, m)` times `x` of its group is the output
    without its bias. `mean` has the shape `(groups, m)`; the covariance, centred, `(groups, m, m)`, is None for the
    identity, which stands for knowing nothing of the inputs: errors are then those of the weights alone.
    Both are float64, but for the covariance of wide patches. As those of all sites are held at once, little more than
    half of each is.
    """

    mean: Array
    held: Symmetric | None

    @classmethod
    def of(cls, mean: Array, covariance: Array) -> "Moments":
        """Return moments with a covariance that is there as a whole."""
        return cls(mean, Symmetric.of(covariance))

    @property
    def covariance(self) -> Array | None:
        """The whole covariance, in an array of its own; None for the identity."""
        return None if self.held is None else self.held.whole()


def unknown(convolution: Convolution) -> Moments:
    """Return what stands for knowing nothing of a site's inputs: no mean, every direction as likely as any other."""
    return Moments(np.zeros((convolution.groups, convolution.patch)), None)
