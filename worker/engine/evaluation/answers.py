"""The right answers of a classifier on the user's own labels, and what became of them."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from convpress.report import ExpectedLoss

RightOrWrong = NDArray[np.bool_]
"""Which samples a model gives the class of the label: `(samples,)`."""

# Between this many standard deviations on both sides lie eight in ten.
_DEVIATIONS = 1.28


@dataclass(frozen=True)
class Answers:
    """Counts of labelled samples: `right` ones of the original, and those `lost` and `gained`."""

    count: int
    right: int
    lost: int
    gained: int

    @classmethod
    def of(cls, before: RightOrWrong, after: RightOrWrong) -> "Answers":
        """Compare the answers of the original and of the artifact, sample by sample."""
        return cls(
            count=len(before),
            right=int(before.sum()),
            lost=int((before & ~after).sum()),
            gained=int((after & ~before).sum()),
        )

    @property
    def standard_error(self) -> float:
        """The standard error of the lost share of all samples.

        Answers that change are counted events, and one more: without a change it is not 0.

        >>> Answers(400, 300, lost=14, gained=10).standard_error
        0.0125
        """
        return sqrt(self.lost + self.gained + 1) / self.count

    @property
    def loss(self) -> ExpectedLoss | None:
        """The share of its right answers that the artifact lost, and a band of eight in ten.

        Answers that change are counted events: their number deviates by its root. One event more is
        added, so that few samples without a change prove little. It is None without a right answer.

        >>> Answers(400, 300, lost=15, gained=3).loss
        ExpectedLoss(expected=0.04, low=0.018069, high=0.061931)
        >>> Answers(10, 10, lost=0, gained=0).loss.high
        0.228
        """
        if not self.right:
            return None
        net = self.lost - self.gained
        deviation = _DEVIATIONS * sqrt(self.lost + self.gained + 1) + 1
        expected, low, high = (
            round(min(max(each / self.right, 0.0), 1.0), 6)
            for each in (net, net - deviation, net + deviation)
        )
        return ExpectedLoss(expected=expected, low=low, high=high)
