"""Moments of a site's inputs: the mean and covariance of the patches that its weights multiply."""

from dataclasses import dataclass

import numpy as np

from worker.engine.numerics.convolution import Array, Convolution
from worker.engine.numerics.symmetric import Symmetric

WIDE = 512
"""The most numbers of a patch whose products are in float64.

Wider ones are in their own precision, mostly float32: about their mean its rounding is less than
the floor of every variance, and time and memory are halved.
"""


@dataclass(frozen=True)
class Moments:
    """Statistics of the patches `x` of a site with `groups` groups, of m numbers each.

    m is `Convolution.patch`. A patch is ordered as the weight is:
    `weight.reshape(groups, n // groups, m)` times `x` of its group is the output without its bias.
    `mean` is `(groups, m)`. `held` is the centred covariance `(groups, m, m)`; None stands for the
    identity, and so for unknown inputs: errors are then those of the weights alone. Both are
    float64, but for the covariance of wide patches. As those of all sites are in memory at once,
    only half of a wide covariance is stored.
    """

    mean: Array
    held: Symmetric | None

    @classmethod
    def of(cls, mean: Array, covariance: Array) -> "Moments":
        """Return moments with a whole covariance `(groups, m, m)`."""
        return cls(mean, Symmetric.of(covariance))

    @property
    def covariance(self) -> Array | None:
        """The whole covariance, in an array of its own; None for the identity."""
        if self.held is None:
            return None
        return self.held.whole()


def unknown(convolution: Convolution) -> Moments:
    """Return the moments of unknown inputs: no mean, and every direction as likely as any other."""
    return Moments(np.zeros((convolution.groups, convolution.patch)), None)
